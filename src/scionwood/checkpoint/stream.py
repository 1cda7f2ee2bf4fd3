"""Streaming tensors into files: tiles of rows, each written in place, by several workers within a budget of memory."""

import contextlib
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import torch

from scionwood.checkpoint import process
from scionwood.checkpoint.bytes_view import bytes_of
from scionwood.checkpoint.journal import Commits, Journal
from scionwood.checkpoint.plan import Shard
from scionwood.checkpoint.sink import Sink, opened
from scionwood.checkpoint.staging import output_errors, sync
from scionwood.checkpoint.tensor import LazyTensor

__all__ = ["Progress", "stream_shards"]

# Larger tiles are not faster, and cost every thread its share of memory.
TILE_BYTES = 2 << 20

# Tensors smaller than this are handed out many at a time.
SMALL_BYTES = 64 << 10

SECONDS_BETWEEN_REPORTS = 0.1

# From this size on every worker has a process of its own: below, it would be over before they have begun.
PROCESS_BYTES = 64 << 20


class Progress(NamedTuple):
    """How far a write is.

    Args:
        bytes_done: bytes of values that are written, those of an earlier run that is gone on with among them.
        bytes_total: bytes of values in all.
        tensors_done: tensors that are written.
        tensors_total: tensors in all.
        tensor: the name of the one that was written to last; empty before the first.
        tensors_before: how many of those done an earlier run has left.
    """

    bytes_done: int
    bytes_total: int
    tensors_done: int
    tensors_total: int
    tensor: str
    tensors_before: int = 0


class _File:
    """One file being written by several workers."""

    def __init__(self, path: Path, shard: Shard, target: Path) -> None:
        self.path = path
        self.shard = shard
        self.target = target

    def begin(self) -> None:
        """Write the header, and give the file its size; values that are there stay."""
        with self.opened() as sink, output_errors(self.target):
            sink.write(memoryview(self.shard.header), 0)
            os.truncate(self.path, self.shard.size)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Sink]:
        """Open the file for a while: a worker has one open at a time, however many there are."""
        with contextlib.ExitStack() as stack:
            with output_errors(self.target):
                sink = stack.enter_context(opened(self.path, self.shard.size))
            yield sink


class _Place:
    """A tensor, where it goes, how much of it is missing there, and what a thread holds while it makes it."""

    def __init__(self, number: int, tensor: LazyTensor, file: _File, offset: int) -> None:
        self.number = number
        self.tensor = tensor
        self.file = file
        self.offset = offset
        self.missing = tensor.nbytes
        self.need = tensor.working_bytes

    def tiles(self) -> Iterator["_Tile"]:
        row = self.tensor.nbytes // self.tensor.num_rows
        for start, stop in self.tensor.tiles(TILE_BYTES):
            yield _Tile(self, start, stop, self.offset + start * row)


class _Tile(NamedTuple):
    place: _Place
    start: int
    stop: int
    offset: int


class _Work(NamedTuple):
    """What one worker takes at a time, and what it holds meanwhile."""

    need: int
    tiles: Iterable[_Tile]


