"""Reversible merging: a few pseudo-models from which each of many models comes back (2025, arXiv:2510.14163).

    M = [vec theta_1 .. vec theta_N] = U S V^T;   basis = U_p S_p, p pseudo-models;   theta_i ~ basis (V_p)_i

Instead of one model for all tasks it keeps the best p-dimensional space for the tensor, and N p coefficients. It is for
adapters, of which there are many and alike; models that differ in all directions need p = N. The result is the member
as it comes back, or one pseudo-model with ``component``, of the sign that makes its largest coefficient positive.

The paper works position by position: ``granularity="row"`` has a basis for each row (the B of an adapter, whose rows
are of its rank), ``"column"`` for each column (its A). That comes back better and needs N p coefficients for each
position, which can be more than it saves. The form over whole tensors is a reconstruction. Factors of adapters are not
unique, and another choice of them gives another result by position: balance them before, or merge their products.
``center`` keeps the mean of the models beside the basis, which is then of the differences to it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from scionwood.methods.merge.weighting import check_index
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum

__all__ = ["reversible"]


def _gram(tensors: Sequence[Tensor], found: Mapping[str, Any], options: Mapping[str, Any]) -> Tensor:
    # A vector is one row, and has no columns to work by.
    by_column = options["granularity"] == "column" and len(found["shape"]) > 1
    return _products(tensors, (0,) if by_column else (0, 1))


def _products(tensors: Sequence[Tensor], dims: tuple[int, ...], *, keepdim: bool = False) -> Tensor:
    wide = [tensor.double() for tensor in tensors]
    return torch.stack([torch.stack([(one * other).sum(dims, keepdim=keepdim) for other in wide]) for one in wide])


@method(
    space="weight",
    scope="row",
    laws={"alone", "homogeneous", "idempotent"},
    paper="2510.14163",
    summaries=[Sum("gram", _gram, needs=("shape",), when=lambda options: options["granularity"] != "row")],
)
def reversible(
    tensors: Sequence[Tensor],
    gram: Tensor | None = None,
    *,
    p: Annotated[int, Finite(at_least=1)] = 2,
    member: Annotated[int, Finite(at_least=0)] = 0,
    component: Annotated[int, Finite(at_least=0)] | None = None,
    granularity: Literal["tensor", "row", "column"] = "tensor",
    center: bool = False,
) -> Tensor:
    """Return a member as the basis gives it back, or a pseudo-model of the basis.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> models = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])]
    >>> merge_tensors(reversible, models, options={"p": 1})
    tensor([0.5000, 0.5000])

    Args:
        tensors: one tensor from each model.
        gram: their inner products, over the tensor or over each column.
        p: how many pseudo-models are kept; with as many as models everything comes back.
        member: which model to give back, 0 for the first.
        component: which pseudo-model to give instead, 0 for the strongest.
        granularity: what has a basis of its own: the tensor, each row, or each column.
        center: keep the mean of the models apart from the basis.

    Raises:
        MethodError: there is no such model, or no such pseudo-model.
    """
    count = len(tensors)
    products = _products(tensors, (-1,), keepdim=True) if gram is None else gram
    products = products.reshape(count, count, *([] if products.ndim == 2 else [-1])).movedim((0, 1), (-2, -1))
    middle = torch.eye(count, dtype=torch.float64, device=products.device) - (1 / count if center else 0.0)
    values, vectors = torch.linalg.eigh(middle @ products @ middle)
    basis = vectors.flip(-1)[..., :p]
    if component is not None:
        weights = basis[..., check_index(component, basis.shape[-1])]
        largest = weights.gather(-1, weights.abs().argmax(-1, keepdim=True))
        weights = weights * largest.sign() @ middle
    else:
        # What has no strength gives nothing back, whichever way its vector points.
        basis = basis * (values.flip(-1)[..., None, :p] > 1e-12 * values[..., None, -1:])
        row = basis[..., check_index(member, count), :]
        weights = (basis @ row[..., None])[..., 0] @ middle + (1 / count if center else 0.0)
    form = (-1, 1) if gram is None else (-1,) if weights.ndim == 2 else ()
    result = torch.zeros_like(tensors[0])
    for tensor, weight in zip(tensors, weights.movedim(-1, 0), strict=True):
        result += tensor * weight.float().reshape(form).to(tensor.device)
    return result
