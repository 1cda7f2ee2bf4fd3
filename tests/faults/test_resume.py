"""A write that ended too early, however it did, is gone on with: the same bytes, and nothing is computed twice."""

import errno
import functools
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.faults.bench import snapshot
from tests.faults.slow import SHARD_BYTES, TENSORS, Running, make_inputs, merged

from scionwood.checkpoint import Checkpoint, ComputedTensor, Progress, open, write
from scionwood.errors import OutputError, SourceError

POINTS = 20


class StoppedError(Exception):
    """Not an error of scionwood's."""


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    """Inputs that may be changed."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    return make_inputs(folder)


def stopping(after: int) -> Callable[[str], None]:
    """Return what lets so many reads pass, and fails then."""
    left = iter(range(after))

    def called(name: str) -> None:
        if next(left, None) is None:
            raise StoppedError

    return called


def stop_in_the_middle(inputs: list[Path], out: Path, after: int = 20) -> Path:
    """Run until so many tiles are made; return the part."""
    with pytest.raises(StoppedError) as caught:
        write(merged(inputs, stopping(after)), out, shard_size=SHARD_BYTES, workers=1)
    part = out.with_name(f".{out.name}.part")
    assert not out.exists()
    (note,) = caught.value.__notes__
    assert re.fullmatch(rf"\d+ of {TENSORS} tensors are finished and kept in {part}; the same command resumes.", note)
    return part


def finish(inputs: list[Path], out: Path, **options: bool) -> tuple[int, list[str]]:
    """Run to the end; return how many tensors were there before, and the names of those that were computed."""
    states: list[Progress] = []
    names: list[str] = []
    write(merged(inputs, names.append), out, shard_size=SHARD_BYTES, progress=states.append, **options)
    assert states[-1].tensors_done == states[-1].tensors_total == TENSORS
    assert states[-1].bytes_done == states[-1].bytes_total
    assert not out.with_name(f".{out.name}.part").exists()
    return states[-1].tensors_before, names


# ------------------------------------------------------------------------------------------------ killed


def seconds_to_sync(folder: Path) -> float:
    """Return how long this disk takes to sync, so that a run on it is not over before its journal has a second line."""
    took = []
    with (folder / "synced").open("wb") as file:
        for _ in range(5):
            file.write(bytes(100))
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - start)
    return max(0.004, statistics.median(took))


@pytest.mark.parametrize(
    ("forks", "direct"), [(False, False), (True, False), (True, True)], ids=["threads", "processes", "past the cache"]
)
def test_killed_at_any_moment(inputs: list[Path], tmp_path: Path, forks: bool, direct: bool) -> None:
    """Twenty runs, killed between their first moment and their last; every other one is killed again when it resumes."""
    finish(inputs, tmp_path / "unbroken" / "out")
    expected = snapshot(tmp_path / "unbroken" / "out")
    run = functools.partial(Running, inputs, forks=forks, direct=direct, seconds=seconds_to_sync(tmp_path))
    draw = random.Random(forks)
    found: list[int] = []
    for point in range(POINTS):
        out = tmp_path / str(point) / "out"
        run(out).kill(after=2 * point + draw.randrange(-3, 1), seconds=draw.uniform(0, 0.01))
        if point % 2 and not out.exists():
            run(out).kill(after=draw.randrange(TENSORS), seconds=draw.uniform(0, 0.05))
        if not out.exists():
            assert not out.parent.exists() or os.listdir(out.parent) in ([], [".out.part"])
            before, names = finish(inputs, out)
            assert len(set(names)) == TENSORS - before, "what is finished is not computed again"
            found.append(before)
        elif os.path.lexists(part := out.with_name(".out.part")):  # killed after the renaming, before it had tidied up
            assert "output" not in os.listdir(part)
            finish(inputs, out, overwrite=True)
        assert snapshot(out) == expected
        assert os.listdir(out.parent) == ["out"]
    assert len(found) > POINTS // 2
    assert min(found) < 10
    assert max(found) > 25


def test_what_is_finished_is_not_read_again(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    part = stop_in_the_middle(inputs, out)
    assert sorted(os.listdir(part)) == ["journal", "output", "writer"]
    before, names = finish(inputs, out)
    assert before >= 15
    assert len(set(names)) == TENSORS - before
    assert "journal" not in os.listdir(out)
    finish(inputs, tmp_path / "unbroken" / "out")
    assert snapshot(out) == snapshot(tmp_path / "unbroken" / "out")


def test_a_single_file_is_gone_on_with_too(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    stop_in_the_middle(inputs, out)
    assert finish(inputs, out)[0] >= 15
    finish(inputs, tmp_path / "unbroken.safetensors")
    assert out.read_bytes() == (tmp_path / "unbroken.safetensors").read_bytes()


def test_files_beside_the_weights_are_those_of_the_last_run(inputs: list[Path], tmp_path: Path) -> None:
    side = tmp_path / "tokenizer.json"
    side.write_text("old")
    with pytest.raises(SourceError, match="merges.txt cannot be read"):
        write(dressed(inputs, side, tmp_path / "merges.txt"), tmp_path / "out")
    assert (tmp_path / ".out.part" / "output" / "tokenizer.json").exists()
    write(dressed(inputs), tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == ["README.md", "config.json", "model.safetensors", "scionwood.yaml"]


def dressed(inputs: list[Path], *files: Path) -> Checkpoint:
    return replace(merged(inputs), side_files={file.name: file for file in files})


# ------------------------------------------------------------------------------------------------ another run


def test_an_input_that_changed_since_is_refused(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    part = stop_in_the_middle(inputs, out)
    before = snapshot(part)
    status = inputs[1].stat()
    weights = open(inputs[1]).state_dict()
    write(weights | {"layers.0.weight": torch.zeros(100)}, inputs[1], overwrite=True)
    with pytest.raises(SourceError, match="files that it read have changed since") as caught:
        finish(inputs, out)
    assert caught.value.problems == (str(inputs[1]),)
    assert "restart=True, --restart" in str(caught.value)
    assert snapshot(part) == before, "nothing is lost by a refusal"
    assert inputs[1].stat().st_size == status.st_size, "only its time tells"
    assert finish(inputs, out, restart=True)[0] == 0
    assert torch.equal(open(out)["layers.0.weight"], 0.5 * open(inputs[0])["layers.0.weight"])


def test_a_change_is_seen_by_the_header_where_the_clock_was_set_back(inputs: list[Path], tmp_path: Path) -> None:
    stop_in_the_middle(inputs, tmp_path / "out")
    status = inputs[1].stat()
    data = bytearray(inputs[1].read_bytes())
    place = data.index(b'"format":"pt"')
    data[place : place + 13] = b'"format":"PT"'
    inputs[1].write_bytes(data)
    os.utime(inputs[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SourceError, match="have changed since"):
        finish(inputs, tmp_path / "out")


def test_what_another_recipe_has_left_is_discarded_with_a_note(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    part = stop_in_the_middle(inputs, out)
    said = f"What an unfinished run has left in {part} is discarded: it had another recipe"
    with pytest.warns(UserWarning, match=re.escape(said)):
        write(merged(inputs, scale=0.25), out, shard_size=SHARD_BYTES)
    write(merged(inputs, scale=0.25), tmp_path / "unbroken" / "out", shard_size=SHARD_BYTES)
    assert snapshot(out) == snapshot(tmp_path / "unbroken" / "out")


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"shard_size": 10_000}], ids=str)
def test_other_options_make_another_run(inputs: list[Path], tmp_path: Path, options: dict[str, object]) -> None:
    stop_in_the_middle(inputs, tmp_path / "out")
    with pytest.warns(UserWarning, match="is discarded: it had another recipe, other options"):
        write(merged(inputs), tmp_path / "out", **options)  # type: ignore[arg-type]
    write(merged(inputs), tmp_path / "unbroken" / "out", **options)  # type: ignore[arg-type]
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "unbroken" / "out")


def test_what_lies_in_memory_is_written_from_the_beginning(tmp_path: Path) -> None:
    """Its values may be others by then, and nothing would tell."""

    def progress(state: Progress) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        write({f"x{number}": torch.ones(3) for number in range(9)}, tmp_path / "out", progress=progress)
    assert os.listdir(tmp_path) == []
    unknown = ComputedTensor("x", (3,), torch.float32, lambda start, stop: torch.ones(stop - start))
    with pytest.raises(StoppedError):
        write(Checkpoint({"x": unknown}), tmp_path / "out", progress=progress)
    assert os.listdir(tmp_path) == []


def test_a_run_that_finished_nothing_leaves_nothing(inputs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(StoppedError) as caught:
        write(merged(inputs, stopping(0)), tmp_path / "deep" / "out", workers=1)
    assert not hasattr(caught.value, "__notes__")
    assert os.listdir(tmp_path) == ["inputs"]


@pytest.mark.parametrize("name", ["out", "out.safetensors"])
def test_a_run_killed_before_it_had_tidied_up_was_finished(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its journal is left where its output no longer is: nothing to go on with, to warn of, or to hold a change against."""
    out = tmp_path / name
    with monkeypatch.context() as patch:
        patch.setattr("scionwood.checkpoint.staging.Part.remove", lambda part: None)
        write(merged(inputs), out)
    assert sorted(os.listdir(out.with_name(f".{name}.part"))) == ["journal", "writer"]
    os.utime(inputs[0])
    assert finish(inputs, out, overwrite=True)[0] == 0


