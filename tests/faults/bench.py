"""The bench on which the command line is broken: run it as a user does, and see that a refusal leaves no trace."""

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scionwood.cli import main, run

SMALLER = ["--set", "hidden_size=16", "--set", "intermediate_size=12", "--set", "num_hidden_layers=2"]
"""Half of the teacher's sizes; its heads are half as wide, too."""

PROGRAM = [sys.executable, "-m", "scionwood"]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def scionwood(*arguments: str | Path) -> Outcome:
    """Run one command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def refused(within: Path, *arguments: str | Path, words: Iterable[str] = ()) -> str:
    """Return what a refused command line said: one message, exit code 2, and not a byte changed under ``within``."""
    before = snapshot(within)
    outcome = scionwood(*arguments)
    assert snapshot(within) == before, f"something was left or changed by: {arguments}"
    return is_one_message(outcome, words)


def is_one_message(outcome: Outcome, words: Iterable[str] = ()) -> str:
    """See that an outcome is one clear message and nothing else."""
    assert outcome.code == 2, outcome
    assert outcome.out == "", outcome
    first, *rest = outcome.err.splitlines()
    assert first.startswith("error: "), outcome.err
    hints = [line for line in rest if line.startswith("hint: ")]
    problems = [line for line in rest if line.startswith("  - ")]
    assert problems + hints == rest, f"lines that belong to nothing:\n{outcome.err}"
    assert len(hints) <= 1
    assert "Traceback" not in outcome.err
    assert "this is a bug" not in outcome.err
    for line in (first, *rest):
        said = line.partition(": ")[2] or line.removeprefix("  - ")
        assert said.strip(" -:"), f"a line that says nothing:\n{outcome.err}"
        assert not line.endswith(":"), f"a line that breaks off:\n{outcome.err}"
    for word in words:
        assert word in outcome.err, f"{word!r} is not in:\n{outcome.err}"
    return outcome.err


def snapshot(folder: Path) -> dict[str, str]:
    """Everything under a folder: hidden files, links as links, pipes unread."""
    found: dict[str, str] = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root) / name
            if "__pycache__" in path.parts:
                continue
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                what = f"link to {path.readlink()}"
            elif stat.S_ISREG(mode):
                what = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                what = stat.filemode(mode)
            found[str(path.relative_to(folder))] = what
    return found


def copied(folder: Path, to: Path, **changes: Any) -> Path:
    """Copy a model's folder, with settings of its config changed; ``...`` takes one out."""
    shutil.copytree(folder, to)
    configured(to, **changes)
    return to


def configured(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = {name: value for name, value in {**json.loads(path.read_text()), **changes}.items() if value is not ...}
    path.write_text(json.dumps(config))


def sharded(folder: Path, change: Callable[[dict[str, Any]], Mapping[str, Any]] = dict, *, twice: str = "") -> None:
    """Put a folder's weights into two shards; ``change`` is what happens to the index on the way."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    index: dict[str, Any] = {}
    for number, part in enumerate((names[:6], names[6:]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in {*part, *([twice] if twice else [])}}, folder / file)
        index |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": dict(change(index))})
    )


class Run:
    """A command line in a process of its own, forked from one that has imported everything already.

    Args:
        arguments: the command line.
        log: a folder for what it prints.
        pause: how many seconds it waits after every piece that it writes.
        largest_file: how many bytes it may write into one file.
    """

    def __init__(
        self, arguments: list[str], log: Path, *, pause: float | None = None, largest_file: int | None = None
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["transformers.models.llama.modeling_llama", "scionwood.verbs.select"])
        self.log = log
        self.process = context.Process(target=_run, args=(arguments, str(log), pause, largest_file))
        self.process.start()

    def is_writing(self) -> bool:
        return (self.log / "writing").exists()

    def outcome(self) -> Outcome:
        """Wait for its end."""
        self.process.join(60)
        assert self.process.exitcode is not None, "it hangs"
        return Outcome(self.process.exitcode, (self.log / "out").read_text(), (self.log / "err").read_text())


def _run(arguments: list[str], log: str, pause: float | None, largest_file: int | None) -> None:
    from scionwood.checkpoint import Progress
    from scionwood.cli import _progress

    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(log) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # one started in the background inherits that it is ignored
    sys.argv = ["scionwood", *arguments]

    class Slow(_progress.WriteProgress):
        def __call__(self, state: Progress) -> None:
            (Path(log) / "writing").touch()
            if state.bytes_done < state.bytes_total:
                time.sleep(pause or 0)

    if pause is not None:
        _progress.WriteProgress = Slow
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    main()
