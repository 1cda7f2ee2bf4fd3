"""Files mapped into memory, read-only: the pages belong to the file, not to the process."""

import hashlib
import mmap
import os
import stat
import threading
import weakref
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scionwood.errors import SourceError

__all__ = ["MappedFile"]

# A mapping holds a file descriptor for as long as it lives (Python 3.11 cannot drop it), and a shell grants 1024.
MOST_MAPPINGS = 256

# The end of a torch file holds the checksums of its parts, as that of any zip archive.
TAIL_BYTES = 64 << 10

_mapped: "deque[weakref.ref[MappedFile]]" = deque()
_lock = threading.Lock()


class _Pages:
    """The mapped bytes as an array that torch takes without a copy and without its warning of read-only buffers."""

    def __init__(self, pages: mmap.mmap) -> None:
        address = np.frombuffer(pages, dtype=np.uint8).ctypes.data
        self.pages = pages
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "shape": (len(pages),),
            "typestr": "|u1",
            "data": (address, False),
        }


class MappedFile:
    """A file whose bytes are read through a shared, read-only mapping.

    The file is mapped when first read. At most 256 files stay mapped for good; further ones take the place of the
    oldest, and are mapped again when needed. A file that changed in between is refused.

    Args:
        path: the file.
        label: its name in errors; the path unless given.

    Raises:
        SourceError: the file cannot be opened.
    """

    def __init__(self, path: Path, label: str | None = None) -> None:
        self.path = path.absolute()
        self.label = label or str(path)
        try:
            status = os.stat(path)
        except OSError as error:
            raise SourceError(f"{self.label} cannot be read: {error.strerror}.") from None
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{self.label} is not a file.")
        self.size = status.st_size
        self._identity = _identity(status)
        self._pages: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"MappedFile({str(self.path)!r}, {self.size:,} bytes)"

    @property
    def changed(self) -> bool:
        """Whether the file is no longer the one that was opened: written to, replaced, or gone."""
        try:
            return _identity(os.stat(self.path)) != self._identity
        except OSError:
            return True

    def fingerprint(self) -> str:
        """Return what a later process knows the file by: its size, its time of change, and a hash of its header.

        A file without a header of safetensors has its end hashed in the place of it: cheap, whatever the size.
        """
        header = 8 + int.from_bytes(self.bytes(0, min(8, self.size)), "little")
        start, stop = (0, header) if header <= self.size else (max(0, self.size - TAIL_BYTES), self.size)
        return f"{self.size}:{self._identity[3]}:{hashlib.sha256(self.view(start, stop)).hexdigest()}"

    def bytes(self, start: int, stop: int) -> bytes:
        """Return a copy of the bytes ``[start, stop)``."""
        return self._map()[start:stop].tobytes() if stop > start else b""

    def view(self, start: int, stop: int) -> memoryview:
        """Return the bytes ``[start, stop)`` without copying them."""
        return self._map().data[start:stop] if stop > start else memoryview(b"")

    def tensor(self, start: int, count: int, dtype: torch.dtype) -> Tensor:
        """Return ``count`` elements from byte ``start`` on, as a flat tensor.

        Zero copy where ``start`` is a multiple of the element's size, else copied. The pages are read-only:
        writing into the tensor ends the process with a segmentation fault.
        """
        if count == 0:
            return torch.empty(0, dtype=dtype)
        pages = self._map()
        if start % dtype.itemsize:
            return (
                torch.frombuffer(pages, dtype=torch.uint8, count=count * dtype.itemsize, offset=start)
                .clone()
                .view(dtype)
            )
        return torch.frombuffer(pages, dtype=dtype, count=count, offset=start)

    def _map(self) -> np.ndarray:
        pages = self._pages
        if pages is not None:
            return pages
        with _lock:
            if self._pages is None:
                self._pages = np.asarray(_Pages(self._open()))
                _mapped.append(weakref.ref(self))
                while len(_mapped) > MOST_MAPPINGS:
                    oldest = _mapped.popleft()()
                    if oldest is not None:
                        oldest._pages = None
            return self._pages

    def _open(self) -> mmap.mmap:
        try:
            with open(self.path, "rb") as file:
                if _identity(os.fstat(file.fileno())) != self._identity:
                    raise SourceError(f"{self.label} changed after it was opened.", hint="Open it again.")
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SourceError(f"{self.label} cannot be read: {reason}.") from None


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