def test_a_folder_that_no_run_has_left_is_not_touched(inputs: list[Path], tmp_path: Path) -> None:
    part = tmp_path / ".out.part"
    part.mkdir()
    (part / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="is made in .*out.part, but that holds something else"):
        finish(inputs, tmp_path / "out")
    assert os.listdir(part) == ["thesis.tex"]


def test_an_old_model_comes_back_after_a_kill_between_the_two_renames(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    part = stop_in_the_middle(inputs, out)
    write({"old": torch.ones(1)}, part / "replaced")
    with pytest.raises(StoppedError):
        write(merged(inputs, stopping(1)), out, overwrite=True, shard_size=SHARD_BYTES, workers=1)
    assert list(open(out)) == ["old"]
    assert finish(inputs, out, overwrite=True)[0] > 0
    assert "old" not in open(out)


# ------------------------------------------------------------------------------------------------ the journal


def test_a_torn_line_counts_for_nothing(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    journal = stop_in_the_middle(inputs, out) / "journal"
    whole = journal.read_bytes()
    for torn in (b"8 8", b"00000000 [[0,39]]\n", whole.splitlines()[-1][:-1]):
        journal.write_bytes(whole + torn)
        with pytest.raises(StoppedError):
            write(merged(inputs, stopping(1)), out, shard_size=SHARD_BYTES, workers=1)
        assert journal.read_bytes().startswith(whole)
        whole = journal.read_bytes()
        assert all(int(line[:8], 16) == zlib.crc32(line[9:]) for line in whole.splitlines())
    assert finish(inputs, out)[0] >= 17, "and does not keep later lines from counting"
    finish(inputs, tmp_path / "unbroken" / "out")
    assert snapshot(out) == snapshot(tmp_path / "unbroken" / "out")


def test_a_journal_counts_up_to_where_it_is_damaged(inputs: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    part = stop_in_the_middle(inputs, out, after=5)
    first = part.joinpath("journal").read_bytes()
    stop_in_the_middle(inputs, out, after=10)
    data = bytearray(part.joinpath("journal").read_bytes())
    assert data.startswith(first)
    assert len(data) > len(first)
    data[len(first) + 12] ^= 1
    part.joinpath("journal").write_bytes(data)
    done = [json.loads(line[9:]) for line in first.splitlines()[1:]]
    assert finish(inputs, out)[0] == sum(last - first + 1 for ranges in done for first, last in ranges)
    finish(inputs, tmp_path / "unbroken" / "out")
    assert snapshot(out) == snapshot(tmp_path / "unbroken" / "out")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda part: part.joinpath("journal").write_bytes(b"\0" * 100), "its journal is damaged"),
        (lambda part: next(part.glob("output/*.safetensors")).unlink(), "its files are not all there"),
        (lambda part: os.truncate(next(part.glob("output/*.safetensors")), 50), "its files are not all there"),
    ],
    ids=["journal", "missing", "short"],
)
def test_what_is_damaged_is_discarded_with_a_note(
    inputs: list[Path], tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    part = stop_in_the_middle(inputs, tmp_path / "out")
    harm(part)
    with pytest.warns(UserWarning, match=said):
        assert finish(inputs, tmp_path / "out")[0] == 0
    finish(inputs, tmp_path / "unbroken" / "out")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "unbroken" / "out")


