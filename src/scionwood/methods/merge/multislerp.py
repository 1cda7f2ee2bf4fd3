"""Multislerp: one step on the sphere from the mean direction of several models (Goddard, 2025).

    m = normalise(sum_i w_i u_i),   v = sum_i w_i (u_i - <u_i, m> m),   theta = (m cos|v| + v sin|v| / |v|) * sum_i w_i
    |theta_i|

with u_i = theta_i / |theta_i|. Unlike the Karcher mean it does not iterate. Opposite directions have no mean direction:
two of them are averaged, more are an error.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import GRAM, mix
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method

__all__ = ["multislerp"]


@method(space="weight", scope="element", laws={"permutation"}, summaries=[GRAM])
def multislerp(
    tensors: Sequence[Tensor],
    gram: Tensor,
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
        gram: their inner products.
        weights: of the models.
        normalize: divide the weights by their sum.
        eps: added to lengths; a mean direction shorter than this is none.

    Raises:
        MethodError: the directions of three or more models cancel, or the weights do not fit.
    """
    weight = torch.tensor(spread_weights(weights, len(tensors), normalize=normalize), dtype=torch.float64)
    lengths = gram.diagonal().clamp(min=0).sqrt()
    scale = 1 / (lengths + eps)
    cosines = gram * scale[:, None] * scale[None, :]
    mean = weight.clone()
    size = float((mean @ cosines @ mean).clamp(min=0).sqrt())
    if size < eps:
        if len(tensors) <= 2 or not bool((lengths > eps).any()):
            return mix(tensors, weight)
        raise MethodError(
            "The directions of the models cancel: they have no mean direction.", hint="linear has no such limit."
        )
    mean = mean / size
    tangent = weight - (weight * (cosines @ mean)).sum() * mean
    angle = (tangent @ cosines @ tangent).clamp(min=0).sqrt()
    turned = angle.cos() * mean + (angle.sin() / angle if float(angle) > eps else 0.0) * tangent
    return mix(tensors, turned * scale * (weight * lengths).sum())
