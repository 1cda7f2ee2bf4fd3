"""``import scionwood`` is cheap, ``--help`` too, and neither imports torch; a merge starts without transformers."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import count

IMPORT_SECONDS = 0.1
HELP_SECONDS = 0.3
MERGE_SECONDS = 2.0  # nearly all of it is the import of torch
TRIES = 5  # one of several, in processor time: other work on the machine must not fail the test
TORCH_SECONDS = 1.3
"""What the import of torch takes on the machine that these seconds are of; a quicker one is held to the same seconds."""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def hold(seconds: Callable[[], float], limit: float) -> None:
    """Assert that something takes no longer than so many seconds, or as much more as torch takes at that moment."""
    found = []
    for _ in range(TRIES):
        pace = max(1.0, processor_seconds("-c", "import torch") / TORCH_SECONDS)
        found.append(seconds() / pace)
        if found[-1] < limit:
            return
    raise AssertionError(f"{min(found):.2f} s, not {limit}")


def test_import_takes_less_than_a_tenth_of_a_second():
    code = "import time; began = time.process_time(); import scionwood; print(time.process_time() - began)"
    hold(lambda: float(python(code)), IMPORT_SECONDS)


def test_import_brings_no_heavy_package():
    code = "import scionwood, sys, json; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    heavy = {"torch", "numpy", "safetensors", "transformers", "rich", "cyclopts", "yaml"}
    assert heavy.isdisjoint(json.loads(python(code)))


def processor_seconds(*arguments: str) -> float:
    """Return the processor time of one run: what the wall clock says on a machine that does nothing else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_help_takes_less_than_three_tenths_of_a_second():
    hold(lambda: processor_seconds("-m", "scionwood", "--help"), HELP_SECONDS)


def test_help_and_the_catalogue_do_without_torch():
    code = """
import sys
from scionwood.cli import command_names, run
for arguments in [["--help"], ["methods"], *([name, "--help"] for name in command_names())]:
    assert run(arguments) == 0, arguments
    assert "torch" not in sys.modules, arguments
print("without torch")
"""
    assert python(code).endswith("without torch\n")


def test_a_merge_starts_in_two_seconds_and_does_without_transformers(tmp_path):
    import torch
    from safetensors.torch import save_file

    for name in ("a", "b"):
        save_file({"layers.0.weight": torch.ones(2, 2)}, tmp_path / f"{name}.safetensors")
    code = """
import sys
from scionwood.cli import run
arguments = ["merge", "linear", "a.safetensors", "b.safetensors", "--out", "out.safetensors"]
assert run(arguments) == 0
assert "transformers" not in sys.modules and "tokenizers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path)
    arguments = ["merge", "linear", *(str(tmp_path / f"{name}.safetensors") for name in "ab"), "--workers", "1"]
    numbers = count()
    hold(
        lambda: processor_seconds(
            "-m", "scionwood", *arguments, "--out", str(tmp_path / f"{next(numbers)}.safetensors")
        ),
        MERGE_SECONDS,
    )
