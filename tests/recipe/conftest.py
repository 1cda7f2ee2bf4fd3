"""A small family of models on disk, in a folder that is the current one."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

SHAPES = {"embed.weight": (12, 8), "layers.0.up.weight": (16, 8), "layers.0.norm.weight": (8,), "head.weight": (12, 8)}


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds llama and its fine-tunings chat, code and math."""
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    for model in ("llama", "chat", "code", "math"):
        moved = 0.0 if model == "llama" else 0.1
        tensors = {name: own + moved * torch.randn(own.shape, generator=generator) for name, own in base.items()}
        (tmp_path / model).mkdir()
        save_file(tensors, tmp_path / model / "model.safetensors", metadata={"format": "pt"})
    return tmp_path
