"""Karcher mean: the point on the sphere nearest to all models, at their mean length (2025, arXiv:2603.04972).

    u <- exp_u( mean_i log_u(theta_i / |theta_i|) )   until the step is below ``tol``;   theta = mean_i |theta_i| * u

It is what slerp at one half is for two models, for any number. Every step stays in the span of the models, so one pass
over the tensors (their Gram matrix) is all that is read; the iteration runs on one number for each model. It
helps where models point to different sides, whose straight mean would be too short; it hurts where one of them is worse
than the others, since there are no weights. Where directions cancel, as those of two opposite models do, there is no
nearest point: it starts from the first model and stays near it.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.merge.geometry import GRAM, mix
from scionwood.methods.record import Finite, method

__all__ = ["karcher"]


@method(
    space="weight",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "permutation"},
    paper="2603.04972",
    summaries=[GRAM],
)
def karcher(
    tensors: Sequence[Tensor],
    gram: Tensor,
    *,
    max_iter: Annotated[int, Finite(at_least=1)] = 10,
    tol: Annotated[float, Finite(above=0)] = 1e-5,
) -> Tensor:
    """Return the Karcher mean of the tensors.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> merge_tensors(karcher, [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])])
    tensor([1.0607, 1.0607])

    Args:
        tensors: one tensor from each model; those shorter than ``tol`` count for the length alone.
        gram: their inner products.
        max_iter: the most steps.
        tol: a step shorter than this ends the iteration.
    """
    if len(tensors) == 1:
        return tensors[0]
    lengths = gram.diagonal().clamp(min=0).sqrt()
    alive = lengths > tol
    if not bool(alive.any()):
        return torch.zeros_like(tensors[0])
    # Directions in coordinates of the unit vectors of the models: u = sum_i c_i theta_i / |theta_i|.
    scale = torch.where(alive, 1 / torch.where(alive, lengths, 1.0), 0.0)
    cosines = gram * scale[:, None] * scale[None, :]
    share = alive.double() / alive.sum()
    mean = share.clone()
    length = float((mean @ cosines @ mean).clamp(min=0).sqrt())
    if length < tol:
        mean = torch.zeros_like(share)
        mean[int(alive.nonzero()[0])] = 1.0
    else:
        mean = mean / length
    for _ in range(max_iter):
        toward = (cosines @ mean).clamp(-1, 1)
        angles = toward.acos()
        factor = torch.where(angles < tol, 0.0, angles / angles.sin().clamp(min=1e-12)) * share
        step = factor - (factor * toward).sum() * mean
        size = float((step @ cosines @ step).clamp(min=0).sqrt())
        if size < tol:
            break
        angle = torch.tensor(size, dtype=torch.float64)
        mean = angle.cos() * mean + angle.sin() * step / size
        mean = mean / float((mean @ cosines @ mean).clamp(min=0).sqrt())
    return mix(tensors, mean * scale * lengths.mean())
