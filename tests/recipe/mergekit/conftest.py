"""Toy Llamas whose numbers can be worked out by hand, and configurations run as a user runs them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scionwood.checkpoint import open as open_checkpoint
from scionwood.cli import run

PARTS = {
    "self_attn.q_proj": (4, 4),
    "self_attn.k_proj": (4, 4),
    "self_attn.v_proj": (4, 4),
    "self_attn.o_proj": (4, 4),
    "mlp.gate_proj": (6, 4),
    "mlp.up_proj": (6, 4),
    "mlp.down_proj": (4, 6),
    "input_layernorm": (4,),
    "post_attention_layernorm": (4,),
}


def llama(folder, value=None, *, layers=4, rows=8, tied=False, dtype=torch.float32, more=None, seed=0):
    """A Llama all of one value, or random where none is given; named as transformers names it."""
    generator = torch.Generator().manual_seed(seed)

    def made(*shape):
        if value is not None:
            return torch.full(shape, float(value)).to(dtype)
        return (torch.randn(*shape, generator=generator) * 0.1).to(dtype)

    tensors = {"model.embed_tokens.weight": made(rows, 4)}
    for layer in range(layers):
        tensors |= {f"model.layers.{layer}.{part}.weight": made(*shape) for part, shape in PARTS.items()}
    tensors |= {"model.norm.weight": made(4), **({} if tied else {"lm_head.weight": made(rows, 4)}), **(more or {})}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4,
        "intermediate_size": 6,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": rows,
        "tie_word_embeddings": tied,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder with the models A (all 0) and B (all 1), and itself the current one: paths in a file are relative to it."""
    monkeypatch.chdir(tmp_path)
    llama(tmp_path / "A", 0)
    llama(tmp_path / "B", 1)
    return tmp_path


@pytest.fixture
def merged(models):
    """Run a configuration, and open what it makes."""

    def call(text, *flags):
        Path("config.yml").write_text(text)
        assert run(["merge", "config.yml", "OUT", "--overwrite", *flags]) == 0
        return open_checkpoint("OUT")

    return call


@pytest.fixture
def refused(models, capsys):
    """Run a configuration that is wrong, and return what is said; nothing is written."""

    def call(text):
        Path("config.yml").write_text(text)
        assert run(["merge", "config.yml", "OUT"]) == 2
        assert not Path("OUT").exists()
        return capsys.readouterr().err

    return call
