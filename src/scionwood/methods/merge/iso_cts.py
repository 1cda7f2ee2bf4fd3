"""Iso-CTS: an even spectrum of common and of single tasks' directions (Marczak et al., 2025, arXiv:2502.04959).

    M = sum_i w_i delta_i;   U_c: its c strongest left directions
    R_i = delta_i - U_c U_c^T delta_i, its strongest triplets
    theta = theta_0 + scale * mean(s) polar(U) polar(V)^T,   over the triplets of all R_i and the common ones

where c is the ``common_fraction`` of the rank, and the tasks share the rest. It keeps room for what one task needs and
the sum drowns; with many and different tasks it is better than Iso-C, with a fraction of one it is Iso-C. It hurts
where Iso-C hurts.

What is no matrix is averaged. Directions without a singular value are left out, and tasks that have one direction in
common share it, where the published code completes either arbitrarily.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.spectral import mean, polar, triplets
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method

__all__ = ["iso_cts"]


@method(space="delta", scope="tensor", laws={"homogeneous", "permutation"}, paper="2502.04959")
def iso_cts(
    deltas: Sequence[Tensor],
    *,
    common_fraction: Annotated[float, Finite(at_least=0, at_most=1)] = 0.8,
    weights: Weights = 1.0,
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the isotropic sum of common and task directions, or the mean of what are no matrices.

    >>> a, b = torch.diag(torch.tensor([4.0, 1.0, 0.0])), torch.diag(torch.tensor([4.0, 0.0, 1.0]))
    >>> iso_cts([a, b], common_fraction=0.34).round(decimals=4).diagonal()  # 8 in common, 1 and 1 apart: 10 / 3
    tensor([3.3333, 3.3333, 3.3333])

    Args:
        deltas: the difference of each model to the base.
        common_fraction: the share of the directions that is for what the tasks have in common.
        weights: of the models.
        scale: of the result; the paper tunes it on validation data.

    Raises:
        MethodError: the weights do not fit the models, or a delta is not finite.
    """
    listed = spread_weights(weights, len(deltas))
    if deltas[0].ndim != 2:
        return mean(deltas, listed, scale)
    rank, count = min(deltas[0].shape), len(deltas)
    each = min(round((rank - int(rank * common_fraction)) / count), rank // count)
    weighted = [delta.double() * weight for delta, weight in zip(deltas, listed, strict=True)]
    common = triplets(add_up(weighted, [1.0] * count), most=rank - each * count)
    residuals = [delta - common[0] @ (common[0].T @ delta) for delta in weighted] if each else []
    parts = [*(triplets(residual, most=each) for residual in residuals), common]
    values = torch.cat([part[1] for part in parts])
    left, _ = polar(torch.cat([part[0] for part in parts], dim=1))
    right, _ = polar(torch.cat([part[2] for part in parts]).T)
    strength = float(values.mean()) if len(values) else 0.0
    return (left @ right.T * (strength * scale)).float()
