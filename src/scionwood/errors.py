"""The errors of scionwood: one tree, so that one ``except`` catches what you mean.

::

    ScionwoodError
    ├── SourceError        what was to be read is missing, malformed, truncated or unsafe
    ├── OutputError        what was to be written cannot be: it exists, lies in an input, the disk is full
    ├── AnatomyError       a model cannot be built, traced or described
    │   ├── MatchError     two anatomies do not fit: names the parameter, both shapes, both axes
    │   └── SymmetryError  a permutation of a free axis changed the model's function
    ├── MethodError        an unknown method, an unknown option, a value out of its range
    ├── RecipeError        a recipe is not YAML, or does not say what can be done: names the line
    └── DependencyError    an optional package is needed and absent: the message ends with the pip line

Every message says what is wrong, where, the nearest right name where there is one, and what to do.
An error that found several problems lists them all.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "AnatomyError",
    "DependencyError",
    "MatchError",
    "MethodError",
    "OutputError",
    "RecipeError",
    "ScionwoodError",
    "SourceError",
    "SymmetryError",
    "nearest",
]


class ScionwoodError(Exception):
    """Base of every error that scionwood raises on purpose.

    Args:
        message: one sentence: what is wrong, and where.
        problems: every single problem found, a line each; shown as a list under the message.
        hint: what to do about it, as one sentence.
    """

    def __init__(self, message: str, *, problems: Iterable[str] = (), hint: str | None = None) -> None:
        self.message = message
        self.problems = tuple(problems)
        self.hint = hint
        lines = [message, *(f"  - {problem}" for problem in self.problems)]
        if hint:
            lines.append(f"Hint: {hint}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.message, self.problems, self.hint)


def _rebuilt(kind: type[ScionwoodError], message: str, problems: tuple[str, ...], hint: str | None) -> ScionwoodError:
    """Make an error that comes from another process again."""
    return kind(message, problems=problems, hint=hint)


class SourceError(ScionwoodError):
    """What was to be read is missing, malformed, truncated or unsafe."""


class OutputError(ScionwoodError):
    """What was to be written cannot be written; nothing is left under its name."""


class AnatomyError(ScionwoodError):
    """A model cannot be built, traced or described."""


class MatchError(AnatomyError):
    """Two anatomies do not fit each other."""


class SymmetryError(AnatomyError):
    """A permutation of an axis called free changed the model's function."""


class MethodError(ScionwoodError):
    """An unknown method, an unknown option, or a value out of its range."""


class RecipeError(ScionwoodError):
    """A recipe cannot be read, or does not say what can be done."""


class DependencyError(ScionwoodError):
    """An optional package is needed and absent."""


def nearest(name: str, known: Sequence[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest of the known names, or an empty string.

    >>> nearest("unifrom", ["uniform", "random"])
    " (did you mean 'uniform'?)"
    >>> nearest("zzz", ["uniform", "random"])
    ''
    """
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""
