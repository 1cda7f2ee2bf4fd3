"""A merge that takes its time, run in processes that may be killed at any moment."""

import multiprocessing
import signal
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event as EventType
from pathlib import Path

import torch

from scionwood.checkpoint import Checkpoint, ComputedTensor, LazyTensor, Lineage, journal, open, sink, stream, write
from scionwood.checkpoint.staging import part_of

TENSORS = 40
SHARD_BYTES = 3_000


def make_inputs(folder: Path) -> list[Path]:
    """Write two models of forty tensors: most are small, two take several tiles."""
    generator = torch.Generator().manual_seed(0)
    sizes = {number: 3_000 if number in (7, 23) else 100 for number in range(TENSORS)}
    for model in ("a", "b"):
        weights = {f"layers.{number}.weight": torch.randn(size, generator=generator) for number, size in sizes.items()}
        write(weights, folder / f"{model}.safetensors")
    return [folder / f"{model}.safetensors" for model in ("a", "b")]


def merged(
    inputs: list[Path], called: Callable[[str], None] = lambda name: None, *, scale: float = 0.5, seconds: float = 0.0
) -> Checkpoint:
    """Add the models, calling a function with the name of every tensor that is computed."""
    models = [open(path) for path in inputs]

    def add(tensors: list[LazyTensor]) -> Callable[[int, int], torch.Tensor]:
        def function(start: int, stop: int) -> torch.Tensor:
            called(tensors[0].name)
            time.sleep(seconds)
            return scale * sum((tensor.read_rows(start, stop) for tensor in tensors), torch.zeros(()))

        return function

    tensors = {}
    for name, tensor in models[0].tensors.items():
        sources = [model.tensors[name] for model in models]
        tensors[name] = ComputedTensor(name, tensor.shape, tensor.dtype, add(sources), sources=sources)
    lineage = Lineage({"verb": "add", "scale": scale}, seed=0)
    return Checkpoint(tensors, config={"model_type": "oak"}, lineage=lineage)


class Running:
    """A run in a process of its own, forked from one that has torch already.

    Args:
        inputs: the models.
        out: where it writes.
        forks: with processes instead of threads.
        direct: past the cache.
        seconds: how long a tensor takes at least.
    """

    def __init__(
        self, inputs: list[Path], out: Path, *, forks: bool, direct: bool = False, seconds: float = 0.004
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.faults.slow"])
        self.journal = part_of(out) / "journal"
        self.begins = context.Event()
        self.process = context.Process(target=_run, args=(inputs, out, self.begins, forks, direct, seconds))
        self.process.start()

    def kill(self, *, after: int, seconds: float) -> None:
        """Kill it some time after it has begun and so many tensors are finished by its journal; or let it end before."""
        self.begins.wait()
        while self.process.is_alive() and after > self._finished():
            self.process.join(0.001)
        self.process.join(seconds)
        self.process.kill()
        self.process.join()
        assert self.process.exitcode in (0, -signal.SIGKILL)

    def _finished(self) -> int:
        found = journal.Journal.read(self.journal)
        return len(found.done) if found else 0


def _run(inputs: list[Path], out: Path, begins: EventType, forks: bool, direct: bool, seconds: float) -> None:
    journal.SECONDS_BETWEEN_COMMITS = 0.01
    stream.TILE_BYTES, stream.SMALL_BYTES = 4 << 10, 1 << 10
    stream.PROCESS_BYTES = 0 if forks else stream.PROCESS_BYTES
    sink.DIRECT_BYTES = 0 if direct else sink.DIRECT_BYTES
    begins.set()
    write(merged(inputs, seconds=seconds), out, shard_size=SHARD_BYTES, workers=2)
