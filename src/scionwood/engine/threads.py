"""How many threads torch takes: where learning must give the same bits on every machine, that is said and not found."""

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["use_threads"]


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Let torch use so many threads until the end of the block: how sums are shared out among them shows in their last bits.

    >>> before = torch.get_num_threads()
    >>> with use_threads(1):
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