# ------------------------------------------------------------------------------------------------ inputs that change


def test_an_input_that_changes_before_the_write_is_refused(inputs: list[Path], tmp_path: Path) -> None:
    checkpoint = merged(inputs)
    os.utime(inputs[0])
    inputs[1].unlink()
    with pytest.raises(SourceError, match="2 of the files that are read changed after they were opened") as caught:
        write(checkpoint, tmp_path / "out")
    assert caught.value.problems == tuple(map(str, inputs))
    assert os.listdir(tmp_path) == ["inputs"]


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_an_input_that_changes_while_it_is_read_is_refused(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"source{suffix}"
    weights = {f"x{number}": torch.ones(4) for number in range(9)}
    write(weights, source) if suffix == ".safetensors" else torch.save(weights, source)

    def progress(state: Progress) -> None:
        os.utime(source)

    with pytest.raises(SourceError, match="1 of the files that are read changed after they were opened") as caught:
        write(open(source), tmp_path / "out", progress=progress)
    assert caught.value.problems == (str(source),)
    assert os.listdir(tmp_path) == [source.name], "what was made of two states of a file is not kept"


# ------------------------------------------------------------------------------------------------ a full disk


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_disk_that_is_full_for_a_while(
    inputs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr("scionwood.checkpoint.journal.SECONDS_BETWEEN_COMMITS", 0.01)
    original = getattr(os, call)
    left = iter(range(25))

    def filling(*arguments: object) -> object:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, filling)
        with pytest.raises(OutputError, match="the disk is full") as caught:
            write(merged(inputs, seconds=0.005), tmp_path / "out", shard_size=SHARD_BYTES)
    assert "the same command resumes" in caught.value.__notes__[0]
    assert finish(inputs, tmp_path / "out")[0] > 0
    finish(inputs, tmp_path / "unbroken" / "out")
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "unbroken" / "out")


