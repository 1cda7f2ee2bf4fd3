"""Tiny models of many families, on disk as their own class saves them, and weights that say where they come from."""

import copy
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import scionwood

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

LANGUAGE = {"vocab_size": 40, "max_position_embeddings": 32, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LARGE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
SMALL = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
GROUPED_LARGE = LARGE | {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 8}
GROUPED_SMALL = SMALL | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
LATENT = {"qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8, "num_experts_per_tok": 2, "topk_group": 1}
T5 = {"vocab_size": 40, "decoder_start_token_id": 0, "d_kv": 8}
EXPERTS = {"num_experts_per_tok": 2}
PICTURES = {"image_size": 16, "patch_size": 4}

FAMILIES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    # name: class, config class, larger, smaller
    "llama": ("LlamaForCausalLM", "LlamaConfig", LANGUAGE | GROUPED_LARGE, LANGUAGE | GROUPED_SMALL),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", LANGUAGE | GROUPED_LARGE, LANGUAGE | GROUPED_SMALL),
    "gemma3": ("Gemma3ForCausalLM", "Gemma3TextConfig", LANGUAGE | GROUPED_LARGE, LANGUAGE | GROUPED_SMALL),
    "phi3": (
        "Phi3ForCausalLM",
        "Phi3Config",
        LANGUAGE | LARGE | {"num_key_value_heads": 2},
        LANGUAGE | SMALL | {"num_key_value_heads": 1},
    ),
    "mixtral": (
        "MixtralForCausalLM",
        "MixtralConfig",
        LANGUAGE | GROUPED_LARGE | EXPERTS | {"num_local_experts": 4},
        LANGUAGE | GROUPED_SMALL | EXPERTS | {"num_local_experts": 2},
    ),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        "Qwen3MoeConfig",
        LANGUAGE | GROUPED_LARGE | EXPERTS | {"num_experts": 4, "moe_intermediate_size": 12},
        LANGUAGE | GROUPED_SMALL | EXPERTS | {"num_experts": 2, "moe_intermediate_size": 6},
    ),
    "deepseek": (
        "DeepseekV3ForCausalLM",
        "DeepseekV3Config",
        LANGUAGE
        | LARGE
        | LATENT
        | {"num_key_value_heads": 4, "q_lora_rank": 12, "kv_lora_rank": 8, "moe_intermediate_size": 12}
        | {"n_routed_experts": 8, "n_group": 2, "first_k_dense_replace": 1},
        LANGUAGE
        | SMALL
        | LATENT
        | {"num_key_value_heads": 2, "q_lora_rank": 6, "kv_lora_rank": 4, "moe_intermediate_size": 6}
        | {"n_routed_experts": 4, "n_group": 2, "first_k_dense_replace": 1},
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        "GPT2Config",
        {"vocab_size": 40, "n_positions": 32, "n_embd": 32, "n_layer": 4, "n_head": 4}
        | {"bos_token_id": 1, "eos_token_id": 2},
        {"vocab_size": 40, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
        | {"bos_token_id": 1, "eos_token_id": 2},
    ),
    "bloom": (
        "BloomForCausalLM",
        "BloomConfig",
        {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 8},
        {"vocab_size": 40, "hidden_size": 16, "n_layer": 1, "n_head": 4},
    ),
    "mpt": (
        "MptForCausalLM",
        "MptConfig",
        {"vocab_size": 40, "d_model": 32, "n_layers": 2, "n_heads": 8, "expansion_ratio": 2, "max_seq_len": 16},
        {"vocab_size": 40, "d_model": 16, "n_layers": 1, "n_heads": 4, "expansion_ratio": 2, "max_seq_len": 16},
    ),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        T5 | {"d_model": 32, "d_ff": 48, "num_layers": 3, "num_decoder_layers": 4, "num_heads": 4},
        T5 | {"d_model": 16, "d_ff": 24, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2},
    ),
    "bert": (
        "BertForSequenceClassification",
        "BertConfig",
        LANGUAGE | LARGE | {"num_labels": 5},
        LANGUAGE | SMALL | {"num_labels": 3},
    ),
    "albert": (
        "AlbertModel",
        "AlbertConfig",
        LANGUAGE | LARGE | {"embedding_size": 12},
        LANGUAGE | SMALL | {"embedding_size": 6},
    ),
    "vit": (
        "ViTForImageClassification",
        "ViTConfig",
        LARGE | PICTURES | {"num_labels": 5},
        SMALL | PICTURES | {"num_labels": 3},
    ),
    "convnext": (
        "ConvNextForImageClassification",
        "ConvNextConfig",
        {"hidden_sizes": [8, 16, 32, 64], "depths": [2, 2, 4, 2], "num_labels": 5, "image_size": 32},
        {"hidden_sizes": [4, 8, 16, 32], "depths": [2, 1, 2, 1], "num_labels": 5, "image_size": 32},
    ),
    "resnet": (
        "ResNetForImageClassification",
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [2, 3], "num_labels": 4},
        {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 2], "num_labels": 4},
    ),
    "recurrent_gemma": (
        "RecurrentGemmaForCausalLM",
        "RecurrentGemmaConfig",
        LANGUAGE | LARGE | {"num_hidden_layers": 6, "lru_width": 32, "attention_window_size": 8},
        LANGUAGE | SMALL | {"num_hidden_layers": 3, "lru_width": 16, "attention_window_size": 8},
    ),
}


