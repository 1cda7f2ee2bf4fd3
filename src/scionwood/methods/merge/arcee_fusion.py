"""Arcee Fusion: take from the other model what has moved most (Arcee, 2024; as mergekit has it).

    importance = |delta| * KL(softmax(row of theta) || softmax(row of theta_0)),   theta = theta_0 + delta where
    importance >= median + 1.5 (upper - lower quartile of the importance)

It keeps outliers of change only, so that much of the base stays untouched. Where more than three quarters of a tensor
have no importance the threshold is zero and all of delta is taken; softmax over the weights of a wide row is nearly
flat, its divergence nearly nothing, and rounding then has a say in which rows count.

The divergence is computed in float64 and held at zero or above. Quartiles are exact, where mergekit takes them of a
random million of the elements of a larger tensor; of a tensor of up to four elements the lower quartile counts as zero.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import method
from scionwood.methods.summary import Rank

__all__ = ["arcee_fusion"]


def _importance(delta: Tensor, base: Tensor) -> Tensor:
    origin = base.double()
    new, old = ((tensor.softmax(-1) + 1e-8) for tensor in (origin + delta, origin))
    divergence = (new * (new / old).log()).sum(-1, keepdim=True).clamp_(min=0)
    return (delta.abs() * divergence).float()


def _importances(deltas: Sequence[Tensor], found: Mapping[str, Any], _: Mapping[str, Any]) -> list[Tensor]:
    return [_importance(deltas[0], found["base"])] * 3


def _quartiles(count: int, _: Mapping[str, Tensor], __: Mapping[str, Any]) -> list[int]:
    return [count - quarters * (count - 1) // 4 for quarters in (1, 2, 3)]


@method(
    space="delta",
    scope="row",
    summaries=[Rank("thresholds", _importances, _quartiles, needs=("base",))],
)
def arcee_fusion(deltas: Sequence[Tensor], base: Tensor, thresholds: Tensor) -> Tensor:
    """Return the delta where it is important enough, and zero elsewhere.

    >>> import torch
    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> merge_tensors(arcee_fusion, [torch.tensor([0.1, 0.2, 0.3, 0.9])], torch.zeros(4))
    tensor([0.0000, 0.0000, 0.0000, 0.9000])

    Args:
        deltas: the difference of the one model to the base.
        base: the base's tensor.
        thresholds: the lower quartile, the median and the upper quartile of the importance.

    Raises:
        MethodError: there is more than one model.
    """
    if len(deltas) != 1:
        raise MethodError(f"Arcee Fusion merges one model into the base, and {len(deltas)} are given.")
    lower, median, upper = thresholds
    return deltas[0] * (_importance(deltas[0], base) >= median + 1.5 * (upper - lower))
