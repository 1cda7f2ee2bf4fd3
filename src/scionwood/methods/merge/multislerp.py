"""Multislerp: one step on the sphere from the mean direction of several models (Goddard, 2025).

    m = normalise(sum_i w_i u_i),   v = sum_i w_i (u_i - <u_i, m> m),   theta = (m cos|v| + v sin|v| / |v|) * sum_i w_i
    |theta_i|

with u_i = theta_i / |theta_i|; with a base, theta_i are the differences to it, and the base is added back. Unlike the
Karcher mean it does not iterate. Opposite directions have no mean direction: two of them are averaged, more are an
error. Where no model differs from the base the result is the base; mergekit refuses that for three or more. It hurts
where models are long in different places: all that counts of a tensor is its direction, however far it moved.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import GRAM, add_up
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum

__all__ = ["multislerp"]


def _from(base: Tensor | None, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    return tensors if base is None else [tensor - base for tensor in tensors]


def _gram(tensors: Sequence[Tensor], found: Mapping[str, Any], options: Mapping[str, Any]) -> Tensor:
    return GRAM.of(_from(found["base"], tensors), found, options)


@method(
    space="weight",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "permutation"},
    summaries=[Sum("gram", _gram, needs=("base",))],
)
def multislerp(
    tensors: Sequence[Tensor],
    gram: Tensor,
    base: Tensor | None = None,
    *,
    weights: Weights = 1.0,
    normalize: bool = True,
    eps: Annotated[float, Finite(above=0)] = 1e-8,
) -> Tensor:
    """Return the spherical mean of the tensors, to first order.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> merge_tensors(multislerp, [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])])
    tensor([1.0607, 1.0607])

    Args:
        tensors: one tensor from each model.
        gram: their inner products, or those of their differences to the base.
        base: what their differences are interpolated of; without one, they are themselves.
        weights: of the models.
        normalize: divide the weights by their sum.
        eps: added to lengths; a mean direction shorter than this is none.

    Raises:
        MethodError: the directions of three or more models cancel, or the weights do not fit.
    """
    weight = torch.tensor(spread_weights(weights, len(tensors), normalize=normalize), dtype=torch.float64)
    result = add_up(_from(base, tensors), _factors(gram, weight, eps).tolist())
    return result if base is None else result.add_(base)


def _factors(gram: Tensor, weight: Tensor, eps: float) -> Tensor:
    """What each vector is multiplied with, by their inner products."""
    lengths = gram.diagonal().clamp(min=0).sqrt()
    scale = 1 / (lengths + eps)
    cosines = gram * scale[:, None] * scale[None, :]
    size = float((weight @ cosines @ weight).clamp(min=0).sqrt())
    if size < eps:
        if len(weight) <= 2 or not bool((lengths > eps).any()):
            return weight
        raise MethodError(
            "The directions of the models cancel: they have no mean direction.", hint="linear has no such limit."
        )
    mean = weight / size
    tangent = weight - (weight * (cosines @ mean)).sum() * mean
    angle = (tangent @ cosines @ tangent).clamp(min=0).sqrt()
    turned = angle.cos() * mean + (angle.sin() / angle if float(angle) > eps else 0.0) * tangent
    return turned * scale * (weight * lengths).sum()
