"""The new tokenizer's files beside the weights, and what configs say of tokens by their numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint.strict_json import parse_json_object
from scionwood.errors import MatchError
from scionwood.verbs.tokenizer.settings import GENERATION
from scionwood.verbs.tokenizer.union import tokenizer_files
from scionwood.verbs.tokenizer.vocabulary import TOKENIZER, document, is_tokenizer_file
from scionwood.verbs.vocabulary.tokens import Tokens, purposes_of

__all__ = ["Settled", "settle"]

_DECODER_START = "decoder_start"


class Settled:
    """What lies beside the weights under the new tokenizer.

    Args:
        config: the model's, with new numbers.
        side_files: files that are copied.
        documents: files that are made.
    """

    def __init__(
        self, config: dict[str, Any] | None, side_files: Mapping[str, Path], documents: Mapping[str, bytes]
    ) -> None:
        self.config = config
        self.side_files = side_files
        self.documents = documents


def settle(
    checkpoint: Checkpoint, source: Tokens, target: Tokens, rows: int, named: Mapping[str, str] | None = None
) -> Settled:
    """Give a model the new tokenizer's files, and its configs the new numbers.

    Raises:
        MatchError: tokens that the model's config names have no counterpart; all of them.
    """
    moved, problems = _moved_ids(checkpoint, source, target, named)
    if problems:
        raise MatchError(
            f"{target.vocabulary.source} does not cover the special tokens of {checkpoint.source}.",
            problems=problems,
            hint="say which of its tokens serve, with --special PURPOSE=TOKEN (special={…}), or add them to the tokenizer",
        )
    config = None if checkpoint.config is None else _renumbered(checkpoint.config, moved, rows)
    rest = {name: path for name, path in checkpoint.side_files.items() if not is_tokenizer_file(name)}
    documents = {name: text for name, text in checkpoint.documents.items() if not is_tokenizer_file(name)}
    if target.vocabulary.converted or TOKENIZER not in target.files:
        documents |= tokenizer_files(target.vocabulary)
    generation = document(checkpoint, GENERATION)
    if generation is not None:
        settings = parse_json_object(generation, f"The {GENERATION} of {checkpoint.source}")
        text = json.dumps(_renumbered(settings, moved, rows), indent=2, ensure_ascii=False) + "\n"
        documents[GENERATION] = text.encode()
    return Settled(config, {**rest, **target.files}, documents)


def _moved_ids(
    checkpoint: Checkpoint, source: Tokens, target: Tokens, named: Mapping[str, str] | None
) -> tuple[dict[int, int], list[str]]:
    """Old id → new id of every token that a config names, and what has no counterpart."""
    spelled = {number: token for token, number in source.vocabulary.ids.items()}
    purposes = purposes_of(target, named)
    theirs = {number: purpose for purpose, number in reversed(source.special.items())}
    moved: dict[int, int] = {}
    problems: dict[str, None] = {}
    for key, number in _named_ids(checkpoint.config or {}):
        purpose = key.removesuffix("_token_id").rpartition(".")[2]
        token = spelled.get(number)
        if token is None:
            continue  # a number that no token has stays, as -1 for none
        choices = [purposes.get(purpose), purposes.get(theirs.get(number, "")), target.vocabulary.ids.get(token)]
        if purpose == _DECODER_START:
            choices += [purposes.get("bos"), purposes.get("pad")]
        found = next((choice for choice in choices if choice is not None), None)
        if found is None:
            problems[f"{key} is {token!r}, and nothing says which of the new tokens is for that"] = None
        elif number not in moved:
            moved[number] = found
    return moved, list(problems)


def _named_ids(config: Mapping[str, Any]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for key, value in config.items():
        if key.endswith("_token_id"):
            numbers = value if isinstance(value, list) else [value]
            found += [(key, number) for number in numbers if type(number) is int]
        elif isinstance(value, Mapping) and (key.endswith("_config") or key in ("encoder", "decoder")):
            found += [(f"{key}.{inner}", number) for inner, number in _named_ids(value)]
    return found


def _renumbered(config: Mapping[str, Any], moved: Mapping[int, int], rows: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in config.items():
        if key == "vocab_size" and isinstance(value, int):
            result[key] = rows
        elif key.endswith("_token_id") and type(value) is int:
            result[key] = moved.get(value, value)
        elif key.endswith("_token_id") and isinstance(value, list):
            result[key] = list(dict.fromkeys(moved.get(number, number) for number in value))
        elif isinstance(value, Mapping) and (key.endswith("_config") or key in ("encoder", "decoder")):
            result[key] = _renumbered(value, moved, rows)
        else:
            result[key] = value
    return result
