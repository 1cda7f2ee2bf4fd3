"""A run that is stopped, or not alone: the name holds nothing or the whole, and the next run succeeds."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.bench import SMALLER, Run, scionwood

Start = Callable[..., Run]


@pytest.fixture
def start(models: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a run in a process of its own that takes its time in the middle of writing."""
    started: list[Run] = []

    def start(pause: float) -> Run:
        arguments = ["select", str(models / "teacher"), *SMALLER, "--out", str(tmp_path / "student")]
        run = Run(arguments, tmp_path_factory.mktemp("log"), pause=pause)
        started.append(run)
        while not run.is_writing():
            assert run.process.is_alive(), run.outcome()
            time.sleep(0.02)
        return run

    yield start
    for run in started:
        run.process.kill()
        run.process.join()


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_run_that_is_stopped_says_what_it_keeps(
    start: Start, models: Path, tmp_path: Path, number: int, code: int, word: str
) -> None:
    run = start(pause=600)
    part = tmp_path / ".student.part"
    assert os.listdir(tmp_path) == [part.name]
    assert run.process.pid is not None
    os.kill(run.process.pid, number)
    outcome = run.outcome()
    assert (outcome.code, outcome.out) == (code, "")
    error, hint = outcome.err.splitlines()
    assert error == f"error: {word}"
    found = re.fullmatch(
        rf"hint: (\d+ of \d+ tensors) are finished and kept in {part}; the same command resumes.", hint
    )
    assert found, hint
    assert os.listdir(tmp_path) == [part.name]
    outcome = scionwood("select", models / "teacher", *SMALLER, "--out", tmp_path / "student")
    assert outcome.code == 0
    assert outcome.err.startswith(f"resuming: {found[1]} are done\n")
    assert os.listdir(tmp_path) == ["student"]


def test_a_run_that_is_killed_does_not_confuse_the_next_one(start: Start, models: Path, tmp_path: Path) -> None:
    run = start(pause=600)
    run.process.kill()
    assert run.outcome().code == -signal.SIGKILL
    assert os.listdir(tmp_path) == [".student.part"]
    outcome = scionwood("select", models / "teacher", *SMALLER, "--out", tmp_path / "student", "--restart")
    assert outcome.code == 0, outcome.err
    assert "resuming" not in outcome.err
    assert os.listdir(tmp_path) == ["student"]


def test_of_two_runs_into_one_place_the_second_is_refused(start: Start, models: Path, tmp_path: Path) -> None:
    run = start(pause=0.2)
    before = os.listdir(tmp_path)
    second = scionwood("select", models / "teacher", *SMALLER, "--out", tmp_path / "student")
    assert os.listdir(tmp_path) == before
    assert (second.code, second.out) == (2, "")
    assert second.err == (
        f"error: The output {tmp_path / 'student'} is being written by process {run.process.pid}.\n"
        "hint: Wait until it is done, or write to another name.\n"
    )
    assert run.outcome().code == 0, "the first is not disturbed"
    assert os.listdir(tmp_path) == ["student"]


def test_a_message_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Nothing that the libraries print on their way out, or in, comes beside the message."""
    done = subprocess.run(
        [sys.executable, "-m", "scionwood", "select", "techer", *SMALLER, "--out", "student"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: There is no file or folder techer.\n"
    assert list(tmp_path.iterdir()) == []
