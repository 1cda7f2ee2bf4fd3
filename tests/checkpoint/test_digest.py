"""Digests: what they see, and what they do not."""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scionwood.checkpoint import digest, open, write

Weights = dict[str, torch.Tensor]


def by_hand(files: Mapping[str, Path]) -> str:
    """The sampled digest as its documentation says it, slowly."""
    total = hashlib.sha256()
    for name in sorted(files):
        data = files[name].read_bytes()
        header = 8 + struct.unpack("<Q", data[:8])[0] if name.endswith(".safetensors") else 0
        total.update(struct.pack("<Q", len(name.encode())) + name.encode())
        total.update(struct.pack("<QQ", len(data), header) + data[:header])
        for start in range(header, len(data), 1 << 20):
            total.update(data[start : start + 4096])
    return "sampled-sha256:" + total.hexdigest()


def test_the_sampled_digest_is_what_it_says(tmp_path: Path, sharded: Path) -> None:
    assert digest(sharded) == by_hand({path.name: path for path in sharded.glob("*.safetensors")})
    save_file({"x": torch.randn(900_000)}, tmp_path / "x.safetensors")
    assert digest(tmp_path / "x.safetensors") == by_hand({"x.safetensors": tmp_path / "x.safetensors"})
    torch.save({"x": torch.randn(900_000)}, tmp_path / "x.pt")
    assert digest(tmp_path / "x.pt") == by_hand({"x.pt": tmp_path / "x.pt"})


def test_the_sampled_digest_sees_headers_and_samples_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"x": torch.zeros(3 << 20, dtype=torch.uint8)}, path)
    begin = 8 + struct.unpack("<Q", path.read_bytes()[:8])[0]
    first, full = digest(path), digest(path, full=True)
    for offset, seen in (
        (0, True),
        (4095, True),
        (4096, False),
        (1 << 20, True),
        ((2 << 20) - 1, False),
        (2 << 20, True),
    ):
        data = bytearray(path.read_bytes())
        data[begin + offset] ^= 1
        changed = tmp_path / "changed" / "x.safetensors"
        changed.parent.mkdir(exist_ok=True)
        changed.write_bytes(data)
        assert (digest(changed) != first) == seen, offset
        assert digest(changed, full=True) != full, offset


def test_the_full_digest_is_that_of_the_weights_and_not_of_the_files(
    tmp_path: Path, folder: Path, sharded: Path, weights: Weights
) -> None:
    torch.save(weights, tmp_path / "x.pt")
    copy = write(open(folder), tmp_path / "copy", shard_size=60)
    reversed_order = dict(reversed(weights.items()))
    sources = [folder, sharded, tmp_path / "x.pt", copy, weights, reversed_order, folder / "model.safetensors"]
    assert len({digest(source, full=True) for source in sources}) == 1
    assert digest(weights) == digest(folder, full=True), "what is in memory has no files to sample"
    assert digest(folder) != digest(sharded)


def test_the_full_digest_sees_every_property(weights: Weights) -> None:
    changes = [
        {**weights, "steps": torch.tensor(8)},
        {**weights, "steps": torch.tensor([7])},
        {**weights, "steps": torch.tensor(7, dtype=torch.uint64)},
        {**weights, "embed.weight": weights["embed.weight"].reshape(4, 12)},
        {name.replace("steps", "step"): value for name, value in weights.items()},
        {name: value for name, value in weights.items() if name != "steps"},
        {**weights, "more": torch.empty(0)},
    ]
    assert len({digest(changed) for changed in [weights, *changes]}) == len(changes) + 1


def test_ties_belong_to_the_weights() -> None:
    plain = open({"a": torch.ones(2)})
    tied = replace(plain, ties={"b": "a"})
    assert len({digest(plain), digest(tied), digest({"a": torch.ones(2), "b": torch.ones(2)})}) == 3


def test_a_checkpoint_with_other_tensors_is_no_longer_what_is_in_its_files(folder: Path) -> None:
    stored = open(folder)
    other = replace(stored, tensors={"steps": stored.tensors["steps"]})
    assert digest(stored).startswith("sampled-sha256:")
    assert digest(other).startswith("sha256:")
    assert not other.files


def test_a_folder_moved_keeps_its_digest(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(folder)
    folder.rename(tmp_path / "elm")
    assert digest(tmp_path / "elm") == before
    monkeypatch.chdir(tmp_path / "elm")
    assert digest(".") == before
