"""Greedy soup: the average of the best models, best first (Wortsman et al., 2022, arXiv:2203.05482).

    order the models by held-out score;   theta = mean of the first ``size``, or of those that the greedy choice kept

A uniform soup of many runs suffers from the bad ones; the greedy soup takes a run in only where the soup gets better by
it, and so is never worse than the best run on the data it was chosen by. This file has what needs no data: the mean of
a ranking's head, or of the models that a choice took in, and the choice itself (``choose_soup``) for whoever can score
a soup. It hurts to rank by the test set.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import average
from scionwood.methods.merge.weighting import check_index, spread
from scionwood.methods.record import Finite, method

__all__ = ["choose_soup", "greedy_soup"]


@method(
    space="weight",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "linear", "permutation"},
    paper="2203.05482",
)
def greedy_soup(
    tensors: Sequence[Tensor],
    *,
    scores: Sequence[Annotated[float, Finite()]] | None = None,
    size: Annotated[int, Finite(at_least=1)] | None = None,
    chosen: Sequence[Annotated[int, Finite(at_least=0)]] | None = None,
) -> Tensor:
    """Return the mean of the best models.

    >>> import torch
    >>> greedy_soup(list(torch.eye(3)), scores=(0.7, 0.9, 0.8), size=2)
    tensor([0.0000, 0.5000, 0.5000])

    Args:
        tensors: one tensor from each model.
        scores: of the models on held-out data, the higher the better; without them the models are in order, best first.
        size: how many of the best are averaged; without it all are.
        chosen: average these models instead, 0 for the first: what ``choose_soup`` took in.

    Raises:
        MethodError: scores or sizes that do not fit the models, models that are not there or are named twice, or both a
            size and a choice.
    """
    count = len(tensors)
    if chosen is not None and (scores is not None or size is not None):
        raise MethodError("Models are chosen by number, or by scores and size: both are given.")
    if chosen is None:
        taken = count if size is None else size
        if taken > count:
            raise MethodError(f"A soup of {taken} models cannot be made of {count}.")
        ranked = range(count) if scores is None else _ranked(spread(scores, count, "scores"))
        chosen = list(ranked)[:taken]
    if not chosen or len(set(chosen)) < len(chosen):
        raise MethodError(f"The choice {list(chosen)} is empty, or names a model twice.")
    return average([tensors[check_index(number, count)] for number in chosen], [1.0] * len(chosen))


def choose_soup(
    scores: Sequence[float],
    score: Callable[[Sequence[int]], float],
    *,
    tie: Literal["accept", "reject"] = "accept",
) -> list[int]:
    """Return the numbers of the models that the greedy choice takes in, in the order they came in.

    The best model comes first; each next one in the order of scores stays where the mean of all that stayed scores no
    worse with it.

    >>> models = [1.6, 0.5, 5.0]
    >>> near_one = lambda chosen: -((sum(models[number] for number in chosen) / len(chosen) - 1) ** 2)
    >>> choose_soup([near_one([number]) for number in range(3)], near_one)
    [1, 0]

    Args:
        scores: of the models on held-out data, the higher the better.
        score: of the mean of some models on the same data.
        tie: whether a model stays where the score does not change: the paper accepts it, the published code does not.

    Raises:
        MethodError: there are no scores.
    """
    if not scores:
        raise MethodError("There are no models to choose from.")
    first, *rest = _ranked(scores)
    chosen, best = [first], scores[first]
    for number in rest:
        found = score([*chosen, number])
        if found > best or (found == best and tie == "accept"):
            chosen, best = [*chosen, number], found
    return chosen


def _ranked(scores: Sequence[float]) -> list[int]:
    """The numbers of the models, best first; of equal scores, the one written first."""
    return sorted(range(len(scores)), key=lambda number: -scores[number])
