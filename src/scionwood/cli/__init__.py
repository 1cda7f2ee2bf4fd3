"""The command line: one thin file a command, found by its file name and loaded only when it runs.

A file ``cli/select.py`` with a function ``command`` is ``scionwood select``; the first line of its module docstring is
its line in ``scionwood --help``. Files that begin with an underscore are not commands; ``run_.py`` ends with one so as
not to hide ``run`` here. Commands parse, call one public function, and print: whatever else a command needs belongs on a
floor below.

Exit codes: 0 done · 1 what `reproduce` compared differs · 2 the request was wrong, one message says how · 70 scionwood is wrong · 130 interrupted · 143 terminated.
"""

import ast
import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError

__all__ = ["application", "command_names", "main", "run"]

EPILOGUE = "--debug after any command, or SCIONWOOD_DEBUG=1, shows the traceback of an error."


def main() -> None:
    """Run the command line and leave with its exit code."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # what it only warns of, scionwood checks itself
    signal.signal(signal.SIGTERM, _terminate)
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; whatever goes wrong is printed on stderr.

    >>> run(["digest"])
    2
    """
    arguments = list(arguments)
    debug = os.environ.get("SCIONWOOD_DEBUG", "") not in {"", "0"}
    if "--debug" in arguments:
        arguments.remove("--debug")
        debug = True

    from cyclopts import CycloptsError

    from scionwood.cli._terminal import print_bug, print_error
    from scionwood.errors import ScionwoodError

    try:
        with _warnings_for_people(debug=debug):
            return application()(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        print_error(_request_error(error), hint=_usage(error), traceback=debug)
        return 2
    except ScionwoodError as error:
        hint = " ".join([*([error.hint] if error.hint else []), *_notes(error)])
        print_error(error.message, problems=error.problems, hint=hint, traceback=debug)
        return 2
    except KeyboardInterrupt as error:
        terminated = isinstance(error, _TerminatedError)
        print_error("terminated" if terminated else "interrupted", hint=" ".join(_notes(error)), traceback=debug)
        return 143 if terminated else 130
    except BrokenPipeError:  # the reader of our output, `head` say, has what it wants
        _silence_stdout()
        return 0
    except Exception as error:  # noqa: BLE001 - the last frame: what arrives here is a bug and is called one
        print_bug(error, notes=_notes(error), traceback=debug)
        return 70


def _notes(error: BaseException) -> list[str]:
    """Return what was noted on an error on its way: what a write that failed has finished, say."""
    return getattr(error, "__notes__", [])


class _TerminatedError(KeyboardInterrupt):
    """The process was asked to end: what was begun is cleaned up as after an interrupt."""


def _terminate(*_: object) -> None:
    raise _TerminatedError


def application() -> "App":
    """Return the command line as a cyclopts application; its commands are not loaded yet."""
    from cyclopts import App, Parameter

    from scionwood.cli._terminal import console

    app = App(
        name="scionwood",
        help="Make the weights of new models out of the weights of models that already exist.",
        help_epilogue=EPILOGUE,
        help_format="markdown",  # joins the lines of a paragraph; plaintext, a third faster, keeps their breaks
        version=_version,
        console=console(fold=True),
        suppress_keyboard_interrupt=False,  # run() answers it
        default_parameter=Parameter(negative=(), show_default=_shown_default),  # no --no-json beside --json
    )
    for name in command_names():
        app.command(f"scionwood.cli.{_module(name)}:command", name=name, help=_summary(name))
    return app


def command_names() -> list[str]:
    """Return the names of the commands: the files of this folder.

    >>> "select" in command_names()
    True
    """
    return sorted(path.stem.rstrip("_") for path in Path(__file__).parent.glob("[!_]*.py"))


def _module(name: str) -> str:
    return f"{name}_" if name in __all__ else name


def _summary(name: str) -> str:
    """Return the first line of a command's file, without importing it."""
    source = (Path(__file__).parent / f"{_module(name)}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _shown_default(default: object) -> str | None:
    """Return a default as the help shows it; "nothing given" goes without saying."""
    if isinstance(default, tuple):
        return ", ".join(default) or None
    return None if default is None or default is False else str(default)


def _request_error(error: "CycloptsError") -> str:
    unexpected = getattr(error, "unused_tokens", None)
    if type(error).__name__ == "UnusedCliTokensError" and unexpected:
        return f"unexpected argument{'s'[: len(unexpected) > 1]}: {' '.join(unexpected)}"
    return str(error)


def _usage(error: "CycloptsError") -> str:
    chain = getattr(error, "command_chain", None) or ()
    usage = f"see `{' '.join(['scionwood', *chain])} --help`"
    missing = re.search(r"parameter (--[\w-]+) requires", str(error))
    return f"{usage}; a value that begins with - is written {missing[1]}=-…" if missing else usage


def _version() -> str:
    from importlib.metadata import version

    return version("scionwood")


@contextlib.contextmanager
def _warnings_for_people(*, debug: bool) -> Iterator[None]:
    """Show scionwood's own warnings as one line each; what libraries warn of is for programmers, and for --debug."""
    import warnings

    from scionwood.cli._terminal import print_note

    home = str(Path(__file__).parent.parent)

    def show(message: Warning | str, category: type[Warning], filename: str, *_: object) -> None:
        if filename.startswith(home) and issubclass(category, UserWarning):
            print_note(f"warning: {message}")

    if debug or sys.warnoptions:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = show
        yield


def _silence_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's own flush at its end stays quiet too."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - lives as long as the process
