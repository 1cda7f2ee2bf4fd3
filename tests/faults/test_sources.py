"""Checkpoints that are missing, damaged, or lie: one message each, and nothing is written."""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.faults.bench import SMALLER, refused, scionwood, sharded, snapshot

WEIGHTS = "model.safetensors"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
NORM = "model.norm.weight"  # lies in the second shard


class Malicious:
    """An object that leaves a file behind where its pickle is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch '{self.trace}'",)


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))

    return make


def in_its_place(make: Callable[[Path], object], name: str = WEIGHTS) -> Callable[[Path], None]:
    """Put something else under the name of a file."""

    def put(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return put


def index_of(**changes: object) -> Callable[[Path], None]:
    return lambda folder: sharded(folder, lambda index: {**index, NORM: changes["norm"]})


def shard_missing(folder: Path) -> None:
    sharded(folder)
    (folder / SECOND).unlink()


def index_missing(folder: Path) -> None:
    sharded(folder)
    (folder / f"{WEIGHTS}.index.json").unlink()


def index_as(text: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        sharded(folder)
        (folder / f"{WEIGHTS}.index.json").write_text(text)

    return make


def shard_linked_out(folder: Path) -> None:
    sharded(folder)
    (folder / SECOND).rename(folder.parent / "elsewhere")
    (folder / SECOND).symlink_to("../elsewhere")


def torch_file(name: str, content: Callable[[Path], object] = Malicious) -> Callable[[Path], None]:
    """Put a torch file in the place of the weights; what it holds would leave a file named ``ran``."""

    def make(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        torch.save({"w": torch.ones(2), "e": content(folder.parent / "ran")}, folder / name)

    return make


def plain_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(folder.parent / "ran")))


def header_of(text: bytes, data: bytes = b"") -> Callable[[Path], None]:
    return with_bytes(lambda _: struct.pack("<Q", len(text)) + text + data)


NOT_READ = ["is not read: that might run code", "safetensors.torch.save_file"]

FAULTS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "no weights": (without(WEIGHTS), ["has no weights", "config.json"]),
    "an empty file": (with_bytes(lambda _: b""), [WEIGHTS, "cut short", "0 bytes"]),
    "cut in the length": (with_bytes(lambda b: b[:5]), [WEIGHTS, "cut short", "5 bytes"]),
    "cut in the header": (with_bytes(lambda b: b[:50]), [WEIGHTS, "cut short", "only 50"]),
    "cut in the values": (with_bytes(lambda b: b[:-100]), [WEIGHTS, "it is cut short"]),
    "too long": (with_bytes(lambda b: b + bytes(8)), [WEIGHTS, "8 bytes at the end of the file belong to no tensor"]),
    "an absurd length": (with_bytes(lambda b: b"\xff" * 8 + b[8:]), ["18,446,744,073,709,551,615 bytes"]),
    "a long length": (with_bytes(lambda b: struct.pack("<Q", 10**7) + b[8:]), ["cut short", "10,000,000 bytes"]),
    "no header": (with_bytes(lambda b: bytes(len(b))), ["does not begin with '{'"]),
    "a header that is no JSON": (header_of(b"{x"), ["is not JSON"]),
    "a header that repeats a name": (header_of(b'{"a":1,"a":1}'), ["'a' twice"]),
    "a header of another kind": (header_of(b'{"a":1}'), ["'a' is not an object of dtype, shape and data_offsets"]),
    "a negative size": (header_of(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)), ["[-1]"]),
    "a dtype of no kind": (header_of(b'{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}', bytes(4)), ["'F32'"]),
    "a folder": (in_its_place(Path.mkdir), [WEIGHTS, "is a folder, not a file"]),
    "a pipe": (in_its_place(os.mkfifo), [WEIGHTS, "is a pipe or a device, not a file"]),
    "a link to itself": (in_its_place(lambda p: p.symlink_to(WEIGHTS)), [WEIGHTS, "leads in a circle"]),
    "a link to nothing": (in_its_place(lambda p: p.symlink_to("gone")), [WEIGHTS, "a link to gone, which does not"]),
    "a link to a device": (in_its_place(lambda p: p.symlink_to("/dev/zero")), [WEIGHTS, "not a file"]),
    "a link out": (shard_linked_out, [SECOND, "leads out of its folder"]),
    "a shard is missing": (shard_missing, ["index.json", "There is no file", SECOND, "must lie beside it"]),
    "the index is missing": (index_missing, [FIRST, "no index", ".index.json"]),
    "the index climbs out": (index_of(norm="../x.safetensors"), ["index.json", "'../x.safetensors'"]),
    "the index is absolute": (index_of(norm="/etc/x.safetensors"), ["index.json", "'/etc/x.safetensors'"]),
    "the index has backslashes": (index_of(norm="..\\x.safetensors"), ["index.json", r"'..\\x.safetensors'"]),
    "the index names no weights": (
        index_of(norm="/etc/passwd"),
        ["'/etc/passwd' is not the name of a file of weights"],
    ),
    "the index has a zero byte": (index_of(norm="a\0.safetensors"), [r"'a\x00.safetensors'"]),
    "the index has a number": (index_of(norm=5), ["has no weight_map from names of tensors to names of files"]),
    "the index is no JSON": (index_as("{"), ["index.json is not JSON", "line 1, column 2"]),
    "the index is a list": (index_as("[]"), ["holds a JSON list, not an object"]),
    "the index is empty": (index_as("{}"), ["has no weight_map"]),
    "one tensor in two shards": (lambda f: sharded(f, twice=NORM), [f"'{NORM}' is in {FIRST} and in {SECOND}"]),
    "the index says another shard": (index_of(norm=FIRST), [f"'{NORM}' is in {SECOND}, but the index says {FIRST}"]),
    "the index knows more": (
        lambda f: sharded(f, lambda index: {**index, "extra": FIRST}),
        [f"'extra' is in the index, but not in {FIRST}"],
    ),
    "the index knows less": (
        lambda f: sharded(f, lambda index: {name: file for name, file in index.items() if name != NORM}),
        [f"'{NORM}' is in {SECOND}, but not in the index"],
    ),
    "code in pytorch_model.bin": (torch_file("pytorch_model.bin"), ["posix.system", *NOT_READ]),
    "code in a .pt file": (torch_file("model.pt"), ["posix.system", *NOT_READ]),
    "code in a .pth file": (torch_file("weights.pth"), ["posix.system", *NOT_READ]),
    "code in a plain pickle": (plain_pickle, NOT_READ),
    "a .bin that torch did not write": (
        lambda f: (without(WEIGHTS)(f), (f / "pytorch_model.bin").write_bytes(b"hello")),
        ["pytorch_model.bin is damaged, or not a file that torch.save wrote."],
    ),
    "an empty .bin": (
        lambda f: (without(WEIGHTS)(f), (f / "pytorch_model.bin").touch()),
        ["pytorch_model.bin is damaged, or not a file that torch.save wrote."],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_source_that_cannot_be_read(teacher: Path, tmp_path: Path, fault: str) -> None:
    make, words = FAULTS[fault]
    make(teacher)
    said = {
        refused(tmp_path, "select", teacher, *SMALLER, "--out", tmp_path / "out", words=words),
        refused(tmp_path, "digest", teacher, words=words),
        refused(tmp_path, "lineage", teacher, words=words),
    }
    assert len(said) == 1, "every command says the same"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_a_file_that_would_run_code_named_itself(teacher: Path, tmp_path: Path, name: str) -> None:
    torch_file(name)(teacher)
    refused(tmp_path, "digest", teacher / name, words=NOT_READ)
    refused(tmp_path, "select", teacher, "--like", teacher / name, "--out", tmp_path / "out", words=NOT_READ)
    assert not (tmp_path / "ran").exists()


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing-like-it", ["There is no file or folder"]),
        ("techer", ["There is no file or folder", "did you mean 'teacher'?"]),
        ("techer/model.safetensors", ["did you mean 'teacher'?"]),
        ("teacher/model.safetensor", ["did you mean 'model.safetensors'?"]),
        ("teacher/config.json/x", ["Not a directory"]),
        ("", ["The name of the source is empty"]),
        ("a\0b", ["is not the name of a file"]),
        ("x" * 300, ["File name too long"]),
        ("loop", ["loop is a link that leads in a circle"]),
        ("./loop/x", ["leads in a circle"]),
        ("hf://loop", ["is not a hub id", "hf://owner/name"]),
    ],
)
@pytest.mark.parametrize("command", ["select", "anatomy", "digest", "lineage"])
def test_a_name_of_nothing(
    teacher: Path, tmp_path: Path, monkeypatch, command: str, name: str, words: list[str]
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    flags = [*SMALLER, "--out", "out"] if command == "select" else []
    refused(tmp_path, command, name, *flags, words=words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("teacher/config.json", ["not a file of weights by its name", ".safetensors"]),
        ("pipe.safetensors", ["is neither a file nor a folder"]),
        ("pipe.bin", ["is neither a file nor a folder"]),
        ("/dev/zero", ["is neither a file nor a folder"]),
        ("empty", ["has no weights", "it is empty"]),
    ],
)
@pytest.mark.parametrize("command", ["select", "digest", "lineage"])
def test_what_is_no_checkpoint(
    teacher: Path, tmp_path: Path, monkeypatch, command: str, name: str, words: list[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    flags = [*SMALLER, "--out", "out"] if command == "select" else []
    refused(tmp_path, command, name, *flags, words=words)


def test_a_folder_without_config(teacher: Path, tmp_path: Path) -> None:
    (teacher / "config.json").unlink()
    refused(tmp_path, "select", teacher, *SMALLER, "--out", tmp_path / "out", words=["no config", "config.json"])
    said = refused(tmp_path, "anatomy", teacher, words=["has no config.json"])
    assert "generation_config" not in said, "that one is no answer"
    refused(tmp_path, "lineage", teacher, words=["no lineage", "scionwood digest"])
    assert scionwood("digest", teacher).code == 0, "a digest is of the weights alone"


def test_a_file_of_weights_alone_is_no_source_for_select(teacher: Path, tmp_path: Path) -> None:
    refused(
        tmp_path, "select", teacher / WEIGHTS, *SMALLER, "--out", tmp_path / "out", words=["no config", "config.json"]
    )
    refused(tmp_path, "anatomy", teacher / WEIGHTS, words=["is not a config", "config.json"])


def test_a_link_out_among_the_side_files_is_left_out_and_said_so(teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    (teacher / "tokenizer.json").symlink_to("../secret")
    outcome = scionwood("select", teacher, *SMALLER, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert f"warning: {teacher}/tokenizer.json is a link that leads out of its folder" in outcome.err
    assert "UserWarning" not in outcome.err
    assert not (tmp_path / "out" / "tokenizer.json").exists()


@pytest.mark.parametrize("name", ["config.json", "scionwood.yaml", "modules.json", "tokenizer.json", "README.md"])
def test_a_pipe_is_never_waited_for(teacher: Path, tmp_path: Path, name: str) -> None:
    (teacher / name).unlink(missing_ok=True)
    os.mkfifo(teacher / name)
    if name in ("config.json", "scionwood.yaml"):
        refused(tmp_path, "digest", teacher, words=[name, "is a pipe or a device, not a file"])
        refused(tmp_path, "lineage", teacher, words=[name, "is a pipe or a device, not a file"])
    else:
        assert scionwood("digest", teacher).code == 0
        assert scionwood("select", teacher, *SMALLER, "--out", tmp_path / "out").code == 0


# ------------------------------------------------------------------------------------------------ permissions


def test_a_file_that_may_not_be_read(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        (teacher / WEIGHTS).chmod(0)
    else:  # nothing is forbidden to root
        forbid(monkeypatch, teacher / WEIGHTS)
    outcome = scionwood("digest", teacher)
    assert (outcome.code, outcome.err) == (2, f"error: {teacher / WEIGHTS} cannot be read: Permission denied.\n")


def forbid(monkeypatch: pytest.MonkeyPatch, forbidden: Path) -> None:
    import builtins
    import io

    opens = io.open

    def opening(file: object, *arguments: object, **options: object) -> object:
        if str(file) == str(forbidden):
            raise PermissionError(13, os.strerror(13), str(file))
        return opens(file, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", opening)
    monkeypatch.setattr(io, "open", opening)


# ------------------------------------------------------------------------------------------------ flipped bits


@pytest.fixture(scope="module")
def whole(models: Path) -> bytes:
    return (models / "teacher" / WEIGHTS).read_bytes()


def is_answered(outcome) -> None:
    assert outcome.code in (0, 2), outcome
    assert "Traceback" not in outcome.err + outcome.out
    assert "this is a bug" not in outcome.err


def flipped(content: bytes, bits: list[int]) -> bytes:
    """Flip bits of the length and the header, counted from the front."""
    changed = bytearray(content)
    span = 8 * (8 + int.from_bytes(content[:8], "little"))
    for bit in bits:
        changed[bit % span // 8] ^= 1 << bit % 8
    return bytes(changed)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bits=st.lists(st.integers(0, 10**5), min_size=1, max_size=4))
def test_flipped_bits_in_a_header_never_give_a_traceback(whole: bytes, tmp_path: Path, bits: list[int]) -> None:
    file = tmp_path / WEIGHTS
    file.write_bytes(flipped(whole, bits))
    is_answered(scionwood("digest", file))
    is_answered(scionwood("lineage", file))


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bits=st.lists(st.integers(200, 10**5), min_size=1, max_size=1))
def test_flipped_bits_in_a_header_and_select(whole: bytes, teacher: Path, tmp_path: Path, bits: list[int]) -> None:
    (teacher / WEIGHTS).write_bytes(flipped(whole, bits))
    before = snapshot(tmp_path)
    is_answered(scionwood("select", teacher, *SMALLER, "--out", tmp_path / "out", "--dry-run"))
    assert snapshot(tmp_path) == before


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(0, 5000))
def test_a_file_cut_anywhere(whole: bytes, tmp_path: Path, length: int) -> None:
    file = tmp_path / WEIGHTS
    file.write_bytes(whole[:length])
    outcome = scionwood("digest", file)
    assert outcome.code == 2
    assert "cut short" in outcome.err


# ------------------------------------------------------------------------------------------------ what is no fault


def test_values_that_are_no_numbers_pass_through(teacher: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(teacher / WEIGHTS)
    weights[NORM][:] = torch.nan
    weights["model.embed_tokens.weight"][0] = torch.inf
    save_file(weights, teacher / WEIGHTS, metadata={"format": "pt"})
    outcome = scionwood("select", teacher, *SMALLER, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    student = load_file(tmp_path / "out" / WEIGHTS)
    assert bool(student[NORM].isnan().all())
    assert bool(student["model.embed_tokens.weight"][0].isinf().all())
    assert not bool(student["model.embed_tokens.weight"][1].isinf().any())


def test_spaces_and_letters_of_any_script_in_names(models: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "mon modèle – 大", tmp_path / "дитя [bold] 'x'"
    source.symlink_to(models / "teacher")
    outcome = scionwood("select", source, *SMALLER, "--out", out)
    assert outcome.code == 0, outcome.err
    assert f"wrote {out}" in outcome.err
    assert str(source) in scionwood("lineage", out).out
