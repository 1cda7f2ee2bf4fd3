"""Run both sides on the same files: mergekit in its own environment, scionwood here."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import yaml

from parity.configurations import Configuration
from parity.models import MEMBERS

__all__ = ["PRECISIONS", "documents", "run_ours", "run_theirs", "write_configuration"]

PRECISIONS = ("asked", "float32", "float64")


def documents(configuration: Configuration, folder: Path) -> list[dict[str, Any]]:
    """What a configuration says, with the places of its models."""
    family = folder / "models" / configuration.family
    places = {name: str(family / name) for name in (*MEMBERS, "adapter")}
    return list(yaml.safe_load_all(Template(configuration.text).substitute(places)))


def write_configuration(configuration: Configuration, number: int, precision: str, folder: Path) -> Path:
    """Write a file as it is, or one that asks for its arithmetic and result in another precision."""
    said = documents(configuration, folder)
    if precision != "asked":
        for document in said:
            document["dtype"] = precision
            document.pop("out_dtype", None)
    file = folder / f"{number:02}-{precision}.yml"
    file.write_text(yaml.safe_dump_all(said, sort_keys=False))
    return file


def run_theirs(configurations: Sequence[Configuration], folder: Path, peer: Path) -> list[dict[str, str | None]]:
    """Run mergekit on each configuration in each precision; return what it said, None for a merge that went well."""
    jobs = [
        {
            "tool": configuration.tool,
            "flags": list(configuration.flags),
            "config": str(write_configuration(configuration, number, precision, folder)),
            "out": str(folder / f"theirs-{number:02}-{precision}"),
            "seed": number,
        }
        for number, configuration in enumerate(configurations)
        for precision in PRECISIONS
    ]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("peer.py")
    command = [str(peer.parent / "python"), str(script), str(folder / "jobs.json"), str(folder / "outcomes.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"mergekit did not run: {done.stderr[-2000:]}")
    said = iter(json.loads((folder / "outcomes.json").read_text()))
    return [{precision: next(said) for precision in PRECISIONS} for _ in configurations]


def run_ours(configuration: Configuration, number: int, folder: Path) -> str | None:
    """Run scionwood on the file as it is; return what it said where it did not merge."""
    from scionwood.cli import run

    file, out = folder / f"{number:02}-asked.yml", folder / f"ours-{number:02}"
    printed, complained = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        code = run(["merge", str(file), str(out), "--workers", "1", "--overwrite"])
    return None if code == 0 else complained.getvalue().strip() or f"exit code {code}"
