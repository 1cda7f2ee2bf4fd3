"""The repository keeps its own rules: pins, names, sizes."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = {
    canonicalize_name(requirement.name): requirement
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
    for requirement in [Requirement(line)]
}
DIRECT = [
    Requirement(line)
    for group in (
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    )
    for line in group
]
SOURCES = sorted((ROOT / "src").rglob("*.py"))


@pytest.mark.parametrize("requirement", DIRECT, ids=str)
def test_every_direct_dependency_is_pinned_within_its_range(requirement):
    pin = PINS[canonicalize_name(requirement.name)]
    (exact,) = pin.specifier
    assert exact.operator == "=="
    assert exact.version in requirement.specifier


def test_every_pin_is_exact_and_fits_any_platform():
    for pin in PINS.values():
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert "+" not in exact.version  # a local version is one machine's wheel


def test_what_breaks_a_cpu_torch_is_not_there():
    assert PINS.keys().isdisjoint({"torchvision", "timm"})
    assert not [name for name in PINS if name.startswith(("nvidia-", "cuda-"))]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_a_file_says_something_by_its_name_and_is_not_too_long(source):
    assert source.stem not in {"utils", "util", "helpers", "helper", "misc", "common"}
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 500


def test_no_path_of_one_machine_is_in_the_tree():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    homes = re.compile(r"/(?:root|home/\w+|Users/\w+)/")
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if (
            path.is_file()
            and path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".json"}
            and path != Path(__file__)
        ):
            assert not homes.search(path.read_text(encoding="utf-8")), name
