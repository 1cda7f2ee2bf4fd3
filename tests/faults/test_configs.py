"""Configs that are damaged, impossible, or not those of the weights; and sizes that a target cannot have."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bench import SMALLER, configured, copied, refused, scionwood

CONFIG = "config.json"

# ------------------------------------------------------------------------------------------------ the file

FILES: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", ["is not JSON", "line 1, column 1"]),
    "no JSON": (b"{not json", ["is not JSON", "line 1, column 2"]),
    "cut short": (b'{"model_type": "llama"', ["is not JSON", "line 1, column 23"]),
    "a list": (b"[]", ["holds a JSON list, not an object"]),
    "a number": (b"3", ["holds a JSON int, not an object"]),
    "no text": (b"\xff\xfe", ["is not UTF-8 text (byte 0)"]),
    "a key twice": (b'{"model_type": "llama", "model_type": "bert"}', ["'model_type' twice"]),
    "nested without end": (b"[" * 100_000, ["nested too deeply"]),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_config_that_cannot_be_read(teacher: Path, tmp_path: Path, fault: str) -> None:
    text, words = FILES[fault]
    (teacher / CONFIG).write_bytes(text)
    words = [f"{teacher / CONFIG} ", *words]
    refused(tmp_path, "select", teacher, *SMALLER, "--out", tmp_path / "out", words=words)
    refused(tmp_path, "anatomy", teacher, words=words)
    refused(tmp_path, "anatomy", teacher / CONFIG, words=words)
    refused(tmp_path, "digest", teacher, words=words)


def test_a_config_larger_than_any(teacher: Path, tmp_path: Path) -> None:
    with (teacher / CONFIG).open("wb") as file:
        file.truncate(100_000_001)  # without taking place on the disk
    outcome = scionwood("anatomy", teacher)
    assert outcome.code == 2
    assert "config.json has 100,000,001 bytes, more than any config" in outcome.err


@pytest.mark.parametrize(
    ("put", "words"),
    [
        (Path.mkdir, ["config.json is a folder, not a file"]),
        (os.mkfifo, ["config.json is a pipe or a device, not a file"]),
        (lambda path: path.symlink_to(CONFIG), ["config.json is a link that leads in a circle"]),
        (lambda path: path.symlink_to("/etc/hostname"), ["config.json is a link that leads out of its folder"]),
    ],
)
def test_something_else_under_the_name_of_a_config(teacher: Path, tmp_path: Path, put: Any, words: list[str]) -> None:
    (teacher / CONFIG).unlink()
    put(teacher / CONFIG)
    for command in ("select", "anatomy", "digest", "lineage"):
        flags = [*SMALLER, "--out", tmp_path / "out"] if command == "select" else []
        refused(tmp_path, command, teacher, *flags, words=words)


# ------------------------------------------------------------------------------------------------ the family


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "lama"}, ["transformers knows no model_type 'lama'", "did you mean 'llama'?"]),
        ({"model_type": "oak-and-ash"}, ["transformers knows no model_type 'oak-and-ash'"]),
        ({"model_type": 5}, ["transformers knows no model_type 5"]),
        ({"model_type": None}, ["names no model_type"]),
        (
            {"model_type": "oak", "auto_map": {"AutoModel": "modeling_oak.Oak"}},
            ["asks for code of its own (auto_map)", "does not run", "package.module:function"],
        ),
    ],
)
def test_a_family_that_is_not_known(teacher: Path, tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    configured(teacher, **changes)
    (teacher / "modeling_oak.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    refused(tmp_path, "anatomy", teacher, words=[str(teacher), *words])
    refused(tmp_path, "select", teacher, *SMALLER, "--out", tmp_path / "out", words=[str(teacher), *words])


def test_a_config_without_a_family(teacher: Path, tmp_path: Path) -> None:
    configured(teacher, model_type=...)
    refused(tmp_path, "anatomy", teacher, words=["names no model_type", "which family it is"])
    refused(tmp_path, "select", teacher, *SMALLER, "--out", tmp_path / "out", words=["which model it is"])


def test_a_known_family_runs_the_code_of_transformers_only(teacher: Path, tmp_path: Path) -> None:
    """As transformers itself does without ``trust_remote_code``."""
    configured(teacher, auto_map={"AutoModelForCausalLM": "modeling_oak.Oak"})
    (teacher / "modeling_oak.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    outcome = scionwood("select", teacher, *SMALLER, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out" / "modeling_oak.py").exists(), "nor is the code carried on"


# ------------------------------------------------------------------------------------------------ the settings

SETTINGS: list[tuple[dict[str, Any], list[str]]] = [
    ({"hidden_size": "32"}, ["hidden_size", "expected int, got str"]),
    ({"hidden_size": None}, ["hidden_size", "expected int, got NoneType"]),
    ({"hidden_size": 32.5}, ["hidden_size", "expected int, got float"]),
    ({"hidden_size": [32]}, ["hidden_size", "expected int, got list"]),
    ({"hidden_size": -32}, ["hidden_size is -32"]),
    ({"hidden_size": 2**70}, ["hidden_size is 1180591620717411303424, larger than any tensor"]),
    ({"num_attention_heads": 0}, ["num_attention_heads is 0"]),
    ({"num_attention_heads": 3}, ["hidden size (32)", "attention heads (3)"]),
    ({"num_key_value_heads": 0}, ["num_key_value_heads is 0"]),
    ({"num_key_value_heads": 3}, ["num_attention_heads (4) is not a multiple of num_key_value_heads (3)"]),
    ({"head_dim": 7}, ["even rotary dimension", "`head_dim`=7"]),
    ({"num_hidden_layers": 0}, ["num_hidden_layers is 0", "at least one block"]),
    ({"num_hidden_layers": -1}, ["num_hidden_layers is -1"]),
    ({"num_hidden_layers": 10**9}, ["num_hidden_layers is 1000000000"]),
    ({"hidden_act": "gelo"}, ["hidden_act is 'gelo'", "did you mean 'gelu'?"]),
    ({"rope_parameters": 5}, ["rope_parameters"]),
    ({"rope_parameters": {"rope_type": "oak", "rope_theta": 1.0}}, ["it does not know 'oak'"]),
    ({"dtype": "floot32"}, ["floot32"]),
    ({"architectures": ["BertModel"]}, ["BertModel cannot be built"]),
]


@pytest.mark.parametrize(("changes", "words"), SETTINGS, ids=str)
def test_a_setting_that_no_model_has(teacher: Path, tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    configured(teacher, **changes)
    refused(tmp_path, "anatomy", teacher, words=[f"{teacher}: ", *words])


@pytest.mark.parametrize("changes", [{"hidden_size": "32"}, {"num_attention_heads": 3}], ids=str)
def test_a_source_with_such_a_setting(teacher: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    configured(teacher, **changes)
    flags = ["--set", "intermediate_size=12", "--out", tmp_path / "out"]
    refused(tmp_path, "select", teacher, *flags, words=[f"{teacher}: the config of a llama is not valid"])


@pytest.mark.parametrize("changes", [{"hidden_size": 2**40}, {"vocab_size": 10**13}], ids=str)
def test_a_model_of_terabytes_takes_no_memory(teacher: Path, changes: dict[str, Any]) -> None:
    configured(teacher, **changes)
    outcome = scionwood("anatomy", teacher, "--json")
    assert outcome.code == 0, outcome.err
    sizes = [axis["size"] for axis in json.loads(outcome.out)["axes"].values()]
    assert next(iter(changes.values())) in sizes


def test_a_table_of_positions_of_terabytes_takes_none_either(bert: Path) -> None:
    configured(bert, max_position_embeddings=10**12)
    outcome = scionwood("anatomy", bert)
    assert outcome.code == 0, outcome.err


# ------------------------------------------------------------------------------------------------ the weights


def test_weights_of_other_shapes_are_all_listed(teacher: Path, tmp_path: Path) -> None:
    configured(teacher, intermediate_size=48)
    said = refused(
        tmp_path,
        *("select", teacher, "--set", "hidden_size=16", "--out", tmp_path / "out"),
        words=["the weights do not fit the config", "is the config.json that of these weights?"],
    )
    for part, shapes in {"gate": "[24, 32]", "up": "[24, 32]", "down": "[32, 24]"}.items():
        assert f"model.layers.0.mlp.{part}_proj.weight: {shapes} in the file" in said
    assert said.count("(and in 2 more blocks)") == 3, "what repeats over blocks is said once"


def test_blocks_that_are_missing_are_listed(teacher: Path, tmp_path: Path) -> None:
    configured(teacher, num_hidden_layers=5)
    said = refused(
        tmp_path,
        *("select", teacher, "--set", "num_hidden_layers=4", "--out", tmp_path / "out"),
        words=["the weights do not fit the config", "model.layers.3.mlp.up_proj.weight: [24, 32] by the config"],
    )
    assert len(said.splitlines()) == 11, "nine tensors of a block, each once"


def test_weights_without_a_head_are_a_source(teacher: Path, tmp_path: Path) -> None:
    """A base model under the config of a model with a head: the head is fresh, and said to be."""
    from safetensors.torch import load_file, save_file

    weights = load_file(teacher / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, teacher / "model.safetensors", metadata={"format": "pt"})
    outcome = scionwood("select", teacher, *SMALLER, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "fresh  1 tensor" in outcome.out
    assert "lm_head.weight" in outcome.out


def test_a_quantized_source(teacher: Path, tmp_path: Path) -> None:
    configured(teacher, quantization_config={"quant_method": "gptq"})
    refused(tmp_path, "select", teacher, *SMALLER, "--out", tmp_path / "out", words=["is quantized (gptq)"])


# ------------------------------------------------------------------------------------------------ the target

GROW = ["growing, another verb"]
NO_TARGET: dict[str, tuple[list[str], list[str]]] = {
    "wider": (["hidden_size=64"], ["model.embed_tokens.weight: [32, 32] in the source, [32, 64] in the target", *GROW]),
    "wider inside": (["intermediate_size=48"], ["mlp.inner has 48 in the target, 24 in the source", *GROW]),
    "deeper": (["num_hidden_layers=6"], ["model.layers has 6 blocks in the target, 3 in the source", *GROW]),
    "more heads of keys": (["num_key_value_heads=4"], ["has 4 in the target, 2 in the source", *GROW]),
    "more heads": (["num_attention_heads=8"], ["has 4 indices in the target, 2 in the source", *GROW]),
    "larger in every way": (
        ["hidden_size=64", "intermediate_size=48", "num_hidden_layers=6", "vocab_size=64"],
        ["6 blocks", "hidden has 64", "mlp.inner has 48", "vocab has 64", *GROW],
    ),
    "fewer words": (["vocab_size=16"], ["the vocabularies differ (32 and 16 entries)", "a row means a token"]),
    "rotary sizes": (["head_dim=6"], ["rotary", "3 does not divide 4"]),
    "odd rotary sizes": (["head_dim=5"], ["even rotary dimension"]),
    "heads and width": (["hidden_size=18"], ["hidden size (18)", "not a multiple", "attention heads (4)"]),
    "heads": (["num_attention_heads=3"], ["hidden size (32)", "not a multiple", "attention heads (3)"]),
    "groups": (["num_key_value_heads=3"], ["num_attention_heads (4)", "not a multiple", "num_key_value_heads (3)"]),
    "no heads": (["num_attention_heads=0"], ["num_attention_heads is 0"]),
    "no width": (["hidden_size=0"], ["hidden_size is 0"]),
    "less than no width": (["hidden_size=-4"], ["hidden_size is -4"]),
    "no blocks": (["num_hidden_layers=0"], ["num_hidden_layers is 0"]),
    "less than no blocks": (["num_hidden_layers=-2"], ["num_hidden_layers is -2"]),
    "nothing inside": (["intermediate_size=0"], ["source 24, target 0"]),
    "words for a size": (["hidden_size=wide"], ["hidden_size", "expected int, got str (value: 'wide')"]),
    "no size": (["hidden_size="], ["hidden_size", "expected int, got str"]),
    "a broken size": (["hidden_size=16.5"], ["hidden_size", "expected int, got float"]),
    "a list of sizes": (["hidden_size=[16]"], ["hidden_size", "expected int, got list"]),
    "yes for a size": (["hidden_size=true"], ["hidden_size", "expected int, got bool"]),
    "another family": (["model_type=bert"], ["model_type cannot be set", "--like CONFIG"]),
}


@pytest.mark.parametrize("fault", NO_TARGET)
def test_a_target_that_cannot_be(teacher: Path, tmp_path: Path, fault: str) -> None:
    sizes, words = NO_TARGET[fault]
    flags = [flag for size in sizes for flag in ("--set", size)]
    refused(tmp_path, "select", teacher, *flags, "--out", tmp_path / "out", words=words)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (["hidden_size=16", "num_attention_heads=3"], ["hidden size (16)", "not a multiple", "(3)"]),
        (["max_position_embeddings=64"], ["position_embeddings", "64 in the target, 32 in the source", *GROW]),
        (["type_vocab_size=3"], ["token_type_embeddings", "3 in the target, 2 in the source", *GROW]),
    ],
)
def test_a_target_that_cannot_be_without_rotary_positions(
    bert: Path, tmp_path: Path, sizes: list[str], words: list[str]
) -> None:
    flags = [flag for size in sizes for flag in ("--set", size)]
    refused(tmp_path, "select", bert, *flags, "--out", tmp_path / "out", words=words)


def test_of_lists_within_lists_the_outermost_is_named(models: Path, tmp_path: Path) -> None:
    flags = ["--set", "num_decoder_layers=5", "--out", tmp_path / "out"]
    words = ["decoder.block has 5 blocks in the target, 2 in the source", *GROW]
    assert "block.3" not in refused(tmp_path, "select", models / "t5", *flags, words=words)


def test_a_part_of_a_config_is_no_size(teacher: Path, tmp_path: Path) -> None:
    flags = ["--set", "rope_parameters=3", "--out", tmp_path / "out"]
    words = ["rope_parameters is made of settings of its own", "rope_parameters."]
    refused(tmp_path, "select", teacher, *flags, words=words)


def test_the_number_of_classes_is_a_size_though_no_config_stores_it(bert: Path, tmp_path: Path) -> None:
    configured(bert, architectures=["BertForSequenceClassification"])
    outcome = scionwood("select", bert, "--set", "num_labels=3", "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "classifier.weight" in outcome.out
    assert len(json.loads((tmp_path / "out" / CONFIG).read_text())["id2label"]) == 3
    refused(tmp_path, "select", bert, "--set", "num_labels=0", "--out", tmp_path / "none", words=["num_labels"])


@pytest.mark.parametrize(("source", "like"), [("teacher", "bert"), ("bert", "teacher"), ("bert", "gpt2")])
def test_different_families(models: Path, tmp_path: Path, source: str, like: str) -> None:
    refused(
        tmp_path,
        *("select", models / source, "--like", models / like, "--out", tmp_path / "out"),
        words=["different families", source, like, "one model type"],
    )


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: configured(folder, model_type="lama"), ["did you mean 'llama'?"]),
        (lambda folder: configured(folder, hidden_size="x"), ["expected int, got str"]),
        (lambda folder: (folder / CONFIG).unlink(), ["has no config.json"]),
        (lambda folder: (folder / CONFIG).write_text("[]"), ["holds a JSON list"]),
        (lambda folder: configured(folder, auto_map={"AutoModel": "x.Y"}, model_type="oak"), ["code of its own"]),
    ],
)
def test_a_target_whose_config_is_wrong(teacher: Path, tmp_path: Path, break_it: Any, words: list[str]) -> None:
    like = copied(teacher, tmp_path / "like")
    break_it(like)
    refused(tmp_path, "select", teacher, "--like", like, "--out", tmp_path / "out", words=["tmp" and str(like), *words])
