"""Modules and state dicts as checkpoints, and files that torch.save wrote."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scionwood.checkpoint import open
from scionwood.errors import SourceError

Same = Callable[..., bool]
Weights = dict[str, torch.Tensor]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("cache", torch.zeros(100), persistent=False)


class Config:
    def __init__(self, **values: Any) -> None:
        self.values = values

    def to_dict(self) -> dict[str, Any]:
        return self.values


def test_a_module_gives_its_parameters_and_persistent_buffers_and_its_ties() -> None:
    model = Tied()
    checkpoint = open(model)
    assert list(checkpoint.tensors) == ["scale", "embed.weight"]
    assert dict(checkpoint.ties) == {"head.weight": "embed.weight"}
    assert checkpoint.source == "Tied"
    assert checkpoint.tensors["embed.weight"].read().data_ptr() == model.embed.weight.data_ptr()
    assert not checkpoint["embed.weight"].requires_grad
    Tied().load_state_dict(dict(checkpoint))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda model: torch.compile(nn.DataParallel(model))])
def test_wrappers_are_taken_off(wrap: Callable[[nn.Module], nn.Module]) -> None:
    checkpoint = open(wrap(Tied()))
    assert list(checkpoint) == ["scale", "embed.weight", "head.weight"]
    assert checkpoint.source == "Tied"


def test_a_compiled_part_is_named_as_if_it_were_not() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1] = torch.compile(model[1])  # type: ignore[assignment]
    assert list(open(model)) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_module_that_calls_its_child_module_keeps_the_name() -> None:
    model = nn.ModuleDict({"module": nn.Linear(1, 1)})
    assert list(open(model)) == ["module.weight", "module.bias"]


def test_the_prefixes_of_wrappers_are_stripped_from_a_state_dict() -> None:
    assert list(open({"module._orig_mod.a": torch.ones(1), "module._orig_mod.b": torch.ones(1)})) == ["a", "b"]
    assert list(open({"_orig_mod.module.a": torch.ones(1)})) == ["a"]
    assert list(open({"module.a": torch.ones(1), "b": torch.ones(1)})) == ["module.a", "b"]
    with pytest.raises(SourceError, match="has names that are the same once"):
        open({"_orig_mod.a": torch.ones(1), "a": torch.ones(1)})


def test_the_config_of_a_module_is_what_a_file_would_hold() -> None:
    model = Tied()
    model.config = Config(id2label={0: "a"}, sizes=(1, 2), architectures=None)  # type: ignore[assignment]
    assert open(model).config == {"id2label": {"0": "a"}, "sizes": [1, 2], "architectures": ["Tied"]}
    model.config = Config(dtype=torch.float32)  # type: ignore[assignment]
    with pytest.raises(SourceError, match="The config of Tied cannot be written as JSON"):
        open(model)


def test_only_what_shows_the_same_memory_in_the_same_way_is_tied() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    entries = {"a": base, "same": base, "view": base.view(4, 3), "rows": base[:2], "turned": base.T, "other": base + 0}
    checkpoint = open(entries)
    assert dict(checkpoint.ties) == {"same": "a"}
    for name, value in entries.items():
        assert torch.equal(checkpoint[name], value), name


def test_empty_tensors_are_never_tied() -> None:
    assert dict(open({"a": torch.empty(0), "b": torch.empty(0)}).ties) == {}


def test_everything_that_is_not_plain_values_is_listed() -> None:
    with pytest.raises(SourceError) as caught:
        open(
            {
                "ok": torch.ones(1),
                "step": 3,
                "ghost": torch.empty(2, device="meta"),
                "sparse": torch.eye(2).to_sparse(),
                "codes": torch.zeros(2, dtype=torch.uint8).to_sparse(),
            }
        )
    assert caught.value.problems == (
        "'step' is a int, not a tensor",
        "'ghost' is on the meta device and has no values",
        "'sparse' is torch.sparse_coo, not a plain dense tensor",
        "'codes' is torch.sparse_coo, not a plain dense tensor",
    )
    with pytest.raises(SourceError, match="names that are not text"):
        open({3: torch.ones(1)})  # type: ignore[dict-item]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(KeyError, match="did you mean 'embed.weight'"):
        open(Tied())["embed.weigth"]


# ------------------------------------------------------------------------------------------------ torch files


@pytest.mark.parametrize("name", ["oak.pt", "oak.pth", "oak.bin", "oak.ckpt"])
def test_a_torch_file(tmp_path: Path, weights: Weights, same: Same, name: str) -> None:
    torch.save(weights, tmp_path / name)
    checkpoint = open(tmp_path / name)
    assert same(checkpoint, weights)
    assert list(checkpoint.files) == [name]


def test_a_torch_file_older_than_zip(tmp_path: Path, weights: Weights, same: Same) -> None:
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(open(tmp_path / "old.pt"), weights)


def test_a_torch_file_is_mapped(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(64 << 20, dtype=torch.uint8)}, tmp_path / "x.pt")

    def anonymous() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) << 10

    before = anonymous()
    values = open(tmp_path / "x.pt").tensors["x"].read()
    assert int(values.sum()) == 0
    assert anonymous() - before < 16 << 20


def test_shared_memory_in_a_torch_file_is_a_tie(tmp_path: Path) -> None:
    torch.save(Tied().state_dict(), tmp_path / "x.pt")
    assert dict(open(tmp_path / "x.pt").ties) == {"head.weight": "embed.weight"}


def test_a_folder_with_a_torch_file_and_with_its_shards(tmp_path: Path, weights: Weights, same: Same) -> None:
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert same(open(tmp_path), weights)
    (tmp_path / "pytorch_model.bin").unlink()
    names = list(weights)
    weight_map = {}
    for number, part in enumerate((names[:2], names[2:]), start=1):
        file = f"pytorch_model-{number:05d}-of-00002.bin"
        torch.save({name: weights[name] for name in part}, tmp_path / file)
        weight_map |= dict.fromkeys(part, file)
    import json

    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert same(open(tmp_path), weights)


def test_the_weights_within_a_training_checkpoint(tmp_path: Path, weights: Weights, same: Same) -> None:
    path = tmp_path / "x.pt"
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    torch.save({"epoch": 3, "model": wrapped, "optimizer": {"state": {}}}, path)
    assert same(open(path), weights)
    torch.save({"model": weights, "ema": {"x": torch.ones(1)}}, path)
    with pytest.raises(SourceError, match="holds several state dicts: 'model', 'ema'"):
        open(path)
    assert same(open(path, entry="model"), weights)
    with pytest.raises(SourceError, match=r"has no entry 'modle' \(did you mean 'model'\?\)"):
        open(path, entry="modle")
    torch.save({"step": 3}, path)
    with pytest.raises(SourceError, match="holds entries that are no tensors"):
        open(path)
    with pytest.raises(SourceError, match="The entry 'step' of .* is a int, not a state dict"):
        open(path, entry="step")
    torch.save([1], path)
    with pytest.raises(SourceError, match="holds a list, not a state dict"):
        open(path)


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def plain_pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=2))


def old_torch(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [torch.save, old_torch, plain_pickle])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, save: Callable[..., None]) -> None:
    save({"weight": Bomb(tmp_path / "exploded")}, tmp_path / "bomb.bin")
    with pytest.raises(SourceError, match="bomb.bin holds more than plain tensors") as caught:
        open(tmp_path / "bomb.bin")
    assert caught.value.message.endswith(
        "bomb.bin holds more than plain tensors (posix.mkdir), and is not read: that might run code."
    )
    assert not (tmp_path / "exploded").exists()


def test_a_pickle_that_torch_does_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.bin").write_bytes(pickle.dumps({"weight": Bomb(tmp_path / "exploded")}, protocol=4))
    with pytest.raises(SourceError, match="holds more than plain tensors, and is not read"):
        open(tmp_path / "bomb.bin")


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_a_torch_file_that_is_cut_short_is_refused(tmp_path: Path, weights: Weights, keep: int) -> None:
    path = tmp_path / "x.pt"
    torch.save(weights, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SourceError, match=r"x\.pt (is damaged|holds more than plain tensors)"):
        open(path)
