"""The same recipe gives the same bytes: whatever the workers, threads or processes, the shards, and the hash seed."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint import stream, write
from scionwood.verbs.merge import merge

METHODS = {
    "linear": {"weights": [0.2, 0.5, 0.3]},
    "ties": {"density": 0.4},
    "pcb_merging": {},
    "dare": {"density": 0.3, "consensus": True},
    "della": {"rescale": "l1"},
    "karcher": {},
    "iso_c": {},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    generator = torch.Generator().manual_seed(0)
    shapes = {f"layers.{number}.{part}": (90, 70) for number in range(3) for part in ("up", "down")} | {"norm": (70,)}
    base = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for place, name in enumerate(("base", "chat", "code", "math")):
        tuned = {key: t + 0.1 * place * torch.randn(t.shape, generator=generator) for key, t in base.items()}
        save_file({key: t.bfloat16() for key, t in tuned.items()}, folder / f"{name}.safetensors")
    return folder


def merged(folder, method):
    names = [str(folder / f"{name}.safetensors") for name in ("chat", "code", "math")]
    base = None if method in ("linear", "karcher") else str(folder / "base.safetensors")
    return merge(names, base=base, method=method, options=METHODS[method], seed=3)


@pytest.mark.parametrize("method", METHODS)
def test_workers_and_shards(method, models, tmp_path, monkeypatch):
    digests = set()
    for number, (workers, bytes_for_processes) in enumerate([(1, 0), (4, 1 << 40), (3, 0)]):
        monkeypatch.setattr(stream, "PROCESS_BYTES", bytes_for_processes)
        out = write(merged(models, method), tmp_path / f"{number}.safetensors", workers=workers)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1
    sharded = open_checkpoint(write(merged(models, method), tmp_path / "out", shard_size=20_000, workers=2))
    whole = open_checkpoint(tmp_path / "0.safetensors")
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    assert all(torch.equal(sharded[name], whole[name]) for name in whole)


def test_the_hash_seed(models, tmp_path):
    code = f"""
import hashlib, pathlib, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_same_bytes as here
from scionwood.checkpoint import write
for method in here.METHODS:
    out = pathlib.Path({str(tmp_path)!r}) / sys.argv[1]
    out = write(here.merged(pathlib.Path({str(models)!r}), method), out / f"{{method}}.safetensors", workers=2)
    print(method, hashlib.sha256(out.read_bytes()).hexdigest())
"""
    told = [
        subprocess.run(
            [sys.executable, "-c", code, seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "7")
    ]
    assert told[0] == told[1]
    assert len(told[0].splitlines()) == len(METHODS)
