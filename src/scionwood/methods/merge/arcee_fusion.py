"""Arcee Fusion: take from the other model what has moved most (Arcee, 2024; as mergekit has it).

    importance = |delta| * KL(softmax(row of theta) || softmax(row of theta_0)),   theta = theta_0 + delta where
    importance >= median + 1.5 (upper - lower quartile of the importance)

It keeps outliers of change only, so that much of the base stays untouched. Where more than three quarters of a tensor
have no importance the threshold is zero and all of delta is taken; softmax over the weights of a wide row is nearly
flat, its divergence nearly nothing, and rounding then has a say in which rows count.

The divergence is computed in float64 and held at zero or above. mergekit computes it in float32 (``precision``), where
for rows of thousands of weights the rounding is as large as the divergence. Quartiles are exact, where mergekit takes
them of a random million of the elements of a larger tensor; of a tensor of up to four elements the lower quartile
counts as zero.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.ranks import halves, places, signed
from scionwood.methods.record import method
from scionwood.methods.summary import Rank

__all__ = ["arcee_fusion"]


def _importance(tensor: Tensor, base: Tensor, precision: str) -> Tensor:
    wide = precision == "float64"
    new, old = (((each.double() if wide else each).softmax(-1) + 1e-8) for each in (tensor, base))
    divergence = (new * (new / old).log()).sum(-1, keepdim=True)
    return ((tensor - base).abs() * (divergence.clamp_(min=0) if wide else divergence)).float()


def _importances(tensors: Sequence[Tensor], found: Mapping[str, Any], options: Mapping[str, Any]) -> list[Tensor]:
    importance = _importance(tensors[0], found["base"], options["precision"])
    # In float32 rounding makes some of them negative.
    return halves(importance) * 3 if options["precision"] == "float32" else [importance] * 3


def _quartiles(count: int, _: Mapping[str, Tensor], options: Mapping[str, Any]) -> list[int]:
    pairs = [places(count, quarters * (count - 1) // 4) for quarters in (1, 2, 3)]
    return [place for pair in pairs for place in (pair if options["precision"] == "float32" else pair[:1])]


@method(
    space="weight",
    scope="row",
    summaries=[Rank("thresholds", _importances, _quartiles, needs=("base",))],
)
def arcee_fusion(
    tensors: Sequence[Tensor],
    base: Tensor,
    thresholds: Tensor,
    *,
    precision: Literal["float64", "float32"] = "float64",
) -> Tensor:
    """Return the base with what is important enough of the model's difference to it.

    >>> import torch
    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> merge_tensors(arcee_fusion, [torch.tensor([0.1, 0.2, 0.3, 0.9])], torch.zeros(4))
    tensor([0.0000, 0.0000, 0.0000, 0.9000])

    Args:
        tensors: the tensor of the one model.
        base: the base's tensor.
        thresholds: the lower quartile, the median and the upper quartile of the importance; of either sign's parts in
            float32.
        precision: of the divergence.

    Raises:
        MethodError: there is more than one model.
    """
    if len(tensors) != 1:
        raise MethodError(f"Arcee Fusion merges one model into the base, and {len(tensors)} are given.")
    lower, median, upper = thresholds if precision == "float64" else signed(*thresholds.reshape(3, 2).T)
    chosen = _importance(tensors[0], base, precision) >= median + 1.5 * (upper - lower)
    return base + (tensors[0] - base) * chosen
