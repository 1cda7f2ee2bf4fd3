"""What the commands print, and how: results on stdout, everything else on stderr.

Colours, bars and folding to the window's width are for terminals; a pipe or a file gets plain whole lines.
"""

import json
import platform
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["print_bug", "print_error", "print_json", "print_lines", "print_note", "print_renderable"]

# A table that goes to a file or a pipe must not be cut at a window's width that nobody looks through.
PLAIN_WIDTH = 240


def console(*, stderr: bool = False, fold: bool = False) -> "Console":
    """Return a console for stdout or stderr.

    Where no terminal is there it keeps long lines whole, unless ``fold`` asks for the usual width (help pages).
    """
    from rich.console import Console

    class QuietConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1; cli.run knows better

    stream = sys.stderr if stderr else sys.stdout
    width = None if fold or stream.isatty() else PLAIN_WIDTH
    return QuietConsole(stderr=stderr, width=width, highlight=False)


def print_error(
    message: str, *, problems: Iterable[str] = (), hint: str | None = None, traceback: bool = False
) -> None:
    """Print one error on stderr: the sentence, its problems as a list, and the hint."""
    from rich.text import Text

    if traceback:
        _print_traceback()
    out = console(stderr=True)
    out.print(Text.assemble(("error:", "bold red"), " ", message.rstrip()), soft_wrap=True)
    for problem in problems:
        out.print(Text(f"  - {problem}"), soft_wrap=True)
    if hint:
        out.print(Text.assemble(("hint:", "bold"), " ", hint), soft_wrap=True)


def print_bug(error: BaseException, *, notes: Iterable[str] = (), traceback: bool) -> None:
    """Print that scionwood itself is wrong, with what a report of it needs."""
    if traceback:
        _print_traceback()
    where = "" if traceback else "; run again with --debug for the traceback"
    name = type(error).__name__
    print_error(
        f"this is a bug in scionwood, not in your request: {name}: {error}",
        problems=notes,
        hint=f"please report it with the command line you gave (Python {platform.python_version()}){where}",
    )


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout, for scripts."""
    if isinstance(value, str):  # is JSON already
        print(value)
    else:
        print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_lines(lines: str | Iterable[str]) -> None:
    """Print plain lines on stdout."""
    print(lines if isinstance(lines, str) else "\n".join(lines))


def print_renderable(thing: "RenderableType") -> None:
    """Print a table, or anything else that rich can draw, on stdout."""
    if isinstance(thing, str):  # is laid out already, and its brackets are not markup
        print(thing)
    else:
        console().print(thing)


def print_note(message: str) -> None:
    """Print a remark on stderr: where the output went, what is being done."""
    print(message, file=sys.stderr)


def _print_traceback() -> None:
    import traceback

    traceback.print_exc(file=sys.stderr)
