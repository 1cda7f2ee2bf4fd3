"""Sinks: files that are written at given places, past the system's cache of pages where that is worth it.

A checkpoint is not read again by who writes it, and waits for the disk in the end. Through the cache its bytes take fresh
pages, which the system finds and clears first: that takes longer than the disk does, and drives out the inputs. So whole
pages go to the disk as they are (``O_DIRECT``), from memory that begins on a page; what is left at the two ends of a
piece goes through the cache. Neighbouring pieces meet in the middle of a page, and both ends of it are such leftovers: no
page is written both ways.
"""

import contextlib
import errno
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Sink", "opened"]

PAGE = max(4096, mmap.PAGESIZE)
"""No disk wants more to be whole."""

STAGE_BYTES = 2 << 20
"""Memory of a thread that what it writes is moved to, so that it begins on a page."""

DIRECT_BYTES = 64 << 20
"""Files smaller than this stay in the cache, for whoever reads them next."""

_REFUSED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What systems and disks say that write through the cache alone."""


class _Stage(threading.local):
    """A thread's memory that begins on a page."""

    def __init__(self) -> None:
        # Private: what a process forks has memory of its own.
        self.memory = memoryview(mmap.mmap(-1, STAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


_stage = _Stage()


class Sink:
    """A file that is open for writing.

    Args:
        cached: its descriptor.
        direct: another one of the same file, past the cache; nothing, where it is written through the cache alone.
    """

    def __init__(self, cached: int, direct: int | None) -> None:
        self._cached = cached
        self._direct = direct

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of the bytes, from that place of the file on."""
        if self._direct is not None:
            first = min(-offset % PAGE, len(data))
            last = first + (len(data) - first) // PAGE * PAGE
            self._through_cache(data[:first], offset)
            written = first + self._past_cache(self._direct, data[first:last], offset + first)
            data, offset = data[written:], offset + written
        self._through_cache(data, offset)

    def _through_cache(self, data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(self._cached, data, offset)
            data, offset = data[written:], offset + written

    def _past_cache(self, direct: int, data: memoryview, offset: int) -> int:
        """Write whole pages, and return how many bytes; fewer where the disk does not take them like this."""
        done = 0
        while done < len(data):
            part = data[done : done + STAGE_BYTES]
            stage = _stage.memory[: len(part)]
            stage[:] = part
            try:
                written = os.pwrite(direct, stage, offset + done)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                written = 0
            done += written - written % PAGE
            if written < len(part):
                self._direct = None  # closed with the other
                break
        return done


@contextlib.contextmanager
def opened(path: Path, size: int) -> Iterator[Sink]:
    """Open a file for a while, which is made if it is not there.

    Args:
        path: of the file.
        size: what it will have in the end.
    """
    with contextlib.ExitStack() as stack:
        cached = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        stack.callback(os.close, cached)
        direct = _opened_direct(path) if size >= DIRECT_BYTES else None
        if direct is not None:
            stack.callback(os.close, direct)
        yield Sink(cached, direct)


def _opened_direct(path: Path) -> int | None:
    if not hasattr(os, "O_DIRECT"):
        return None
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return None
