"""Small maths for choosing m of n evenly, in exact integers, and the checks that every rule makes first."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["flat", "outer_product", "spread", "strided"]


def flat(source: Sequence[int], target: Sequence[int]) -> tuple[int, int]:
    """Return the sizes of a whole dimension, which is the row-major product of its axes, in source and target.

    >>> flat((6, 64), (3, 64))
    (384, 192)

    Raises:
        MethodError: a size below one, or a target larger than the source.
    """
    n, m = math.prod(source), math.prod(target)
    if min((*source, *target), default=1) < 1:
        raise MethodError(f"Sizes must be at least 1: source {_show(source)}, target {_show(target)}.")
    if m > n:
        raise MethodError(
            f"The target is larger than the source: {_show(source)} = {n} to {_show(target)} = {m}.",
            hint="Selecting makes smaller models; growing makes larger ones.",
        )
    return n, m


def strided(n: int, m: int) -> Tensor:
    """Return the first m multiples of n // m, the largest step that fits.

    >>> strided(10, 4).tolist()
    [0, 2, 4, 6]
    """
    return torch.arange(m) * (n // m)


def spread(n: int, m: int) -> Tensor:
    """Return m indices from 0 to n - 1 with both ends, evenly spaced and rounded half to even.

    The quotients i (n - 1) / (m - 1) are rounded in integers, so that no size is too large to be exact.

    >>> spread(12, 6).tolist(), spread(7, 1).tolist()
    ([0, 2, 4, 7, 9, 11], [0])
    """
    if m == 1:
        return torch.zeros(1, dtype=torch.long)
    numerator = torch.arange(m) * (n - 1)
    quotient, twice = numerator // (m - 1), 2 * (numerator % (m - 1))
    return quotient + ((twice > m - 1) | ((twice == m - 1) & (quotient % 2 == 1)))


def outer_product(indices: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Return the flat indices of a product of axes, of each axis those given.

    >>> outer_product([torch.tensor([1]), torch.tensor([0, 2])], (2, 3)).tolist()
    [3, 5]
    """
    grid = torch.arange(math.prod(sizes)).view(*sizes)
    for dim, index in enumerate(indices):
        grid = grid.index_select(dim, index)
    return grid.flatten()


def _show(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes)) or "1"
