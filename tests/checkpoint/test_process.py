"""Workers in processes of their own: the same bytes, their errors and warnings come back, and they end with their parent."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch

from scionwood.checkpoint import Checkpoint, ComputedTensor, open, process, stream, write
from scionwood.errors import MethodError, ScionwoodError

pytestmark = pytest.mark.skipif(not process.available(), reason="processes are forked on Linux alone")


@pytest.fixture(autouse=True)
def _always_processes(monkeypatch):
    monkeypatch.setattr(stream, "PROCESS_BYTES", 0)


def checkpoint(function, count=6):
    names = [f"layers.{number}.weight" for number in range(count)]
    return Checkpoint(
        {name: ComputedTensor(name, (64, 32), torch.float32, function) for name in names}, source="computed"
    )


def numbers(start, stop):
    return torch.arange(start * 32, stop * 32, dtype=torch.float32).reshape(-1, 32)


def test_the_bytes_are_those_of_one_process(tmp_path):
    digests = set()
    for workers in (1, 2, 5):
        out = write(checkpoint(numbers), tmp_path / f"{workers}.safetensors", workers=workers)
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_tensors_are_read_in_other_processes(tmp_path):
    def own(start, stop):
        return torch.full((stop - start, 32), float(os.getpid()))

    made = open(write(checkpoint(own), tmp_path / "out.safetensors", workers=2))
    assert os.getpid() not in {int(number) for name in made for number in made[name].unique()}
    here = open(write(checkpoint(own), tmp_path / "here.safetensors", workers=1))
    assert {int(number) for name in here for number in here[name].unique()} == {os.getpid()}


def test_the_parent_may_have_computed_on_many_threads(tmp_path):
    """OpenMP's threads do not survive a fork: a child that waited for them would wait for ever."""
    left = torch.randn(512, 512)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        left @ left + left.exp()
        out = write(checkpoint(lambda start, stop: (left @ left)[start:stop, :32]), tmp_path / "out", workers=2)
    finally:
        torch.set_num_threads(before)
    assert len(open(out)) == 6


def test_an_error_comes_back_as_it_was(tmp_path):
    def refuse(start, stop):
        raise MethodError("This cannot be done.", problems=["a", "b"], hint="do that")

    with pytest.raises(MethodError) as caught:
        write(checkpoint(refuse), tmp_path / "out", workers=2)
    assert (caught.value.message, caught.value.problems, caught.value.hint) == (
        "This cannot be done.",
        ("a", "b"),
        "do that",
    )
    assert "in refuse" in str(caught.value.__cause__)
    assert not (tmp_path / "out").exists()


def test_an_error_that_cannot_be_sent_is_told(tmp_path):
    class LocalError(Exception):
        pass

    def fail(start, stop):
        raise LocalError("of this test alone")

    with pytest.raises(RuntimeError, match="of this test alone"):
        write(checkpoint(fail), tmp_path / "out", workers=2)


def test_a_warning_comes_back(tmp_path):
    def warn(start, stop):
        warnings.warn("mind this", UserWarning, stacklevel=1)
        return numbers(start, stop)

    with pytest.warns(UserWarning, match="mind this"):
        write(checkpoint(warn), tmp_path / "out.safetensors", workers=2)


def test_a_process_that_ends_is_noticed(tmp_path):
    def end(start, stop):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ScionwoodError, match=r"A worker's process \(\d+\) ended before its work"):
        write(checkpoint(end), tmp_path / "out", workers=2)
    assert not (tmp_path / "out").exists()


def _children():
    """Ask the system which processes are this one's, those that ended unnoticed too."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(path.parent.name))
    return found


def test_none_is_left_when_it_is_over(tmp_path):
    seen = tmp_path / "seen"

    def told(start, stop):
        with seen.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return numbers(start, stop)

    before = _children()
    write(checkpoint(told), tmp_path / "out.safetensors", workers=3)
    workers = set(map(int, seen.read_text().split()))
    assert workers
    assert os.getpid() not in workers
    assert not workers & _children()
    assert _children() <= before


def test_one_that_works_long_ends_with_an_error_of_another(tmp_path):
    def slow_or_wrong(start, stop):
        try:
            flag.touch(exist_ok=False)  # both may come at once
        except FileExistsError:
            raise MethodError("wrong") from None
        time.sleep(600)
        return numbers(start, stop)

    flag = tmp_path / "flag"
    began = time.monotonic()
    with pytest.raises(MethodError, match="wrong"):
        write(checkpoint(slow_or_wrong), tmp_path / "out", workers=2)
    assert time.monotonic() - began < 300


def test_what_is_confined_is_read_here(tmp_path):
    class Confined(ComputedTensor):
        confined = True

    seen = []

    def own(start, stop):
        seen.append(threading.get_ident())
        return numbers(start, stop)

    made = Checkpoint({"w": Confined("w", (64, 32), torch.float32, own)}, source="computed")
    write(made, tmp_path / "out.safetensors", workers=2)
    assert seen


def test_they_end_with_their_parent(tmp_path):
    """Killed without a chance to say so, the parent takes its workers along: none writes into what another run makes."""
    # Small tensors would be one piece of work.
    script = f"""
import os, sys, time, torch
from scionwood.checkpoint import Checkpoint, ComputedTensor, stream, write
stream.PROCESS_BYTES = stream.SMALL_BYTES = 0
def slow(start, stop):
    os.write(1, b"%d\\n" % os.getpid())  # in one piece, whatever Python's streams do
    time.sleep(600)
tensors = {{name: ComputedTensor(name, (64, 32), torch.float32, slow) for name in "ab"}}
write(Checkpoint(tensors, source="computed"), {str(tmp_path / "out")!r}, workers=2)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    deadline = time.monotonic() + 120
    while any(_alive(number) for number in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_alive(number) for number in children)


def _alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False
