"""The new tokenizer's files beside the weights, and what configs say of tokens by their numbers."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from scionwood.anatomy.settings import config_class
from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint.strict_json import parse_json_object
from scionwood.errors import MatchError, SourceError
from scionwood.verbs.tokenizer.settings import GENERATION
from scionwood.verbs.tokenizer.union import tokenizer_files
from scionwood.verbs.tokenizer.vocabulary import SETTINGS, TOKENIZER, document, is_tokenizer_file
from scionwood.verbs.vocabulary.overlap import INSTEAD, overlap_of, purposes_of
from scionwood.verbs.vocabulary.tables import SettingPath
from scionwood.verbs.vocabulary.tokens import PURPOSES, Tokens

__all__ = ["Numbers", "Settled", "check_settings", "settle"]

_SPECIAL_TOKENS = "special_tokens_map.json"

_DECODER_START = "decoder_start"

_TOKEN = re.compile(r"_token_(ids?|index|indices)$")
"""How keys end that name a token, or several, by number."""

_Moved = Callable[[Any], Any]
"""From the number of a token, or from numbers in lists, to the new ones; a KeyError, where one is a token no more."""


def _all(entry: Any, moved: _Moved) -> Any:
    return moved(entry)


_LISTS: Mapping[str, Callable[[Any, _Moved], Any]] = {
    "suppress_tokens": _all,
    "begin_suppress_tokens": _all,
    "bad_words_ids": _all,
    "force_words_ids": _all,
    "forced_decoder_ids": lambda entry, moved: [entry[0], moved(entry[1])],  # a place, and the token there
    "sequence_bias": lambda entry, moved: [moved(entry[0]), entry[1]],  # tokens, and what they are favoured by
}
"""Keys of what a text must have or not, and where in an entry tokens stand; the entries stay whose tokens are tokens still."""

_NAMED = ("lang_to_id", "task_to_id")
"""Keys of tokens by name; of these, those stay that are tokens still."""


def _is_token(value: Any) -> bool:
    return isinstance(value.get("content") if isinstance(value, dict) else value, str)


def _are_tokens(value: Any) -> bool:
    several = list(value.values()) if isinstance(value, dict) else value
    return isinstance(several, list) and all(_is_token(each) for each in several)


_FORMS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    **{f"{purpose}_token": ("a token", _is_token) for purpose in PURPOSES},
    "additional_special_tokens": ("tokens, in a list or by name", _are_tokens),
    "extra_special_tokens": ("tokens, in a list or by name", _are_tokens),
    "added_tokens_decoder": ("tokens by number", lambda value: isinstance(value, dict) and _are_tokens(value)),
    "chat_template": ("a template, or several by name", lambda value: isinstance(value, (str, list, dict))),
    "tokenizer_class": ("the name of a class", lambda value: isinstance(value, str)),
}
"""What transformers takes for settings of a tokenizer; it fails to read what is of another form."""


def check_settings(tokens: Tokens) -> None:
    """See that a tokenizer's settings, which are handed on as they are, are ones that can be read.

    Raises:
        SourceError: some are not; all of them.
    """
    held = {SETTINGS: tokens.vocabulary.settings}
    if _SPECIAL_TOKENS in tokens.files:
        held[_SPECIAL_TOKENS] = _special_tokens(tokens)
    problems = [
        f"{key} in {file} is {json.dumps(settings[key], ensure_ascii=False)[:60]}, not {expected}"
        for file, settings in held.items()
        for key, (expected, fits) in _FORMS.items()
        if settings.get(key) is not None and not fits(settings[key])
    ]
    if problems:
        raise SourceError(
            f"The tokenizer of {tokens.vocabulary.source} has settings that nothing can read.",
            problems=problems,
            hint="save it anew with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        )


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


def settle(checkpoint: Checkpoint, numbers: Numbers, rows: int) -> Settled:
    """Give a model the new tokenizer's files, and its configs the new numbers; say what they name no more.

    Raises:
        MatchError: tokens that the model's config names have no counterpart; all of them.
    """
    target, named = numbers.target, numbers.named
    config = None if checkpoint.config is None else numbers.resized(checkpoint.config, rows)
    generation = document(checkpoint, GENERATION)
    generated = {}
    if generation is not None:
        settings = parse_json_object(generation, f"The {GENERATION} of {checkpoint.source}")
        generated = {GENERATION: _json(numbers.moved(settings))}
    numbers.need_mask(checkpoint.config or {})
    if numbers.problems:
        raise MatchError(
            f"{target.vocabulary.source} does not cover the special tokens of {checkpoint.source}.",
            problems=numbers.problems,
            hint="say which of its tokens serve, with --special PURPOSE=TOKEN (special={…}), or add them to the tokenizer",
        )
    if numbers.lost:
        told = "; ".join(numbers.lost)
        warnings.warn(
            f"The configs name tokens that the new tokenizer lacks, and name them no more: {told}", stacklevel=3
        )
    if numbers.shift:
        warnings.warn(
            f"Positions begin behind the number of the padding token, which is another one: every token stands "
            f"{abs(numbers.shift)} {'further on' if numbers.shift > 0 else 'further back'} than the model has learned",
            stacklevel=3,
        )
    rest = {name: path for name, path in checkpoint.side_files.items() if not is_tokenizer_file(name)}
    documents = {name: text for name, text in checkpoint.documents.items() if not is_tokenizer_file(name)}
    if target.vocabulary.converted or TOKENIZER not in target.files:
        documents |= tokenizer_files(target.vocabulary)
    if named or SETTINGS not in target.files:
        documents[SETTINGS] = _json(_settings(target, named))
    if named and _SPECIAL_TOKENS in target.files:
        # transformers believes it more than the settings.
        documents[_SPECIAL_TOKENS] = _json({**_special_tokens(target), **_spelled_by_purpose(target, named)})
    return Settled(config, {**rest, **target.files}, {**documents, **generated})


def _settings(target: Tokens, named: Mapping[str, str] | None) -> dict[str, Any]:
    """The tokenizer's settings with the special tokens that the user named.

    Without a class, transformers would take the model's own, which may cut text in its own way whatever the file says.
    """
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **target.vocabulary.settings}
    return {**settings, **_spelled_by_purpose(target, named)}


def _special_tokens(target: Tokens) -> dict[str, Any]:
    """What the older file of special tokens says."""
    text = target.files[_SPECIAL_TOKENS].read_bytes()
    return parse_json_object(text, f"The {_SPECIAL_TOKENS} of {target.vocabulary.source}")


def _spelled_by_purpose(target: Tokens, named: Mapping[str, str] | None) -> dict[str, str]:
    spelled = {number: token for token, number in target.vocabulary.ids.items()}
    return {f"{purpose}_token": spelled[number] for purpose, number in purposes_of(target, named).items()}


class Numbers:
    """The numbers of tokens in configs, moved from one vocabulary to another.

    Args:
        source: the model's own tokenizer.
        target: the new one.
        named: purpose → new special token, where the tokenizer does not say.
        sizes: which settings count the rows of the model's tables, by path.
        held: how many rows these have.
        from_padding: positions are counted from the number of the padding token.
    """

    def __init__(
        self,
        source: Tokens,
        target: Tokens,
        named: Mapping[str, str] | None,
        sizes: Collection[SettingPath],
        held: int,
        *,
        from_padding: bool = False,
    ) -> None:
        self.source = source
        self.target = target
        self.named = named
        self.sizes = sizes
        self.held = held
        self.from_padding = from_padding
        self.purposes = purposes_of(target, named)
        self.spelled = {number: token for token, number in source.vocabulary.ids.items()}
        self._problems: dict[str, None] = {}
        self._lost: dict[str, None] = {}
        self.shift = 0

    @property
    def problems(self) -> list[str]:
        """What has no counterpart and is needed, once each."""
        return list(self._problems)

    @property
    def lost(self) -> list[str]:
        """What has no counterpart and has gone from lists, a text for each list."""
        return list(self._lost)

    @cached_property
    def same(self) -> dict[int, int]:
        """Old number → new number of what is the same text or serves the same."""
        overlap = overlap_of(self.source, self.target, self.named).tolist()
        return {old: new for new, old in reversed(list(enumerate(overlap))) if old >= 0}

    def resized(self, config: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """A model's config under the new numbers, with so many rows."""
        result = self.moved(config)
        for *parts, last in self.sizes:
            place = result
            for name in parts:
                place = place.setdefault(name, {})
            other = {name for name, own in getattr(config_class(place), "attribute_map", {}).items() if own == last}
            place |= dict.fromkeys([last, *(other & place.keys())], rows)
        if self.from_padding:
            self._move_positions(config, result)
        return result

    def _move_positions(self, config: Mapping[str, Any], result: dict[str, Any]) -> None:
        """Positions that begin behind the padding token's number begin elsewhere with it; half of them must be left."""
        old, new, last = config.get("pad_token_id"), result.get("pad_token_id"), config.get("max_position_embeddings")
        if not (isinstance(old, int) and isinstance(new, int)):
            return
        if isinstance(last, int) and 2 * (new - old) > last:
            self._problems[
                f"pad_token_id would be {new}, and positions, which begin behind it, have {last} rows: "
                f"number the new tokenizer's padding token {old}"
            ] = None
            result["pad_token_id"] = old
        self.shift = result["pad_token_id"] - old

    def moved(self, config: Mapping[str, Any], path: SettingPath = ()) -> dict[str, Any]:
        """A config under the new numbers."""
        result: dict[str, Any] = {}
        for key, value in config.items():
            here = (*path, key)
            if _TOKEN.search(key) and type(value) is int:
                result[key] = self._number(here, value)
            elif _TOKEN.search(key) and isinstance(value, list) and all(type(each) is int for each in value):
                result[key] = self._several(here, value)
            elif key in _LISTS and isinstance(value, list):
                result[key] = self._entries(here, value)
            elif key in _NAMED and isinstance(value, Mapping):
                result[key] = self._by_name(here, value)
            elif isinstance(value, Mapping) and (key.endswith("_config") or key in ("encoder", "decoder")):
                result[key] = self.moved(value, here) if self._is_own(here, value) else value
            else:
                result[key] = value
        return result

    def need_mask(self, config: Mapping[str, Any]) -> None:
        """A model that fills in masks is of no use without one."""
        fills = any("MaskedLM" in str(name) for name in config.get("architectures") or ())
        if fills and "mask" in self.source.special and "mask" not in self.purposes:
            token = self.spelled[self.source.special["mask"]]
            self._problems[f"the model fills in {token!r}, and nothing says which of the new tokens is for that"] = None

    def _is_own(self, path: SettingPath, part: Mapping[str, Any]) -> bool:
        """Whether a part of a config speaks of this vocabulary: one with tokens of its own counts others."""
        return "vocab_size" not in part or any(size[: len(path)] == path for size in self.sizes)

    def _number(self, path: SettingPath, number: int) -> int | None:
        found = self._found(path, number)
        if found is None and not self._is_none(path, number):
            self._problems[self._missing(path, number)] = None
            return 0  # a report goes on, and what it measures is not padded
        return found

    def _several(self, path: SettingPath, numbers: list[int]) -> list[int]:
        """Of several tokens for one purpose, those that have a counterpart; there must be one."""
        found = {number: self._found(path, number, several=True) for number in numbers}
        missing = [number for number, new in found.items() if new is None and not self._is_none(path, number)]
        kept = [new for new in dict.fromkeys(found.values()) if new is not None]
        if kept:
            self._lose(path, len(numbers), len(missing))
        else:
            self._problems |= {self._missing(path, number): None for number in missing}
        return kept

    def _found(self, path: SettingPath, number: int, *, several: bool = False) -> int | None:
        """The new number of a token: of what serves the same, or is the same; a number below zero stands for none."""
        if number < 0:
            return number
        purpose = _purpose(path)
        own = [self.purposes.get(purpose), self.purposes.get(INSTEAD.get(purpose, ""))]
        serves = [each for each, held in self.source.special.items() if held == number]
        same = [self._same(number)]
        same += [self.purposes.get(each) for each in [*serves, *(INSTEAD.get(each, "") for each in serves)]]
        # Of several that end a text, each is sought for itself; a single one is whatever ends a text now.
        choices = [*same, *own] if several else [*own, *same]
        if purpose == _DECODER_START:
            choices += [self.purposes.get("bos"), self.purposes.get("pad")]
        return next((choice for choice in choices if choice is not None), None)

    def _same(self, number: int) -> int | None:
        """The new number of a text, or of the same spelling of what stands for no text."""
        if number in self.source.spelled:
            return self.same.get(number)
        return self.target.vocabulary.ids.get(self.spelled.get(number, ""))

    def _is_none(self, path: SettingPath, number: int) -> bool:
        """Whether a special token is one that the model never had: families have numbers that hold unless a config says else."""
        return number >= self.held and _purpose(path) in (*PURPOSES, _DECODER_START)

    def _missing(self, path: SettingPath, number: int) -> str:
        token = self.spelled.get(number)
        told = f"{number}, a row that no token has" if token is None else repr(token)
        return f"{'.'.join(path)} is {told}, and nothing says which of the new tokens is for that"

    def _entries(self, path: SettingPath, entries: list[Any]) -> list[Any] | None:
        kept = []
        for entry in entries:
            try:
                kept.append(_LISTS[path[-1]](entry, self._word))
            except (KeyError, TypeError, IndexError):
                continue
        self._lose(path, len(entries), len(entries) - len(kept))
        return kept or None

    def _word(self, tokens: Any) -> Any:
        if isinstance(tokens, list):
            return [self._word(each) for each in tokens]
        return tokens if tokens is None or tokens < 0 else self.same[tokens]

    def _by_name(self, path: SettingPath, numbers: Mapping[str, Any]) -> dict[str, Any] | None:
        kept = {name: self.same[number] for name, number in numbers.items() if number in self.same}
        self._lose(path, len(numbers), len(numbers) - len(kept))
        return kept or None

    def _lose(self, path: SettingPath, count: int, lost: int) -> None:
        if lost:
            self._lost[f"{lost:,} of {count:,} in {'.'.join(path)}"] = None


def _purpose(path: SettingPath) -> str:
    """What the token of a key is for.

    >>> _purpose(("text_config", "forced_eos_token_id"))
    'eos'
    """
    return _TOKEN.sub("", path[-1]).removeprefix("forced_")


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
