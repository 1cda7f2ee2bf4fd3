"""Rich features: a start that holds what several rounds of training find, not the first alone (Zhang et al., 2022, arXiv:2203.15516).

    round 0      the mean loss
    round r      a fresh network on the largest of the mean losses of 2 r groups: what round i got right, and wrong, i < r
    synthesis    one network with r + 1 heads; head i fits the predictions of round i; the mean of their losses
    start        the synthesis' features, and the mean of its heads

Also called Bonsai. Training takes the feature that is easiest and leaves the rest; a round that must do as well where
the earlier ones fail has to use another. A method that generalises out of distribution then starts from, or trains a
head on, all of them. It is of use where features found first fail later; with one round it is a distillation of
ordinary training.

Predictions are classes: the label where a round is right, whatever it says instead where it is wrong, the published
code's 1 - y where there are two classes. A group without examples is left out. Each step of the synthesis is on all
examples, so weighted that those on which the rounds are alike, all right or all wrong, make up half of the loss: what
the published code has in expectation by drawing as many of both. Its settings for ColoredMNIST are the defaults: 51,
501 and 501 steps of Adam at 5e-4, squared parameters times 0.0011, two rounds.

Toy, three seeds, a strong feature that is right for 90 % and a weak one for 75 %: round 0 follows the first on every
example, round 1 the second, and each of the two heads its round.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from scionwood.errors import MethodError

__all__ = ["RichFeatures", "Round", "group_losses", "mean_head", "rich_features"]


@dataclass(frozen=True)
class Round:
    """What a round of training found.

    Args:
        features: its network up to the head.
        head: its linear layer.
        predictions: (examples,) classes.
        right: (examples,) whether they are the labels.
    """

    features: nn.Module
    head: nn.Linear
    predictions: Tensor
    right: Tensor


@dataclass(frozen=True)
class RichFeatures:
    """The start.

    Args:
        features: of the synthesis.
        head: the mean of its heads.
        heads: one for each round.
        rounds: what they reproduce.
    """

    features: nn.Module
    head: nn.Linear
    heads: nn.ModuleList
    rounds: tuple[Round, ...]


def group_losses(losses: Tensor, rights: Sequence[Tensor]) -> Tensor:
    """Return the mean losses of what each round got right and wrong, (groups,); groups without examples are left out.

    >>> group_losses(torch.tensor([1.0, 2.0, 6.0]), [torch.tensor([True, True, False]), torch.tensor([True] * 3)])
    tensor([1.5000, 6.0000, 3.0000])
    """
    groups = [group for right in rights for group in (right, ~right) if bool(group.any())]
    return torch.stack([losses[group].mean() for group in groups])


@torch.no_grad()
def mean_head(heads: Sequence[nn.Linear]) -> nn.Linear:
    """Return a linear layer whose weight and bias are the means of several.

    >>> first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> bool((mean_head([first, second]).weight == (first.weight + second.weight) / 2).all())
    True

    Raises:
        MethodError: no head, or heads of different shapes.
    """
    if not heads or len({(head.weight.shape, head.bias is None) for head in heads}) > 1:
        raise MethodError("A mean is of one or more heads of the same shape.")
    with torch.random.fork_rng(devices=[]):
        result = nn.Linear(heads[0].in_features, heads[0].out_features, bias=heads[0].bias is not None)
    result = result.to(heads[0].weight)
    result.weight.copy_(torch.stack([head.weight for head in heads]).mean(dim=0))
    if result.bias is not None:
        result.bias.copy_(torch.stack([head.bias for head in heads]).mean(dim=0))
    return result


def rich_features(
    inputs: Tensor,
    labels: Tensor,
    features: Callable[[], nn.Module],
    head: Callable[[], nn.Linear],
    *,
    rounds: int = 2,
    first_steps: int = 51,
    steps: int = 501,
    synthesis_steps: int = 501,
    rate: float = 5e-4,
    decay: float = 0.0011,
) -> RichFeatures:
    """Return a start that holds what several rounds found. Random numbers are PyTorch's own.

    >>> inputs = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    >>> labels = (inputs[:, 0] > 0).long()
    >>> _ = torch.manual_seed(0)
    >>> found = rich_features(
    ...     inputs,
    ...     labels,
    ...     lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU()),
    ...     lambda: nn.Linear(8, 2),
    ...     rounds=1,
    ...     rate=0.05,
    ...     synthesis_steps=50,
    ... )
    >>> len(found.heads), bool(found.rounds[0].right.float().mean() > 0.95)
    (1, True)

    Args:
        inputs: all examples; every step is on all of them.
        labels: (examples,) classes.
        features: makes a fresh network.
        head: makes a fresh linear layer on it: an output for each class, or one for two classes, above 0 for class 1.
        rounds: how many, the first one included.
        first_steps: of the first round: few, so that it finds what is easiest.
        steps: of each further round.
        synthesis_steps: of the synthesis.
        rate: of Adam.
        decay: times the sum of all squared parameters, in the losses of rounds and synthesis.

    Raises:
        MethodError: no round, no example, labels of another shape, or a class without an output.
    """
    _check(inputs, labels, head().out_features, rounds)
    found: list[Round] = []
    for number in range(rounds):
        body, last = features(), head()

        def loss(body: nn.Module = body, last: nn.Linear = last) -> Tensor:
            losses = _losses(last(body(inputs)), labels)
            data = group_losses(losses, [each.right for each in found]).max() if found else losses.mean()
            return data + decay * _squares(body, last)

        _train([body, last], loss, steps if number else first_steps, rate)
        with torch.no_grad():
            predictions = _classes(last(body(inputs)))
        found.append(Round(body, last, predictions, predictions == labels))
    weights = _weights(torch.stack([each.right for each in found]))
    body, heads = features(), nn.ModuleList(head() for _ in found)

    def synthesis() -> Tensor:
        signal = body(inputs)
        losses = [_losses(each(signal), part.predictions) for each, part in zip(heads, found, strict=True)]
        return (torch.stack(losses).mean(dim=0) * weights).sum() + decay * _squares(body, heads)

    _train([body, heads], synthesis, synthesis_steps, rate)
    linears = [each for each in heads if isinstance(each, nn.Linear)]
    return RichFeatures(body, mean_head(linears), heads, tuple(found))


def _check(inputs: Tensor, labels: Tensor, outputs: int, rounds: int) -> None:
    problems = []
    if rounds < 1:
        problems.append(f"rounds is at least 1, not {rounds}")
    if labels.dim() != 1 or len(labels) != len(inputs) or not len(inputs):
        problems.append(f"labels are (examples,), not {tuple(labels.shape)} for {len(inputs)} examples")
    elif labels.is_floating_point() or not 0 <= int(labels.min()) <= int(labels.max()) < max(2, outputs):
        problems.append(f"labels are whole numbers from 0 to {max(2, outputs) - 1}, one for each class of the head")
    if problems:
        raise MethodError("Rich features cannot be made so.", problems=problems)


def _losses(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return each example's cross entropy."""
    if outputs.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(outputs[:, 0], labels.to(outputs), reduction="none")
    return F.cross_entropy(outputs, labels, reduction="none")


def _classes(outputs: Tensor) -> Tensor:
    return (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(dim=1)


def _squares(*modules: nn.Module) -> Tensor:
    """Return the sum of squared parameters."""
    return torch.stack([value.square().sum() for module in modules for value in module.parameters()]).sum()


def _weights(rights: Tensor) -> Tensor:
    """Return each example's part of the loss: half for those on which the rounds are alike, half for the rest."""
    alike = (rights == rights[0]).all(dim=0)
    if bool(alike.all()) or not bool(alike.any()):
        return torch.full(alike.shape, 1 / len(alike), device=alike.device)
    return torch.where(alike, 0.5 / alike.sum(), 0.5 / (~alike).sum())


def _train(modules: Sequence[nn.Module], loss: Callable[[], Tensor], steps: int, rate: float) -> None:
    optimizer = torch.optim.Adam([value for module in modules for value in module.parameters()], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
