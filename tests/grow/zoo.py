"""What is grown in tests and in the docs' table: tiny models of many families, dimension by dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.architectures.zoo import LISTED

Sizes = Mapping[str, Any]

DOUBLED: dict[str, dict[str, Sizes]] = {
    "Llama": {
        "hidden": {"hidden_size": 96, "head_dim": 8},
        "inner": {"intermediate_size": 160},
        "heads": {"num_attention_heads": 12, "num_key_value_heads": 6, "head_dim": 8},
        "group": {"num_attention_heads": 12, "head_dim": 8},
        "keys": {"num_key_value_heads": 6},
        "head width": {"head_dim": 16},
        "depth": {"num_hidden_layers": 4},
        "all": {
            "hidden_size": 96,
            "num_attention_heads": 12,
            "num_key_value_heads": 6,
            "intermediate_size": 160,
            "num_hidden_layers": 4,
        },
    },
    "Llama (tied, biased)": {
        "hidden": {"hidden_size": 96, "head_dim": 8},
        "all": {
            "hidden_size": 144,
            "num_attention_heads": 18,
            "num_key_value_heads": 9,
            "intermediate_size": 160,
            "num_hidden_layers": 4,
        },
    },
    "Qwen3": {
        "hidden": {"hidden_size": 96},
        "inner": {"intermediate_size": 160},
        "heads": {"num_attention_heads": 12, "num_key_value_heads": 6},
        "group": {"num_attention_heads": 12},
        "keys": {"num_key_value_heads": 6},
        "head width": {"head_dim": 20},
        "depth": {"num_hidden_layers": 4},
        "all": {
            "hidden_size": 144,
            "num_attention_heads": 18,
            "num_key_value_heads": 9,
            "intermediate_size": 160,
            "num_hidden_layers": 4,
        },
    },
    "Gemma2": {
        "hidden": {"hidden_size": 96},
        "inner": {"intermediate_size": 160},
        "heads": {"num_attention_heads": 12, "num_key_value_heads": 6},
        "depth": {"num_hidden_layers": 4},
        "all": {
            "hidden_size": 144,
            "num_attention_heads": 12,
            "num_key_value_heads": 6,
            "intermediate_size": 160,
            "num_hidden_layers": 4,
        },
    },
    "GPT-2": {
        "hidden": {"n_embd": 96, "n_head": 12},
        "head width": {"n_embd": 96},
        "inner": {"n_inner": 160},
        "depth": {"n_layer": 4},
        "all": {"n_embd": 144, "n_head": 18, "n_inner": 160, "n_layer": 4},
    },
    "GPT-2 (untied)": {"hidden": {"n_embd": 96, "n_head": 12}, "head width": {"n_embd": 96}},
    "GPT-NeoX": {
        "hidden": {"hidden_size": 96, "num_attention_heads": 6},
        "head width": {"hidden_size": 96},
        "inner": {"intermediate_size": 160},
        "depth": {"num_hidden_layers": 4},
        "all": {
            "hidden_size": 144,
            "num_attention_heads": 9,
            "intermediate_size": 160,
            "num_hidden_layers": 4,
        },
    },
    "Falcon (multi-query)": {
        "hidden": {"hidden_size": 96, "num_attention_heads": 12},
        "keys": {"multi_query": False},
    },
    "Falcon (ALiBi)": {
        "head width": {"hidden_size": 96},
        "heads": {"hidden_size": 96, "num_attention_heads": 12},
    },
    "MPT": {
        "head width": {"d_model": 96},
        "heads": {"d_model": 96, "n_heads": 12},
        "depth": {"n_layers": 4},
    },
    "Mixtral": {
        "hidden": {"hidden_size": 96, "head_dim": 8},
        "inner": {"intermediate_size": 160},
        "experts": {"num_local_experts": 10, "num_experts_per_tok": 4},
        "experts alone": {"num_local_experts": 10},
        "depth": {"num_hidden_layers": 4},
    },
    "Qwen3-MoE": {
        "inner": {"moe_intermediate_size": 80},
        "experts": {"num_experts": 10, "num_experts_per_tok": 4},
        "experts alone": {"num_experts": 10},
        "depth": {"num_hidden_layers": 4},
    },
    "BERT": {
        "hidden": {"hidden_size": 96, "num_attention_heads": 12},
        "head width": {"hidden_size": 96},
        "inner": {"intermediate_size": 160},
        "depth": {"num_hidden_layers": 4},
        "all": {"hidden_size": 144, "num_attention_heads": 18, "intermediate_size": 160},
    },
    "ALBERT": {"head width": {"hidden_size": 96}, "inner": {"intermediate_size": 160}},
    "T5": {
        "hidden": {"d_model": 96},
        "inner": {"d_ff": 160},
        "heads": {"num_heads": 12},
        "head width": {"d_kv": 20},
        "depth": {"num_layers": 4},
        "all": {"d_model": 144, "num_heads": 12, "d_kv": 20, "d_ff": 160, "num_layers": 4},
    },
    "ViT": {
        "hidden": {"hidden_size": 96, "num_attention_heads": 12},
        "head width": {"hidden_size": 96},
        "inner": {"intermediate_size": 160},
        "depth": {"num_hidden_layers": 4},
        "all": {
            "hidden_size": 144,
            "num_attention_heads": 18,
            "intermediate_size": 160,
            "num_hidden_layers": 4,
        },
    },
    "ConvNeXt": {
        "channels": {"hidden_sizes": [24, 40, 56, 72]},
        "one stage": {"hidden_sizes": [12, 40, 28, 36]},
        "depth": {"depths": [2, 2, 4, 2]},
        "all": {"hidden_sizes": [36, 60, 84, 108], "depths": [2, 3, 4, 2]},
    },
    "ResNet": {
        "channels": {"hidden_sizes": [32, 48, 64, 80]},
        "stem": {"embedding_size": 24},
        "depth": {"depths": [2, 2, 4, 2]},
        "all": {"embedding_size": 24, "hidden_sizes": [32, 48, 64, 80], "depths": [2, 3, 4, 2]},
    },
    "Mamba": {
        "hidden": {"hidden_size": 96, "intermediate_size": 96},
        "inner": {"intermediate_size": 192},
        "state": {"state_size": 12},
        "depth": {"num_hidden_layers": 4},
        "all": {"hidden_size": 144, "intermediate_size": 192, "state_size": 12, "num_hidden_layers": 4},
    },
}
"""For every family, the sizes to grow to, dimension by dimension and all together: multiples, which every method serves."""

WIDER: dict[str, dict[str, Sizes]] = {
    "Llama": {
        "hidden": {"hidden_size": 60, "head_dim": 8},
        "inner": {"intermediate_size": 99},
        "heads": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8},
        "keys": {"num_key_value_heads": 6},
        "head width": {"head_dim": 16},
        "all": {"hidden_size": 80, "num_attention_heads": 10, "num_key_value_heads": 5, "intermediate_size": 99},
    },
    "Qwen3": {
        "hidden": {"hidden_size": 60},
        "inner": {"intermediate_size": 99},
        "keys": {"num_key_value_heads": 6},
        "head width": {"head_dim": 30},
    },
    "Gemma2": {"hidden": {"hidden_size": 60}, "inner": {"intermediate_size": 99}},
    "GPT-2": {"hidden": {"n_embd": 64, "n_head": 8}, "inner": {"n_inner": 99}},
    "GPT-NeoX": {
        "hidden": {"hidden_size": 64, "num_attention_heads": 4},
        "inner": {"intermediate_size": 99},
        "head width": {"hidden_size": 96},
    },
    "Falcon (multi-query)": {"keys": {"multi_query": False}},
    "Falcon (ALiBi)": {"heads": {"hidden_size": 64, "num_attention_heads": 8}},
    "MPT": {"heads": {"d_model": 64, "n_heads": 8}},
    "Mixtral": {"experts": {"num_local_experts": 7}, "inner": {"intermediate_size": 100}},
    "Qwen3-MoE": {"experts": {"num_experts": 7}, "inner": {"moe_intermediate_size": 52}},
    "BERT": {"hidden": {"hidden_size": 64, "num_attention_heads": 8}, "inner": {"intermediate_size": 99}},
    "T5": {"hidden": {"d_model": 60}, "inner": {"d_ff": 99}, "heads": {"num_heads": 8}},
    "ViT": {"hidden": {"hidden_size": 64, "num_attention_heads": 8}, "inner": {"intermediate_size": 99}},
    "ConvNeXt": {"channels": {"hidden_sizes": [15, 24, 30, 40]}},
    "ResNet": {"channels": {"embedding_size": 14, "hidden_sizes": [20, 28, 36, 44]}},
    "Mamba": {"hidden": {"hidden_size": 60, "intermediate_size": 96}, "inner": {"intermediate_size": 110}},
}
"""Sizes that are no multiples: for methods that serve any size."""

assert set(DOUBLED) | set(WIDER) <= set(LISTED)
