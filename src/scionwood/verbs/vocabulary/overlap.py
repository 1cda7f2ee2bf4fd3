"""Two tokenizers side by side: which tokens are the same text, which serve one purpose, and what new ones are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from scionwood.errors import MatchError
from scionwood.verbs.vocabulary.spelling import decoded
from scionwood.verbs.vocabulary.tokens import PURPOSES, Tokens

__all__ = ["INSTEAD", "Match", "overlap_of", "pieces_of", "purposes_of"]

Match = Literal["exact", "fuzzy"]
"""What counts as the same text: every letter and space, or letters whatever their case and a space before them."""

INSTEAD = {"bos": "cls", "cls": "bos", "eos": "sep", "sep": "eos"}
"""Encoders begin with what decoders call bos, and end likewise."""

_WEIGHTIEST = ("eos", "bos", "sep", "cls", "mask", "unk", "pad")
"""By which of its purposes a token goes that serves several: padding is never read, and unk hardly ever."""


def overlap_of(
    source: Tokens, target: Tokens, named: Mapping[str, str] | None = None, *, match: Match = "exact"
) -> Tensor:
    """Return for each target token the source token of the same text or, if special, of the same name or purpose; else -1.

    Of several of one text it is the one that is written the same, else the one that the source's tokenizer would write.
    Where a tokenizer does not say whether a space stands before a token, either is the same text.

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
    own, spelled = source.vocabulary.ids, source.spelled
    by_letters: dict[str, int] = {}
    if match == "fuzzy":
        plainly = {letters for number, letters in source.letters.items() if source.spelled[number] == letters.encode()}
        for number, letters in source.letters.items():
            if letters not in plainly or source.spelled[number] == letters.encode():
                by_letters.setdefault(letters, number)
    tokens = {number: token for token, number in target.vocabulary.ids.items()}
    alike = {n: own[tokens[n]] for n, text in target.spelled.items() if spelled.get(own.get(tokens[n], -1)) == text}
    others = {n: [text, target.otherwise.get(n, text)] for n, text in target.spelled.items() if n not in alike}
    by_text = source.by_text({text for both in others.values() for text in both})
    for number, found in alike.items():
        overlap[number] = found
    for number, (text, other) in others.items():
        found = by_text.get(text, by_text.get(other))
        if found is None and by_letters:
            found = by_letters.get(target.letters.get(number, ""))
        if found is not None:
            overlap[number] = found
    for number, found in _overlap_of_special(source, target, named).items():
        overlap[number] = found
    return overlap


def _overlap_of_special(source: Tokens, target: Tokens, named: Mapping[str, str] | None) -> dict[int, int]:
    """For special target tokens the source token that is called the same, or else serves the same."""
    own = source.vocabulary.ids
    alike = {
        number: own[token]
        for token, number in target.vocabulary.ids.items()
        if number in target.special_ids and token in own
    }
    found = {number: same for number, same in alike.items() if same in source.special_ids}
    purposes = purposes_of(target, named)
    for purpose in _WEIGHTIEST:
        theirs = source.special.get(purpose, source.special.get(INSTEAD.get(purpose, "")))
        if purpose in purposes and theirs is not None:
            found.setdefault(purposes[purpose], theirs)
    return {**alike, **found}


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
    """Return for each target token the source's tokens of its text; none for special tokens and for halves of letters.

    Of a token that does not say whether a space stands before it, the fewer of both.
    """
    found = [torch.empty(0, dtype=torch.long)] * target.size
    for spellings in (target.spelled, target.otherwise):
        left = {number: decoded(spelled) for number, spelled in spellings.items() if len(found[number]) != 1}
        texts = {number: text for number, text in left.items() if text is not None}
        for number, pieces in zip(texts, source.cut(list(texts.values())), strict=True):
            if pieces and not 0 < len(found[number]) <= len(pieces):
                found[number] = torch.tensor(pieces)
    return found
