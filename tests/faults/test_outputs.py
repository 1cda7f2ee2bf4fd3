"""Places that must not, or cannot, be written to: the model that was there stays, and nothing else appears."""

import builtins
import contextlib
import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.bench import PROGRAM, SMALLER, Outcome, Run, copied, is_one_message, refused, scionwood, snapshot


@pytest.fixture
def work(teacher: Path, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a teacher, a link to it, an older student, notes, and traps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("teacher")
    (tmp_path / "loop").symlink_to("loop")
    copied(models / "bert", tmp_path / "student")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "model.safetensors").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "old.safetensors").write_text("mine")
    (tmp_path / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


PLACES: list[tuple[list[str], list[str]]] = [
    (["teacher"], ["teacher is one of its own inputs"]),
    (["teacher", "--overwrite"], ["teacher is one of its own inputs"]),
    (["link", "--overwrite"], ["link is one of its own inputs"]),
    (["teacher/../teacher", "--overwrite"], ["is one of its own inputs"]),
    (["teacher/student"], ["teacher/student lies inside its own input teacher"]),
    (["link/student"], ["link/student lies inside its own input teacher"]),
    (["."], [". contains its own input teacher"]),
    ([".", "--overwrite"], [". contains its own input teacher"]),
    (["/", "--overwrite"], ["/ contains its own input teacher"]),
    ([""], ["contains its own input teacher"]),
    (["student"], ["student exists and is not empty", "--overwrite"]),
    (["notes"], ["notes exists and is not empty"]),
    (["notes", "--overwrite"], ["notes is not a model's folder, and is not overwritten"]),
    (["repository", "--overwrite"], ["holds a git repository, and is not overwritten"]),
    (["file"], ["file is a file, where a folder is to be written"]),
    (["file", "--overwrite"], ["file is a file, where a folder is to be written"]),
    (["file/student"], ["Not a directory"]),
    (["pipe", "--overwrite"], ["pipe is a file, where a folder is to be written"]),
    (["/dev/null", "--overwrite"], ["/dev/null is a file, where a folder is to be written"]),
    (["old.safetensors"], ["old.safetensors exists", "--overwrite"]),
    (["folder.safetensors", "--overwrite"], ["is a folder, where a file is to be written"]),
    (["student.pt"], ["student.pt has the name of a torch file", ".safetensors"]),
    (["student.bin"], ["has the name of a torch file"]),
    (["loop"], ["loop is a link that leads in a circle"]),
    (["loop/student"], ["leads in a circle"]),
    (["a\0b"], ["is not the name of a file"]),
    (["x" * 300], ["File name too long"]),
    (["-student"], ["--out requires an argument", "--out=-"]),
]


@pytest.mark.parametrize(("flags", "words"), PLACES, ids=str)
def test_a_place_that_is_not_for_writing(work: Path, flags: list[str], words: list[str]) -> None:
    place, *rest = flags
    refused(work, "select", "teacher", *SMALLER, "--out", place, *rest, words=words)


@pytest.mark.parametrize("like", ["student", "student/config.json"])
def test_the_model_that_gave_the_sizes_is_an_input_too(work: Path, like: str) -> None:
    flags = ["select", "teacher", "--like", like, "--out", "student", "--overwrite"]
    refused(work, *flags, words=["student", "its own input"])


def test_a_name_that_leaves_no_room_for_the_part_beside_it(work: Path) -> None:
    refused(work, "select", "teacher", *SMALLER, "--out", "x" * 250, words=["File name too long", "nothing is left"])


def test_long_names_deep_folders_and_dashes(work: Path) -> None:
    for out in ("x" * 200, "a/b/c", "./-x"):
        outcome = scionwood("select", "teacher", *SMALLER, "--out", out)
        assert outcome.code == 0, outcome.err
        assert (work / out / "model.safetensors").is_file()


def test_overwriting_replaces_the_whole_folder(work: Path) -> None:
    outcome = scionwood("select", "teacher", *SMALLER, "--out", "student", "--overwrite")
    assert outcome.code == 0, outcome.err
    assert '"llama"' in (work / "student" / "config.json").read_text()
    assert not [name for name in os.listdir(work) if name.startswith(".student")]


# ------------------------------------------------------------------------------------------------ permissions


@contextlib.contextmanager
def as_somebody() -> Iterator[None]:
    """As a user who owns nothing: root is refused nothing."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_to(models: Path) -> None:
    scionwood("select", models / "teacher", *SMALLER, "--dry-run")  # what is imported late may not be readable
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        shelf = Path(name)
        (copied(models / "teacher", shelf / "teacher") / "model.safetensors").chmod(0o644)
        shelf.chmod(0o555)
        with as_somebody():
            for out in (shelf / "student", shelf / "a" / "b" / "student"):
                flags = ["select", shelf / "teacher", *SMALLER, "--out", out]
                refused(shelf, *flags, words=[f"{out} cannot be written: Permission denied; nothing is left"])
        shelf.chmod(0o755)


def test_a_folder_on_a_disk_that_is_read_only(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir

    def read_only(path: Path, *arguments: int, **options: int) -> None:
        if Path(path).is_relative_to(tmp_path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(os, "mkdir", read_only)
    words = ["cannot be written: Read-only file system", "nothing is left"]
    refused(tmp_path, "select", models / "teacher", *SMALLER, "--out", tmp_path / "student", words=words)


# ------------------------------------------------------------------------------------------------ the disk


def test_a_disk_with_too_little_space(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil has it
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 5000))
    flags = ["select", models / "teacher", *SMALLER, "--out", tmp_path / "student"]
    refused(tmp_path, *flags, words=["student needs", f"{tmp_path} has 5.00 kB free", "Free some space"])


def test_a_disk_that_fills_up_all_the_same(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was finished stays, and is gone on with once there is space."""
    written: list[int] = []
    pwrite = os.pwrite

    def filling(descriptor: int, data: bytes, offset: int) -> int:
        written.append(len(data))
        if len(written) > 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, data, offset)

    flags = ["select", models / "teacher", *SMALLER, "--out"]
    assert scionwood(*flags, tmp_path / "unbroken" / "student").code == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", filling)
        said = is_one_message(scionwood(*flags, tmp_path / "student"), ["the disk is full", "Free some space"])
    assert "nothing is left under its name" in said
    assert re.search(r"\d+ of \d+ tensors are finished and kept in .*student.part; the same command resumes", said)
    assert sorted(os.listdir(tmp_path)) == [".student.part", "unbroken"]
    outcome = scionwood(*flags, tmp_path / "student")
    assert outcome.code == 0
    assert re.match(r"resuming: \d+ of \d+ tensors are done\n", outcome.err)
    assert sorted(os.listdir(tmp_path)) == ["student", "unbroken"]
    assert snapshot(tmp_path / "student") == snapshot(tmp_path / "unbroken" / "student")


