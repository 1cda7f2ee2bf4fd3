"""Every way a command can go wrong has its exit code and its one message."""

import subprocess
import sys

import pytest

from scionwood import cli
from scionwood.cli import digest, run
from scionwood.errors import SourceError


def fail_with(monkeypatch, error):
    def fails(_source, /, *, full=False, json=False):
        raise error

    monkeypatch.setattr(digest, "command", fails)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["selct"], ['Unknown command "selct"', 'Did you mean "select"?']),
        (["select", "a", "--lik", "b"], ["Unknown option: --lik", "Did you mean --like?"]),
        (["select", "a", "--seed", "x"], ["--seed", '"x"']),
        (["select", "a", "--like"], ["--like requires an argument"]),
        (["digest"], ["SOURCE requires an argument", "scionwood digest --help"]),
        (["digest", "a", "b"], ["unexpected argument: b"]),
        (["demo", "digit"], ["digits", "minilm"]),
        (["select", "a", "--set", "x=1"], ["--out says where to write", "--dry-run"]),
        (["select", "a", "--out", "b", "--set", "x", "--set", "y"], ["--set takes name=value", "'x'", "'y'"]),
        (["select", "a", "--depth", "first", "--depth", "last"], ["--depth is given twice", "LIST=RULE"]),
        (["select", "a", "--depth", "first", "--depth", "encoder.block=last"], ["--depth takes name=value", "'first'"]),
        (["select", "a", "--head", "frsh"], ["selected", "fresh"]),
        (["select", "a", "--out", "b", "--option", "x=1", "--option", "x=2"], ["--option", "'x' is given twice"]),
    ],
)
def test_a_wrong_request_is_exit_code_2_and_names_what_is_wrong(capsys, arguments, words):
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err
    for word in words:
        assert word in captured.err


def test_an_error_of_the_tree_is_exit_code_2_without_a_traceback(monkeypatch, capsys):
    fail_with(monkeypatch, SourceError("model/ has no weights [bold]", problems=["a is missing", "b too"], hint="look"))
    assert run(["digest", "model/"]) == 2
    assert capsys.readouterr().err == (
        "error: model/ has no weights [bold]\n  - a is missing\n  - b too\nhint: look\n"  # brackets are not markup
    )


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_debug_shows_the_traceback(monkeypatch, capsys, how):
    fail_with(monkeypatch, SourceError("no weights"))
    arguments = ["digest", "model/"]
    if how == "flag":
        arguments.append("--debug")
    else:
        monkeypatch.setenv("SCIONWOOD_DEBUG", "1")
    assert run(arguments) == 2
    captured = capsys.readouterr().err
    assert "Traceback (most recent call last)" in captured
    assert captured.endswith("error: no weights\n")


def test_anything_else_is_called_a_bug(monkeypatch, capsys):
    fail_with(monkeypatch, ZeroDivisionError("division by zero"))
    assert run(["digest", "model/"]) == 70
    captured = capsys.readouterr().err
    assert captured.startswith("error: this is a bug in scionwood, not in your request: ZeroDivisionError: division by")
    assert "--debug" in captured
    assert "Traceback" not in captured


def test_an_interrupt_is_130(monkeypatch, capsys):
    fail_with(monkeypatch, KeyboardInterrupt())
    assert run(["digest", "model/"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_closed_pipe_is_quiet():
    code = "import sys; from scionwood.cli import main; sys.argv[1:] = ['select', '--help']; main()"
    command = f'{sys.executable} -c "{code}" | true; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0


def test_main_leaves_with_the_exit_code(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["scionwood", "selct"])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code == 2


def test_no_arguments_print_the_help(capsys):
    assert run([]) == 0
    assert "select" in capsys.readouterr().out


def test_version(capsys):
    import scionwood

    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == scionwood.__version__
