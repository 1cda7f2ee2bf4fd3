"""Timber: attenuate what an instruction tuning changed beyond its effective rank (Wu et al., 2025, arXiv:2509.23595).

    delta = U diag(s) V^T,   p = s / sum(s),   k = ceil(exp(-sum_i p_i log p_i))
    s'_i = s_i for i <= k, gamma s_i beyond

The tail of a post-training's change is mostly noise over what the base could explore; taking it back part of the way
restores diversity without losing the instructions. It takes one model and its base, and no data. In bf16 the tail is
rounding noise, and the effective rank of small matrices is nearly full: then little changes. Tensors of more than two
dimensions are matrices of their first; vectors stay.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.spectral import triplets
from scionwood.methods.record import Finite, method

__all__ = ["timber"]


@method(space="delta", scope="tensor", laws={"homogeneous"}, paper="2509.23595")
def timber(deltas: Sequence[Tensor], *, gamma: Annotated[float, Finite(at_least=0, at_most=1)] = 0.2) -> Tensor:
    """Return the delta with the tail of its singular values attenuated.

    >>> import torch
    >>> timber([torch.diag(torch.tensor([8.0, 1.0, 0.6, 0.5]))]).diagonal()  # an effective rank of 2.1 keeps three
    tensor([8.0000, 1.0000, 0.6000, 0.1000])

    Args:
        deltas: the difference of the one model to the base.
        gamma: what the singular values beyond the effective rank are multiplied with; 0.2 was best in the paper.

    Raises:
        MethodError: there is more than one model, or the delta is not finite.
    """
    if len(deltas) != 1:
        raise MethodError(f"Timber refines one model against its base, and {len(deltas)} are given.")
    delta = deltas[0]
    if delta.ndim < 2:
        return delta
    left, values, right = triplets(delta.reshape(delta.shape[0], -1))
    share = values / values.sum()
    kept = math.ceil(float((-(share * (share + 1e-9).log()).sum()).exp()))
    tail = (left[:, kept:] * values[kept:]) @ right[kept:]
    return delta - ((1 - gamma) * tail).float().reshape(delta.shape)
