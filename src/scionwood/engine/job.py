"""What all tensors of one merge have in common: where they are computed, what they may hold, what is summed over all."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from scionwood.checkpoint.workers import default_workers
from scionwood.engine.counting import Counter
from scionwood.errors import MethodError, SourceError
from scionwood.methods.summary import Sum, Summary

if TYPE_CHECKING:
    from scionwood.engine.combine import CombinedTensor

__all__ = ["Job", "check_device"]

T = TypeVar("T")

# Tensors that a thread takes at once for a summary of the whole model: small ones would cost more to hand out.
GROUP_ELEMENTS = 1 << 22
MOST_LISTED = 20


class Job:
    """One merge: the tensors that it makes, and what is decided for all of them.

    Args:
        models: the names of the models, in the order of the tensors' inputs, and of the base as the last if there is one.
        device: where the arithmetic is done: ``cpu`` or an accelerator, as torch names it.
        allow_nonfinite: merge NaN and infinity as they come; without it they are counted and refused.
    """

    def __init__(self, models: Sequence[str] = (), *, device: str = "cpu", allow_nonfinite: bool = False) -> None:
        self.models = tuple(models)
        self.device = device
        self.allow_nonfinite = allow_nonfinite
        self.tensors: list[CombinedTensor] = []
        self._lock = threading.Lock()
        self._prepared = False
        self._counting = threading.Lock()
        self._counted = False

    def add(self, tensor: CombinedTensor) -> None:
        """Count a tensor in."""
        self.tensors.append(tensor)

    def prepare(self) -> None:
        """Make the summaries of the whole model, and those of single tensors that they are made of; once."""
        with self._lock:
            if not self._prepared:
                tensors = [tensor for tensor in self.tensors if tensor.num_elements]
                if tensors:
                    self._summarize(tensors)
                self._prepared = True

    def _summarize(self, tensors: Sequence[CombinedTensor]) -> None:
        first = tensors[0]
        stages = first.wanted
        last = max((place for place, stage in enumerate(stages) if _is_common(stage, first)), default=-1)
        if last < 0:
            return
        differ = [tensor.name for tensor in tensors if tensor.options != first.options]
        if differ:
            raise MethodError(
                f"{first.record.name} sums over the whole model here, so its options cannot vary over tensors.",
                problems=[f"{name} has other options than {first.name}" for name in differ[:MOST_LISTED]],
            )
        for stage in stages[: last + 1]:
            if not _is_common(stage, first):
                _each(lambda tensor, stage=stage: tensor.summarize(stage), tensors)
                continue
            value = _total(stage, tensors) if isinstance(stage, Sum) else _rank(stage, tensors)
            for tensor in tensors:
                tensor.learn(stage, value)

    # NaN and infinity.

    def check_finite(self, found: CombinedTensor) -> bool:
        """Count what is not finite, in all tensors, after the sum of one was not; refuse it, or warn of it if it is allowed.

        Returns:
            True, so that it is asked for once.

        Raises:
            SourceError: there are such numbers, and they are not allowed.
        """
        with self._counting:
            if self._counted:
                return True
            if not any(True for _ in self._count(found)):
                return True  # finite numbers whose sum is not
            counts = _each(lambda tensor: list(self._count(tensor)), self.tensors)
            self._counted = True
        problems = [
            f"{tensor.name}: {many:,} in {model}"
            for tensor, each in zip(self.tensors, counts, strict=True)
            for model, many in each
        ]
        more = [f"… and {len(problems) - MOST_LISTED} more"] if len(problems) > MOST_LISTED else []
        number = sum(1 for each in counts if each)
        message = f"{number} tensor{' holds' if number == 1 else 's hold'} NaN or infinity"
        if not self.allow_nonfinite:
            raise SourceError(
                f"{message}, which a merge would spread.",
                problems=[*problems[:MOST_LISTED], *more],
                hint="leave that model out, or merge them as they come (--allow-nonfinite, allow_nonfinite=True)",
            )
        warnings.warn("; ".join([f"{message}, merged as they come", *problems[:MOST_LISTED], *more]), stacklevel=2)
        return True

    def _count(self, tensor: CombinedTensor) -> Iterator[tuple[str, int]]:
        for place, source in enumerate(tensor.sources):
            many = 0
            for start, stop in source.tiles(1 << 20):
                many += int((~source.read_rows(start, stop).isfinite()).sum())
            if many:
                yield self.models[place] if place < len(self.models) else f"model {place}", many


def check_device(device: str) -> str:
    """Return the name of a device that is there.

    >>> check_device("cpu")
    'cpu'

    Raises:
        MethodError: torch does not know it, or the machine does not have it.
    """
    try:
        kind = torch.device(device).type
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise MethodError(
            f"{device!r} is no device to compute on: {reason}.", hint="cpu is always there; cuda is a GPU of NVIDIA"
        ) from None
    if kind == "meta":
        raise MethodError("A meta device holds no numbers to compute on.", hint="cpu is always there")
    return device


def _is_common(summary: Summary, tensor: CombinedTensor) -> bool:
    return summary.over(tensor.options) == "model"


def _total(summary: Sum, tensors: Sequence[CombinedTensor]) -> torch.Tensor:
    parts = _each(lambda tensor: tensor.total(summary), tensors)
    total = parts[0]
    for part in parts[1:]:  # in the order of the tensors, whatever thread was first
        total = total + part
    return total


def _rank(summary: Any, tensors: Sequence[CombinedTensor]) -> torch.Tensor:
    numbers = next(tensors[0].shares(summary))
    count = sum(tensor.num_elements for tensor in tensors)
    first = tensors[0]
    counts = [count] * len(numbers)
    if summary.nonzero:
        counts = [sum(each) for each in zip(*_each(lambda tensor: tensor.nonzero(summary), tensors), strict=True)]
    counters = [
        Counter(summary.kept(each, len(numbers), first.found, first.options)[place])
        for place, each in enumerate(counts)
    ]

    def count_group(group: Sequence[CombinedTensor]) -> list[Counter]:
        parts = [counter.part() for counter in counters]
        for tensor in group:
            for numbers in tensor.shares(summary):
                for part, values in zip(parts, numbers, strict=True):
                    part.count(values)
        return parts

    for _ in Counter.rounds:
        for parts in _each(count_group, list(_groups(tensors))):
            for counter, part in zip(counters, parts, strict=True):
                counter.take(part)
        for counter in counters:
            counter.close()
        if all(counter.done for counter in counters):
            break
    return torch.stack([counter.value for counter in counters])


def _groups(tensors: Sequence[CombinedTensor]) -> Iterator[list[CombinedTensor]]:
    group: list[CombinedTensor] = []
    size = 0
    for tensor in tensors:
        group.append(tensor)
        size += tensor.num_elements
        if size >= GROUP_ELEMENTS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _each(function: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
    """Call a function for every item, on all cores; results in the order of the items."""

    def run(item: Any) -> T:
        torch.set_num_threads(1)
        with torch.no_grad():
            return function(item)

    with ThreadPoolExecutor(default_workers()) as pool:
        return list(pool.map(run, items))
