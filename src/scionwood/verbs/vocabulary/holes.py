"""Holes: numbers below the largest that no token has. Methods see the rows that tokens have, and their counts are of tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scionwood.methods.vocabulary.rows import UNUSED, Rows
from scionwood.verbs.vocabulary.tokens import Tokens

__all__ = ["by_place", "in_use", "with_holes"]

_HOLD_NUMBERS = ("overlap", "pieces")
"""Inputs of methods that hold numbers of source tokens."""

_FOR_EACH = ("source_vectors", "source_words", "wordless")
"""Inputs of methods that have one thing for each source token."""


def in_use(table: Tensor, tokens: Tokens) -> Tensor:
    """The rows that tokens have, of one for each number."""
    return table if len(tokens.used) == len(table) else table[tokens.used]


def by_place(handed: Mapping[str, Any], source: Tokens) -> dict[str, Any]:
    """What a method is handed, with the places of source tokens among the rows in use for their numbers."""
    if len(source.used) == source.size:
        return dict(handed)
    places = torch.full((source.size + 1,), -1)  # the last is for none: -1
    places[source.used] = torch.arange(len(source.used))
    changed = dict(handed)
    for name in _HOLD_NUMBERS:
        if name in handed:
            held = handed[name]
            changed[name] = places[held] if isinstance(held, Tensor) else [places[each] for each in held]
    for name in _FOR_EACH:
        held = handed.get(name)
        if held is not None:
            changed[name] = held[source.used] if isinstance(held, Tensor) else [held[n] for n in source.used.tolist()]
    return changed


def with_holes(made: Rows, table: Tensor, source: Tokens, target: Tokens) -> Rows:
    """The rows of all target numbers by the source's numbers; those that no token has are the mean of the others.

    Args:
        made: by places among the source's rows in use.
        table: these rows.
        source: the model's own tokenizer.
        target: the new one.
    """
    numbered = dataclasses.replace(made, indices=source.used[made.indices])
    if len(target.used) == len(made):
        return numbered
    empty = torch.ones(len(made), dtype=torch.bool)
    empty[target.used] = False
    holes = torch.nonzero(empty).flatten()
    mean = made.apply(table)[target.used].mean(0)
    kept = ~empty[made.tokens]
    values = mean.expand(len(holes), -1)
    return dataclasses.replace(
        numbered,
        status=torch.where(empty, UNUSED, made.status).to(made.status.dtype),
        tokens=torch.cat([made.tokens[kept], holes]),
        values=values if made.values is None else torch.cat([made.values[kept].to(values.dtype), values]),
    )