FULL = """
    import os, sys
    from pathlib import Path
    from scionwood.errors import OutputError
    from tests.faults.slow import make_inputs, merged
    from scionwood.checkpoint import write

    disk, inputs = Path(sys.argv[1]), make_inputs(Path(sys.argv[2]))
    ballast = disk / "ballast"

    def fill(name):
        if name == "layers.20.weight" and not ballast.exists():
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass

    try:
        write(merged(inputs, fill), disk / "out", workers=1)
    except OutputError as error:
        print(error.message, *error.__notes__, sorted(os.listdir(disk)))
    ballast.unlink()
    write(merged(inputs, lambda name: None), disk / "out", progress=lambda state: print(state.tensors_before))
    write(merged(inputs), Path(sys.argv[2]) / "out")
    same = [(disk / "out" / file.name).read_bytes() == file.read_bytes() for file in Path(sys.argv[2], "out").iterdir()]
    print(all(same), len(same), sorted(os.listdir(disk)))
"""


def test_a_disk_that_was_full_indeed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    outside = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=4m disk "$0" && exec "$@"', str(disk)]
    if not shutil.which("unshare") or subprocess.run([*outside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own takes privileges")
    program = [sys.executable, "-c", textwrap.dedent(FULL), str(disk), str(tmp_path)]
    done = subprocess.run([*outside, *program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    failed, *states, last = done.stdout.splitlines()
    assert "the disk is full" in failed
    assert "the same command resumes" in failed
    assert failed.endswith("['.out.part', 'ballast']")
    assert int(states[0]) > 10
    assert last == "True 4 ['out']"
