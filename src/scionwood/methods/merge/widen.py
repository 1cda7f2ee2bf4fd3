"""WIDEN: weigh columns by how far they moved in length and in direction (Yu et al., 2024, arXiv:2408.03092).

    moved in length | |W_n[:, j]| - |W_0[:, j]| |, in direction 1 - cos(W_n[:, j], W_0[:, j])
    r: its rank in its own model / columns
    S = softmax over models of r, and ``score_calibration_value`` where r > ``above_average_value_ratio`` * mean r
    theta = theta_0 + sum_n (S_length + S_direction) / 2 * delta_n

Ranks make models comparable that differ a lot in how far they moved, such as a chat model and one whose pretraining
went on. What is important for several models counts in full for each, so copies of one model do not give that model.
Columns that moved by the same, as those that did not move at all, are ranked by their place; in the published code
rounding ranks them.

Vectors take |delta| in place of r, element by element. Columns are those of the last dimension: the published code
transposes embeddings first, so that a token is a column, which a method that sees no names cannot know.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum

__all__ = ["widen"]


def _columns(deltas: Sequence[Tensor], found: Mapping[str, Any], _: Mapping[str, Any]) -> Tensor:
    """Of every column: the square of the base, of each model, and the product of each model with the base."""
    base = found["base"].double()
    models = [base + delta for delta in deltas]
    pairs = [(base, base), *((model, model) for model in models), *((model, base) for model in models)]
    return torch.stack([(one * other).sum(0) for one, other in pairs])


def _ranks(moved: Tensor) -> Tensor:
    # In float32, so that what is equal but for the order of sums is equal.
    order = moved.float().argsort(stable=True, dim=-1)
    places = torch.arange(moved.shape[-1], dtype=torch.float64).expand(moved.shape)
    return torch.zeros(moved.shape, dtype=torch.float64).scatter_(-1, order, places) / moved.shape[-1]


def _scores(importance: Tensor, above: float, calibrated: float) -> Tensor:
    mean = importance.mean(-1, keepdim=True)
    return torch.where(importance > above * mean, calibrated, importance.softmax(0))


@method(
    space="delta",
    scope="row",
    laws={"alone", "permutation"},
    paper="2408.03092",
    summaries=[Sum("columns", _columns, needs=("base",))],
)
def widen(
    deltas: Sequence[Tensor],
    columns: Tensor,
    shape: tuple[int, ...],
    *,
    above_average_value_ratio: Annotated[float, Finite(at_least=0)] = 1.0,
    score_calibration_value: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the merged task vector.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> base = torch.tensor([[1.0, 0, 1, 1], [0, 1, 1, -1]])
    >>> a = base + torch.tensor([[0.1, 0.01, 0.2, 0], [0.001, 0.3, 0, 0]])
    >>> b = base + torch.tensor([[0, 0.2, 0, 0.4], [0.1, 0, 0, 0]])
    >>> merge_tensors(widen, [a, b], base)
    tensor([[ 1.0500,  0.2100,  1.2000,  1.4000],
            [ 0.0505,  1.3000,  1.0000, -1.0000]])

    Args:
        deltas: the difference of each model to the base.
        columns: of every column, the squared lengths of base and models, and the products of the models with the base.
        shape: the shape of the whole tensor.
        above_average_value_ratio: a model counts in full where its rank is above this many times its mean rank.
        score_calibration_value: what counting in full is.
    """
    count = len(deltas)
    if len(shape) < 2:
        magnitudes = torch.stack([delta.abs().double() for delta in deltas])
        weights = _scores(magnitudes, above_average_value_ratio, score_calibration_value)
    else:
        base, models, between = columns[0], columns[1 : count + 1], columns[count + 1 :]
        both = (models * base).sqrt()
        alike = torch.where(both > 0, between / torch.where(both > 0, both, 1.0), (models == base).double())
        moved = (models.sqrt() - base.sqrt()).abs(), 1 - alike
        scores = [_scores(_ranks(each), above_average_value_ratio, score_calibration_value) for each in moved]
        weights = (scores[0] + scores[1]) / 2
    result = torch.zeros_like(deltas[0])
    for delta, weight in zip(deltas, weights.float().to(result.device), strict=True):
        result += delta * weight
    return result