def config(name: str, *, large: bool, **changes: Any) -> Any:
    """The config of a tiny model, its sizes changed as asked."""
    model_class, config_class, larger, smaller = FAMILIES[name]
    made = getattr(transformers, config_class)(**copy.deepcopy((larger if large else smaller) | changes))
    made.architectures = [model_class]
    return made


@pytest.fixture(scope="session")
def larger() -> Callable[..., Any]:
    """larger(family, **changes): the config of a tiny source."""
    return lambda name, **changes: config(name, large=True, **changes)


@pytest.fixture(scope="session")
def smaller() -> Callable[..., Any]:
    """smaller(family, **changes): the config of a tinier target."""
    return lambda name, **changes: config(name, large=False, **changes)


@pytest.fixture(scope="session")
def model_of() -> Callable[..., Any]:
    """model_of(config): the model with weights drawn by its class, the same every time."""

    def build(config: Any) -> Any:
        torch.manual_seed(0)
        return getattr(transformers, config.architectures[0])(copy.deepcopy(config)).eval()

    return build


@pytest.fixture(scope="session")
def number() -> Callable[[Any], Any]:
    """number(model): every weight becomes its own flat index, so that a selected tensor tells where its numbers come from."""

    def number(model: Any) -> Any:
        with torch.no_grad():
            for tensor in {id(t): t for t in model.state_dict(keep_vars=True).values()}.values():
                if tensor.is_floating_point():
                    tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape))
        return model

    return number


@pytest.fixture(scope="session")
def numbered(tmp_path_factory, model_of, number) -> Callable[..., Path]:
    """numbered(family, **changes): a folder with a tiny source whose weights are their own flat indices."""
    made: dict[str, Path] = {}

    def folder(name: str, **changes: Any) -> Path:
        key = f"{name}{sorted(changes.items())}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp(name)
            number(model_of(config(name, large=True, **changes))).save_pretrained(made[key])
        return made[key]

    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory, model_of) -> Callable[..., Path]:
    """drawn(family, **changes): a folder with a tiny source whose weights its class drew."""
    made: dict[str, Path] = {}

    def folder(name: str, **changes: Any) -> Path:
        key = f"{name}{sorted(changes.items())}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp(name)
            model_of(config(name, large=True, **changes)).save_pretrained(made[key])
        return made[key]

    return folder


@pytest.fixture(scope="session")
def places() -> Callable[[Tensor, tuple[int, ...]], list[Tensor]]:
    """places(tensor, shape): for each dimension of a numbered tensor, the indices into the source of this shape.

    Fails unless the tensor is one index vector for each dimension.
    """

    def places(tensor: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
        flat = tensor.double().round().long()
        assert torch.equal(flat.double(), tensor.double()), "not numbers of a numbered source"
        grids = torch.unravel_index(flat.flatten(), shape)
        found = []
        for dim, grid in enumerate(grids):
            rows = grid.view(tensor.shape).movedim(dim, 0).reshape(tensor.shape[dim], -1)
            assert bool((rows == rows[:, :1]).all()), f"dimension {dim} is not one index vector"
            found.append(rows[:, 0])
        return found

    return places


@pytest.fixture(scope="session")
def loads() -> Callable[[Path], Any]:
    """loads(folder): the model that transformers loads from a folder; nothing missing, unexpected or of another size."""

    def load(folder: Path) -> Any:
        name = scionwood.open(folder).config["architectures"][0]
        model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
        assert not any(report.values()), report
        return model

    return load


@pytest.fixture(scope="session")
def official() -> Callable[[int, int], list[int]]:
    """official(T, S): the published rule for one dimension, in fractions, so that halves are halves."""
    from fractions import Fraction

    def rule(source: int, target: int) -> list[int]:
        if source % target == 0:
            return [step * (source // target) for step in range(target)]
        if target == 1:
            return [0]
        return [round(Fraction(step * (source - 1), target - 1)) for step in range(target)]

    return rule


@pytest.fixture(scope="session")
def take() -> Callable[..., Tensor]:
    """take(tensor, [indices of dimension 0, …]): the selection by plain indexing; None takes a whole dimension."""

    def take(tensor: Tensor, indices: list[Any]) -> Tensor:
        for dim, index in enumerate(indices):
            if index is not None:
                tensor = tensor.index_select(dim, torch.as_tensor(index))
        return tensor

    return take


@pytest.fixture(scope="session")
def same() -> Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], bool]:
    """Tell whether two mappings hold the same tensors, bit for bit."""

    def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
        return set(left) == set(right) and all(
            left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
        )

    return same


@pytest.fixture(scope="session")
def count() -> Callable[[Mapping[str, Tensor]], int]:
    return lambda tensors: sum(math.prod(tensor.shape) for tensor in tensors.values())
