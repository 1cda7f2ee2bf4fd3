"""Combining: one tensor made from several of the same shape, tile by tile, in float32."""

import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scionwood.checkpoint import LazyTensor
from scionwood.engine.counting import Counter
from scionwood.methods.record import Record
from scionwood.methods.summary import Rank, Sum, Summary, share, wanted

__all__ = ["TILE", "CombinedTensor"]

TILE = 1 << 18
"""Elements of a tile: a float32 copy for each of a few models stays in the processor's cache."""


class CombinedTensor(LazyTensor):
    """The result of a method of shape ``combine``, computed as it is read.

    Arithmetic is float32 whatever the dtypes: a tile of each input is read and widened, the method runs, the result is
    rounded once. The bits depend neither on how the tensor is cut into reads nor on threads: tiles of the passes are
    fixed, and random numbers are counted by element. What a method must see at once is never cut: an element, a row
    (the last dimension), or the tensor.

    Args:
        name: its name in the output.
        dtype: its dtype.
        method: a method of shape ``combine``.
        inputs: one tensor from each model.
        base: the base's tensor, for methods in delta space and those that take a base.
        options: the method's options, resolved.
        seed: of random methods; together with the name it keys the random numbers.
    """

    def __init__(
        self,
        name: str,
        dtype: torch.dtype,
        method: Callable[..., Tensor],
        inputs: Sequence[LazyTensor],
        base: LazyTensor | None,
        options: Mapping[str, Any],
        seed: int = 0,
    ) -> None:
        record = Record.of(method)
        rank = len(inputs[0].shape)
        # A vector that is seen by rows is one row, though its elements count as rows wherever it is read or written.
        dims = {"element": rank, "row": max(rank - 1, min(1, rank))}.get(record.scope, min(1, rank))
        super().__init__(name, inputs[0].shape, dtype, row_dims=dims)
        self._whole = rank <= 1 if record.scope == "row" else record.scope != "element"
        self.record = record
        self.method = method
        self.inputs = tuple(inputs)
        self.base = base
        self.options = dict(options)
        self.seed = seed
        self._lock = threading.Lock()
        self._summaries: dict[str, Tensor] | None = None
        self._result: Tensor | None = None

    @property
    def indivisible(self) -> bool:
        """Passes before the first tile: one thread should do the whole tensor, so that others do not wait for it."""
        own = self._whole or bool(self._wanted())
        return own or any(tensor.indivisible for tensor in self.sources)

    @property
    def sources(self) -> tuple[LazyTensor, ...]:
        return self.inputs if self.base is None else (*self.inputs, self.base)

    @property
    def passes(self) -> int:
        rounds = [len(Counter.rounds) if isinstance(summary, Rank) else 1 for summary in self._wanted()]
        return 1 + sum(rounds)

    @property
    def working_bytes(self) -> int:
        # Every input in float32, the result, and about as much again for what a method makes on the way.
        own = (len(self.sources) + 3) * self.num_elements * 4 if self._whole else 0
        return max(super().working_bytes, own)

    def _wanted(self) -> list[Summary]:
        return wanted(self.record.summaries, self.options)

    def tiles(self, nbytes: int) -> Iterator[tuple[int, int]]:
        if self._whole:
            yield from [(0, self.num_rows)] if self.num_elements else []
            return
        yield from super().tiles(min(nbytes, TILE * self.dtype.itemsize))

    def read_rows(self, start: int, stop: int) -> Tensor:
        if start == stop or not self.num_elements:
            return torch.empty(stop - start, *self.row_shape, dtype=self.dtype)
        summaries = self._prepared()
        if not self._whole:
            return self._rows(start, stop, summaries)
        # Whoever reads a part will read the next one too, to its end: another merge does, tile by tile.
        with self._lock:
            result = self._rows(0, self.num_rows, summaries) if self._result is None else self._result
            self._result = None if stop == self.num_rows else result
        return result[start:stop]

    def _rows(self, start: int, stop: int, summaries: Mapping[str, Tensor]) -> Tensor:
        width = math.prod(self.row_shape)
        result = self._tile(start * width, stop * width, summaries)
        return result.to(self.dtype).reshape(stop - start, *self.row_shape)

    def _prepared(self) -> Mapping[str, Tensor]:
        if not self.num_elements:
            return {}
        with self._lock:
            if self._summaries is None:
                self._summaries = self._summarize()
            return self._summaries

    def _summarize(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for summary in self._wanted():
            if isinstance(summary, Sum):
                total: Tensor | None = None
                for part in self._passes(summary, found):
                    total = part if total is None else total + part
                assert total is not None
                found[summary.name] = total
                continue
            counters: list[Counter] = []
            for _ in Counter.rounds:
                for numbers in self._passes(summary, found):
                    if not counters:
                        counters = [
                            Counter(k) for k in summary.kept(self.num_elements, len(numbers), found, self.options)
                        ]
                    for counter, values in zip(counters, numbers, strict=True):
                        counter.count(values)
                for counter in counters:
                    counter.close()
                if all(counter.done for counter in counters):
                    break
            found[summary.name] = torch.stack([counter.value for counter in counters])
        return found

    def _passes(self, summary: Summary, found: Mapping[str, Tensor]) -> Iterator[Any]:
        """What a summary makes of every tile: tiles of the same sizes always, each of whole rows for what is seen by rows."""
        unit = self.num_elements if self._whole else math.prod(self.row_shape)
        step = max(1, TILE // unit) * unit
        for start in range(0, self.num_elements, step):
            values, beside = self._inputs(start, min(start + step, self.num_elements), summary.needs)
            yield share(summary, values, found, self.options, beside)

    def _inputs(self, start: int, stop: int, needs: Collection[str]) -> tuple[list[Tensor], dict[str, Any]]:
        """The elements [start, stop) of every input in float32, as differences in delta space; and what else is needed."""
        form: tuple[int, ...] = (-1,)
        if self.record.scope == "row":
            form = (-1, self.shape[-1] if self.shape else 1)
        elif self.record.scope != "element":
            form = self.shape
        base = None if self.base is None else elements(self.base, start, stop).float().reshape(form)
        values = [elements(tensor, start, stop).float().reshape(form) for tensor in self.inputs]
        if self.record.space == "delta":
            assert base is not None
            values = [value - base for value in values]
        beside: dict[str, Any] = {"base": base}
        if "uniforms" in needs:
            beside["uniforms"] = [self._uniform(n, start, stop, values[0].shape) for n in range(len(values))]
        return values, beside

    def _tile(self, start: int, stop: int, summaries: Mapping[str, Tensor]) -> Tensor:
        values, beside = self._inputs(start, stop, self.record.inputs)
        at_hand: dict[str, Any] = {"deltas": values, "tensors": values, "shape": self.shape, **beside, **summaries}
        result = self.method(**{name: at_hand[name] for name in self.record.inputs if name in at_hand}, **self.options)
        return beside["base"] + result if self.record.space == "delta" else result

    def _uniform(self, number: int, start: int, stop: int, shape: torch.Size) -> Tensor:
        """Numbers in [0, 1) that depend on the seed, the tensor, the model and the element alone: a counter, not a stream."""
        first = start // 8
        bits = np.random.Philox(key=_key(self.seed, self.name, number)).advance(first)
        # One step of the counter gives four words of 64 bits: eight numbers of 32.
        steps = -(-stop // 8) - first
        words = bits.random_raw(4 * steps).view(np.uint32)[start - 8 * first : stop - 8 * first]
        return torch.from_numpy((words >> 8).astype(np.float32)).mul_(2.0**-24).reshape(shape)


def _key(seed: int, name: str, number: int) -> int:
    import hashlib

    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}\0{number}".encode()).digest()[:16], "little")


def elements(tensor: LazyTensor, start: int, stop: int) -> Tensor:
    """Return the elements [start, stop) of a tensor in row-major order, reading no more rows than hold them."""
    width = math.prod(tensor.row_shape)
    if width == 1:
        return tensor.read_rows(start, stop).reshape(-1)
    first, last = start // width, -(-stop // width)
    return tensor.read_rows(first, last).reshape(-1)[start - first * width : stop - first * width]