def test_a_process_that_may_not_write_so_much(
    models: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    arguments = ["select", str(models / "teacher"), *SMALLER, "--out", str(tmp_path / "student")]
    outcome = Run(arguments, tmp_path_factory.mktemp("log"), largest_file=8192).outcome()
    is_one_message(outcome, ["student cannot be written: File too large; nothing is left under its name"])
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full(models: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = "mount -t tmpfs -o size=16k,nr_inodes=100 disk"
    outside = ["unshare", "--mount", "sh", "-c", f'{mount} "$0" && exec "$@"', str(disk)]
    if not shutil.which("unshare") or subprocess.run([*outside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own takes privileges")
    # What is left is asked in there: the file system ends with the process that mounted it.
    inside = ["sh", "-c", '"$@"; code=$?; ls -A "$0" >&2; exit $code', str(disk)]
    done = subprocess.run(
        [*outside, *inside, *PROGRAM, "select", str(models / "teacher"), *SMALLER, "--out", str(disk / "student")],
        capture_output=True,
        text=True,
        check=False,
    )
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    is_one_message(outcome, ["student needs", f"{disk} has 16.38 kB free", "write to another disk"])


def test_memory_that_does_not_suffice(models: Path, tmp_path: Path) -> None:
    tuned = copied(models / "teacher", tmp_path / "tuned")
    flags = ["merge", "iso_c", tuned, "--base", models / "teacher", "--out", tmp_path / "merged", "--memory"]
    said = refused(tmp_path, *flags, "1kB", words=[".weight' takes ", "of memory while it is made, more than 1.00 kB"])
    found = re.search("Allow ([0-9,]+) bytes or more", said)
    assert found
    assert scionwood(*flags, found[1].replace(",", "")).code == 0
    refused(tmp_path, *flags[:-2], tmp_path / "again", "--memory", "much", words=["'much' is not a size"])


# ------------------------------------------------------------------------------------------------ a bug stays none of it


def test_even_a_bug_leaves_nothing(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("scionwood.verbs.taking.Taking.__call__", failing)
    before = snapshot(tmp_path)
    outcome = scionwood("select", models / "teacher", *SMALLER, "--out", tmp_path / "student")
    assert outcome.code == 70
    assert "this is a bug in scionwood" in outcome.err
    assert "Traceback" not in outcome.err
    assert snapshot(tmp_path) == before
    assert builtins.open  # nothing above may leave it replaced
