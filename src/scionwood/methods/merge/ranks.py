"""Orders of numbers: by rows, and for a ``Rank`` those that it does not take as they are, of either sign or the smallest.

A ``Rank`` finds the k-th largest of non-negative numbers. The number at an index of ascending numbers of either sign is
the one among the positive parts or, where that is nothing, the one among the negative parts.
"""

import torch
from torch import Tensor

__all__ = ["ascending", "backwards", "halves", "places", "signed"]

_INFINITY = 0x7F800000
_COLUMN = (1 << 29) - 1


def ascending(numbers: Tensor) -> Tensor:
    """Return for each row the columns by ascending magnitude, equal ones from left to right.

    >>> ascending(torch.tensor([[3.0, -1.0, 2.0, 1.0]]))
    tensor([[1, 3, 2, 0]])
    """
    # Magnitude above, column below, read as one float64 an entry: numpy sorts those twelve times as fast as torch ranks,
    # and a quarter faster than whole numbers. The exponent stays that of a float32, so no entry reads as NaN.
    columns = torch.arange(numbers.shape[-1], device=numbers.device)
    keys = numbers.abs().view(torch.int32).long().bitwise_left_shift_(_COLUMN.bit_length()).bitwise_or_(columns)
    if keys.device.type == "cpu":
        keys.view(torch.float64).numpy().sort(axis=-1)
    else:
        keys = keys.sort(dim=-1).values
    return keys.bitwise_and_(_COLUMN)


def halves(numbers: Tensor) -> list[Tensor]:
    """Return the positive and the negative part, both non-negative.

    >>> halves(torch.tensor([1.0, -2.0]))
    [tensor([1., 0.]), tensor([0., 2.])]
    """
    # Without the sign that a zero may have.
    return [part.clamp(min=0).abs_() for part in (numbers, -numbers)]


def places(count: int, index: int) -> list[int]:
    """Return how many of the positive and of the negative parts reach the number at an index of ascending numbers.

    >>> places(5, 0), places(5, 4)
    ([5, 1], [1, 5])
    """
    return [count - index, index + 1]


def signed(above: Tensor, below: Tensor) -> Tensor:
    """Return the number that a rank of each half has found.

    >>> signed(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 2.0]))
    tensor([ 3., -2.])
    """
    return torch.where(above > 0, above, -below)


def backwards(numbers: Tensor) -> Tensor:
    """Return non-negative float32 numbers for non-negative ones, in the opposite order; twice is once.

    >>> backwards(backwards(torch.tensor([0.0, 1.5]))), backwards(torch.tensor(0.0))
    (tensor([0.0000, 1.5000]), tensor(inf))
    """
    return (_INFINITY - numbers.contiguous().view(torch.int32)).view(torch.float32)
