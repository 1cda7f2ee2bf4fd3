"""A tiny teacher that is broken in every way, and an alarm for what would wait for ever."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import copied


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama, the teacher; a BERT, a T5 and a GPT-2, of other families; all tiny, and none of them ever changed."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("models")
    sizes: dict[str, Any] = {"vocab_size": 32, "hidden_size": 32, "intermediate_size": 24, "num_hidden_layers": 3}
    sizes |= {"num_attention_heads": 4, "max_position_embeddings": 32}
    torch.manual_seed(0)
    llama = transformers.LlamaConfig(**sizes, num_key_value_heads=2)
    transformers.LlamaForCausalLM(llama).save_pretrained(folder / "teacher")
    transformers.BertForMaskedLM(transformers.BertConfig(**sizes)).save_pretrained(folder / "bert")
    t5 = transformers.T5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4)
    transformers.T5ForConditionalGeneration(t5).save_pretrained(folder / "t5")
    gpt2 = transformers.GPT2Config(vocab_size=32, n_embd=32, n_layer=2, n_head=4, n_positions=32)
    gpt2.bos_token_id = gpt2.eos_token_id = 0
    transformers.GPT2LMHeadModel(gpt2).save_pretrained(folder / "gpt2")
    return folder


@pytest.fixture
def teacher(models: Path, tmp_path: Path) -> Path:
    """The teacher's folder, to be broken."""
    return copied(models / "teacher", tmp_path / "teacher")


@pytest.fixture
def bert(models: Path, tmp_path: Path) -> Path:
    return copied(models / "bert", tmp_path / "bert")


@pytest.fixture
def gpt2(models: Path, tmp_path: Path) -> Path:
    return copied(models / "gpt2", tmp_path / "gpt2")


@pytest.fixture(autouse=True)
def nothing_beside_the_message(models: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """What libraries print past Python's streams counts, too."""
    capfd.readouterr()
    yield
    captured = capfd.readouterr()
    assert captured.err == ""


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """A read that waits for ever is a failure, not a test run without an end."""

    def ring(*_: object) -> None:
        raise AssertionError("this hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(600)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder of a command line that names its files relatively."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
