"""Streaming tensors into files: tiles of rows, each written in place, by several threads."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import torch

from scionwood.checkpoint.bytes_view import bytes_of
from scionwood.checkpoint.plan import Shard
from scionwood.checkpoint.staging import output_errors, sync
from scionwood.checkpoint.tensor import LazyTensor

__all__ = ["Progress", "stream_shards"]

# Larger tiles are not faster, and cost every thread its share of memory.
TILE_BYTES = 2 << 20

Progress = Callable[[int, int, str], None]
"""``progress(bytes_done, bytes_total, tensor_name)``, called in the caller's thread after every tile."""


class _Tile(NamedTuple):
    file: "_File"
    tensor: LazyTensor
    start: int
    stop: int
    offset: int


class _File:
    """One file being written by several threads; synced and closed by the one that writes its last byte."""

    def __init__(self, path: Path, shard: Shard, target: Path) -> None:
        self.target = target
        self.descriptor: int | None = None
        self.path = path
        self.shard = shard
        self.missing = shard.size - len(shard.header)
        self.lock = threading.Lock()

    def begin(self) -> None:
        """Write the header, and give the file its size."""
        with output_errors(self.target), self.path.open("wb") as file:
            file.write(self.shard.header)
            file.truncate(self.shard.size)
        if not self.missing:
            sync(self.path)

    def write(self, data: memoryview, offset: int) -> None:
        with output_errors(self.target):
            with self.lock:
                if self.descriptor is None:
                    self.descriptor = os.open(self.path, os.O_WRONLY)
                descriptor = self.descriptor
            size = len(data)
            while data:
                written = os.pwrite(descriptor, data, offset)
                data, offset = data[written:], offset + written
            with self.lock:
                self.missing -= size
                complete = not self.missing
            if complete:
                os.fsync(descriptor)
                self.close()

    def close(self) -> None:
        with self.lock:
            if self.descriptor is not None:
                os.close(self.descriptor)
                self.descriptor = None

    def work(self) -> Iterator[list[_Tile]]:
        """Yield what one worker takes at a time: a tile, or all tiles of a tensor that is not to be divided."""
        for tensor, offset in zip(self.shard.tensors, self.shard.offsets, strict=True):
            if not tensor.nbytes:
                continue
            row = tensor.nbytes // tensor.num_rows
            tiles = (_Tile(self, tensor, start, stop, offset + start * row) for start, stop in tensor.tiles(TILE_BYTES))
            if tensor.indivisible:
                yield list(tiles)
            else:
                yield from ([tile] for tile in tiles)


def stream_shards(
    shards: Sequence[Shard], paths: Sequence[Path], target: Path, *, workers: int, progress: Progress | None = None
) -> None:
    """Write the shards to the paths and wait until they are on the disk.

    Every worker takes the next tile, reads it (which computes it), and writes it at its place, so that at most
    ``workers`` tiles are in memory. Workers run torch on one thread each: what they compute, and so every byte, is the
    same whatever their number.

    Args:
        shards: what to write.
        paths: where, one for each.
        target: the output's name, for errors.
        workers: how many threads.
        progress: called after every tile.

    Raises:
        OutputError: the system refuses to write.
        Exception: whatever reading a tensor raises, unchanged.
    """
    files = [_File(path, shard, target) for path, shard in zip(paths, shards, strict=True)]
    for file in files:
        file.begin()
    crew = _Crew(work for file in files for work in file.work())
    total = sum(file.missing for file in files)
    num_threads = torch.get_num_threads()
    try:
        crew.run(workers, total, progress)
    finally:
        torch.set_num_threads(num_threads)
        for file in files:
            file.close()


class _Crew:
    """Threads that share the tiles; the calling thread counts, and stops all of them when one fails or it is interrupted."""

    def __init__(self, work: Iterator[list[_Tile]]) -> None:
        self.work = work
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.done: SimpleQueue[tuple[int, str] | BaseException | None] = SimpleQueue()

    def run(self, workers: int, total: int, progress: Progress | None) -> None:
        threads = [threading.Thread(target=self._work, name=f"scionwood-writer-{n}") for n in range(workers)]
        failure: BaseException | None = None
        written = 0
        try:
            for thread in threads:
                thread.start()
            working = workers
            while working:
                report = self.done.get()
                if report is None:
                    working -= 1
                elif isinstance(report, BaseException):
                    failure = failure or report
                else:
                    written += report[0]
                    if progress is not None and failure is None:
                        progress(written, total, report[1])
        finally:
            self.stopped.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if failure is not None:
            raise failure

    def _work(self) -> None:
        torch.set_num_threads(1)
        try:
            with torch.no_grad():
                while (work := self._next()) is not None:
                    for tile in work:
                        if self.stopped.is_set():
                            break
                        data = bytes_of(tile.tensor.read_rows(tile.start, tile.stop))
                        tile.file.write(data, tile.offset)
                        self.done.put((len(data), tile.tensor.name))
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread, which raises it
            self.stopped.set()
            self.done.put(error)
        finally:
            self.done.put(None)

    def _next(self) -> list[_Tile] | None:
        with self.lock:
            return None if self.stopped.is_set() else next(self.work, None)
