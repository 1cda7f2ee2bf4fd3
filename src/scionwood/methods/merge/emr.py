"""EMR: elect one task vector, and mask and rescale it for each task (Huang et al., 2024, arXiv:2405.17461).

    gamma = 1 where sum_i delta_i > 0, else -1;   M_i = delta_i gamma > 0;   unified = gamma max_i |delta_i M_i|
    lambda_i = mean |delta_i| / mean |unified M_i|;   theta(i) = theta_0 + lambda_i M_i unified

One vector, a bit mask and a number for each task serve every task almost as its own model does; without data or tuning.
It needs to be known which task is served: with ``task`` the result is the model of that task, without it the unified
one, which is too large to serve all. The number is one for the model, as in the published code; FusionBench adds up the
means of its tensors, so that small ones count as much as large ones (``scope="means"``).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from scionwood.methods.merge.dropping import l1_factors, magnitudes
from scionwood.methods.merge.weighting import check_index
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum

__all__ = ["emr"]


def _elect(deltas: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The unified task vector, and the mask of each task."""
    total = deltas[0].clone()
    for delta in deltas[1:]:
        total += delta
    sign = torch.where(total > 0, 1.0, -1.0)
    masks = [delta * sign > 0 for delta in deltas]
    largest = torch.zeros_like(total)
    for delta, mask in zip(deltas, masks, strict=True):
        largest = torch.maximum(largest, delta.abs() * mask)
    return sign * largest, masks


def _lengths(deltas: Sequence[Tensor], found: Mapping[str, Any], options: Mapping[str, Any]) -> Tensor:
    unified, masks = _elect(deltas)
    task = check_index(options["task"], len(deltas))
    lengths = magnitudes([deltas[task]], [unified * masks[task]])
    return lengths / math.prod(found["shape"]) if options["scope"] == "means" else lengths


def _scope(options: Mapping[str, Any]) -> Literal["tensor", "model"]:
    return "tensor" if options["scope"] == "tensor" else "model"


@method(
    space="delta",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "permutation"},
    paper="2405.17461",
    summaries=[
        Sum("lengths", _lengths, over=_scope, when=lambda options: options["task"] is not None, needs=("shape",))
    ],
)
def emr(
    deltas: Sequence[Tensor],
    lengths: Tensor | None = None,
    *,
    task: Annotated[int, Finite(at_least=0)] | None = None,
    scope: Literal["model", "means", "tensor"] = "model",
) -> Tensor:
    """Return the unified task vector, or what serves one task.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> a, b = torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([2.0, 1.0, -4.0, 0.5])
    >>> emr([a, b])
    tensor([ 2.0000, -2.0000, -4.0000,  0.5000])
    >>> merge_tensors(emr, [a, b], torch.zeros(4), {"task": 0})
    tensor([ 2.8889, -2.8889,  0.0000,  0.7222])

    Args:
        deltas: the difference of each model to the base.
        lengths: the sum of magnitudes of the task's delta, and of the unified vector where the task's mask is.
        task: which model to serve as, 0 for the first.
        scope: what the means are of: the model, the model as the sum of the means of its tensors, or each tensor.

    Raises:
        MethodError: there is no such task.
    """
    unified, masks = _elect(deltas)
    if task is None or lengths is None:
        return unified
    return unified * masks[check_index(task, len(deltas))] * l1_factors(lengths)[0]
