"""How many threads or processes work at once, where nobody has said."""

import os

__all__ = ["default_workers"]

# More than these wait for the disk, not for a core.
MOST_WORKERS = 8


def default_workers() -> int:
    """Return the number of cores that this process may use, at most 8.

    >>> 1 <= default_workers() <= 8
    True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, cores)
