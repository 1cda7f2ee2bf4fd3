"""Sparse soups: average pruned models that share a mask, and keep it (Zimmer et al., 2023, arXiv:2306.16788).

    theta = mask * sum_i w_i theta_i / sum_i w_i,   mask where theta_i is not zero

Models that were pruned once and retrained several times average without losing their sparsity, and better than any of
them alone; the average is then pruned further. Retrainings that went far apart hurt, as in any soup. Models of
different masks do lose their sparsity: an entry is zero in the average only where it is zero in all. So different masks are refused, unless
``masks`` says what is wanted: ``union`` keeps what any model has, ``intersection`` what all have, ``last`` the entries
of the last one, as the published code does.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import average
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import method
from scionwood.methods.summary import Sum

__all__ = ["sparse_soup"]


def _differing(tensors: Sequence[Tensor], _: Mapping[str, Tensor], __: Mapping[str, Any]) -> Tensor:
    """For each model, how many entries are zero in it or in the first, and not in both."""
    return torch.stack([((tensor == 0) != (tensors[0] == 0)).sum() for tensor in tensors])


@method(
    space="weight",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "permutation"},
    paper="2306.16788",
    summaries=[Sum("counts", _differing, when=lambda options: options["masks"] == "equal")],
)
def sparse_soup(
    tensors: Sequence[Tensor],
    counts: Tensor | None = None,
    *,
    weights: Weights = 1.0,
    masks: Literal["equal", "union", "intersection", "last"] = "equal",
) -> Tensor:
    """Return the average of the tensors, zero where the mask is.

    >>> a, b = torch.tensor([1.0, 0.0, 3.0, 0.0]), torch.tensor([3.0, 0.0, 0.0, 2.0])
    >>> [sparse_soup([a, b], masks=masks).tolist() for masks in ("union", "intersection", "last")]
    [[2.0, 0.0, 1.5, 1.0], [2.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 1.0]]

    Args:
        tensors: one tensor from each model.
        counts: for each model, in how many entries its mask differs from the first one's.
        weights: of the models.
        masks: what may stay: masks must be equal, or it is the entries of any model, of all, or of the last.

    Raises:
        MethodError: the masks differ where they must not, the weights do not fit the models, or sum to zero.
    """
    if counts is not None and bool(counts.any()):
        number = int(counts.argmax())
        raise MethodError(
            f"The models are not sparse in the same entries: model {number} differs from the first in "
            f"{int(counts[number])} of one tensor.",
            hint="Set masks to union, intersection or last, if the soup may be so.",
        )
    result = average(tensors, spread_weights(weights, len(tensors), normalize=True))
    if masks == "last":
        return result * (tensors[-1] != 0)
    if masks == "intersection":
        for tensor in tensors:
            result *= tensor != 0
    return result
