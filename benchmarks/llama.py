"""Llamas of random numbers at real shapes, for timing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["config", "shapes", "write_model"]

SHARD_BYTES = 4e8


def config(layers: int = 22, hidden: int = 2048, inner: int = 5632, heads: int = 32, keys: int = 4) -> dict[str, Any]:
    """A Llama of TinyLlama's shapes: 1.1 billion parameters, unless other sizes are given."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }


def shapes(settings: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors that transformers stores for such a Llama."""
    hidden, inner, vocab = settings["hidden_size"], settings["intermediate_size"], settings["vocab_size"]
    keys = hidden // settings["num_attention_heads"] * settings["num_key_value_heads"]
    block = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(settings["num_hidden_layers"]):
        found |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()}
    return found | {"model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}


def write_model(folder: Path, settings: dict[str, Any], make: Callable[[int, tuple[int, ...]], Tensor]) -> None:
    """Write a model in shards, a few tensors in memory at a time.

    Args:
        folder: where to.
        settings: the config.
        make: (number of the tensor, shape) → its values.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(settings, indent=2))
    wanted = list(shapes(settings).items())
    groups: list[list[str]] = []
    shard: dict[str, Tensor] = {}
    for number, (name, shape) in enumerate(wanted):
        shard[name] = make(number, shape).bfloat16()
        if sum(tensor.nbytes for tensor in shard.values()) > SHARD_BYTES or number == len(wanted) - 1:
            groups.append(list(shard))
            save_file(shard, folder / f"part-{len(groups)}", metadata={"format": "pt"})
            shard = {}
    weight_map: dict[str, str] = {}
    for number, names in enumerate(groups, 1):
        file = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        (folder / f"part-{number}").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
