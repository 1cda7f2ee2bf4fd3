"""Nearswap: move every weight towards the other model by at most t (mergekit, 2024).

    w = min(1, t / |a - b|),   theta = (1 - w) a + w b

So weights that are nearer to each other than t are swapped, and the others move by t. It is a distance in weight space:
what t is right depends on the scale of the tensor.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Finite, method

__all__ = ["nearswap"]


@method(space="delta", scope="element")
def nearswap(deltas: Sequence[Tensor], *, t: Annotated[float, Finite(at_least=0)] = 1e-4) -> Tensor:
    """Return the delta with no entry larger than t.

    >>> import torch
    >>> nearswap([torch.tensor([0.2, 1.0, -2.0])], t=0.5)
    tensor([ 0.2000,  0.5000, -0.5000])

    Args:
        deltas: the difference of the one model to the base.
        t: the longest move.

    Raises:
        MethodError: there is more than one model.
    """
    if len(deltas) != 1:
        raise MethodError(f"Nearswap moves the base towards one model, and {len(deltas)} are given.")
    return deltas[0].clamp(-t, t)
