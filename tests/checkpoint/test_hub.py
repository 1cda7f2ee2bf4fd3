"""Models of the hub, from a cache made by hand: the tests have no network."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scionwood.checkpoint import digest, open, open_config, parent_of, write
from scionwood.checkpoint.hub import parse_hub_name
from scionwood.errors import DependencyError, SourceError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Same = Callable[..., bool]


@pytest.fixture
def cache(tmp_path: Path, sharded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one model: blobs by their hash, a snapshot of links to them, a branch and a tag."""
    constants = pytest.importorskip("huggingface_hub.constants")
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = cache / "models--acme--oak"
    snapshot = model / "snapshots" / COMMIT
    for folder in (model / "blobs", snapshot, model / "refs"):
        folder.mkdir(parents=True)
    (sharded / "config.json").write_text('{"model_type": "oak"}')
    (sharded / "tokenizer.json").write_text("{}")
    (sharded / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    for path in sorted(sharded.iterdir()):
        blob = model / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        blob.write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    for ref in ("main", "v2"):
        (model / "refs" / ref).write_text(COMMIT)
    return cache


@pytest.mark.parametrize("name", ["acme/oak", "acme/oak@v2", f"acme/oak@{COMMIT}", "hf://acme/oak", "hf://acme/oak@v2"])
def test_a_hub_id(cache: Path, weights: dict[str, torch.Tensor], same: Same, name: str) -> None:
    checkpoint = open(name)
    assert same(checkpoint, weights)
    assert (checkpoint.source, checkpoint.revision) == ("acme/oak", COMMIT)
    assert checkpoint.config == {"model_type": "oak"}
    assert list(checkpoint.side_files) == ["tokenizer.json"]


def test_a_revision_apart(cache: Path) -> None:
    assert open("acme/oak", revision="v2").revision == COMMIT
    assert open("acme/oak@v2", revision="v2").revision == COMMIT
    with pytest.raises(SourceError, match="Two revisions are asked for: 'v2' in 'acme/oak@v2', and 'v3'"):
        open("acme/oak@v2", revision="v3")


def test_only_its_config(cache: Path) -> None:
    assert open_config("acme/oak@v2") == {"model_type": "oak"}


def test_a_snapshot_named_by_its_path(cache: Path, weights: dict[str, torch.Tensor], same: Same) -> None:
    assert same(open(cache / "models--acme--oak" / "snapshots" / COMMIT), weights)


def test_a_snapshot_may_not_lead_elsewhere_than_to_blobs(cache: Path, tmp_path: Path) -> None:
    snapshot = cache / "models--acme--oak" / "snapshots" / COMMIT
    (tmp_path / "secret").write_text("{}")
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match="is a link that leads out of its folder"):
        open("acme/oak")


def test_a_path_of_that_name_comes_first(
    cache: Path, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "acme").mkdir()
    folder.rename(tmp_path / "acme" / "oak")
    monkeypatch.chdir(tmp_path)
    assert open("acme/oak").revision is None
    assert open("hf://acme/oak").revision == COMMIT


def test_the_digest_is_that_of_the_files_wherever_they_lie(cache: Path, sharded: Path) -> None:
    assert digest("acme/oak") == digest(sharded)
    assert digest("acme/oak", full=True) == digest(sharded, full=True)


def test_as_a_parent(cache: Path) -> None:
    parent = parent_of(open("acme/oak@v2"), "base")
    assert (parent.source, parent.revision, parent.license) == ("acme/oak", COMMIT, "apache-2.0")


def test_a_copy_names_it_as_its_base(cache: Path, tmp_path: Path) -> None:
    card = (write(open("acme/oak"), tmp_path / "copy") / "README.md").read_text()
    assert "base_model:\n- acme/oak\n" in card
    assert "license: apache-2.0" in card


def test_what_is_not_in_the_cache(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="There is no path acme/elm, and as a hub id it is not in the cache"):
        open("acme/elm")
    with pytest.raises(SourceError, match="acme/oak@v9"):
        open("acme/oak@v9")
    (tmp_path / "models" / "oak").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=r"cannot be reached \(did you mean 'oak'\?\)\."):
        open("models/oka")


@pytest.mark.parametrize("name", ["hf://oak", "hf://acme/oak/model.safetensors", "hf://../oak", "hf://acme/oak@"])
def test_what_is_not_a_hub_id(name: str) -> None:
    with pytest.raises(SourceError, match="is not a hub id: hf://owner/name"):
        open(name)


@pytest.mark.parametrize(
    "name", ["oak", "./oak", "/oak", "a/b/c", "acme/oak.", "../oak", "acme/o--k", "acme/ oak", "-a/b"]
)
def test_what_is_only_a_path(name: str) -> None:
    assert parse_hub_name(name) is None
    with pytest.raises(SourceError, match="There is no file or folder"):
        open(name)


def test_without_the_package_the_error_ends_with_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DependencyError, match=r"pip install 'scionwood\[hub\]'$"):
        open("acme/oak")


def test_torch_files_are_taken_where_there_is_nothing_else(
    cache: Path, weights: dict[str, torch.Tensor], same: Same
) -> None:
    snapshot = cache / "models--acme--oak" / "snapshots" / COMMIT
    for path in snapshot.glob("model*"):
        path.unlink()
    torch.save(weights, snapshot / "pytorch_model.bin")
    assert same(open("acme/oak"), weights)
