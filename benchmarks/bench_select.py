"""Time ``select`` against the floor: reading just the bytes it needs and writing just the bytes it makes, on the same disk.

A Llama of 1.1 billion random parameters in bfloat16 is cut to half its width. Floor and select take turns, so that both meet the same
disk and the same neighbours; the table shows every round and the medians of the ratios.

    python benchmarks/bench_select.py [--rounds 3] [--folder DIR] [--workers N]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import llama

SOURCE = llama.config()
TARGET = llama.config(hidden=1024, inner=2816, heads=16, keys=2)
BLOCK = 1 << 22


def make_source(folder: Path) -> None:
    """Write random weights."""
    import torch

    generator = torch.Generator().manual_seed(0)
    llama.write_model(folder, SOURCE, lambda _, shape: torch.randn(shape, generator=generator) * 0.02)


def needed(folder: Path) -> list[tuple[Path, int, int]]:
    """The byte ranges that half the width needs: every kept row, whole, since every second column of it is read."""
    target = llama.shapes(TARGET)
    ranges = []
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            rows, kept = entry["shape"][0], target[name][0]
            # Every second row of a tensor lies on every page of it where a row is shorter than a page; else whole rows are left out.
            row = (end - begin) // rows
            share = 1.0 if kept == rows or row < 4096 else kept / rows
            ranges.append((file, 8 + length + begin, int((end - begin) * share)))
    return ranges


def floor(ranges: list[tuple[Path, int, int]], size: int, out: Path) -> float:
    """Read the needed bytes and write the result's, with two threads as select has; the result is synced to the disk."""
    start = time.perf_counter()

    def read(part: list[tuple[Path, int, int]]) -> None:
        buffer = bytearray(BLOCK)
        for file, offset, length in part:
            descriptor = os.open(file, os.O_RDONLY)
            done = 0
            while done < length:
                done += os.preadv(descriptor, [memoryview(buffer)[: min(BLOCK, length - done)]], offset + done)
            os.close(descriptor)

    threads = [threading.Thread(target=read, args=(ranges[n::2],)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    block = os.urandom(BLOCK)
    with out.open("wb") as stream:
        for _ in range(0, size, BLOCK):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    took = time.perf_counter() - start
    out.unlink()
    return took


CHILD = """
import json, sys, time
begin = time.perf_counter()
from scionwood.verbs.select import select
from scionwood.checkpoint import write
imported = time.perf_counter()
checkpoint = select(sys.argv[1], like=json.loads(sys.argv[3]))
planned = time.perf_counter()
peak = [0]
def anonymous(*_):
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            peak[0] = max(peak[0], int(line.split()[1]) * 1024)
anonymous()
before = peak[0]
write(checkpoint, sys.argv[2], workers=int(sys.argv[4]) or None, progress=anonymous)
print(json.dumps({"import": imported - begin, "plan": planned - imported, "stream": time.perf_counter() - planned,
                  "before": before, "peak": peak[0]}))
"""


def run(source: Path, out: Path, workers: int) -> dict[str, float]:
    """Select in a process of its own and say how long each part took."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(source), str(out), json.dumps(TARGET), str(workers)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to put 3 GB for a while (default: the temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        source, out = folder / "source", folder / "out"
        print("making a Llama of 1.1 billion random parameters …", flush=True)
        make_source(source)
        ranges = needed(source)
        size = sum(2 * math.prod(shape) for shape in llama.shapes(TARGET).values())
        print(f"needed {sum(length for *_, length in ranges) / 1e9:.2f} GB, made {size / 1e9:.2f} GB")
        print("round   floor s   stream s   ratio   import s   plan s   peak anonymous MB (before the stream)")
        ratios = []
        for number in range(options.rounds + 1):
            below = floor(ranges, size, folder / "floor")
            took = run(source, out, options.workers)
            shutil.rmtree(out)
            if number == 0:
                continue  # the first round fills the page cache
            ratios.append(took["stream"] / below)
            print(
                f"{number:5d} {below:9.2f} {took['stream']:10.2f} {ratios[-1]:7.2f} {took['import']:10.2f} {took['plan']:8.2f}"
                f"   {took['peak'] / 1e6:10.0f} ({took['before'] / 1e6:.0f})",
                flush=True,
            )
        print(
            f"median ratio {statistics.median(ratios):.2f}; this process peaked at "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB while making the source"
        )


if __name__ == "__main__":
    main()
