"""Python's cyclic collector, out of the way where very many objects are made that all stay."""

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["collector_paused"]


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Do not look for cycles until the end of the block; for what makes none, and keeps what it makes.

    The collector goes through everything again whenever some thousands of objects are new: with the headers of 100,000
    tensors that is more than half of the time. Objects without cycles are freed as ever.

    >>> with collector_paused():
    ...     gc.isenabled()
    False
    >>> gc.isenabled()
    True
    """
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
