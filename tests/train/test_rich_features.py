"""Rich features: groups and means by hand, and two rounds that find two features."""

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.train import rich_features as module
from scionwood.train.rich_features import group_losses, mean_head, rich_features


def toy(seed, examples=4000):
    """A feature of size 5 that agrees with the label for 90 %, one of size 1 for 75 %."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (examples,), generator=generator)
    easy, hard = (
        torch.where(torch.rand(examples, generator=generator) < rate, labels, 1 - labels) for rate in (0.9, 0.75)
    )
    inputs = torch.stack([5.0 * (2 * easy - 1), 2.0 * hard - 1], dim=1)
    return inputs + 0.1 * torch.randn(examples, 2, generator=generator), labels, easy, hard


def body():
    return nn.Sequential(nn.Linear(2, 32), nn.ReLU())


def found_on_toy(seed, outputs, examples, **options):
    inputs, labels, easy, hard = toy(seed, examples)
    torch.manual_seed(seed)
    found = rich_features(inputs, labels, body, lambda: nn.Linear(32, outputs), rate=5e-3, **options)
    return found, inputs, easy, hard


def classes(outputs):
    return (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(dim=1)


def both_features(found, inputs, easy, hard):
    assert (found.rounds[0].predictions == easy).float().mean() > 0.999
    assert (found.rounds[1].predictions == hard).float().mean() > 0.999
    signal = found.features(inputs)
    for head, part in zip(found.heads, found.rounds, strict=True):
        assert (classes(head(signal)) == part.predictions).float().mean() > 0.999
    alike = found.rounds[0].right == found.rounds[1].right
    assert alike.float().mean().item() == pytest.approx(0.7, abs=0.03)
    assert torch.equal(found.head.weight, torch.stack([head.weight for head in found.heads]).mean(dim=0))
    assert torch.equal(found.head.bias, torch.stack([head.bias for head in found.heads]).mean(dim=0))


@pytest.mark.parametrize(("seed", "outputs"), [(0, 1), (1, 1), (2, 1), (0, 2)])
def test_two_rounds_find_two_features(seed, outputs):
    both_features(*found_on_toy(seed, outputs, 4000))


def test_a_head_on_the_features_reads_what_ordinary_training_lost():
    """Where the easy feature turns against the label, the second head is still as right as the hard feature."""
    found, *_ = found_on_toy(0, 1, 2000)
    inputs, labels, easy, _ = toy(9)
    turned = inputs.clone()
    turned[:, 0] = torch.where(easy == labels, -inputs[:, 0], inputs[:, 0])
    with torch.no_grad():
        first, second = ((classes(head(found.features(turned))) == labels).float().mean() for head in found.heads)
    assert first < 0.05
    assert second > 0.7


def test_one_round_is_a_distillation():
    found, inputs, easy, _ = found_on_toy(0, 2, 500, rounds=1, synthesis_steps=200)
    assert len(found.rounds) == len(found.heads) == 1
    assert (classes(found.heads[0](found.features(inputs))) == easy).float().mean() > 0.99
    assert torch.equal(found.head.weight, found.heads[0].weight)


def test_three_classes_and_three_rounds_run():
    torch.manual_seed(0)
    inputs, labels = torch.randn(60, 2), torch.arange(60) % 3
    found = rich_features(inputs, labels, body, lambda: nn.Linear(32, 3), rounds=3, steps=20, synthesis_steps=20)
    assert len(found.heads) == 3
    for part in found.rounds:
        assert torch.equal(part.right, part.predictions == labels)
        assert torch.equal(part.predictions, part.head(part.features(inputs)).argmax(dim=1))


def test_a_round_minimises_the_largest_group_alone(monkeypatch):
    """Where the largest is a constant, nothing is learned from the others."""
    monkeypatch.setattr(module, "group_losses", lambda losses, rights: torch.stack([losses.mean(), torch.tensor(1e3)]))
    starts = []

    def features():
        network = body()
        starts.append(network[0].weight.detach().clone())
        return network

    inputs, labels, *_ = toy(0, 50)
    found = rich_features(inputs, labels, features, lambda: nn.Linear(32, 1), steps=3, synthesis_steps=1, decay=0.0)
    assert not torch.equal(found.rounds[0].features[0].weight, starts[0])
    assert torch.equal(found.rounds[1].features[0].weight, starts[1])


def test_groups_of_all_rounds_stand_apart():
    """Two for each round, not their product; those without examples are left out."""
    losses = torch.tensor([1.0, 3.0, 5.0, 11.0])
    first, second, third = (torch.tensor(right).bool() for right in ([1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]))
    assert group_losses(losses, [first, second, third]).tolist() == [2.0, 8.0, 3.0, 7.0, 5.0]


def test_alike_examples_make_up_half():
    rights = torch.tensor([[1, 0, 1, 1, 0], [1, 0, 0, 1, 0]]).bool()
    assert torch.allclose(module._weights(rights), torch.tensor([1 / 8, 1 / 8, 1 / 2, 1 / 8, 1 / 8]))
    assert module._weights(rights[:1]).tolist() == pytest.approx([0.2] * 5)


def test_mean_head_draws_nothing():
    heads = [nn.Linear(3, 2, bias=False) for _ in range(3)]
    state = torch.random.get_rng_state()
    mean = mean_head(heads)
    assert torch.equal(state, torch.random.get_rng_state())
    assert mean.bias is None
    assert torch.equal(mean.weight, torch.stack([head.weight for head in heads]).mean(dim=0))


def test_errors():
    with pytest.raises(MethodError, match="heads of the same shape"):
        mean_head([nn.Linear(2, 1), nn.Linear(3, 1)])
    with pytest.raises(MethodError, match="one or more heads"):
        mean_head([])
    with pytest.raises(MethodError) as caught:
        rich_features(torch.zeros(4, 2), torch.zeros(3).long(), body, lambda: nn.Linear(32, 2), rounds=0)
    assert caught.value.problems == (
        "rounds is at least 1, not 0",
        "labels are (examples,), not (3,) for 4 examples",
    )
    with pytest.raises(MethodError) as caught:
        rich_features(torch.zeros(3, 2), torch.tensor([0, 1, 2]), body, lambda: nn.Linear(32, 1))
    assert caught.value.problems == ("labels are whole numbers from 0 to 1, one for each class of the head",)
