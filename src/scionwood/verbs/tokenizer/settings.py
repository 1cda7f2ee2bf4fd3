"""What a config says of tokens by their numbers: how many there are, and which of them are special."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint.strict_json import parse_json_object
from scionwood.verbs.tokenizer.vocabulary import document

__all__ = ["renumbered"]

GENERATION = "generation_config.json"


def renumbered(
    checkpoint: Checkpoint, old: Mapping[str, int], owner: Checkpoint, new: Mapping[str, int], rows: int
) -> tuple[dict[str, Any] | None, dict[str, bytes]]:
    """Return a model's config under other token ids, and its generation config where that names some, too.

    A special token keeps its spelling. One that the new vocabulary lacks is the one that the config of the vocabulary's
    owner has in its place.

    Args:
        checkpoint: the model.
        old: its tokens.
        owner: the model whose vocabulary is taken.
        new: the new tokens.
        rows: how many rows there will be.
    """
    spelled = {number: token for token, number in old.items()}
    moved = {number: new.get(token) for number, token in spelled.items()}
    config = None if checkpoint.config is None else _moved(checkpoint.config, moved, owner.config or {}, rows)
    text = document(checkpoint, GENERATION)
    if text is None:
        return config, {}
    settings = parse_json_object(text, f"The {GENERATION} of {checkpoint.source}")
    theirs = document(owner, GENERATION)
    instead = parse_json_object(theirs, f"The {GENERATION} of {owner.source}") if theirs is not None else {}
    changed = _moved(settings, moved, instead, rows)
    if changed == settings:
        return config, {}
    return config, {GENERATION: (json.dumps(changed, indent=2, ensure_ascii=False) + "\n").encode()}


def _moved(
    config: Mapping[str, Any], moved: Mapping[int, int | None], instead: Mapping[str, Any], rows: int
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in config.items():
        theirs = instead.get(key)
        if key == "vocab_size" and isinstance(value, int):
            result[key] = rows
        elif key.endswith("_token_id") and type(value) is int:
            result[key] = _new_id(value, moved, theirs)
        elif key.endswith("_token_id") and isinstance(value, list):
            numbers = [_new_id(number, moved, None) for number in value]
            kept = [number for number in dict.fromkeys(numbers) if number is not None]
            result[key] = kept or theirs
        elif isinstance(value, dict) and (key.endswith("_config") or key in ("encoder", "decoder")):
            result[key] = _moved(value, moved, theirs if isinstance(theirs, dict) else {}, rows)
        else:
            result[key] = value
    return result


def _new_id(number: Any, moved: Mapping[int, int | None], instead: Any) -> Any:
    """The new id of a token; a number that no token has, such as -1 for none, stays."""
    if number not in moved:
        return number
    return instead if moved[number] is None else moved[number]
