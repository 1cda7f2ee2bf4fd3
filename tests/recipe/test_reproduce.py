"""An output is made again from its lineage, or it is said what stands in the way, or what differs."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.recipe.test_run import TWO

import scionwood
from scionwood.checkpoint import digest, open, write
from scionwood.cli import run
from scionwood.errors import SourceError
from scionwood.recipe.read import parse_recipe
from scionwood.recipe.reproduce import compare, reproduce
from scionwood.recipe.run import make


@pytest.fixture
def out(family: Path) -> Path:
    return write(make(parse_recipe(TWO)).checkpoint, "out")


def change(path: Path, name: str, number: int) -> None:
    tensors = load_file(path)
    tensors[name].view(-1)[number] += 1
    save_file(tensors, path, metadata=None)


def test_a_merge_of_merges_is_made_again(out: Path) -> None:
    found = reproduce(out)
    assert found.identical
    assert found.tensors == 4
    reproduce(out, out=Path("again"))
    assert digest("again", full=True) == digest(out, full=True)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_outputs_of_short_commands_are_made_again(family: Path, dtype: str | None) -> None:
    merged = scionwood.merge(["chat", "math"], base="llama", method="dare", options={"density": 0.4}, seed=7)
    write(merged, "out", dtype=dtype)
    assert reproduce("out").identical
    write("llama", "copy", dtype=dtype)
    assert reproduce("copy").identical
    write("copy", "copy of a copy.safetensors", dtype=dtype)
    assert reproduce("copy of a copy.safetensors").identical


def test_a_selection_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=32, num_hidden_layers=3, max_position_embeddings=32, **sizes)
    LlamaForCausalLM(config).save_pretrained("teacher")
    smaller = {"intermediate_size": 12, "num_hidden_layers": 2}
    options = {"method": "random", "seed": 3, "depth": [0, 2], "rescale": "variance"}
    write(scionwood.select("teacher", set=smaller, **options), "student")
    assert reproduce("student").identical
    # A selection out of a merge, too: the lineage tells the one inside the other.
    source = {"verb": "merge", "models": ["teacher"], "options": {"weights": 2, "normalize": False}}
    write(make(parse_recipe({"verb": "select", "source": source, "like": "student"})).checkpoint, "other")
    assert reproduce("other").identical
    assert not compare(open("student"), open("other")).identical


def test_a_changed_output_is_told_by_tensor(out: Path) -> None:
    lineage = (out / "scionwood.yaml").read_text()
    tensors = load_file(out / "model.safetensors")
    tensors["head.weight"][0, 3] += 0.5
    tensors["head.weight"][1, 1] = float("nan")
    del tensors["embed.weight"]
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    assert (out / "scionwood.yaml").read_text() == lineage
    found = reproduce(out)
    assert not found.identical
    assert found.tensors == 4
    reasons = {each.name: each.reason for each in found.differences}
    assert reasons == {
        "head.weight": "2 of 96 elements, by inf at most",
        "embed.weight": "is made again, and is not there",
    }


def test_a_difference_has_its_size(family: Path) -> None:
    left = {"a": torch.tensor([1.0, 2.0, 4.0]), "b": torch.zeros(2), "c": torch.tensor(True)}
    right = {"a": torch.tensor([1.0, 2.5, 3.0]), "b": torch.zeros(2).half(), "c": torch.tensor(True)}
    found = compare(open(left), open(right))
    assert [(each.name, each.elements, each.largest) for each in found.differences] == [("a", 2, 1.0), ("b", 0, 0.0)]
    assert found.differences[1].reason == "[2] float32 is made again as [2] float16"
    # Zeros of two signs are equal numbers and different bits.
    assert not compare(open({"a": torch.tensor([0.0])}), open({"a": torch.tensor([-0.0])})).identical


def test_parents_that_are_missing_or_changed_are_all_told(out: Path) -> None:
    shutil.move("math", "elsewhere")
    change(Path("chat/model.safetensors"), "head.weight", 0)
    with pytest.raises(SourceError) as caught:
        reproduce(out)
    first, second = sorted(caught.value.problems)
    assert first.startswith("chat has changed: its digest is sampled-sha256:")
    assert second.startswith("math is missing: ")
    with pytest.raises(SourceError) as caught:
        reproduce(out, renamed={"math": "elsewhere"})
    assert len(caught.value.problems) == 1


def test_a_parent_that_was_moved_is_named(out: Path) -> None:
    shutil.move("math", "elsewhere")
    assert reproduce(out, renamed={"math": "elsewhere"}).identical


def test_what_was_in_memory_is_gone(family: Path) -> None:
    write(scionwood.merge([{"w": torch.zeros(2)}, {"w": torch.ones(2)}]), "out")
    with pytest.raises(SourceError, match="memory was not on a disk, and is gone"):
        reproduce("out")


def test_what_scionwood_did_not_write_has_no_lineage(family: Path) -> None:
    with pytest.raises(SourceError, match="chat has no lineage"):
        reproduce("chat")


def test_the_exit_code_says_whether_it_is_identical(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", "out"]) == 0
    assert capsys.readouterr().out == "identical: all 4 tensors of out are made again bit for bit\n"
    lines = (out / "scionwood.yaml").read_text()
    shutil.rmtree(out)
    write("llama", "out")
    change(out / "model.safetensors", "head.weight", 5)
    (out / "scionwood.yaml").write_text(lines)
    assert run(["reproduce", "out"]) == 1
    assert capsys.readouterr().out.startswith("different: 4 of 4 tensors of out\n  embed.weight: ")
    assert run(["reproduce", "chat"]) == 2
