"""How the cost of `scionwood merge` grows with the size of the models and with their number.

Llamas of random bfloat16 at three sizes are merged two at a time, and one of 1.1 billion parameters two to sixteen at a
time. The table has time for every byte read and written, beside the floor's (``cat`` of the inputs, ``cp`` of one), and
the peak of anonymous memory. Both should stay where they are.

    python benchmarks/bench_scale.py [--layers 3,22,88] [--models 2,4,8,16] [--methods linear,ties] [--folder DIR]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import bench_merge
import llama

if TYPE_CHECKING:
    from torch import Tensor

DISTINCT = 3
"""Models that differ; more of them are links to these: what is read costs the same."""

OPTIONS = {"ties": ["--set", "density=0.5"]}


def make_models(folder: Path, layers: int, count: int) -> list[Path]:
    """Write a base and models, all layers alike so that it takes seconds, and links for the rest."""
    import torch

    def make_one(name: str, seed: int) -> None:
        blocks: dict[tuple[int, ...], Tensor] = {}

        def make(_: int, shape: tuple[int, ...]) -> Tensor:
            if shape not in blocks:
                base = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 0.02
                noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.002
                blocks[shape] = base + noise if seed else base
            return blocks[shape]

        llama.write_model(folder / name, llama.config(layers), make)

    for number in range(min(DISTINCT, count) + 1):
        make_one(f"model-{number}", number)
    for number in range(DISTINCT + 1, count + 1):
        (folder / f"model-{number}").symlink_to(folder / f"model-{1 + (number - 1) % DISTINCT}")
    return [folder / f"model-{number}" for number in range(count + 1)]


def measure(folder: Path, base: Path, models: list[Path], method: str) -> tuple[float, float, int, int]:
    """Return seconds of the floor and of the merge, its peak of anonymous memory, and the bytes it reads and writes."""
    uses_base = method != "linear"
    read = [base, *models] if uses_base else models
    size = sum(file.stat().st_size for model in read for file in model.glob("*.safetensors"))
    written = sum(file.stat().st_size for file in models[0].glob("*.safetensors"))
    below = bench_merge.floor_of(
        [str(file) for model in read for file in model.glob("*.safetensors")], models[0], folder
    )
    command = [sys.executable, "-m", "scionwood", "merge", method, *map(str, models), "--out", str(folder / "out")]
    command += ["--base", str(base)] if uses_base else []
    took, peak = bench_merge.timed([*command, *OPTIONS.get(method, [])])
    shutil.rmtree(folder / "out")
    return below, took, peak, size + written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="3,22,88", help="88 are 4 billion parameters")
    parser.add_argument("--models", default="2,4,8,16")
    parser.add_argument("--methods", default="linear,ties")
    parser.add_argument(
        "--folder", type=Path, help="where to put up to 40 GB for a while (default: the temporary folder)"
    )
    options = parser.parse_args()
    counts = [int(count) for count in options.models.split(",")]
    print("| method | parameters | models | floor s | scionwood s | over floor | ns a byte | peak anonymous MB |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for layers in [int(number) for number in options.layers.split(",")]:
        several = counts if layers == bench_merge.LAYERS else counts[:1]
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            base, *models = make_models(Path(name), layers, max(several))
            parameters = sum(file.stat().st_size for file in base.glob("*.safetensors")) / 2e9
            for method in options.methods.split(","):
                for count in several:
                    below, took, peak, size = measure(Path(name), base, models[:count], method)
                    print(
                        f"| {method} | {parameters:.2f} B | {count} | {below:.1f} | {took:.1f} | {took / below:.2f} "
                        f"| {took / size * 1e9:.2f} | {peak / 1e6:.0f} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
