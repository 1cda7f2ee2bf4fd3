"""Combining: one tensor made from several of the same shape, tile by tile, in float32."""

import contextlib
import copy
import functools
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scionwood.checkpoint import LazyTensor
from scionwood.engine.bracket import Bracket
from scionwood.engine.counting import Counter
from scionwood.engine.job import Job
from scionwood.engine.random import Uniforms
from scionwood.engine.workspace import borrow
from scionwood.methods.record import Record
from scionwood.methods.summary import Rank, Sum, Summary, share, wanted

__all__ = ["TILE", "CombinedTensor"]

TILE = 1 << 16
"""Elements of a tile: the float32 copies of a few models, and what a method makes of them, stay in the nearest cache."""

DEVICE_TILE = 1 << 23
"""The same on an accelerator, where a tile is worth the call."""

# A rank is looked for between bounds that a sample gives; of a few elements all are kept instead.
SAMPLE_PLACES = 64
SAMPLE_SIZE = 1 << 12
FEW = 1 << 20


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
        job: what all tensors of one merge have in common; one of its own unless given.
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
        *,
        job: Job | None = None,
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
        self.drawn_as = (
            name  # random numbers stay those of this name, whatever the tensor is named in another checkpoint
        )
        self.job = job or Job()
        self.job.add(self)
        self._lock = threading.Lock()
        self.found: dict[str, Tensor] = {}
        self._ready = False
        self._finite = False
        self._result: Tensor | None = None

    def cast(self, dtype: torch.dtype) -> LazyTensor:
        """Return the same result in another dtype, rounded once from float32."""
        other = copy.copy(self)
        other.dtype = dtype
        return other

    @property
    def indivisible(self) -> bool:
        """Passes before the first tile: one thread should do the whole tensor, so that others do not wait for it."""
        own = self._whole or bool(self.wanted)
        return own or any(tensor.indivisible for tensor in self.sources)

    @property
    def sources(self) -> tuple[LazyTensor, ...]:
        return self.inputs if self.base is None else (*self.inputs, self.base)

    @property
    def confined(self) -> bool:
        return self.job.device != "cpu" or super().confined

    def prepare(self) -> None:
        super().prepare()
        self.job.prepare()

    @property
    def passes(self) -> int:
        # A rank takes one pass where it is bracketed, as it nearly always is; over the whole model it is counted.
        counted = [isinstance(summary, Rank) and summary.over(self.options) == "model" for summary in self.wanted]
        return 1 + len(counted) + sum(counted)

    @property
    def working_bytes(self) -> int:
        # Every input in float32, the result, and about as much again for what a method makes on the way.
        own = (len(self.sources) + 3) * self.num_elements * 4 if self._whole else 0
        return max(super().working_bytes, own)

    @property
    def wanted(self) -> list[Summary]:
        """The summaries that must be made before the first tile."""
        return wanted(self.record.summaries, self.options)

    def tiles(self, nbytes: int) -> Iterator[tuple[int, int]]:
        if self._whole:
            yield from [(0, self.num_rows)] if self.num_elements else []
            return
        yield from super().tiles(nbytes)

    def read_rows(self, start: int, stop: int) -> Tensor:
        if start == stop or not self.num_elements:
            return torch.empty(stop - start, *self.row_shape, dtype=self.dtype)
        self._prepare()
        if not self._whole:
            return self._rows(start, stop)
        # Whoever reads a part will read the next one too, to its end: another merge does, tile by tile.
        with self._lock:
            result = self._rows(0, self.num_rows) if self._result is None else self._result
            self._result = None if stop == self.num_rows else result
        return result[start:stop]

    def _rows(self, start: int, stop: int) -> Tensor:
        width = math.prod(self.row_shape)
        first, last = start * width, stop * width
        rows = torch.empty(last - first, dtype=self.dtype)
        for begin, end in self._spans(first, last):
            with self._values(begin, end, self.record.inputs) as (values, beside):
                at_hand: dict[str, Any] = {"deltas": values, "tensors": values, **beside, **self.found}
                given = {name: at_hand[name] for name in self.record.inputs if name in at_hand}
                result = self.method(**given, **self.options)
                if self.record.space == "delta":
                    result = torch.add(beside["base"], result, out=beside["base"])
                rows[begin - first : end - first].copy_(result.reshape(-1))
        return rows.reshape(stop - start, *self.row_shape)

    @property
    def _unit(self) -> int:
        """Elements that are seen together, and never cut."""
        return self.num_elements if self._whole else math.prod(self.row_shape)

    def _spans(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Cut a range of elements into tiles, each of whole rows for what is seen by rows."""
        size = TILE if self.job.device == "cpu" else DEVICE_TILE
        step = max(1, size // self._unit) * self._unit
        for begin in range(first, last, step):
            yield begin, min(begin + step, last)

    # What is about the whole tensor, and known before the first tile.

    def _prepare(self) -> None:
        if not self._ready:
            self.job.prepare()
            with self._lock:
                for summary in self.wanted:
                    self.summarize(summary)
                self._ready = True

    def summarize(self, summary: Summary) -> None:
        """Make a summary of this tensor by itself, unless it is there; those before it must be."""
        if summary.name in self.found:
            return
        if isinstance(summary, Sum):
            self.learn(summary, self.total(summary))
            return
        numbers = self._sample(summary)
        values = self._bracketed(summary, numbers) or self._counted(summary, len(numbers[0]))
        self.learn(summary, torch.tensor(values, dtype=torch.float32))

    def _sample(self, summary: Rank) -> list[Sequence[Tensor]]:
        """What a rank is taken of, at some places of the tensor."""
        unit = self._unit
        places = min(SAMPLE_PLACES, -(-self.num_elements // unit))
        size = max(1, SAMPLE_SIZE // unit) * unit
        starts = [place * (self.num_elements // unit) // places * unit for place in range(places)]
        found = []
        for start in starts if self.num_elements > FEW else starts[:1]:
            with self._values(start, min(start + size, self.num_elements), summary.needs) as (values, beside):
                # What is lent goes back at the end of the block.
                found.append([part.clone() for part in share(summary, values, self.found, self.options, beside)])
        return found

    def _kept(self, summary: Rank, tensors: int) -> list[Any]:
        """How many elements of each tensor are kept; or a function that tells it of how many are not zero."""
        if summary.nonzero:
            return [
                lambda count, place=place: summary.kept(count, tensors, self.found, self.options)[place]
                for place in range(tensors)
            ]
        return summary.kept(self.num_elements, tensors, self.found, self.options)

    def nonzero(self, summary: Rank) -> list[int]:
        """Count the numbers of each tensor that are not zero."""
        found = [[int(torch.count_nonzero(values)) for values in numbers] for numbers in self.shares(summary)]
        return [sum(each) for each in zip(*found, strict=True)]

    def _bracketed(self, summary: Rank, sample: list[Sequence[Tensor]]) -> list[float] | None:
        """The ranks in one pass, or None where that fails."""
        if self.job.device != "cpu":
            return None
        kept = self._kept(summary, len(sample[0]))
        sampled = list(zip(*sample, strict=True)) if self.num_elements > FEW else [()] * len(kept)
        brackets = [Bracket(k, self.num_elements, part) for k, part in zip(kept, sampled, strict=True)]
        if any(bracket.hopeless for bracket in brackets):
            return None
        for numbers in self.shares(summary):
            for bracket, values in zip(brackets, numbers, strict=True):
                bracket.count(values)
        found = [value for bracket in brackets if (value := bracket.value) is not None]
        return found if len(found) == len(brackets) else None

    def _counted(self, summary: Rank, tensors: int) -> list[float]:
        """The ranks in two passes, whatever the numbers are; one more where those that are not zero count."""
        kept = self._kept(summary, tensors)
        if summary.nonzero:
            kept = [keep(count) for keep, count in zip(kept, self.nonzero(summary), strict=True)]
        counters = [Counter(k) for k in kept]
        for _ in Counter.rounds:
            for numbers in self.shares(summary):
                for counter, values in zip(counters, numbers, strict=True):
                    counter.count(values)
            for counter in counters:
                counter.close()
            if all(counter.done for counter in counters):
                break
        return [float(counter.value) for counter in counters]

    def learn(self, summary: Summary, value: Tensor) -> None:
        """Take in a summary that is known."""
        self.found[summary.name] = value

    def total(self, summary: Sum) -> Tensor:
        """The sum over this tensor."""
        total: Tensor | None = None
        for part in self.shares(summary):
            total = part if total is None else total + part
        assert total is not None
        return total.cpu()

    def shares(self, summary: Summary) -> Iterator[Any]:
        """What a summary makes of every tile: tiles of the same sizes always."""
        for begin, end in self._spans(0, self.num_elements):
            with self._values(begin, end, summary.needs) as (values, beside):
                yield share(summary, values, self.found, self.options, beside)

    @functools.cached_property
    def _uniforms(self) -> list[Uniforms]:
        return [Uniforms(self.seed, self.drawn_as, number) for number in range(len(self.inputs))]

    @contextlib.contextmanager
    def _values(self, start: int, stop: int, needs: Collection[str]) -> Iterator[tuple[list[Tensor], dict[str, Any]]]:
        """Lend the elements [start, stop) of every input in float32, as differences in delta space; and what else is needed."""
        form: tuple[int, ...] = (-1,)
        if self.record.scope == "row":
            form = (-1, self.shape[-1] if self.shape else 1)
        elif self.record.scope != "element":
            form = self.shape
        sources = self.sources
        with borrow(len(sources), stop - start, self.job.device) as buffer:
            rows = buffer.unbind()  # what iterating does takes three times as long
            for row, tensor in zip(rows, sources, strict=True):
                row.copy_(elements(tensor, start, stop))
            if not self._finite and not math.isfinite(float(buffer.sum())):
                self._finite = self.job.check_finite(self)
            base = None if self.base is None else buffer[-1]
            if self.record.space == "delta":
                assert base is not None
                buffer[:-1].sub_(base)
            values = [row.view(form) for row in rows[: len(self.inputs)]]
            beside: dict[str, Any] = {"base": None if base is None else base.view(form), "shape": self.shape}
            if "uniforms" in needs:
                drawn = values[0].shape
                beside["uniforms"] = [numbers.draw(start, drawn, self.job.device) for numbers in self._uniforms]
            yield values, beside


def elements(tensor: LazyTensor, start: int, stop: int) -> Tensor:
    """Return the elements [start, stop) of a tensor in row-major order, reading no more rows than hold them."""
    width = math.prod(tensor.row_shape)
    if width == 1:
        return tensor.read_rows(start, stop).reshape(-1)
    first, last = start // width, -(-stop // width)
    return tensor.read_rows(first, last).reshape(-1)[start - first * width : stop - first * width]
