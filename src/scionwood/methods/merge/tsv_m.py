"""TSV-M: put the strongest singular directions of every task side by side (Gargiulo et al., 2024, arXiv:2412.00081).

    delta_i = U_i diag(s_i) V_i^T, the k = floor(min(m, n) / N) largest
    U = [U_1 .. U_N], V = [V_1 .. V_N], s = [s_1 .. s_N]
    theta = theta_0 + scale * polar(U) diag(s) polar(V)^T

Task matrices have low rank; making their directions orthogonal takes away the interference between tasks. It hurts
where experts conflict, which it amplifies, and on embeddings, whose singular vectors are costly and whose rare rows are
noise.

What is no matrix is averaged, though matrices are summed. Where tasks share a direction (a singular value of U or V
below 1e-3, as with two equal tasks) the published code completes it arbitrarily; here that tensor is averaged.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.merge.spectral import mean, polar, triplets
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method

__all__ = ["tsv_m"]


@method(space="delta", scope="tensor", laws={"alone", "homogeneous", "idempotent", "permutation"}, paper="2412.00081")
def tsv_m(deltas: Sequence[Tensor], *, weights: Weights = 1.0, scale: Annotated[float, Finite()] = 1.0) -> Tensor:
    """Return the merged task matrix, or the mean of what are no matrices.

    >>> tsv_m([torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0]])]).abs().round(decimals=4)
    tensor([[2., 0.],
            [0., 2.]])

    Args:
        deltas: the difference of each model to the base.
        weights: of the models, before their singular values are taken.
        scale: of the result.

    Raises:
        MethodError: the weights do not fit the models, or a delta is not finite.
    """
    listed = spread_weights(weights, len(deltas))
    room = min(deltas[0].shape) // len(deltas) if deltas[0].ndim == 2 else 0
    if not room:
        return mean(deltas, listed, scale)
    parts = [triplets(delta * weight, most=room) for delta, weight in zip(deltas, listed, strict=True)]
    left, least_left = polar(torch.cat([part[0] for part in parts], dim=1))
    right, least_right = polar(torch.cat([part[2] for part in parts]).T)
    if min(least_left, least_right) < 1e-3:
        return mean(deltas, listed, scale)
    values = torch.cat([part[1] for part in parts])
    return ((left * (values * scale)) @ right.T).float()
