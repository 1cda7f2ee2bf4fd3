"""Training after a change of vocabulary: stages, the alignment loss, thinning."""

import itertools
import math

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.train.vocabulary import (
    TOKALIGN_STAGES,
    PlanningHeads,
    alignment_loss,
    alignment_weight,
    stage_rate,
    thin,
    train_only,
)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.body = nn.Linear(4, 4)
        self.head = nn.Linear(4, 6, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.body(self.embedding(ids)))


def test_the_first_stage_trains_the_tables_and_nothing_else():
    model = Tied()
    assert train_only(model, ["head.weight"]) == ["embedding.weight"]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model(torch.arange(6)).square().sum().backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"embedding.weight", "head.weight"}
    assert train_only(model, None) == ["embedding.weight", "body.weight", "body.bias"]


def test_names_the_model_does_not_have_are_all_told():
    with pytest.raises(MethodError, match="not all of these parameters") as caught:
        train_only(Tied(), ["wte", "heads.weight", "body.bias"])
    assert caught.value.problems == ("'heads.weight' (did you mean 'head.weight'?)", "'wte'")


def test_the_rates_of_the_two_stages():
    first, second = TOKALIGN_STAGES
    assert (first.steps, second.steps, first.tables_only, second.tables_only) == (2500, 2500, True, False)
    rates = [stage_rate(second, step) for step in range(2501)]
    assert max(rates) == pytest.approx(5e-5)
    assert rates.index(max(rates)) == 74
    assert rates[75 + (2500 - 75) // 2] == pytest.approx(2.5e-5, rel=1e-2)
    assert rates[-1] == 0
    assert all(a >= b for a, b in itertools.pairwise(rates[75:]))


def test_the_alignment_loss_is_nothing_at_the_start_and_pulls_nowhere():
    targets = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = targets.clone().requires_grad_()
    loss = alignment_loss(rows, targets)
    loss.backward()
    assert abs(loss.item()) < 1e-12
    assert float(rows.grad.abs().max()) < 1e-12


def test_the_alignment_loss_pulls_back_and_leaves_the_targets():
    targets = torch.tensor([[1.0, 0.0]], requires_grad=True)
    rows = torch.tensor([[0.6, 0.8]], requires_grad=True)
    loss = alignment_loss(rows, targets)
    assert loss.item() == pytest.approx(0.4)
    loss.backward()
    assert targets.grad is None
    torch.testing.assert_close(rows.grad, torch.tensor([[-0.64, 0.48]]))
    assert alignment_loss(rows - 0.1 * rows.grad, targets).item() < 0.4


def test_the_weight_of_the_alignment_loss_falls_to_nothing():
    assert [alignment_weight(step, 200) for step in (0, 10, 20, 200)] == pytest.approx([0.1, 0.05, 0, 0])
    assert alignment_weight(50, 100, start=1, until=1) == pytest.approx(0.5)


@pytest.mark.parametrize(("keep", "span"), [(0.9, 1), (0.9, 5), (0.5, 3)])
def test_thinning_keeps_the_share_it_says_in_order(keep, span):
    kept = thin(torch.arange(200_000), torch.Generator().manual_seed(0), keep=keep, span=span)
    assert len(kept) / 200_000 == pytest.approx(keep, abs=0.01)
    assert bool((kept.diff() > 0).all())
    gaps = kept.diff()[kept.diff() > 1] - 1
    assert int(gaps.min()) == span


def test_thinning_leaves_something():
    generator = torch.Generator().manual_seed(0)
    assert all(len(thin(torch.arange(3), generator, keep=1e-6)) == 1 for _ in range(20))
    assert len(thin(torch.arange(0), generator)) == 0
    assert torch.equal(thin(torch.arange(4), generator, keep=1.0), torch.arange(4))
    for keep, span in ((0.0, 1), (1.1, 1), (0.5, 0)):
        with pytest.raises(MethodError, match="keep must lie above 0 and at most at 1, span at 1 or more; got"):
            thin(torch.arange(3), generator, keep=keep, span=span)


def test_planning_heads_count_what_is_known():
    torch.manual_seed(0)
    heads = PlanningHeads(4, 8, clusters=3)
    nn.init.zeros_(heads.cluster.weight)
    nn.init.zeros_(heads.cluster.bias)
    hidden, unknown = torch.randn(2, 4), torch.tensor([-100, -100])
    assert heads(hidden, torch.tensor([2, -100]), unknown).item() == pytest.approx(math.log(3))
    assert heads(hidden, unknown, unknown).item() == 0
    only_codes = heads(hidden, unknown, torch.tensor([1, 5]))
    torch.testing.assert_close(only_codes, nn.functional.cross_entropy(heads.code(hidden), torch.tensor([1, 5])))
