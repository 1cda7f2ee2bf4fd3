"""Two tokenizers side by side: which tokens are the same text, which serve one purpose, and what new ones are made of."""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint import open as open_checkpoint
from scionwood.errors import MatchError, SourceError
from scionwood.verbs.tokenizer.vocabulary import (
    SETTINGS,
    TOKENIZER,
    Vocabulary,
    is_tokenizer_file,
    read_vocabulary,
)

__all__ = ["INSTEAD", "PURPOSES", "Match", "Tokens", "overlap_of", "pieces_of", "read_tokens", "tokens_beside"]

PURPOSES = ("bos", "eos", "unk", "pad", "cls", "sep", "mask")
"""What special tokens are for, as tokenizer_config.json and configs name it."""

Match = Literal["exact", "fuzzy"]
"""What counts as the same text: every letter and space, or letters whatever their case and a space before them."""

INSTEAD = {"bos": "cls", "cls": "bos", "eos": "sep", "sep": "eos"}
"""Encoders begin with what decoders call bos, and end likewise."""


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
    def tokenizer(self) -> Tokenizer:
        """What cuts text."""
        try:
            return Tokenizer.from_str(json.dumps(self.vocabulary.spec))
        except Exception as error:  # noqa: BLE001  (the library raises plain ones)
            raise SourceError(f"The tokenizer of {self.vocabulary.source} cannot be used: {error}") from None

    @cached_property
    def special(self) -> dict[str, int]:
        """Purpose → id."""
        found: dict[str, int] = {}
        for purpose in PURPOSES:
            told = self.vocabulary.settings.get(f"{purpose}_token")
            content = told.get("content") if isinstance(told, dict) else told
            if isinstance(content, str) and content in self.vocabulary.ids:
                found[purpose] = self.vocabulary.ids[content]
        unknown = self.vocabulary.spec["model"].get("unk_token")
        if isinstance(unknown, str) and unknown in self.vocabulary.ids:
            found.setdefault("unk", self.vocabulary.ids[unknown])
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

    @cached_property
    def spelled(self) -> dict[int, bytes]:
        """Id → the bytes of text that it stands for, a space before words included; none for special tokens."""
        kind = self.vocabulary.kind
        prefix = self.vocabulary.spec["model"].get("continuing_subword_prefix") or ""
        found: dict[int, bytes] = {}
        for token, number in self.vocabulary.ids.items():
            if number in self.special_ids:
                continue
            if number in self.added_ids:
                found[number] = token.encode()
            elif kind.startswith("byte-level"):
                found[number] = _from_byte_letters(token)
            elif kind == "WordPiece" or prefix:
                found[number] = _from_word_piece(token, prefix or "##")
            else:
                found[number] = _from_metaspace(token)
        return found

    @cached_property
    def texts(self) -> dict[int, str]:
        """Id → its text without spaces about it; none where nothing is left, or where it is a part of a letter."""
        found: dict[int, str] = {}
        for number, spelled in self.spelled.items():
            try:
                text = spelled.decode().strip()
            except UnicodeDecodeError:
                continue
            if text:
                found[number] = text
        return found

    @cached_property
    def letters(self) -> dict[int, str]:
        """Id → its text in small letters, without spaces before it; by id, and none where nothing is left."""
        found = {}
        for number, spelled in sorted(self.spelled.items()):
            try:
                text = spelled.decode().lstrip(" ").lower()
            except UnicodeDecodeError:
                continue
            if text:
                found[number] = text
        return found

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, without special ones at its ends."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    @cached_property
    def plain(self) -> Tokenizer:
        """The same, but no space is put before a text: what is cut already says where it has one."""
        spec = _without_prefix(copy.deepcopy(self.vocabulary.spec))
        return Tokenizer.from_str(json.dumps({**spec, "truncation": None, "padding": None}))


def read_tokens(source: str | Path | Checkpoint) -> Tokens:
    """Read a tokenizer: a folder, a tokenizer.json, a model with one beside it, or a hub id.

    Raises:
        SourceError: there is none, or it cannot be read.
    """
    checkpoint = _tokenizer_checkpoint(source)
    vocabulary = read_vocabulary(checkpoint, 2**31)
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
    vocabulary = read_vocabulary(checkpoint, 2**31)
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
    files = {name: path for name, path in checkpoint.side_files.items() if is_tokenizer_file(name)}
    return Tokens(vocabulary, files)


def _tokenizer_checkpoint(source: str | Path | Checkpoint) -> Checkpoint:
    if isinstance(source, Checkpoint):
        return source
    path = Path(source).expanduser()
    if path.is_file():
        beside = path.with_name(SETTINGS)
        return Checkpoint(
            {}, side_files={TOKENIZER: path, **({SETTINGS: beside} if beside.is_file() else {})}, source=str(source)
        )
    if path.is_dir():
        files = {each.name: each for each in sorted(path.iterdir()) if is_tokenizer_file(each.name) and each.is_file()}
        return Checkpoint({}, side_files=files, source=str(source))
    return open_checkpoint(str(source))


