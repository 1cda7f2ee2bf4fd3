"""Time `scionwood merge` against the floor, and against mergekit where it is installed, in turns on one machine.

A base and three fine-tunings of a Llama (random bfloat16, TinyLlama's shapes) are merged by every method. The floor is reading the inputs
once and copying one of them: ``cat`` of what the method reads, ``cp`` of one checkpoint, synced. Floor, scionwood and mergekit take turns
within a round, so that they meet the same disk and the same neighbours; ratios are of one round, and the table has their medians. Before
each of them there is a pause: what writes right after a large file was removed gets its pages back, still in place, and what writes two
seconds later does not where the machine is a guest that returns free memory to its host. The copy then takes six times as long.

    python benchmarks/bench_merge.py [--rounds 3] [--layers 22] [--methods linear,ties] [--peer PATH/TO/mergekit-yaml] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import llama

LAYERS = 22
"""Of a Llama of 1.1 billion parameters."""

SECONDS_TO_SETTLE = 4.0

MODELS = ("base", "chat", "code", "math")
METHODS: dict[str, dict] = {
    "passthrough": {"models": 1},
    "linear": {"models": 3},
    "task_arithmetic": {"models": 3, "base": True},
    "dare": {
        "models": 3,
        "base": True,
        "set": ["density=0.5"],
        "peer": "dare_linear",
        "peer_parameters": {"density": 0.5},
    },
    "slerp": {"models": 2, "peer_base": 0, "peer_global": {"t": 0.5}},
    "nuslerp": {"models": 2},
    "multislerp": {"models": 3},
    "model_stock": {"models": 3, "base": True},
    "karcher": {"models": 3},
    "ties": {"models": 3, "base": True, "set": ["density=0.5"], "peer_parameters": {"density": 0.5}},
    "breadcrumbs": {"models": 3, "base": True, "set": ["density=0.9"], "peer_parameters": {"density": 0.9}},
    "della": {"models": 3, "base": True, "set": ["density=0.5"], "peer_parameters": {"density": 0.5}},
    "sce": {"models": 3, "base": True, "set": ["select_topk=0.5"], "peer_global": {"select_topk": 0.5}},
    "ram": {"models": 3, "base": True, "set": ["epsilon=1e-5"]},
    "nearswap": {"models": 1, "base": True, "set": ["t=0.001"], "peer_global": {"t": 0.001}},
    "arcee_fusion": {"models": 1, "base": True},
}


def make_family(folder: Path, layers: int) -> None:
    """Write the base, and fine-tunings whose deltas are a tenth of the weights."""
    import torch

    def numbers(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    for place, name in enumerate(MODELS):

        def make(number: int, shape: tuple[int, ...], place: int = place) -> torch.Tensor:
            base = 0.02 * numbers(number, shape)
            return base + 0.002 * numbers(1000 * place + number, shape) if place else base

        llama.write_model(folder / name, llama.config(layers), make)


def inputs_of(spec: dict) -> list[str]:
    return ([MODELS[0]] if spec.get("base") else []) + list(MODELS[1 : 1 + spec["models"]])


def floor(folder: Path, spec: dict) -> float:
    files = [str(file) for name in inputs_of(spec) for file in sorted((folder / name).glob("*.safetensors"))]
    return floor_of(files, folder / MODELS[1], folder)


def settle() -> None:
    """Wait until the pages of what was removed are gone, so that whatever is timed next begins from the same."""
    time.sleep(SECONDS_TO_SETTLE)


def floor_of(files: list[str], model: Path, folder: Path) -> float:
    """Return how long it takes to read files and to copy one model into a folder, synced."""
    settle()
    start = time.perf_counter()
    subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)
    subprocess.run(["cp", "-rL", str(model), str(folder / "floor")], check=True)
    subprocess.run(["sync", "-f", str(folder / "floor")], check=True)
    took = time.perf_counter() - start
    shutil.rmtree(folder / "floor")
    return took


def timed(command: list[str]) -> tuple[float, int]:
    """Run a command; return its wall time and its peak of anonymous memory, sampled, with that of its workers."""
    settle()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.05)
    took = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError((process.stderr.read() if process.stderr else "")[-2000:])
    return took, peak


def anonymous(process: int) -> int:
    """The anonymous memory of a process and its children in bytes; a page that several of them share counts once."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    own = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon")), 0)
    return own + sum(anonymous(int(child)) for child in children)


def ours(folder: Path, name: str, spec: dict, workers: int) -> tuple[float, int]:
    command = [
        sys.executable,
        "-m",
        "scionwood",
        "merge",
        name,
        *(str(folder / m) for m in MODELS[1 : 1 + spec["models"]]),
    ]
    command += ["--out", str(folder / "out")] + (["--base", str(folder / MODELS[0])] if spec.get("base") else [])
    command += [part for option in spec.get("set", ()) for part in ("--set", option)]
    command += ["--workers", str(workers)] if workers else []
    try:
        return timed(command)
    finally:
        shutil.rmtree(folder / "out", ignore_errors=True)


def theirs(folder: Path, name: str, spec: dict, peer: str) -> tuple[float, int]:
    listed = [
        {"model": str(folder / m), "parameters": {"weight": 1.0} | spec.get("peer_parameters", {})}
        for m in MODELS[1 : 1 + spec["models"]]
    ]
    recipe = {"merge_method": spec.get("peer", name), "models": listed, "dtype": "bfloat16"}
    if spec.get("base"):
        recipe["base_model"] = str(folder / MODELS[0])
    if "peer_base" in spec:
        recipe["base_model"] = str(folder / MODELS[1])
    if "peer_global" in spec:
        recipe["parameters"] = spec["peer_global"]
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    try:
        return timed([peer, str(folder / "recipe.yaml"), str(folder / "peer-out")])
    finally:
        shutil.rmtree(folder / "peer-out", ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=LAYERS, help="22 are 1.1 billion parameters")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--peer", default=os.environ.get("MERGEKIT"), help="mergekit-yaml of an environment of its own")
    parser.add_argument(
        "--folder", type=Path, help="where to put the family for a while (default: the temporary folder)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        print("making a base and three fine-tunings …", flush=True)
        make_family(folder, options.layers)
        print(
            "| method | floor s | scionwood s | over floor | peak anonymous MB | mergekit s | mergekit over scionwood |"
        )
        print("|---|---|---|---|---|---|---|", flush=True)
        for method in options.methods.split(","):
            spec = METHODS[method]
            rows = []
            for _ in range(options.rounds):
                below = floor(folder, spec)
                took, peak = ours(folder, method, spec, options.workers)
                other = theirs(folder, method, spec, options.peer)[0] if options.peer else float("nan")
                rows.append((below, took, took / below, peak / 1e6, other, other / took))
            medians = [statistics.median(column) for column in zip(*rows, strict=True)]
            shown = f"{medians[4]:.1f} | {medians[5]:.1f}" if options.peer else "- | -"
            print(
                f"| {method} | {medians[0]:.1f} | {medians[1]:.1f} | {medians[2]:.2f} | {medians[3]:.0f} | {shown} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
