"""Reproducing: an output made again from its own lineage, and compared with what is there."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scionwood.checkpoint import Checkpoint, LazyTensor, Lineage, Parent, Progress, digest, write
from scionwood.checkpoint import lineage as lineage_of
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.lineage import file_digest
from scionwood.checkpoint.workers import default_workers
from scionwood.engine.combine import elements
from scionwood.errors import SourceError
from scionwood.recipe.read import parse_recipe
from scionwood.recipe.run import make

__all__ = ["Comparison", "Difference", "compare", "reproduce"]

TILE_BYTES = 8 << 20
MOST_LISTED = 20


@dataclass(frozen=True)
class Difference:
    """One tensor that is not the same.

    Args:
        name: the tensor.
        reason: what differs, in words.
        elements: how many of its elements differ; 0 where the two cannot be compared.
        largest: the largest difference of two elements.
    """

    name: str
    reason: str
    elements: int = 0
    largest: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """What was found when an output was compared with what its lineage makes.

    Args:
        tensors: how many tensors were compared.
        differences: those that differ.
    """

    tensors: int
    differences: tuple[Difference, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether every tensor is the same, bit for bit."""
        return not self.differences

    def lines(self, name: str) -> list[str]:
        """Return what was found, for people.

        >>> Comparison(2).lines("out")
        ['identical: all 2 tensors of out are made again bit for bit']
        """
        if self.identical:
            return [f"identical: all {self.tensors:,} tensors of {name} are made again bit for bit"]
        lines = [f"different: {len(self.differences):,} of {self.tensors:,} tensors of {name}"]
        lines += [f"  {each.name}: {each.reason}" for each in self.differences[:MOST_LISTED]]
        if len(self.differences) > MOST_LISTED:
            lines.append(f"  … and {len(self.differences) - MOST_LISTED:,} more")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return what was found as plain data."""
        return {
            "identical": self.identical,
            "tensors": self.tensors,
            "differences": [vars(each) for each in self.differences],
        }


def reproduce(
    source: str | Path,
    *,
    renamed: Mapping[str, str] | None = None,
    out: Path | None = None,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Comparison:
    """Make an output again from its lineage and compare the two, tensor by tensor, bit by bit.

    Args:
        source: a folder or a file that scionwood wrote.
        renamed: for parents that are under another name now, old name → new name.
        out: where what is made again is written to; nothing is written unless given.
        workers: threads.
        progress: called after every tensor that was compared.

    Returns:
        The comparison.

    Raises:
        SourceError: the source has no lineage, or a parent is missing or is not what it was; lists all of them.
        RecipeError: the lineage cannot be run: it tells of something that was only in memory, say.
    """
    found = lineage_of(source)
    if found is None:
        raise SourceError(
            f"{source} has no lineage: scionwood did not write it, or what was written over it dropped it.",
            hint="`scionwood digest` names any checkpoint by its weights",
        )
    check_parents(found, str(source), renamed or {})
    recipe = parse_recipe(found.to_dict(), f"the lineage of {source}")
    made = make(recipe, renamed=renamed).checkpoint
    if out is not None:
        made = open_checkpoint(write(made, out, workers=workers))
    return compare(open_checkpoint(source), made, workers=workers, progress=progress)


def check_parents(lineage: Lineage, name: str, renamed: Mapping[str, str]) -> None:
    """See that the parents of a lineage are there, and are what they were.

    Raises:
        SourceError: some are not; all of them are listed.
    """
    problems = list(dict.fromkeys(_problems(lineage, renamed)))
    if problems:
        raise SourceError(
            f"{name} cannot be made again: not everything that it was made from is there.",
            problems=problems,
            hint="a parent that is elsewhere now is named by --parent OLD=NEW",
        )


def _problems(lineage: Lineage, renamed: Mapping[str, str]) -> Iterator[str]:
    for parent in lineage.parents:
        if parent.is_value:
            yield f"{parent.source} was given from Python, and is gone: its digest was {parent.digest}"
        elif parent.digest is not None:
            yield from _changed(parent, renamed)
        elif parent.lineage is not None:  # made in passing, from parents of its own
            yield from _problems(parent.lineage, renamed)
        else:
            yield f"{parent.source} was not on a disk, and is gone"


def _changed(parent: Parent, renamed: Mapping[str, str]) -> Iterator[str]:
    named = f"{parent.source}@{parent.revision}" if parent.revision else parent.source
    now = renamed.get(named, renamed.get(parent.source, named))
    told = parent.source if now == named else f"{parent.source}, now {now},"
    try:
        own = (
            file_digest(Path(now)) if parent.is_file else digest(now, full=(parent.digest or "").startswith("sha256:"))
        )
    except SourceError as error:
        yield f"{told} is missing: {error.message}"
        return
    if own != parent.digest:
        yield f"{told} has changed: its digest is {own}, and was {parent.digest}"


def compare(
    ours: Checkpoint,
    again: Checkpoint,
    *,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Comparison:
    """Compare two checkpoints tensor by tensor, bit by bit.

    Args:
        ours: what is there.
        again: what was made again.
        workers: threads.
        progress: called after every tensor.

    >>> there, again = {"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([1.0, 2.5])}
    >>> compare(open_checkpoint(there), open_checkpoint(again)).differences[0].reason
    '1 of 2 elements, by 0.5 at most'
    """
    names = list(dict.fromkeys([*ours, *again]))
    stored = [name for name in names if name in ours.tensors and name in again.tensors]
    total = sum(ours.tensors[name].nbytes for name in stored)
    state = Progress(0, total, 0, len(stored), "")
    lock, whole = threading.Lock(), threading.Lock()

    def examine(name: str) -> Difference | None:
        nonlocal state
        torch.set_num_threads(1)
        left, right = ours.tensors.get(name), again.tensors.get(name)
        if left is None or right is None:
            return _named(name, ours, again)
        if right.working_bytes:  # one at a time of those that are held whole
            with whole:
                found = _difference(name, left, right)
        else:
            found = _difference(name, left, right)
        with lock:
            state = _advanced(state, left.nbytes, name)
            if progress is not None:
                progress(state)
        return found

    with ThreadPoolExecutor(workers or default_workers()) as pool:
        found = [each for each in pool.map(examine, names) if each is not None]
    return Comparison(len(names), tuple(found))


def _advanced(state: Progress, nbytes: int, name: str) -> Progress:
    """Return the progress after one more tensor."""
    return state._replace(bytes_done=state.bytes_done + nbytes, tensors_done=state.tensors_done + 1, tensor=name)


def _named(name: str, ours: Checkpoint, again: Checkpoint) -> Difference | None:
    """Compare names of which one at least is a tie, or is not there."""
    if name not in again:
        return Difference(name, "is not made again")
    if name not in ours:
        return Difference(name, "is made again, and is not there")
    if ours.ties.get(name) != again.ties.get(name):
        return Difference(name, "is tied in one of the two, and not in the other")
    return None


def _difference(name: str, left: LazyTensor, right: LazyTensor) -> Difference | None:
    if left.shape != right.shape or left.dtype != right.dtype:
        return Difference(name, f"{_form(left)} is made again as {_form(right)}")
    count, largest = 0, 0.0
    width = math.prod(right.row_shape)
    for start, stop in right.tiles(TILE_BYTES):
        a = elements(left, start * width, stop * width)
        b = right.read_rows(start, stop).reshape(-1)
        if torch.equal(a.view(torch.uint8), b.view(torch.uint8)):
            continue
        differ = (a.view(torch.uint8).view(len(a), -1) != b.view(torch.uint8).view(len(b), -1)).any(dim=1)
        count += int(differ.sum())
        apart = (a[differ].double() - b[differ].double()).abs().nan_to_num(nan=float("inf"))
        largest = max(largest, float(apart.max()))
    if not count:
        return None
    return Difference(name, f"{count:,} of {left.num_elements:,} elements, by {largest:.3g} at most", count, largest)


def _form(tensor: LazyTensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
