"""Twin-Merging: what experts share, and a compressed rest of each, mixed for an input (Lu et al., 2024, arXiv:2406.15479).

    theta = theta_s + sum_i p_i compress(theta_i - theta_s)

The base is the shared model, itself any merge of the experts; what each expert has beyond it compresses well. A router
that was trained gives p for every input; here p is given, so that the result is the model for one kind of input: one
expert as it comes back (one 1, the rest 0), or a mixture. It hurts where the shared model is far from an expert: then
the rest is as large as a task vector, and the compression loses what matters.

Matrices are cut to the strongest singular directions or to the largest entries, at least one; what has fewer dimensions
is not compressed. The paper's third way, dropping at random, is ``dare`` with the shared model as the base.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from scionwood.methods.merge.consensus import at_least
from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.spectral import triplets
from scionwood.methods.merge.weighting import Densities, Weights, spread, spread_weights
from scionwood.methods.record import method
from scionwood.methods.summary import kth_largest

__all__ = ["twin_merging"]


def _compressed(delta: Tensor, density: float, compress: str) -> Tensor:
    if delta.ndim < 2 or density >= 1:
        return delta
    if compress == "magnitude":
        return at_least(delta, kth_largest(delta.abs(), max(1, int(density * delta.numel()))))
    matrix = delta.reshape(delta.shape[0], -1)
    left, values, right = triplets(matrix, most=max(1, int(density * min(matrix.shape))))
    return ((left * values) @ right).float().reshape(delta.shape)


@method(space="delta", scope="tensor", laws={"homogeneous", "permutation"}, paper="2406.15479")
def twin_merging(
    deltas: Sequence[Tensor],
    *,
    weights: Weights = 1.0,
    normalize: bool = True,
    density: Densities = 0.2,
    compress: Literal["svd", "magnitude"] = "svd",
) -> Tensor:
    """Return the mixture of the experts' compressed differences to the shared model.

    >>> import torch
    >>> experts = [torch.diag(torch.tensor([4.0, 1.0])), torch.diag(torch.tensor([1.0, 2.0]))]
    >>> twin_merging(experts, density=0.5).round(decimals=4).diagonal()  # half of the stronger direction of each
    tensor([2., 1.])

    Args:
        deltas: the difference of each expert to the shared model.
        weights: how likely the input belongs to each expert, as a router says.
        normalize: divide the weights by their sum.
        density: the share of singular directions, or of entries, that is kept; one for all or one for each. 0.1 to 0.2
            in the paper.
        compress: what is kept of a matrix: singular directions, or entries.

    Raises:
        MethodError: the weights or the densities do not fit the models, or a delta is not finite.
    """
    shares = spread_weights(weights, len(deltas), normalize=normalize)
    densities = spread(density, len(deltas), "densities")
    rest = [_compressed(delta, each, compress) for delta, each in zip(deltas, densities, strict=True)]
    return add_up(rest, shares)
