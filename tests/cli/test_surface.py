"""The command line's commands and flags are a frozen list: a change of it is a decision, made here."""

import inspect
import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from scionwood import cli
from scionwood.cli import application, command_names, run
from scionwood.cli._output import Output

SURFACE = {
    "anatomy": ["--json", "MODEL"],
    "demo": ["NAME", "--out", "--seeds"],
    "digest": ["SOURCE", "--full", "--json"],
    "init": [
        "CONFIG",
        "--data",
        "--dry-run",
        "--dtype",
        "--explain",
        "--json",
        "--memory",
        "--method",
        "--only",
        "--option",
        "--out",
        "--overwrite",
        "--restart",
        "--seed",
        "--shard-size",
        "--workers",
    ],
    "lineage": ["--json", "SOURCE"],
    "merge": [
        "METHOD",
        "MODELS",
        "--allow-nonfinite",
        "--base",
        "--chat-template",
        "--device",
        "--differences",
        "--dry-run",
        "--dtype",
        "--json",
        "--memory",
        "--merge-space",
        "--out",
        "--overwrite",
        "--pad-to-multiple-of",
        "--rank",
        "--restart",
        "--seed",
        "--set",
        "--shard-size",
        "--tokenizer",
        "--workers",
    ],
    "methods": ["--json", "NAME"],
    "plan": ["--dtype", "--json", "--workers", "RECIPE"],
    "recipe": ["--out", "ACTION", "FILE"],
    "reproduce": ["--json", "--out", "--parent", "--workers", "SOURCE"],
    "run": [
        "--dry-run",
        "--dtype",
        "--expect",
        "--json",
        "--memory",
        "--out",
        "--overwrite",
        "--restart",
        "--shard-size",
        "--workers",
        "RECIPE",
    ],
    "grow": [
        "SOURCE",
        "--depth",
        "--dry-run",
        "--dtype",
        "--json",
        "--like",
        "--memory",
        "--method",
        "--option",
        "--out",
        "--overwrite",
        "--restart",
        "--second",
        "--seed",
        "--set",
        "--shard-size",
        "--text",
        "--workers",
    ],
    "select": [
        "SOURCE",
        "--depth",
        "--dry-run",
        "--dtype",
        "--head",
        "--json",
        "--like",
        "--memory",
        "--method",
        "--option",
        "--out",
        "--overwrite",
        "--rescale",
        "--restart",
        "--seed",
        "--set",
        "--shard-size",
        "--workers",
    ],
    "vocabulary": [
        "SOURCE",
        "--dictionary",
        "--dry-run",
        "--dtype",
        "--inputs",
        "--json",
        "--match",
        "--memory",
        "--method",
        "--option",
        "--out",
        "--overwrite",
        "--pad-to-multiple-of",
        "--report",
        "--restart",
        "--seed",
        "--shard-size",
        "--special",
        "--text",
        "--tokenizer",
        "--vectors",
        "--workers",
    ],
}


def file_of(name):
    """The command called run lies in run_.py: a module of that name would take the place of cli.run."""
    return f"{name}_" if name == "run" else name


def test_a_command_does_not_hide_the_function_that_runs_it():
    for name in command_names():
        assert run([name, "--help"]) == 0
    assert cli.run is run


def test_the_commands_are_frozen():
    assert command_names() == sorted(SURFACE)


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_the_flags_are_frozen_and_each_has_its_line_of_help(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    assert run([name, "--help"]) == 0
    rows = re.findall(r"^│ [* ]? *(-?-?[A-Za-z-]+)(.*)│$", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(flag for flag, _ in rows) == sorted(SURFACE[name])
    for flag, line in rows:
        assert len(line.split()) >= 3, flag


@pytest.mark.parametrize("name", sorted(SURFACE))
def test_the_file_and_the_command_begin_with_a_sentence(name):
    module = import_module(f"scionwood.cli.{file_of(name)}")
    for text in (inspect.getdoc(module), inspect.getdoc(module.command)):
        assert text is not None
        assert text.partition("\n")[0].endswith(".")


def test_a_command_is_a_thin_file():
    folder = Path(inspect.getfile(application)).parent
    for name in command_names():
        assert len((folder / f"{file_of(name)}.py").read_text(encoding="utf-8").splitlines()) <= 120


def test_the_flags_of_every_command_that_writes_are_held_once():
    writing = [name for name, flags in SURFACE.items() if "--shard-size" in flags]
    for name in writing:
        taken = inspect.signature(import_module(f"scionwood.cli.{file_of(name)}").command).parameters
        assert issubclass(taken["output"].annotation, Output)
        assert not {field.name for field in fields(Output)} & set(taken)
