"""Tensors that are known before they are read: name, shape and dtype now, values when asked.

Every tensor is seen as rows: its first ``row_dims`` dimensions count rows, the rest is the shape of one row. Rows are
what is computed, cast and written at a time, so that a tensor of any size passes through a few megabytes.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from scionwood.checkpoint.mapping import MappedFile

__all__ = ["CastTensor", "ComputedTensor", "FileTensor", "LazyTensor", "MemoryTensor"]


class LazyTensor(ABC):
    """A tensor whose name, shape and dtype are known, and whose rows are read when asked.

    Args:
        name: its name in the checkpoint.
        shape: its shape; ``()`` for a scalar.
        dtype: its dtype.
        row_dims: how many leading dimensions count rows; 1 unless given, and 0 for a scalar (one row).
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    row_dims: int

    def __init__(self, name: str, shape: Sequence[int], dtype: torch.dtype, *, row_dims: int | None = None) -> None:
        self.name = name
        self.shape = tuple(map(int, shape))
        self.dtype = dtype
        dims = len(self.shape)
        least = 1 if dims else 0
        self.row_dims = least if row_dims is None else row_dims
        if not least <= self.row_dims <= dims:
            raise ValueError(f"row_dims of {name!r} is {row_dims}, but its shape is {self.shape}.")

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{type(self).__name__}({self.name!r}, {list(self.shape)}, {dtype})"

    @property
    def indivisible(self) -> bool:
        """Whether one thread should read all of it: the first row costs a pass over everything, which others would wait for."""
        return False

    @property
    def confined(self) -> bool:
        """Whether it can be read in this process alone, and not in a fork: what an accelerator holds or computes."""
        return any(source.confined for source in self.sources)

    def prepare(self) -> None:
        """Make what it has in common with other tensors, before they are shared out among processes."""
        for source in self.sources:
            source.prepare()

    @property
    def sources(self) -> tuple["LazyTensor", ...]:
        """What it is computed from; nothing for what is stored, drawn or in memory."""
        return ()

    @property
    def passes(self) -> int:
        """How often its sources are read to make all of it."""
        return 1

    @property
    def working_bytes(self) -> int:
        """What a thread holds at once to make it, beyond a few tiles: whole tensors, where a method must see them."""
        return max((source.working_bytes for source in self.sources), default=0)

    @property
    def num_elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return self.num_elements * self.dtype.itemsize

    @property
    def num_rows(self) -> int:
        """Number of rows: the product of the first ``row_dims`` sizes, 1 for a scalar."""
        return math.prod(self.shape[: self.row_dims])

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.shape[self.row_dims :]

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return the rows ``[start, stop)`` of dimension 0, computed or mapped now.

        The tensor may share memory with the file or with its owner: never write into it. A scalar takes no range.

        Args:
            start: first index along dimension 0.
            stop: one past the last; the whole dimension if None.

        Returns:
            A tensor of shape ``(stop - start, *shape[1:])``.

        Raises:
            IndexError: the range leaves the dimension, or the tensor is a scalar.

        >>> MemoryTensor("bias", torch.arange(6)).read(2, 4)
        tensor([2, 3])
        """
        if not self.shape:
            if start != 0 or stop is not None:
                raise IndexError(f"{self.name!r} is a scalar and takes no range.")
            return self.read_rows(0, 1).reshape(())
        stop = self.shape[0] if stop is None else stop
        if not 0 <= start <= stop <= self.shape[0]:
            raise IndexError(f"{self.name!r} has {self.shape[0]} rows, not the rows {start} to {stop}.")
        inner = math.prod(self.shape[1 : self.row_dims])
        return self.read_rows(start * inner, stop * inner).reshape(stop - start, *self.shape[1:])

    @abstractmethod
    def read_rows(self, start: int, stop: int) -> Tensor:
        """Return the rows ``[start, stop)`` out of ``num_rows``, as a tensor ``(stop - start, *row_shape)``."""

    def tiles(self, nbytes: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of rows, in order, each of at most ``nbytes`` bytes but of one row at least.

        >>> list(MemoryTensor("weight", torch.zeros(5, 4)).tiles(32 + 4))
        [(0, 9), (9, 18), (18, 20)]
        """
        if not self.nbytes:
            return
        step = max(1, nbytes // (self.nbytes // self.num_rows))
        for start in range(0, self.num_rows, step):
            yield start, min(start + step, self.num_rows)

    def named(self, name: str) -> "LazyTensor":
        """Return the same tensor under another name."""
        other = copy.copy(self)
        other.name = name
        return other

    def cast(self, dtype: torch.dtype) -> "LazyTensor":
        """Return the same tensor in another dtype, rounded to nearest even."""
        return CastTensor(self, dtype)


class FileTensor(LazyTensor):
    """A tensor stored in a file: a range of bytes, mapped and not copied.

    Args:
        name: its name.
        shape: its shape.
        dtype: its dtype.
        file: the mapped file.
        offset: where its first byte is in the file. An offset that is no multiple of the element's size costs a copy.
    """

    def __init__(self, name: str, shape: Sequence[int], dtype: torch.dtype, file: MappedFile, offset: int) -> None:
        super().__init__(name, shape, dtype, row_dims=len(shape))
        self.file = file
        self.offset = offset

    def read_rows(self, start: int, stop: int) -> Tensor:
        return self.file.tensor(self.offset + start * self.dtype.itemsize, stop - start, self.dtype)


class MemoryTensor(LazyTensor):
    """A ``torch.Tensor`` that is there already.

    Args:
        name: its name.
        tensor: its values.
        file: the file that torch has mapped into the tensor's memory, if it has.

    >>> MemoryTensor("weight", torch.zeros(2, 3)).nbytes
    24
    """

    def __init__(self, name: str, tensor: Tensor, file: MappedFile | None = None) -> None:
        # A contiguous tensor can be cut anywhere; another one only along dimension 0 without copying all of it.
        super().__init__(name, tensor.shape, tensor.dtype, row_dims=tensor.ndim if tensor.is_contiguous() else None)
        self.tensor = tensor.detach()
        self.file = file

    @property
    def confined(self) -> bool:
        return self.tensor.device.type != "cpu"

    def read_rows(self, start: int, stop: int) -> Tensor:
        tensor = self.tensor.reshape(-1) if self.row_dims == self.tensor.ndim else self.tensor
        return tensor[start:stop].cpu()


class ComputedTensor(LazyTensor):
    """A tensor whose rows a function computes when they are read.

    Args:
        name: its name.
        shape: its shape.
        dtype: its dtype; the function must return it.
        function: ``function(start, stop)`` returns the rows ``[start, stop)``, of shape ``(stop - start, *row_shape)``.
            For a scalar it is called as ``function(0, 1)`` and returns the scalar, of shape ``()``. It is called from
            several threads at once, on disjoint ranges in any order, and must give the same bits whatever the ranges.
        row_dims: how many leading dimensions count rows. 2 for experts packed as (experts, out, in), so that a tile is
            less than an expert.
        whole: the function cannot give a part without computing everything: it is called once, with all rows.
        sources: the tensors that the function reads.

    >>> double = ComputedTensor("w", (4, 2), torch.float32, lambda start, stop: torch.ones(stop - start, 2) * 2)
    >>> double.read(1, 2)
    tensor([[2., 2.]])
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        dtype: torch.dtype,
        function: Callable[[int, int], Tensor],
        *,
        row_dims: int | None = None,
        whole: bool = False,
        sources: Sequence[LazyTensor] = (),
    ) -> None:
        super().__init__(name, shape, dtype, row_dims=row_dims)
        self.function = function
        self.whole = whole
        self._sources = tuple(sources)

    @property
    def sources(self) -> tuple[LazyTensor, ...]:
        return self._sources

    @property
    def working_bytes(self) -> int:
        return max(super().working_bytes, self.nbytes if self.whole else 0)

    def read_rows(self, start: int, stop: int) -> Tensor:
        if not self.num_elements or start == stop:
            return torch.empty(stop - start, *self.row_shape, dtype=self.dtype)
        if self.whole:
            rows = self._checked(self.function(0, self.num_rows), self.num_rows)
            return rows.reshape(self.num_rows, *self.row_shape)[start:stop]
        return self._checked(self.function(start, stop), stop - start).reshape(stop - start, *self.row_shape)

    def tiles(self, nbytes: int) -> Iterator[tuple[int, int]]:
        return super().tiles(max(nbytes, self.nbytes) if self.whole else nbytes)

    def _checked(self, rows: Tensor, count: int) -> Tensor:
        expected = (count, *self.row_shape) if self.shape else ()
        if tuple(rows.shape) != expected or rows.dtype != self.dtype:
            raise ValueError(
                f"The function of {self.name!r} returned {list(rows.shape)} {rows.dtype}, "
                f"not {list(expected)} {self.dtype}."
            )
        return rows


class CastTensor(LazyTensor):
    """Another tensor in another dtype, cast tile by tile, rounding to nearest even.

    >>> CastTensor(MemoryTensor("bias", torch.tensor([1.0, 2.0])), torch.bfloat16).read()
    tensor([1., 2.], dtype=torch.bfloat16)
    """

    def __init__(self, tensor: LazyTensor, dtype: torch.dtype) -> None:
        super().__init__(tensor.name, tensor.shape, dtype, row_dims=tensor.row_dims)
        self.tensor = tensor

    def read_rows(self, start: int, stop: int) -> Tensor:
        return self.tensor.read_rows(start, stop).to(self.dtype)

    def tiles(self, nbytes: int) -> Iterator[tuple[int, int]]:
        return self.tensor.tiles(nbytes)

    @property
    def sources(self) -> tuple[LazyTensor, ...]:
        return (self.tensor,)

    @property
    def indivisible(self) -> bool:
        return self.tensor.indivisible
