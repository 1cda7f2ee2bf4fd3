"""Time the arithmetic of every merge alone: nanoseconds of one core for an element of the output, on tensors in memory.

Three models and a base in bfloat16, 2,048 x 2,048 each, the deltas a tenth of the weights; processor time, the best of several. The first
column is the passes that find thresholds and sums, the second the pass that makes the result. Disk, start and workers are
`bench_merge.py`'s.

    python benchmarks/bench_tiles.py [--methods dare,della] [--repeats 5]
"""

from __future__ import annotations

import argparse
import time

import torch
from bench_merge import METHODS

from scionwood.checkpoint.tensor import MemoryTensor
from scionwood.engine.combine import CombinedTensor
from scionwood.engine.threads import use_threads
from scionwood.methods import registry
from scionwood.methods.record import resolve

SIDE = 2048


def family() -> tuple[MemoryTensor, list[MemoryTensor]]:
    """A base, and three fine-tunings of it."""
    generator = torch.Generator().manual_seed(0)

    def numbers() -> torch.Tensor:
        return torch.randn(SIDE, SIDE, generator=generator)

    base = 0.02 * numbers()
    tuned = [MemoryTensor("w", (base + 0.002 * numbers()).bfloat16()) for _ in range(3)]
    return MemoryTensor("w", base.bfloat16()), tuned


def timed(name: str, base: MemoryTensor, tuned: list[MemoryTensor]) -> tuple[float, float]:
    """Return the nanoseconds an element of the summaries, and of the pass that makes the result."""
    spec = METHODS[name]
    function = registry.load(name, family="merge")
    options = resolve(function, dict(setting.split("=") for setting in spec.get("set", ())))
    given = base if spec.get("base") else None
    made = CombinedTensor("w", torch.bfloat16, function, tuned[: spec["models"]], given, options)
    begin = time.process_time()
    made.read_rows(0, 1)  # nothing is read before the summaries are there
    between = time.process_time()
    for start, stop in made.tiles(1 << 22):
        made.read_rows(start, stop)
    end = time.process_time()
    return (between - begin) / SIDE**2 * 1e9, (end - between) / SIDE**2 * 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    base, tuned = family()
    print("| method | summaries, ns | result, ns |")
    print("|---|---|---|")
    with use_threads(1):
        for name in options.methods.split(","):
            rounds = [timed(name, base, tuned) for _ in range(options.repeats)]
            summaries, result = (min(column) for column in zip(*rounds, strict=True))
            print(f"| {name} | {summaries:.1f} | {result:.1f} |", flush=True)


if __name__ == "__main__":
    main()
