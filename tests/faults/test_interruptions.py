"""A run that is stopped, or not alone: the name holds nothing or the whole, and the next run succeeds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.faults.bench import SMALLER, Run, scionwood, snapshot

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
def test_a_run_that_is_stopped_leaves_nothing(start: Start, tmp_path: Path, number: int, code: int, word: str) -> None:
    run = start(pause=60)
    assert not (tmp_path / "student").exists()
    assert [name for name in os.listdir(tmp_path) if name.startswith(".student.part-")]
    assert run.process.pid is not None
    os.kill(run.process.pid, number)
    outcome = run.outcome()
    assert (outcome.code, outcome.out, outcome.err) == (code, "", f"error: {word}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_killed_does_not_confuse_the_next_one(start: Start, models: Path, tmp_path: Path) -> None:
    run = start(pause=60)
    run.process.kill()
    assert run.outcome().code == -signal.SIGKILL
    left = os.listdir(tmp_path)
    assert "student" not in left
    assert len(left) == 1, "its part is still there"
    outcome = scionwood("select", models / "teacher", *SMALLER, "--out", tmp_path / "student")
    assert outcome.code == 0, outcome.err
    assert os.listdir(tmp_path) == ["student"], "and is cleaned up by the next run"


def test_of_two_runs_into_one_place_one_wins_and_the_other_says_so(start: Start, models: Path, tmp_path: Path) -> None:
    run = start(pause=0.15)
    faster = scionwood("select", models / "teacher", *SMALLER, "--out", tmp_path / "student")
    assert faster.code == 0, faster.err
    before = snapshot(tmp_path / "student")
    slower = run.outcome()
    assert (slower.code, slower.out) == (2, "")
    assert slower.err == (
        f"error: The output {tmp_path / 'student'} was made by another process in the meantime, and is left as it is.\n"
    )
    assert snapshot(tmp_path / "student") == before
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
