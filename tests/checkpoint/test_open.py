"""Opening: every form of source, and every way in which a folder can be wrong."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from scionwood.checkpoint import open, open_config
from scionwood.errors import SourceError

Same = Callable[..., bool]
Weights = dict[str, torch.Tensor]


def write_index(folder: Path, weight_map: Any, name: str = "model.safetensors.index.json") -> None:
    (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def read_index(folder: Path) -> dict[str, str]:
    return json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]


# ------------------------------------------------------------------------------------------------ what opens


def test_a_folder(folder: Path, weights: Weights, same: Same) -> None:
    checkpoint = open(folder)
    assert same(checkpoint, weights)
    assert checkpoint.config == {"model_type": "oak", "torch_dtype": "float32", "hidden_size": 4}
    assert list(checkpoint.files) == ["model.safetensors"]
    assert checkpoint.source == str(folder)
    assert (checkpoint.num_parameters, checkpoint.nbytes) == (89, 48 * 4 + 32 * 2 + 8 * 4 + 8)
    assert repr(checkpoint) == f"Checkpoint('{folder}': 6 tensors, 89 parameters, 296 bytes, int64, float32, bfloat16)"


def test_a_string_is_as_good_as_a_path(folder: Path, weights: Weights, same: Same) -> None:
    assert same(open(str(folder)), weights)


def test_the_home_folder_may_be_written_short(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(open("~/oak")) == 6


def test_shards(sharded: Path, weights: Weights, same: Same) -> None:
    checkpoint = open(sharded)
    assert same(checkpoint, weights)
    assert list(checkpoint.files) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def test_an_index(sharded: Path, weights: Weights, same: Same) -> None:
    (sharded / "config.json").write_text("{}")
    checkpoint = open(sharded / "model.safetensors.index.json")
    assert same(checkpoint, weights)
    assert checkpoint.config == {}


def test_a_single_file_brings_no_config_and_no_side_files(folder: Path, weights: Weights, same: Same) -> None:
    checkpoint = open(folder / "model.safetensors")
    assert same(checkpoint, weights)
    assert (checkpoint.config, dict(checkpoint.side_files)) == (None, {})


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "oak-v2.safetensors"])
def test_a_folder_with_one_file_of_another_name(tmp_path: Path, weights: Weights, same: Same, name: str) -> None:
    save_file(weights, tmp_path / name)
    assert same(open(tmp_path), weights)


def test_a_folder_with_one_index_of_another_name(sharded: Path, weights: Weights, same: Same) -> None:
    (sharded / "model.safetensors.index.json").rename(sharded / "diffusion.safetensors.index.json")
    assert same(open(sharded), weights)


def test_a_single_file_comes_before_shards(sharded: Path, same: Same) -> None:
    save_file({"x": torch.ones(1)}, sharded / "model.safetensors")
    assert same(open(sharded), {"x": torch.ones(1)})


def test_an_adapter_is_a_checkpoint_of_its_factors(tmp_path: Path, same: Same) -> None:
    factors = {"base_model.model.layer.lora_A.weight": torch.ones(2, 4)}
    save_file(factors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}')
    checkpoint = open(tmp_path)
    assert same(checkpoint, factors)
    assert checkpoint.config == {"peft_type": "LORA", "r": 2}
    assert checkpoint.is_adapter
    assert open_config(tmp_path) == {"peft_type": "LORA", "r": 2}


def test_an_open_checkpoint_passes_through(folder: Path) -> None:
    checkpoint = open(folder)
    assert open(checkpoint) is checkpoint


def test_the_aliases_that_save_model_notes_are_ties(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    save_model(model, str(tmp_path / "model.safetensors"))
    checkpoint = open(tmp_path)
    assert dict(checkpoint.ties) == {"b.weight": "a.weight"}
    assert set(checkpoint) == set(model.state_dict())
    assert torch.equal(checkpoint["b.weight"], model["a"].weight)
    model.load_state_dict(dict(checkpoint))
    state = checkpoint.state_dict()
    assert state["a.weight"] is state["b.weight"]


def test_metadata_that_names_no_tensor_is_no_tie(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors", metadata={"format": "pt", "b": "c", "a": "a"})
    assert dict(open(tmp_path / "x.safetensors").ties) == {}


def test_tensors_come_in_the_order_of_their_bytes(tmp_path: Path, make_safetensors: Any) -> None:
    entry = {"dtype": "U8", "shape": [1]}
    header = {"b": {**entry, "data_offsets": [1, 2]}, "a": {**entry, "data_offsets": [0, 1]}}
    assert list(open(make_safetensors(header, b"\1\2"))) == ["a", "b"]


def test_side_files_travel_and_what_tells_of_the_parent_stays(folder: Path) -> None:
    (folder / "onnx").mkdir()
    (folder / "onnx" / "note.txt").write_text("")
    assert sorted(open(folder).side_files) == ["LICENSE", "generation_config.json", "modeling_oak.py", "tokenizer.json"]


def test_the_modules_of_sentence_transformers_travel(folder: Path) -> None:
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "1_Pooling" / "model.safetensors").write_bytes(b"")
    (folder / "modules.json").write_text(
        json.dumps([{"path": ""}, {"path": "1_Pooling"}, {"path": "../.."}, {"path": "gone"}])
    )
    names = open(folder).side_files
    assert "1_Pooling/config.json" in names
    assert "modules.json" in names
    assert not any(name.endswith("model.safetensors") or ".." in name for name in names)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"name": 1}]', '[{"path": 3}]', "[" * 100_000])
def test_modules_that_are_malformed_name_nothing(folder: Path, text: str) -> None:
    (folder / "modules.json").write_text(text)
    assert "tokenizer.json" in open(folder).side_files


def test_infinity_in_a_config_is_read(folder: Path) -> None:
    (folder / "config.json").write_text('{"time_step_limit": [0.0, Infinity]}')
    assert open(folder).config == {"time_step_limit": [0.0, float("inf")]}


def test_a_config_that_asks_for_code_is_only_recorded(folder: Path) -> None:
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "modeling_oak.Oak"}}')
    assert open(folder).config == {"auto_map": {"AutoModel": "modeling_oak.Oak"}}


# ------------------------------------------------------------------------------------------------ what does not


def refused(source: Any, **options: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        open(source, **options)
    return caught.value


def test_a_missing_path_names_its_nearest_neighbour(folder: Path) -> None:
    assert str(refused(folder.parent / "oka")) == (
        f"There is no file or folder {folder.parent / 'oka'} (did you mean 'oak'?)."
    )
    assert "(did you mean 'oak'?)" in str(refused(folder.parent / "oakk" / "sub" / "model"))
    assert "(did you mean 'model.safetensors'?)" in str(refused(folder / "model.safetensor"))


def test_a_folder_without_weights(tmp_path: Path) -> None:
    assert str(refused(tmp_path)).endswith("no adapter_model.safetensors; it is empty.")
    (tmp_path / "config.json").write_text("{}")
    assert str(refused(tmp_path)).endswith("; it has config.json.")


def test_a_folder_with_several_files_of_weights(tmp_path: Path, weights: Weights) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_file(weights, tmp_path / name)
    error = refused(tmp_path)
    assert error.problems == ("a.safetensors", "b.safetensors")
    assert error.hint == "Name one of them."


def test_shards_without_an_index(sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").unlink()
    assert "has shards, such as model-00001-of-00002.safetensors, but no index" in str(refused(sharded))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert "is not a file of weights by its name" in str(refused(tmp_path / "model.gguf"))


def test_an_index_that_names_missing_shards_lists_them_all(sharded: Path) -> None:
    for file in set(read_index(sharded).values()):
        (sharded / file).unlink()
    error = refused(sharded)
    assert error.message == f"{sharded / 'model.safetensors.index.json'} names files that cannot be read."
    assert [problem.split("/")[-1] for problem in error.problems] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "../oak/model.safetensors",
        "/etc/model.safetensors",
        "a/../../model.safetensors",
        "a\\b.safetensors",
        "\0.safetensors",
    ],
)
def test_an_index_that_leads_out_of_its_folder(sharded: Path, folder: Path, name: str) -> None:
    write_index(sharded, {"x": name})
    error = refused(sharded)
    assert error.problems == (f"{name!r} is not the name of a file in {sharded}",)


@pytest.mark.parametrize("name", ["", "config.json", ".", "passwd"])
def test_an_index_that_names_no_weights(sharded: Path, name: str) -> None:
    write_index(sharded, {"x": name})
    assert refused(sharded).problems == (f"{name!r} is not the name of a file of weights",)


def test_an_index_with_a_link_that_leads_out(sharded: Path, folder: Path) -> None:
    (sharded / "out.safetensors").symlink_to(folder / "model.safetensors")
    write_index(sharded, {"x": "out.safetensors"})
    assert "is a link that leads out of its folder, to" in str(refused(sharded))


def test_a_link_that_leads_out_in_place_of_the_weights(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "model.safetensors").symlink_to(folder / "model.safetensors")
    assert "is a link that leads out of its folder" in str(refused(tmp_path / "links"))


def test_a_link_within_the_folder(sharded: Path, weights: Weights, same: Same) -> None:
    file = sharded / "model-00001-of-00002.safetensors"
    file.rename(sharded / "real.safetensors")
    file.symlink_to("real.safetensors")
    assert same(open(sharded), weights)


def test_a_folder_or_file_may_itself_be_named_by_a_link(
    tmp_path: Path, folder: Path, weights: Weights, same: Same
) -> None:
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "file.safetensors").symlink_to(folder / "model.safetensors")
    assert same(open(tmp_path / "link"), weights)
    assert same(open(tmp_path / "file.safetensors"), weights)


def test_side_files_that_lead_out_do_not_travel(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    (folder / "vocab.txt").symlink_to(tmp_path / "secret")
    (folder / "merges.txt").symlink_to(folder / "merges.txt")
    with pytest.warns(UserWarning, match="is not carried along") as said:
        names = open(folder).side_files
    assert not {"vocab.txt", "merges.txt"} & set(names)
    assert [str(warning.message).split()[0] for warning in said] == [
        str(folder / "merges.txt"),
        str(folder / "vocab.txt"),
    ]


def test_a_config_that_is_a_link_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(tmp_path / "other.json")
    assert "config.json is a link that leads out of its folder" in str(refused(folder))


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert str(refused(tmp_path / "a")) == f"{tmp_path / 'a'} is a link that leads in a circle."
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").symlink_to("model.safetensors")
    assert "model.safetensors is a link that leads in a circle." in str(refused(tmp_path / "folder"))


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("gone")
    assert str(refused(tmp_path / "a")) == f"{tmp_path / 'a'} is a link to gone, which does not exist."


@pytest.mark.parametrize("weight_map", [None, [], {}, {"x": 3}, "x"])
def test_an_index_without_a_map(sharded: Path, weight_map: Any) -> None:
    write_index(sharded, weight_map)
    assert "has no weight_map from names of tensors to names of files" in str(refused(sharded))


def test_the_same_tensor_in_two_shards(sharded: Path, weights: Weights) -> None:
    second = sharded / "model-00002-of-00002.safetensors"
    save_file({**{name: weights[name] for name in list(weights)[3:]}, "embed.weight": weights["embed.weight"]}, second)
    error = refused(sharded)
    assert error.message.endswith("model.safetensors.index.json and its shards do not agree.")
    said = "'embed.weight' is in model-00001-of-00002.safetensors and in model-00002-of-00002.safetensors"
    assert said in error.problems


def test_an_index_that_disagrees_with_its_shards_in_every_way(sharded: Path) -> None:
    weight_map = read_index(sharded)
    first, second = sorted(set(weight_map.values()))
    weight_map["embed.weight"] = second
    weight_map["ghost"] = first
    del weight_map["steps"]
    write_index(sharded, weight_map)
    assert refused(sharded).problems == (
        f"'embed.weight' is in {first}, but the index says {second}",
        f"'ghost' is in the index, but not in {first}",
        f"'steps' is in {second}, but not in the index",
    )


def test_a_damaged_shard_is_named_as_the_user_sees_it(sharded: Path) -> None:
    shard = sharded / "model-00002-of-00002.safetensors"
    shard.write_bytes(b"\0" * 20)
    assert str(shard) in str(refused(sharded))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes (line 1, column 2)"),
        ("[]", "holds a JSON list, not an object"),
        ('{"hidden_size": 4, "hidden_size": 8}', "writes the key 'hidden_size' twice"),
        ('{"a": {"b": 1, "b": 2}}', "writes the key 'b' twice"),
    ],
)
def test_a_malformed_config(folder: Path, text: str, said: str) -> None:
    (folder / "config.json").write_text(text)
    assert str(refused(folder)) == f"{folder / 'config.json'} {said}."


def test_a_malformed_lineage_says_where(folder: Path, weights: Weights) -> None:
    (folder / "scionwood.yaml").write_text("recipe: [")
    assert str(refused(folder)) == f"The lineage in {folder / 'scionwood.yaml'} cannot be read: A lineage is not YAML."
    save_file(weights, folder / "model.safetensors", metadata={"scionwood": "{"})
    assert str(refused(folder)) == f"The lineage in {folder} cannot be read: A lineage is not JSON."


def test_what_cannot_be_read_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", denied)
    with pytest.raises(SourceError, match="cannot be read: Permission denied"):
        open(folder)


def test_a_revision_is_only_for_the_hub(folder: Path) -> None:
    assert (
        str(refused(folder, revision="v2")) == f"A revision ('v2') is for a model of the hub, but {folder} is a path."
    )
    assert "not for a dict" in str(refused({}, revision="v2"))


def test_names_that_are_none() -> None:
    assert str(refused("")) == "The name of the source is empty."
    assert str(refused("a\0b")) == "'a\\x00b' is not the name of a file."
    assert "There is no file or folder ~nobody-at-all/oak" in str(refused("~nobody-at-all/oak"))


def test_something_else_is_no_source() -> None:
    assert "not a int" in str(refused(3))


# ------------------------------------------------------------------------------------------------ only a config


def test_a_config_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 4}')
    assert open_config(tmp_path) == open_config(tmp_path / "config.json") == {"hidden_size": 4}
    assert open_config({"hidden_size": 4}) == {"hidden_size": 4}


def test_a_config_of_a_checkpoint(folder: Path) -> None:
    assert open_config(open(folder))["hidden_size"] == 4


def test_a_config_that_is_not_there(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "confg.json").write_text("{}")
    with pytest.raises(SourceError, match=r"has no config.json \(did you mean 'confg.json'\?\)"):
        open_config(tmp_path)
    with pytest.raises(SourceError, match="is not a config: name a folder"):
        open_config(folder / "model.safetensors")
    with pytest.raises(SourceError, match="There is no file or folder"):
        open_config(tmp_path / "gone.json")
    with pytest.raises(SourceError, match="This Linear has no config"):
        open_config(nn.Linear(1, 1))
