"""For every listed family: save a model, select it to about half, write it, and load the result with the family's own class."""

import math
import warnings

import pytest
import torch
import transformers
from tests.architectures.derived import model
from tests.architectures.zoo import LISTED
from torch import Tensor
from torch.utils import _pytree as pytree

from scionwood import anatomy, checkpoint
from scionwood.verbs.select import select

HALVES = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 1,
    "d_model": 24,
    "n_embd": 24,
    "n_layer": 1,
    "n_layers": 1,
    "d_ff": 40,
    "num_layers": 1,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 36,
    "ffn_dim": 40,
    "dim": 24,
    "hidden_dim": 40,
    "word_embed_proj_dim": 10,
    "n_inner": 40,
    "embed_dim": 6,
    "moe_intermediate_size": 20,
    "num_experts": 3,
    "num_local_experts": 3,
    "embedding_size": 10,
}
"""The sizes to take wherever a config has one of that name."""

INSTEAD = {
    "ModernBERT": {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2},
    "GPT-NeoX": {"intermediate_size": 40, "num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2},
    "GPT-J": {"n_embd": 24, "n_layer": 1, "n_inner": 40, "rotary_dim": 4},
    "Mamba": {"hidden_size": 24, "num_hidden_layers": 1, "intermediate_size": 48},
    "Mamba2": {"hidden_size": 24, "num_heads": 4, "num_hidden_layers": 1},
    "RecurrentGemma": {"hidden_size": 24, "lru_width": 30, "intermediate_size": 80, "num_attention_heads": 3},
    "RWKV": {"hidden_size": 24, "attention_hidden_size": 18, "intermediate_size": 40},
    "DeepSeek-V3": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "moe_intermediate_size": 20,
        "n_routed_experts": 4,
        "kv_lora_rank": 10,
        "q_lora_rank": 14,
    },
    "CLIP": {
        "text_config.hidden_size": 24,
        "text_config.num_hidden_layers": 1,
        "text_config.num_attention_heads": 3,
        "vision_config.hidden_size": 20,
        "vision_config.num_attention_heads": 5,
        "projection_dim": 14,
    },
    "SigLIP": {
        "text_config.hidden_size": 24,
        "text_config.num_hidden_layers": 1,
        "text_config.num_attention_heads": 3,
        "vision_config.hidden_size": 24,
        "vision_config.num_attention_heads": 2,
    },
    "ConvNeXt": {"hidden_sizes": [6, 10, 14, 18], "depths": [1, 1, 2, 1]},
    "ConvNeXtV2": {"hidden_sizes": [6, 10, 14, 18], "depths": [1, 1, 2, 1]},
    "ResNet": {"embedding_size": 6, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 2, 1, 2]},
    "RegNet": {"hidden_sizes": [8, 16, 24, 32]},
    "MobileNetV2": {"depth_multiplier": 0.2},
    "SegFormer": {"hidden_sizes": [4, 8, 10, 12], "decoder_hidden_size": 14},
}


def sizes(name: str) -> dict:
    if name in INSTEAD:
        return INSTEAD[name]
    return {key: half for key, half in HALVES.items() if key in LISTED[name]}


@pytest.mark.parametrize("name", list(LISTED))
def test_half_of_it_loads_and_runs(name, tmp_path):
    config = LISTED[name]
    model_class = getattr(transformers, config["architectures"][0])
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = model(name).rebuild()
        source.save_pretrained(tmp_path / "source")
        made = select(tmp_path / "source", set=sizes(name))
        checkpoint.write(made, tmp_path / "half")
        half, loading = model_class.from_pretrained(tmp_path / "half", output_loading_info=True)
    wrong = {what: found for what, found in loading.items() if found}
    assert not wrong
    assert numbers(half) < 0.8 * numbers(source)

    _, inputs = anatomy.model(half.config).inputs
    with torch.no_grad():
        outputs = pytree.tree_leaves(half.eval()(**inputs))
    floats = [leaf for leaf in outputs if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    assert floats
    assert all(bool(leaf.isfinite().all()) for leaf in floats)


def numbers(module: torch.nn.Module) -> int:
    return sum(math.prod(parameter.shape) for parameter in module.parameters())
