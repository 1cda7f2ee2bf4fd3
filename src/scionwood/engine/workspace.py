"""Buffers that threads keep: a tile is read into memory that is in the cache already."""

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["borrow"]

MOST_KEPT = 1 << 24
"""Elements of the largest buffer that is kept; a larger one is a whole tensor, and goes back to the system."""


class _Kept(threading.local):
    """The buffers of one thread, one for each depth of nesting: a merge that reads a merge needs two."""

    def __init__(self) -> None:
        self.depth = 0
        self.buffers: dict[tuple[int, str], Tensor] = {}


_kept = _Kept()


@contextlib.contextmanager
def borrow(rows: int, width: int, device: str = "cpu") -> Iterator[Tensor]:
    """Lend a float32 matrix, whatever is in it, until the end of the block.

    >>> with borrow(2, 3) as outer, borrow(2, 3) as inner:
    ...     outer.shape, outer.data_ptr() == inner.data_ptr()
    (torch.Size([2, 3]), False)
    """
    count = rows * width
    if count > MOST_KEPT:
        yield torch.empty(rows, width, device=device)
        return
    place = (_kept.depth, device)
    buffer = _kept.buffers.get(place)
    if buffer is None or buffer.numel() < count:
        buffer = _kept.buffers[place] = torch.empty(count, device=device)
    _kept.depth += 1
    try:
        yield buffer[:count].view(rows, width)
    finally:
        _kept.depth -= 1