def overlap_of(
    source: Tokens, target: Tokens, named: Mapping[str, str] | None = None, *, match: Match = "exact"
) -> Tensor:
    """Return for each target token the source token of the same text or, if special, of the same purpose; else -1.

    With ``fuzzy``, a token whose text the source lacks has the token of the same letters, whatever their case and whether or
    not a space stands before them. Of several it is the one in small letters without a space, else the first: FOCUS's
    rule (Dobler & de Melo, 2023). Officially tokens of nothing but spaces are one text then, too; here they are not.

    Args:
        source: the model's own tokenizer.
        target: the new one.
        named: purpose → the spelling of the new token for it, where the tokenizer does not say.
        match: what counts as the same text.
    """
    overlap = torch.full((target.size,), -1)
    by_text: dict[bytes, int] = {}
    by_letters: dict[str, int] = {}
    for number, text in source.spelled.items():
        by_text.setdefault(text, number)
    if match == "fuzzy":
        plainly = {letters for number, letters in source.letters.items() if source.spelled[number] == letters.encode()}
        for number, letters in source.letters.items():
            if letters not in plainly or source.spelled[number] == letters.encode():
                by_letters.setdefault(letters, number)
    for number, text in target.spelled.items():
        found = by_text.get(text, by_letters.get(target.letters.get(number, "")))
        if found is not None:
            overlap[number] = found
    for token, number in target.vocabulary.ids.items():
        if number in target.special_ids and token in source.vocabulary.ids:
            overlap[number] = source.vocabulary.ids[token]
    for purpose, number in purposes_of(target, named).items():
        theirs = source.special.get(purpose, source.special.get(INSTEAD.get(purpose, "")))
        if theirs is not None:
            overlap[number] = theirs
    return overlap


def purposes_of(tokens: Tokens, named: Mapping[str, str] | None = None) -> dict[str, int]:
    """Purpose → id, with what the user says of it.

    Raises:
        MatchError: a token that the tokenizer does not have, or an unknown purpose.
    """
    problems = [f"{purpose!r} is none of {', '.join(PURPOSES)}" for purpose in named or {} if purpose not in PURPOSES]
    problems += [
        f"{token!r}, named for {purpose}, is no token of {tokens.vocabulary.source}"
        for purpose, token in (named or {}).items()
        if token not in tokens.vocabulary.ids
    ]
    if problems:
        raise MatchError("The special tokens cannot be as asked.", problems=problems)
    return {**tokens.special, **{purpose: tokens.vocabulary.ids[token] for purpose, token in (named or {}).items()}}


def pieces_of(source: Tokens, target: Tokens) -> list[Tensor]:
    """Return for each target token the source's tokens of its text; none for special tokens and for halves of letters."""
    found = [torch.empty(0, dtype=torch.long)] * target.size
    words = source.vocabulary.kind == "WordPiece"
    for number, text in target.spelled.items():
        try:
            plain = text.decode()
        except UnicodeDecodeError:
            continue
        if words and not plain.startswith(" "):
            pieces = _continued(source, plain)
        else:
            pieces = source.plain.encode(plain, add_special_tokens=False).ids
        unknown = source.special.get("unk")
        if pieces and unknown not in pieces:
            found[number] = torch.tensor(pieces)
    return found


def _continued(source: Tokens, text: str) -> list[int]:
    """Pieces of a word that goes on: the longest first, as WordPiece cuts."""
    prefix = source.vocabulary.spec["model"].get("continuing_subword_prefix") or "##"
    if source.tokenizer.normalizer is not None:
        text = source.tokenizer.normalizer.normalize_str(text)
    ids, pieces, start = source.vocabulary.ids, [], 0
    while start < len(text):
        for stop in range(len(text), start, -1):
            if (number := ids.get(prefix + text[start:stop])) is not None:
                pieces.append(number)
                start = stop
                break
        else:
            return []
    return pieces


def _byte_letters() -> dict[str, int]:
    """The letters that byte-level tokenizers write bytes with: printable ones for themselves, others from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_LETTERS = _byte_letters()


def _from_byte_letters(token: str) -> bytes:
    """The bytes of a token as byte-level tokenizers write it.

    >>> _from_byte_letters("Ġthe")
    b' the'
    """
    return b"".join(bytes([_LETTERS[letter]]) if letter in _LETTERS else letter.encode() for letter in token)


def _from_word_piece(token: str, prefix: str) -> bytes:
    """The text of a word, or of a piece that goes on.

    >>> _from_word_piece("the", "##"), _from_word_piece("##ing", "##"), _from_word_piece(",", "##")
    (b' the', b'ing', b',')
    """
    if token.startswith(prefix) and len(token) > len(prefix):
        return token.removeprefix(prefix).encode()
    alone = len(token) == 1 and unicodedata.category(token)[0] in "PS"
    return token.encode() if alone else f" {token}".encode()


def _from_metaspace(token: str) -> bytes:
    """The text of a piece that writes spaces as low lines, or of a single byte.

    >>> _from_metaspace("▁the"), _from_metaspace("<0x0A>")
    (b' the', b'\\n')
    """
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes([int(token[3:5], 16)])
        except ValueError:
            return token.encode()
    return token.replace("▁", " ").encode()


def _without_prefix(part: Any) -> Any:
    """A tokenizer's description, with all that puts a space before a text taken out."""
    if isinstance(part, list):
        return [_without_prefix(each) for each in part]
    if not isinstance(part, dict):
        return part
    made = {key: _without_prefix(value) if key != "vocab" else value for key, value in part.items()}
    if made.get("type") == "ByteLevel":
        made["add_prefix_space"] = False
    if made.get("type") == "Metaspace":
        made["prepend_scheme"] = "never"
        made.pop("add_prefix_space", None)
    if made.get("type") == "Prepend":
        made["prepend"] = ""
    if made.get("type") == "Sequence" and "normalizers" in made:
        made["normalizers"] = [each for each in made["normalizers"] if each.get("prepend") != ""]
    return made
