"""One tokenizer out of several: what the base's text becomes stays as it is, and every token has one id."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from scionwood.errors import MatchError
from scionwood.verbs.tokenizer.vocabulary import SETTINGS, TOKENIZER, Vocabulary

__all__ = ["extended", "tokenizer_files", "union"]


def union(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    """Return the first vocabulary with the other ones' tokens after its own.

    Ids of the first stay. First the plain tokens follow, model by model in the order of their ids, then the added ones;
    the first definition of a token wins. A text that the first tokenizer can spell, and that holds none of the new added
    tokens, becomes the tokens it became before: for BPE no merge leads to a new token, and for Unigram a new piece costs
    more than the pieces it could be spelled with. WordPiece takes the longest piece there is, a new one too.

    Raises:
        MatchError: the vocabularies are of different kinds.
    """
    first = vocabularies[0]
    if any(other.kind != first.kind for other in vocabularies):
        raise MatchError(
            "The vocabularies are of different kinds, and cannot be joined.",
            problems=[f"{vocabulary.source}: {vocabulary.kind}" for vocabulary in vocabularies],
            hint="Keep one of them: tokenizer base, or the model that has it. Only tokens spelled alike are matched.",
        )
    plain: dict[str, None] = {}
    added: dict[str, dict[str, Any]] = {}
    for other in vocabularies[1:]:
        own = other.added
        for token in other.ids:
            if token in first.ids or token in plain or token in added:
                continue
            if token in own:
                added[token] = own[token]
            else:
                plain[token] = None
    return extended(first, list(plain), list(added.values()))


def extended(vocabulary: Vocabulary, plain: Sequence[str], added: Sequence[dict[str, Any]]) -> Vocabulary:
    """Return a vocabulary with further tokens, numbered on after its last one."""
    if not plain and not added:
        return vocabulary
    last = max(vocabulary.ids.values(), default=-1)
    new = {token: last + 1 + number for number, token in enumerate([*plain, *(entry["content"] for entry in added)])}
    entries = [
        *vocabulary.spec.get("added_tokens", []),
        *({**entry, "id": new[entry["content"]]} for entry in added),
    ]
    # Whoever reads the file numbers added tokens on after the model's own, unless the model has them, too.
    held = {entry["content"]: entry["id"] for entry in entries} | new
    model = dict(vocabulary.spec["model"])
    if isinstance(model["vocab"], list):
        model["vocab"] = _with_pieces(model["vocab"], held)
    else:
        model["vocab"] = dict(sorted((model["vocab"] | held).items(), key=lambda item: item[1]))
    return Vocabulary(
        source=vocabulary.source,
        rows=last + 1 + len(new),
        spec={**vocabulary.spec, "added_tokens": entries, "model": model},
        settings=vocabulary.settings,
        ids={**vocabulary.ids, **new},
        dropped=vocabulary.dropped,
        converted=vocabulary.converted,
    )


def _with_pieces(pieces: Sequence[Sequence[Any]], held: dict[str, int]) -> list[list[Any]]:
    """Put further pieces of a Unigram model in their places, each dearer than any spelling with the old ones."""
    worst = min(-1.0, math.floor(min((score for _, score in pieces), default=0.0)))
    places = {number: token for token, number in held.items() if number >= len(pieces)}
    result = [list(pair) for pair in pieces]
    for number in range(len(pieces), max(places, default=-1) + 1):
        token = places.get(number, f"<unused {number}>")
        result.append([token, worst * (len(token.encode()) + 1)])
    return result


def tokenizer_files(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Return the files of a vocabulary that is not the one its model's files hold."""
    settings = dict(vocabulary.settings)
    if "added_tokens_decoder" in settings:
        settings["added_tokens_decoder"] = {
            str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
            for entry in sorted(vocabulary.added.values(), key=lambda entry: entry["id"])
        }
    if settings:
        return {TOKENIZER: _json(vocabulary.spec), SETTINGS: _json(settings)}
    return {TOKENIZER: _json(vocabulary.spec)}


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
