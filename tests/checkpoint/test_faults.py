"""Whatever goes wrong while writing: one clear error, and nothing under the output's name."""

import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scionwood.checkpoint import Checkpoint, ComputedTensor, Lineage, Parent, Progress, open, write
from scionwood.errors import OutputError, SourceError

Same = Callable[..., bool]
Weights = dict[str, torch.Tensor]


def refused(source: Any, path: Path, **options: Any) -> str:
    """Return the message of the error, having seen that the folder around the output holds what it held."""
    around = path.parent if path.parent.is_dir() else path.parent.parent
    before = sorted(around.iterdir())
    with pytest.raises(OutputError) as caught:
        write(open(source), path, **options)
    assert sorted(around.iterdir()) == before
    return str(caught.value)


def unlucky(start: int, stop: int) -> torch.Tensor:
    raise RuntimeError("no luck")


def computed(function: Callable[[int, int], torch.Tensor], size: int = 4) -> Checkpoint:
    return Checkpoint({"x": ComputedTensor("x", (size,), torch.float32, function)})


# ------------------------------------------------------------------------------------------------ what is there


def test_an_output_that_exists(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    said = refused(folder, tmp_path / "out")
    assert said.startswith(f"The output {tmp_path / 'out'} exists and is not empty.\nHint:")
    (tmp_path / "file").write_text("mine")
    assert "is a file, where a folder is to be written" in refused(folder, tmp_path / "file", overwrite=True)
    (tmp_path / "x.safetensors").write_text("mine")
    assert "x.safetensors exists." in refused(folder, tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").mkdir()
    assert "is a folder, where a file is to be written" in refused(folder, tmp_path / "y.safetensors", overwrite=True)


def test_an_empty_folder_is_filled(folder: Path, tmp_path: Path, weights: Weights, same: Same) -> None:
    (tmp_path / "out").mkdir()
    assert same(open(write(open(folder), tmp_path / "out")), weights)


@pytest.mark.parametrize("name", ["out", "out.safetensors"])
def test_an_old_model_is_replaced_when_asked(
    folder: Path, tmp_path: Path, weights: Weights, same: Same, name: str
) -> None:
    write(open({"old": torch.ones(1)}), tmp_path / name)
    write(open(folder), tmp_path / name, overwrite=True)
    assert same(open(tmp_path / name), weights)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["oak", name]


@pytest.mark.parametrize("name", ["out", "out.safetensors"])
def test_an_old_model_stays_when_the_new_one_fails(tmp_path: Path, name: str, same: Same) -> None:
    write(open({"old": torch.ones(1)}), tmp_path / name)
    with pytest.raises(RuntimeError, match="no luck"):
        write(computed(unlucky), tmp_path / name, overwrite=True)
    assert same(open(tmp_path / name), {"old": torch.ones(1)})
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_old_model_comes_back_when_the_new_one_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: Same
) -> None:
    write(open({"old": torch.ones(1)}), tmp_path / "out")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "output":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="cannot be written: Input/output error"):
        write(open({"new": torch.ones(1)}), tmp_path / "out", overwrite=True)
    assert same(open(tmp_path / "out"), {"old": torch.ones(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_no_model_is_never_overwritten(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    assert "is not a model's folder, and is not overwritten" in refused(folder, tmp_path / "thesis", overwrite=True)
    write(open({}), tmp_path / "out")
    (tmp_path / "out" / ".git").mkdir()
    assert "holds a git repository" in refused(folder, tmp_path / "out", overwrite=True)
    write(open({}), tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    assert "is, or contains, the current folder" in refused(folder, tmp_path / "here", overwrite=True)


def test_another_writer_that_was_faster_wins(tmp_path: Path) -> None:
    """The name is taken while we write: we must not write over it, and must not leave our part."""
    for name in ("out", "out.safetensors"):

        def function(start: int, stop: int, name: str = name) -> torch.Tensor:
            path = tmp_path / name
            if path.suffix:
                path.write_text("theirs")
            else:
                path.mkdir()
                (path / "config.json").write_text("theirs")
            return torch.ones(stop - start)

        with pytest.raises(OutputError, match="was made by another process in the meantime"):
            write(computed(function), tmp_path / name)
    assert (tmp_path / "out" / "config.json").read_text() == "theirs"
    assert (tmp_path / "out.safetensors").read_text() == "theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.safetensors"]


# ------------------------------------------------------------------------------------------------ inputs


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_output_is_not_its_own_input(folder: Path, tmp_path: Path, overwrite: bool) -> None:
    options: dict[str, Any] = {"overwrite": overwrite}
    assert "is one of its own inputs" in refused(folder, folder, **options)
    assert "lies inside its own input" in refused(folder, folder / "small", **options)
    assert "lies inside its own input" in refused(folder, folder / "small" / "deep", **options)
    assert "lies inside its own input" in refused(folder, folder / "x.safetensors", **options)
    assert "contains its own input" in refused(folder, tmp_path, **options)
    file = folder / "model.safetensors"
    assert "is one of its own inputs" in refused(file, file, **options)
    assert "contains its own input" in refused(file, folder, **options)


def test_links_do_not_hide_that_an_output_is_its_own_input(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert "is one of its own inputs" in refused(folder, tmp_path / "link", overwrite=True)
    assert "is one of its own inputs" in refused(tmp_path / "link", folder, overwrite=True)
    assert "lies inside its own input" in refused(folder, tmp_path / "link" / "out")


def test_a_file_may_be_written_beside_the_single_file_it_came_from(folder: Path, weights: Weights, same: Same) -> None:
    assert same(open(write(open(folder / "model.safetensors"), folder / "copy.safetensors")), weights)


def test_the_parents_of_what_a_verb_made_are_inputs(folder: Path, tmp_path: Path) -> None:
    source = open(folder)
    grandparent = Parent("made", lineage=Lineage({}, (Parent(str(folder), digest="d"),)))
    for checkpoint in (
        replace(source, tensors=dict(source.tensors)),
        Checkpoint({}, lineage=Lineage({}, (Parent(str(folder), digest="d"),))),
        Checkpoint({}, lineage=Lineage({}, (grandparent,))),
    ):
        with pytest.raises(OutputError, match="is one of its own inputs"):
            write(checkpoint, folder, overwrite=True)


def test_the_parents_of_what_is_stored_are_not(folder: Path, tmp_path: Path, weights: Weights, same: Same) -> None:
    child = write(open(folder), tmp_path / "child")
    write(open(child), folder, overwrite=True)
    assert same(open(folder), weights)


def test_a_link_in_a_circle_is_no_output(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "a")
    assert "is a link that leads in a circle" in refused(folder, tmp_path / "a")


# ------------------------------------------------------------------------------------------------ the disk


def test_too_little_space_is_seen_before_anything_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil has it
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    said = refused(folder, tmp_path / "new" / "out")
    needed = rf"The output {tmp_path}/new/out needs [12]\.\d\d kB, but {tmp_path} has 1\.00 kB free\."
    assert re.match(needed, said), said


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["pwrite", "fsync", "mkdir"])
def test_a_disk_that_refuses(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        said = refused(folder, tmp_path / "deep" / "out")
    assert said.startswith(f"{tmp_path / 'deep' / 'out'} cannot be written: ")
    assert os.strerror(code) in said
    assert ("the disk is full" in said) == (code != errno.EIO)


LIMITED = """
    import resource, sys, torch
    from scionwood.checkpoint import open, write
    from scionwood.errors import OutputError

    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        write(open({"x": torch.ones(1 << 20)}), sys.argv[1])
    except OutputError as error:
        print(error)
        sys.exit(2)
"""


@pytest.mark.parametrize("name", ["out", "out.safetensors"])
def test_a_file_that_may_not_grow_so_large(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == f"{tmp_path / name} cannot be written: File too large; nothing is left under its name.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_none() -> None:
    with pytest.raises(OutputError, match="is not the name of a file"):
        write({}, "a\0b")


def test_folders_need_not_be_synced_where_that_is_not_to_be_had(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Weights, same: Same
) -> None:
    fsync = os.fsync

    def without_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", without_folders)
    assert same(open(write(open(folder), tmp_path / "out")), weights)


def test_a_place_that_cannot_be_written_to(folder: Path, tmp_path: Path) -> None:
    assert "cannot be written: Not a directory" in refused({}, folder / "config.json" / "out")
    assert "cannot be written: File name too long" in refused({}, tmp_path / ("x" * 250))
    assert "cannot be written: File name too long" in refused({}, tmp_path / ("x" * 300))


# ------------------------------------------------------------------------------------------------ interruptions


@pytest.mark.parametrize(
    "failure", [RuntimeError("no luck"), KeyboardInterrupt(), SourceError("gone"), OSError(5, "read")]
)
@pytest.mark.parametrize("workers", [1, 3])
def test_a_tensor_that_cannot_be_computed(tmp_path: Path, failure: BaseException, workers: int) -> None:
    def function(start: int, stop: int) -> torch.Tensor:
        raise failure

    with pytest.raises(type(failure)) as caught:
        write(computed(function), tmp_path / "deep" / "out", workers=workers)
    assert caught.value is failure
    assert list(tmp_path.iterdir()) == []


def test_a_progress_that_fails_stops_the_write(tmp_path: Path, weights: Weights) -> None:
    def progress(state: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(weights, tmp_path / "out", progress=progress)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_stops_the_other_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scionwood.checkpoint.stream.TILE_BYTES", 4)
    calls: list[int] = []

    def function(start: int, stop: int) -> torch.Tensor:
        calls.append(start)
        if start == 5:
            raise RuntimeError("no luck")
        return torch.ones(stop - start)

    with pytest.raises(RuntimeError, match="no luck"):
        write(computed(function, 10_000), tmp_path / "out", workers=2)
    assert len(calls) < 100


def test_side_files_that_vanish(folder: Path, tmp_path: Path) -> None:
    checkpoint = open(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(SourceError, match=r"tokenizer.json cannot be read: No such file"):
        write(checkpoint, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.part", "oak"], "the weights were done"
    (folder / "tokenizer.json").write_text("{}")
    write(checkpoint, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["oak", "out"]


SLOW = """
    import signal, sys, time, torch
    from scionwood.checkpoint import Checkpoint, ComputedTensor, write

    # A process started in the background inherits that interrupts are ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def function(start, stop):
        print("writing", flush=True)
        time.sleep(600 if "stop" not in sys.argv else 0.2)
        return torch.ones(stop - start, 1 << 19)

    write(Checkpoint({"x": ComputedTensor("x", (1000, 1 << 19), torch.float32, function)}), sys.argv[1], workers=1)
"""


def start_slow(path: Path, *arguments: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW), str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.parametrize("name", ["out", "out.safetensors"])
def test_a_killed_process_leaves_nothing_under_the_name_and_the_next_one_cleans_up(tmp_path: Path, name: str) -> None:
    process = start_slow(tmp_path / name)
    living = next(path for path in tmp_path.iterdir())
    write(open({"x": torch.ones(1)}), tmp_path / "other")
    with pytest.raises(OutputError, match=f"{name} is being written by process {process.pid}"):
        write(computed(unlucky), tmp_path / name)
    assert living.exists(), "the part of a living process must stay"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert not (tmp_path / name).exists()
    write(open({"x": torch.ones(1)}), tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["other", name])


def test_an_interrupted_process_leaves_nothing_at_all(tmp_path: Path) -> None:
    process = start_slow(tmp_path / "out", "stop")
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=100) != 0
    assert process.stdout is not None
    process.stdout.close()
    assert time.monotonic() - begun < 100
    assert list(tmp_path.iterdir()) == []
