"""Small models of random numbers: Llamas in three dtypes, models that are odd in one way each, encoders with decoders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llama
import torch
from torch import Tensor

__all__ = ["FAMILIES", "MEMBERS", "write_models"]

FAMILIES = ("float32", "bfloat16", "float16")
MEMBERS = ("base", "chat", "code", "math")
LAYERS = 4
WORDS = ("<unk>", "<s>", "</s>", *(f"word{number}" for number in range(253)))


def _settings(dtype: str, **changes: Any) -> dict[str, Any]:
    small = llama.config(LAYERS, hidden=64, inner=160, heads=4, keys=2)
    return small | {"vocab_size": 256, "max_position_embeddings": 128, "dtype": dtype} | changes


def _numbers(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _weights(settings: Mapping[str, Any], place: int) -> dict[str, Tensor]:
    """A base for place 0, else a fine-tuning of it whose deltas are a tenth of the weights."""
    shapes = llama.shapes(dict(settings))
    if settings["tie_word_embeddings"]:
        del shapes["lm_head.weight"]
    return _numbered(shapes, place, settings["dtype"])


def _numbered(shapes: Mapping[str, tuple[int, ...]], place: int, dtype: str) -> dict[str, Tensor]:
    made = {}
    for number, (name, shape) in enumerate(shapes.items()):
        base = 0.02 * _numbers(number, shape)
        delta = 0.002 * _numbers(1000 * place + number, shape) if place else 0.0
        made[name] = (base + delta).to(getattr(torch, dtype))
    return made


def _write_pairs(folder: Path) -> None:
    """Write encoders with decoders: T5, which mergekit knows, and BART, whose modules it infers from the names."""
    import transformers

    t5 = transformers.T5Config(
        vocab_size=128,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=4,
        num_decoder_layers=3,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        architectures=["T5ForConditionalGeneration"],
        dtype="float32",
    )
    bart = transformers.BartConfig(
        vocab_size=128,
        d_model=32,
        encoder_layers=4,
        decoder_layers=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        max_position_embeddings=64,
        architectures=["BartForConditionalGeneration"],
        dtype="float32",
    )
    for family, config in (("t5", t5), ("bart", bart)):
        with torch.device("meta"):
            model = getattr(transformers, config.architectures[0])(config)
        stored = dict(model.named_parameters(remove_duplicate=True)) | dict(model.named_buffers())
        shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
        for place, name in enumerate(MEMBERS):
            _write(folder / family / name, config.to_dict(), _numbered(shapes, place, "float32"))


def _write(folder: Path, settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(settings, indent=2))
    save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})


def _write_tokenizer(folder: Path, words: tuple[str, ...]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)


def _write_adapter(folder: Path, model: Path) -> None:
    from safetensors.torch import save_file

    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(model),
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj"],
        "lora_dropout": 0.0,
        "bias": "none",
    }
    factors = {}
    for layer in range(LAYERS):
        for number, (name, rows) in enumerate((("q_proj", 64), ("v_proj", 32))):
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            factors[f"{prefix}.lora_A.weight"] = 0.1 * _numbers(9000 + 10 * layer + number, (4, 64))
            factors[f"{prefix}.lora_B.weight"] = 0.1 * _numbers(9500 + 10 * layer + number, (rows, 4))
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2))
    save_file(factors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def write_models(folder: Path) -> None:
    """Write every model that a configuration names."""
    for dtype in FAMILIES:
        for place, name in enumerate(MEMBERS):
            _write(folder / dtype / name, _settings(dtype), _weights(_settings(dtype), place))
    tied = _settings("bfloat16", tie_word_embeddings=True)
    for place, name in enumerate(MEMBERS):
        _write(folder / "tied" / name, tied, _weights(tied, place))
    # A head in some of the models only, where the others' is the embedding.
    for place, name in enumerate(MEMBERS):
        settings = _settings("float32", tie_word_embeddings=place == 1)
        _write(folder / "some" / name, settings, _weights(settings, place))
    # A vocabulary of its own for each model; most words are in all of them.
    for place, name in enumerate(MEMBERS):
        words = WORDS[: 240 + 4 * place] + tuple(f"{name}{number}" for number in range(place))
        settings = _settings("float32", vocab_size=len(words))
        _write(folder / "words" / name, settings, _weights(settings, place))
        _write_tokenizer(folder / "words" / name, words)
    _write_adapter(folder / "float32" / "adapter", folder / "float32" / "base")
    _write_pairs(folder)