def stream_shards(
    shards: Sequence[Shard],
    paths: Sequence[Path],
    target: Path,
    *,
    workers: int,
    memory: int,
    journal: Journal | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Write the shards to the paths and wait until they are on the disk.

    Every worker takes the next tile, reads it (which computes it), and writes it at its place, so that at most
    ``workers`` tiles are in memory, and of the tensors that must be held whole only as many as fit in ``memory``.
    Workers run torch on one thread each: what they compute, and so every byte, is the same whatever their number. Each
    has a process of its own where that is worth it and can be done (:mod:`scionwood.checkpoint.process`).

    Args:
        shards: what to write.
        paths: where, one for each.
        target: the output's name, for errors.
        workers: how many; one alone works in the caller's process.
        memory: the sum of ``working_bytes`` that they may hold at once; no less than the largest.
        journal: of what is written already, and is left as it is; what is written now is noted in it.
        progress: called after every few megabytes, in the caller's thread; before the first, too, where something is
            there already.

    Raises:
        OutputError: the system refuses to write.
        Exception: whatever reading a tensor raises, unchanged.
    """
    files = [_File(path, shard, target) for path, shard in zip(paths, shards, strict=True)]
    where = [
        (tensor, file, at) for file in files for tensor, at in zip(file.shard.tensors, file.shard.offsets, strict=True)
    ]
    places = [_Place(number, *entry) for number, entry in enumerate(where)]
    done = journal.done if journal else ()
    for place in places:
        if place.number in done:
            place.missing = 0
    for file in files:
        file.begin()
    tally = _Tally(places, progress)
    if tally.state.tensors_before:
        tally.show()
    missing = [place for place in places if place.missing]
    with torch.no_grad():
        for place in missing:
            place.tensor.prepare()
    processes = _processes(missing, workers)
    crew = _Crew(missing, workers, memory, processes)
    num_threads = torch.get_num_threads()
    try:
        with Commits(journal, target, crew.fail) as commits:
            crew.run(lambda report: tally.count(report, commits), tally.show)
    finally:
        torch.set_num_threads(num_threads)
        for process in processes:
            process.end()
    with output_errors(target):
        for file in files:
            sync(file.path)


def _processes(places: Sequence[_Place], workers: int) -> list[process.Process]:
    """Fork a process for every worker, unless there is too little to do, or something can be read in this one alone."""
    size = sum(place.missing for place in places)
    if workers < 2 or size < PROCESS_BYTES or not process.available() or any(place.tensor.confined for place in places):
        return []
    known = {place.number: place for place in places}

    def make(work: Sequence[tuple[int, int, int, int]]) -> Iterator[list[tuple[int, int]]]:
        torch.set_num_threads(1)
        with torch.no_grad():
            for report in _made(_Tile(known[number], *rest) for number, *rest in work):
                yield [(place.number, size) for place, size in report]

    return process.start(workers, make)


def _works(places: Iterable[_Place], most: int) -> Iterator[_Work]:
    """Yield what one worker takes at a time: a tile; all of a tensor that is not to be divided; up to ``most`` small tensors."""
    group: list[_Place] = []
    size = 0
    for place in places:
        if place.tensor.nbytes < SMALL_BYTES:
            group.append(place)
            size += place.tensor.nbytes
            if len(group) >= most or size >= TILE_BYTES:
                yield _together(group)
                group, size = [], 0
        elif place.need or place.tensor.indivisible:
            yield _together([place])
        else:
            yield from (_Work(0, [tile]) for tile in place.tiles())
    if group:
        yield _together(group)


def _together(group: Sequence[_Place]) -> _Work:
    return _Work(max(place.need for place in group), (tile for place in group for tile in place.tiles()))


_Report = list[tuple[_Place, int]]
"""How many bytes were written of which tensors."""


class _Tally:
    """What is written so far, counted in the calling thread."""

    def __init__(self, places: Sequence[_Place], progress: Callable[[Progress], None] | None) -> None:
        self.progress = progress
        total = sum(place.tensor.nbytes for place in places)
        tensors = sum(not place.missing for place in places)
        before = sum(not place.missing and place.tensor.nbytes > 0 for place in places)
        self.state = Progress(total - sum(place.missing for place in places), total, tensors, len(places), "", before)

    def count(self, report: _Report, commits: Commits) -> None:
        """Take in what was written; hand on what is finished by it."""
        bytes_done, tensors_done = self.state.bytes_done, self.state.tensors_done
        for place, written in report:
            place.missing -= written
            bytes_done += written
            if not place.missing:
                tensors_done += 1
                commits.add(place.file.path, place.number)
        self.state = self.state._replace(
            bytes_done=bytes_done, tensors_done=tensors_done, tensor=report[-1][0].tensor.name
        )

    def show(self) -> None:
        """Tell whoever wants to know."""
        if self.progress is not None:
            self.progress(self.state)


class _Crew:
    """Threads that share the work; the calling thread counts, and stops all of them when one fails or it is interrupted.

    What needs no more memory than a tile is done in the order of the files. Of what must be held whole the largest that
    fits is taken first, so that it does not wait for the rest to end; a thread for which nothing fits does the former.
    """

    def __init__(
        self, places: Sequence[_Place], workers: int, memory: int, processes: Sequence[process.Process] = ()
    ) -> None:
        most = max(1, len(places) // (8 * workers))
        heavy = list(_works((place for place in places if place.need), most))
        heavy.sort(key=lambda work: work.need, reverse=True)
        self.heavy = heavy[::-1]  # the largest stands last, of equal ones the first
        self.light = _works((place for place in places if not place.need), most)
        self.places = {place.number: place for place in places}
        self.workers = workers
        self.processes: list[process.Process | None] = [*processes] if processes else [None] * workers
        self.room = memory
        self.changed = threading.Condition()
        self.stopped = threading.Event()
        self.done: SimpleQueue[_Report | BaseException | None] = SimpleQueue()

    def run(self, count: Callable[[_Report], None], show: Callable[[], None]) -> None:
        threads = [
            threading.Thread(target=self._work, args=(its,), name=f"scionwood-writer-{number}")
            for number, its in enumerate(self.processes)
        ]
        failure: BaseException | None = None
        try:
            for thread in threads:
                thread.start()
            working = self.workers
            while working:
                report = self.done.get()
                if report is None:
                    working -= 1
                elif isinstance(report, BaseException):
                    failure = failure or report
                else:
                    count(report)
                    if failure is None:
                        show()
        finally:
            self._stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            while not self.done.empty():  # after an interruption
                if isinstance(report := self.done.get(), list):
                    count(report)
        if failure is not None:
            raise failure

    def fail(self, error: BaseException) -> None:
        """Stop all threads, and have the calling one raise the error."""
        self.done.put(error)
        self._stop()

    def _stop(self) -> None:
        self.stopped.set()
        with self.changed:
            self.changed.notify_all()

    def _work(self, its: process.Process | None) -> None:
        torch.set_num_threads(1)
        try:
            with torch.no_grad():
                while (work := self._next()) is not None:
                    for report in self._make(work) if its is None else self._have_made(work, its):
                        self.done.put(report)
                    if work.need:
                        with self.changed:
                            self.room += work.need
                            self.changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread, which raises it
            self.fail(error)
        finally:
            self.done.put(None)

    def _next(self) -> _Work | None:
        """Take some work, once there is room for it; None when there is no more."""
        with self.changed:
            while not self.stopped.is_set():
                fitting = bisect_right(self.heavy, self.room, key=lambda work: work.need)
                if fitting:
                    work = self.heavy.pop(fitting - 1)
                    self.room -= work.need
                    return work
                light = next(self.light, None)
                if light is not None or not self.heavy:
                    return light
                self.changed.wait()
        return None

    def _make(self, work: _Work) -> Iterator[_Report]:
        return _made(tile for tile in work.tiles if not self.stopped.is_set())

    def _have_made(self, work: _Work, its: process.Process) -> Iterator[_Report]:
        told = [(tile.place.number, tile.start, tile.stop, tile.offset) for tile in work.tiles]
        for report in its.make(told, self.stopped.is_set):
            yield [(self.places[number], size) for number, size in report]


def _made(tiles: Iterable[_Tile]) -> Iterator[_Report]:
    """Make tiles and write them at their places; yield what was written, every few megabytes or tenth of a second."""
    report: _Report = []
    size = 0
    reported = time.monotonic()
    try:
        for file, its in groupby(tiles, lambda tile: tile.place.file):
            with file.opened() as sink:
                for tile in its:
                    data = bytes_of(tile.place.tensor.read_rows(tile.start, tile.stop))
                    with output_errors(file.target):
                        sink.write(data, tile.offset)
                    report.append((tile.place, len(data)))
                    size += len(data)
                    del data  # before the next is made
                    if size >= TILE_BYTES or time.monotonic() - reported >= SECONDS_BETWEEN_REPORTS:
                        yield report
                        report, size, reported = [], 0, time.monotonic()
    except Exception:
        if report:
            yield report  # what was written counts, whatever came then
        raise
    if report:
        yield report
