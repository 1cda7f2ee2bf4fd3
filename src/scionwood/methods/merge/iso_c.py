"""Iso-C: give every direction of the summed task matrices the same strength (Marczak et al., 2025, arXiv:2502.04959).

    M = sum_i w_i delta_i = U diag(s) V^T,   theta = theta_0 + scale * mean(s) U V^T

A sum of task vectors is dominated by the directions that most tasks share; a flat spectrum lets the rest count as much.
It hurts where weak directions are noise: on embeddings, whose unseen rows are raised to the mean, and where experts
conflict.

What is no matrix is averaged. Directions without a singular value, which the published code raises too, whatever they
are, are left out here; the mean is over the others, so that the nuclear norm stays that of M.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.spectral import mean, triplets
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method

__all__ = ["iso_c"]


@method(space="delta", scope="tensor", laws={"homogeneous", "permutation"}, paper="2502.04959")
def iso_c(deltas: Sequence[Tensor], *, weights: Weights = 1.0, scale: Annotated[float, Finite()] = 1.0) -> Tensor:
    """Return the isotropic sum of the task matrices, or the mean of what are no matrices.

    >>> import torch
    >>> iso_c([torch.diag(torch.tensor([3.0, 1.0]))]).round(decimals=4)
    tensor([[2., 0.],
            [0., 2.]])

    Args:
        deltas: the difference of each model to the base.
        weights: of the models.
        scale: of the result; the paper tunes it on validation data.

    Raises:
        MethodError: the weights do not fit the models, or a delta is not finite.
    """
    listed = spread_weights(weights, len(deltas))
    if deltas[0].ndim != 2:
        return mean(deltas, listed, scale)
    left, values, right = triplets(add_up(deltas, listed))
    strength = float(values.mean()) if len(values) else 0.0
    return (left @ right * (strength * scale)).float()
