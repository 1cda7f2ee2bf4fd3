"""Tokens: what a tokenizer knows of each, which text it is, what special ones are for, and how it cuts a text."""

from __future__ import annotations

import dataclasses
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.strict_json import parse_json_object
from scionwood.errors import MatchError, SourceError
from scionwood.verbs.tokenizer.vocabulary import (
    SETTINGS,
    SPECIAL,
    TOKENIZER,
    Vocabulary,
    document,
    is_tokenizer_file,
    named_by_class,
    read_vocabulary,
)
from scionwood.verbs.vocabulary.spelling import BYTE, decoded, from_byte_letters, from_metaspace, within

__all__ = ["PURPOSES", "Tokens", "read_tokens", "tokens_beside"]

PURPOSES = ("bos", "eos", "unk", "pad", "cls", "sep", "mask")
"""What special tokens are for, as tokenizer_config.json and configs name it."""

_SPARSEST, _SPARE = 10, 1 << 16
"""Of numbers at most one in so many is a token's, not counting so many."""

_CONFIG = "config.json"

_BATCH = 8192
"""How many texts are cut at once."""


@dataclass(frozen=True)
class Tokens:
    """One tokenizer: its vocabulary, what its tokens spell, and what its special tokens are for.

    Args:
        vocabulary: as it lies in the files.
        files: the files of the tokenizer, by name; where it lies beside a model, those of the model.
    """

    vocabulary: Vocabulary
    files: Mapping[str, Path]

    @property
    def size(self) -> int:
        """One more than the largest id."""
        return max(self.vocabulary.ids.values(), default=-1) + 1

    @cached_property
    def used(self) -> Tensor:
        """The ids that tokens have, ascending."""
        return torch.tensor(sorted(set(self.vocabulary.ids.values())), dtype=torch.long)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """What cuts text: all of it, and nothing but it, whatever length the file says that texts are to have."""
        return self._built(dict)

    @cached_property
    def special(self) -> dict[str, int]:
        """Purpose → id."""
        found: dict[str, int] = {}
        for purpose in PURPOSES:
            told = self.vocabulary.settings.get(f"{purpose}_token")
            content = told.get("content") if isinstance(told, dict) else told
            if isinstance(content, str) and content in self.vocabulary.ids:
                found[purpose] = self.vocabulary.ids[content]
        model = self.vocabulary.spec["model"]
        token = model.get("unk_token")
        unknown = self.vocabulary.ids.get(token) if isinstance(token, str) else model.get("unk_id")
        if isinstance(unknown, int):
            found.setdefault("unk", unknown)
        return found

    @cached_property
    def added_ids(self) -> frozenset[int]:
        """Tokens that are looked for in the text as they are: special ones and others that were added."""
        return frozenset(self.vocabulary.ids[token] for token in self.vocabulary.added if token in self.vocabulary.ids)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Tokens that stand for no text."""
        flagged = {
            self.vocabulary.ids[token]
            for token, entry in self.vocabulary.added.items()
            if entry.get("special") and token in self.vocabulary.ids
        }
        return frozenset(flagged | set(self.special.values()))

    @property
    def spelled(self) -> dict[int, bytes]:
        """Id → the bytes of text that it stands for, a space before words included; none for special tokens."""
        return self._spellings[0]

    @property
    def otherwise(self) -> dict[int, bytes]:
        """Id → the same with a space before it, or without: of tokens that do not say whether there is one."""
        return self._spellings[1]

    @cached_property
    def _spellings(self) -> tuple[dict[int, bytes], dict[int, bytes]]:
        model = self.vocabulary.spec["model"]
        prefix, suffix = self._prefix, model.get("end_of_word_suffix") or ""
        bare = not prefix and not suffix and self._forgets_spaces
        if self.vocabulary.kind.startswith("byte-level"):
            letters = from_byte_letters
        else:
            letters = str.encode if prefix or suffix or bare else from_metaspace
        spelled: dict[int, bytes] = {}
        otherwise: dict[int, bytes] = {}
        for token, number in self.vocabulary.ids.items():
            if number in self.special_ids:
                continue
            if number in self.added_ids:
                spelled[number] = token.encode()
                continue
            ends = bool(suffix) and token.endswith(suffix) and len(token) > len(suffix)
            goes_on = bool(prefix) and token.startswith(prefix) and len(token) > len(prefix)
            own = token[len(prefix) if goes_on else 0 : -len(suffix) if ends else None]
            text = letters(own)
            alone = len(own) == 1 and unicodedata.category(own)[0] in "PS"
            if prefix:
                word, either = not goes_on, alone or own in self._parted
            elif suffix:
                word, either = ends, True
            else:
                word, either = bare and model["type"] == "WordLevel", bare
            spaced = word and not alone
            spelled[number] = b" " + text if spaced else text
            if either and not goes_on:
                otherwise[number] = text if spaced else b" " + text
        return spelled, otherwise

    @property
    def _prefix(self) -> str:
        """What tokens begin with that go on with a word."""
        model = self.vocabulary.spec["model"]
        return model.get("continuing_subword_prefix") or ("##" if model["type"] == "WordPiece" else "")

    @cached_property
    def _forgets_spaces(self) -> bool:
        """Whether words are looked up without the spaces that stood before them."""
        return self._words(" a a") == ["a", "a"]

    @cached_property
    def _parted(self) -> frozenset[str]:
        """Letters that are words by themselves whether or not spaces stand about them, as BERT has Chinese ones."""
        single = {token for token in self.vocabulary.ids if len(token) == 1} - {"a"}
        return frozenset(single.intersection(self._words(f"a{'a'.join(sorted(single))}a")))

    def by_text(self, texts: Iterable[bytes]) -> dict[bytes, int]:
        """Text → the token that it is, if any: of several the one that the tokenizer writes it with, and single bytes last."""
        owners, rivals = self._owners
        found = {text: owners[text] for text in texts if text in owners}
        plain = {text: letters for text in found if text in rivals and (letters := decoded(text)) is not None}
        for text, ids in zip(plain, self.cut(list(plain.values())), strict=True):
            if len(ids) == 1 and ids[0] in rivals[text]:
                found[text] = ids[0]
        return found

    @cached_property
    def _owners(self) -> tuple[dict[bytes, int], dict[bytes, set[int]]]:
        """Text → the first token that it is, and all of them where there are several."""
        found: dict[bytes, int] = {}
        rivals: dict[bytes, set[int]] = {}
        bytewise = {number for token, number in self.vocabulary.ids.items() if BYTE.fullmatch(token)}
        ordered = sorted(self.spelled.items(), key=lambda each: each[0] in bytewise)
        for number, text in [*ordered, *self.otherwise.items()]:
            if found.setdefault(text, number) != number:
                rivals.setdefault(text, {found[text]}).add(number)
        return found, rivals

    @cached_property
    def texts(self) -> dict[int, str]:
        """Id → its text without spaces about it; none where nothing is left, or where it is a part of a letter."""
        found = {number: (decoded(spelled) or "").strip() for number, spelled in self.spelled.items()}
        return {number: text for number, text in found.items() if text}

    @cached_property
    def letters(self) -> dict[int, str]:
        """Id → its text in small letters, without spaces before it; by id, and none where nothing is left."""
        found = {number: (decoded(spelled) or "") for number, spelled in sorted(self.spelled.items())}
        return {number: letters for number, text in found.items() if (letters := text.lstrip(" ").lower())}

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, without special ones at its ends."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def cut(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of texts that stand within others; none where one cannot be spelled.

        A space before a text is its own; a text without goes on with a word, where WordPiece would not part the two.
        """
        goes_on = self.vocabulary.spec["model"]["type"] == "WordPiece"
        begun = [self._begun(text) if goes_on and text[:1] != " " else ([], text) for text in texts]
        found = [head or [] for head, _ in begun]
        left = [place for place, (head, rest) in enumerate(begun) if head is not None and rest]
        unknown = self.special.get("unk")
        for start in range(0, len(left), _BATCH):
            places = left[start : start + _BATCH]
            encoded = self.plain.encode_batch([begun[place][1] for place in places], add_special_tokens=False)
            for place, rest in zip(places, encoded, strict=True):
                ids = rest.ids
                found[place] = [] if unknown in ids else found[place] + ids
        return found

    def _begun(self, text: str) -> tuple[list[int] | None, str]:
        """The pieces of the word that a text goes on with, or None if there are none; and the rest of the text."""
        text = self._normalised(text)
        word, (_, stop) = self._parts(f"a{text}")[0]
        return ([], text) if word == "a" else (self._continued(word[1:]), text[stop - 1 :])

    def _continued(self, word: str) -> list[int] | None:
        """Pieces of a word that goes on: the longest first, as WordPiece cuts."""
        ids, prefix, pieces, start = self.vocabulary.ids, self._prefix, [], 0
        while start < len(word):
            for stop in range(len(word), start, -1):
                if (number := ids.get(prefix + word[start:stop])) is not None:
                    pieces.append(number)
                    start = stop
                    break
            else:
                return None
        return pieces

    def _words(self, text: str) -> list[str]:
        """What a text is parted into before tokens are looked for."""
        return [word for word, _ in self._parts(self._normalised(text))]

    def _normalised(self, text: str) -> str:
        normalizer = self._tokenless.normalizer
        return text if normalizer is None else normalizer.normalize_str(text)

    def _parts(self, text: str) -> list[tuple[str, tuple[int, int]]]:
        """The words of a normalised text, and where they stand."""
        parter = self._tokenless.pre_tokenizer
        return [(text, (0, len(text)))] if parter is None else parter.pre_tokenize_str(text)

    @cached_property
    def _tokenless(self) -> Tokenizer:
        """What parts a text into words; a fraction of the work that it is with tokens."""
        empty = {"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": []}
        return self._built(lambda spec: {**within(spec), **empty, "post_processor": None, "decoder": None})

    @cached_property
    def plain(self) -> Tokenizer:
        """What cuts parts of a text: no space is put before one or taken from it, and none of it is a special token."""
        made = self._built(within)
        made.encode_special_tokens = True
        return made

    def _built(self, change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Tokenizer:
        try:
            spec = change(self.vocabulary.spec)
        except (KeyError, TypeError, AttributeError):
            raise SourceError(
                f"The tokenizer of {self.vocabulary.source} cannot be used: "
                "its normalizer or its pre_tokenizer is not one that the tokenizers library writes."
            ) from None
        try:
            return Tokenizer.from_str(json.dumps({**spec, "truncation": None, "padding": None}))
        except Exception as error:  # noqa: BLE001  (the library raises plain ones)
            raise SourceError(f"The tokenizer of {self.vocabulary.source} cannot be used: {error}") from None


def read_tokens(source: str | Path | Checkpoint) -> Tokens:
    """Read a tokenizer: a folder, a tokenizer.json, a model with one beside it, or a hub id.

    Raises:
        SourceError: there is none, or it cannot be read.
    """
    checkpoint = _tokenizer_checkpoint(source)
    vocabulary = read_vocabulary(checkpoint, sys.maxsize)
    if vocabulary is None:
        raise SourceError(
            f"{checkpoint.source} has no tokenizer.",
            hint=f"A tokenizer is a folder with a {TOKENIZER}, or that file; transformers writes one with save_pretrained.",
        )
    return _tokens(vocabulary, checkpoint)


def tokens_beside(checkpoint: Checkpoint, rows: int) -> Tokens:
    """Read the tokenizer that lies beside a model's weights.

    Raises:
        MatchError: there is none, or it has tokens without a row.
    """
    vocabulary = read_vocabulary(checkpoint, sys.maxsize)
    if vocabulary is None:
        raise MatchError(
            f"{checkpoint.source} has no tokenizer beside its weights, so that nothing says what its rows stand for",
            hint=f"copy its {TOKENIZER} into the folder",
        )
    without = [token for token, number in vocabulary.ids.items() if number >= rows]
    if without:
        raise MatchError(
            f"The tokenizer of {checkpoint.source} has {len(without):,} tokens for which its table of {rows:,} rows has none, "
            f"such as {without[0]!r}",
            hint="the weights and the tokenizer are not of one model; resize the embedding first, or take the right files",
        )
    return _tokens(vocabulary, checkpoint)


def _tokens(vocabulary: Vocabulary, checkpoint: Checkpoint) -> Tokens:
    """What a tokenizer's files say together, its special tokens by all that names them.

    Raises:
        SourceError: tokens have numbers that rows cannot have.
    """
    most = _SPARSEST * len(vocabulary.ids) + _SPARE
    far = next(((token, number) for token, number in vocabulary.ids.items() if not 0 <= number < most), None)
    if far is not None:
        raise SourceError(
            f"The {TOKENIZER} of {checkpoint.source} is malformed: {far[0]!r} has the number {far[1]:,}, "
            f"which of {len(vocabulary.ids):,} tokens none can have."
        )
    files = {name: path for name, path in checkpoint.side_files.items() if is_tokenizer_file(name)}
    keys = [f"{purpose}_token" for purpose in PURPOSES]
    settings = vocabulary.settings
    listed = _object(checkpoint, SPECIAL)
    if any(key in each for key in keys for each in (settings, listed)):
        names = {key: listed[key] for key in keys if key in listed and settings.get(key) is None}
    else:
        config = checkpoint.config or _object(checkpoint, _CONFIG)
        names = {key: name for key, name in named_by_class(settings, config).items() if name in vocabulary.ids}
        if names and "tokenizer_class" not in settings:
            files.pop(SETTINGS, None)  # beside another model's config it would mean another class
    return Tokens(dataclasses.replace(vocabulary, settings={**settings, **names}), files)


def _object(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """What stands in a file beside a tokenizer; nothing if there is none."""
    text = document(checkpoint, name)
    return {} if text is None else parse_json_object(text, f"The {name} of {checkpoint.source}")


def _tokenizer_checkpoint(source: str | Path | Checkpoint) -> Checkpoint:
    if isinstance(source, Checkpoint):
        return source
    path = Path(source).expanduser()
    if not path.exists():
        return open_checkpoint(str(source))
    beside = sorted(path.iterdir() if path.is_dir() else path.parent.iterdir())
    files = {
        each.name: each for each in beside if (is_tokenizer_file(each.name) or each.name == _CONFIG) and each.is_file()
    }
    if path.is_file():
        # Other files that hold a whole vocabulary may not be this one's.
        files = {name: each for name, each in files.items() if not is_tokenizer_file(name, stale=True)}
        files[TOKENIZER] = path
    return Checkpoint({}, side_files=files, source=str(source))
