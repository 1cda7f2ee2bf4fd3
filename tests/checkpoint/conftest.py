"""Small checkpoints on disk and in memory, and files made wrong on purpose."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

MakeFile = Callable[..., Path]


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "embed.weight": torch.randn(12, 4, generator=generator),
        "layers.0.weight": torch.randn(4, 4, generator=generator).bfloat16(),
        "layers.0.bias": torch.randn(4, generator=generator),
        "layers.1.weight": torch.randn(4, 4, generator=generator).bfloat16(),
        "layers.1.bias": torch.randn(4, generator=generator),
        "steps": torch.tensor(7),
    }


@pytest.fixture
def folder(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """A folder as transformers would have saved it, with side files that travel and files that must not."""
    folder = tmp_path / "oak"
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "oak", "torch_dtype": "float32", "hidden_size": 4}')
    (folder / "tokenizer.json").write_text('{"version": "1.0"}')
    (folder / "generation_config.json").write_text("{}")
    (folder / "modeling_oak.py").write_text("raise SystemExit('never run')")
    (folder / "LICENSE").write_text("MIT")
    (folder / "README.md").write_text("---\nlicense: mit\ntags: [oak]\n---\n# Oak\n")
    (folder / "training_args.bin").write_bytes(b"pickle")
    (folder / "trainer_state.json").write_text("{}")
    (folder / ".gitattributes").write_text("")
    return folder


@pytest.fixture
def sharded(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """The same weights in two shards with an index."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    names = list(weights)
    weight_map = {}
    for number, part in enumerate((names[:3], names[3:]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.fixture(scope="session")
def same() -> Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], bool]:
    """Tell whether two mappings hold the same tensors, bit for bit."""

    def same(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
        return set(left) == set(right) and all(
            left[name].dtype == right[name].dtype
            and left[name].shape == right[name].shape
            and torch.equal(left[name].reshape(-1).view(torch.uint8), right[name].reshape(-1).view(torch.uint8))
            for name in left
        )

    return same


@pytest.fixture
def make_safetensors(tmp_path: Path) -> MakeFile:
    """Write a safetensors file of any header, right or wrong, and as many bytes of data."""

    def make(header: Any, data: bytes = b"", *, length: int | None = None, name: str = "wrong.safetensors") -> Path:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        path = tmp_path / name
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
        return path

    return make
