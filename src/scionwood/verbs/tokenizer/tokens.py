"""Where the rows of single tokens come from, as a request says it: in Python, or in plain values as a recipe holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from scionwood.checkpoint import Checkpoint, Source
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.parent import told
from scionwood.errors import MethodError, nearest

__all__ = ["TokenSource", "among", "plain_tokens", "token_sources"]


@dataclass(frozen=True, eq=False)
class TokenSource:
    """Where the row of a token comes from in the models that lack it; with ``force``, in all of them.

    Args:
        model: one of the models, or the base: its row of this token, or of another one where that is given.
        token: the other token.
        token_id: the other token, by its id.
        zero: a row of zeros.
        force: take it even where a model has the token.
    """

    model: Checkpoint | None = None
    token: str | None = None
    token_id: int | None = None
    zero: bool = False
    force: bool = False


def among(models: Sequence[Checkpoint], wanted: Source) -> Checkpoint:
    """Return the model that is meant, if it is one of these; else that model, opened."""
    found = open_checkpoint(wanted)
    return next((each for each in models if each is found or (each.files and each.source == found.source)), found)


def token_sources(
    tokens: Mapping[str, TokenSource | Mapping[str, Any]], models: Sequence[Checkpoint]
) -> dict[str, TokenSource]:
    """Return where rows come from, out of plain values where it is told in these.

    Args:
        tokens: token → a ``TokenSource``, or its fields by name, the model as one of ``models`` is named.
        models: those that are merged.

    Raises:
        MethodError: fields that there are not, or of another type.

    >>> token_sources({"<|new|>": {"zero": True}}, [])["<|new|>"].zero
    True
    """
    known = [field.name for field in fields(TokenSource)]
    types: dict[str, type] = {"token": str, "token_id": int, "zero": bool, "force": bool}
    problems: list[str] = []
    found: dict[str, TokenSource] = {}
    for token, wanted in tokens.items():
        if isinstance(wanted, TokenSource):
            found[token] = wanted
            continue
        if not isinstance(wanted, Mapping):
            problems.append(f"{token!r} is {wanted!r}, not a mapping of {', '.join(known)}")
            continue
        wrong = [
            *(f"{token!r} has no {name!r}{nearest(str(name), known)}" for name in wanted if name not in known),
            *(
                f"{token!r} has {name} {wanted[name]!r}, which is no {kind.__name__}"
                for name, kind in types.items()
                if wanted.get(name) is not None and type(wanted[name]) is not kind
            ),
        ]
        problems += wrong
        if not wrong:
            values = {name: value for name, value in wanted.items() if value is not None}
            if "model" in values:
                values["model"] = among(models, values["model"])
            found[token] = TokenSource(**values)
    if problems:
        raise MethodError("It is not said well where the rows of tokens come from.", problems=problems)
    return found


def plain_tokens(tokens: Mapping[str, TokenSource]) -> dict[str, dict[str, Any]]:
    """Return the same in plain values, those that say something."""
    return {
        token: {
            field.name: told(value) if isinstance(value, Checkpoint) else value
            for field in fields(wanted)
            if (value := getattr(wanted, field.name)) is not None and value is not False
        }
        for token, wanted in tokens.items()
    }
