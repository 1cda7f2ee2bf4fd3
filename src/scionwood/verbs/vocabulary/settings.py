"""The new tokenizer's files beside the weights, and what configs say of tokens by their numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint.strict_json import parse_json_object
from scionwood.errors import MatchError
from scionwood.verbs.tokenizer.settings import GENERATION
from scionwood.verbs.tokenizer.union import tokenizer_files
from scionwood.verbs.tokenizer.vocabulary import SETTINGS, TOKENIZER, document, is_tokenizer_file
from scionwood.verbs.vocabulary.tokens import INSTEAD, Tokens, overlap_of, purposes_of

__all__ = ["Numbers", "Settled", "settle"]

_DECODER_START = "decoder_start"

_LISTS = ("suppress_tokens", "begin_suppress_tokens")
"""Keys of tokens that are not to be written; of these, those stay that are tokens still."""


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
    numbers = Numbers(source, target, named)
    config = None if checkpoint.config is None else numbers.moved(checkpoint.config, rows)
    generation = document(checkpoint, GENERATION)
    generated = {}
    if generation is not None:
        settings = parse_json_object(generation, f"The {GENERATION} of {checkpoint.source}")
        generated = {GENERATION: _json(numbers.moved(settings, rows))}
    numbers.need_mask(checkpoint.config or {})
    if numbers.problems:
        raise MatchError(
            f"{target.vocabulary.source} does not cover the special tokens of {checkpoint.source}.",
            problems=numbers.problems,
            hint="say which of its tokens serve, with --special PURPOSE=TOKEN (special={…}), or add them to the tokenizer",
        )
    rest = {name: path for name, path in checkpoint.side_files.items() if not is_tokenizer_file(name)}
    documents = {name: text for name, text in checkpoint.documents.items() if not is_tokenizer_file(name)}
    if target.vocabulary.converted or TOKENIZER not in target.files:
        documents |= tokenizer_files(target.vocabulary)
    if named or SETTINGS not in target.files:
        documents[SETTINGS] = _json(_settings(target, named))
    return Settled(config, {**rest, **target.files}, {**documents, **generated})


def _settings(target: Tokens, named: Mapping[str, str] | None) -> dict[str, Any]:
    """The tokenizer's settings with the special tokens that the user named.

    Without a class, transformers would take the model's own, which may cut text in its own way whatever the file says.
    """
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **target.vocabulary.settings}
    spelled = {number: token for token, number in target.vocabulary.ids.items()}
    return {
        **settings,
        **{f"{purpose}_token": spelled[number] for purpose, number in purposes_of(target, named).items()},
    }


class Numbers:
    """The numbers of tokens in configs, moved from one vocabulary to another.

    Args:
        source: the model's own tokenizer.
        target: the new one.
        named: purpose → new special token, where the tokenizer does not say.
    """

    def __init__(self, source: Tokens, target: Tokens, named: Mapping[str, str] | None) -> None:
        self.source = source
        self.target = target
        self.named = named
        self.purposes = purposes_of(target, named)
        self.spelled = {number: token for token, number in source.vocabulary.ids.items()}
        self._problems: dict[str, None] = {}

    @property
    def problems(self) -> list[str]:
        """What has no counterpart, once each."""
        return list(self._problems)

    @cached_property
    def same(self) -> dict[int, int]:
        """Old number → new number of what is the same text or serves the same."""
        overlap = overlap_of(self.source, self.target, self.named).tolist()
        return {old: new for new, old in reversed(list(enumerate(overlap))) if old >= 0}

    def moved(self, config: Mapping[str, Any], rows: int, path: str = "") -> dict[str, Any]:
        """A config under the new numbers."""
        result: dict[str, Any] = {}
        for key, value in config.items():
            if key == "vocab_size" and isinstance(value, int):
                result[key] = rows
            elif key.endswith("_token_id") and type(value) is int:
                result[key] = self._number(path + key, value)
            elif key.endswith("_token_id") and isinstance(value, list):
                result[key] = list(dict.fromkeys(self._number(path + key, number, several=True) for number in value))
            elif key in _LISTS and isinstance(value, list):
                result[key] = [self.same[number] for number in value if number in self.same]
            elif isinstance(value, Mapping) and (key.endswith("_config") or key in ("encoder", "decoder")):
                result[key] = self.moved(value, rows, f"{path}{key}.")
            else:
                result[key] = value
        return result

    def need_mask(self, config: Mapping[str, Any]) -> None:
        """A model that fills in masks is of no use without one."""
        fills = any("MaskedLM" in str(name) for name in config.get("architectures") or ())
        if fills and "mask" in self.source.special and "mask" not in self.purposes:
            token = self.spelled[self.source.special["mask"]]
            self._problems[f"the model fills in {token!r}, and nothing says which of the new tokens is for that"] = None

    def _number(self, path: str, number: int, *, several: bool = False) -> int:
        token = self.spelled.get(number)
        if token is None:
            return number  # no token has it, as -1 for none
        purpose = path.rpartition(".")[2].removesuffix("_token_id").removeprefix("forced_")
        own = [self.purposes.get(purpose), self.purposes.get(INSTEAD.get(purpose, ""))]
        serves = [each for each, held in self.source.special.items() if held == number]
        same = [self.target.vocabulary.ids.get(token)]
        same += [self.purposes.get(each) for each in [*serves, *(INSTEAD.get(each, "") for each in serves)]]
        # Of several that end a text, each is sought for itself; a single one is whatever ends a text now.
        choices = [*same, *own] if several else [*own, *same]
        if purpose == _DECODER_START:
            choices += [self.purposes.get("bos"), self.purposes.get("pad")]
        found = next((choice for choice in choices if choice is not None), None)
        if found is None:
            self._problems[f"{path} is {token!r}, and nothing says which of the new tokens is for that"] = None
            return number
        return found


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
