"""Alignment: the models of a merge, given rows for the same tokens in the same order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from scionwood.checkpoint import Checkpoint, LazyTensor
from scionwood.errors import MatchError, MethodError, nearest
from scionwood.verbs.tokenizer.rows import MISSING, PADDING, Donors, aligned_tensor, vocabulary_tensors
from scionwood.verbs.tokenizer.settings import renumbered
from scionwood.verbs.tokenizer.tokens import TokenSource
from scionwood.verbs.tokenizer.union import extended, tokenizer_files, union
from scionwood.verbs.tokenizer.vocabulary import Vocabulary, is_tokenizer_file, read_vocabulary

__all__ = ["Aligned", "align_vocabularies"]


@dataclass(frozen=True, eq=False)
class Aligned:
    """The models of a merge under one vocabulary.

    Args:
        models: the models, in order, with the new tokenizer's files as documents.
        base: the base, likewise.
        rows: how many rows their embeddings have.
        details: name of a tensor → where its rows come from, for the ledger.
        notes: what else is to be told.
    """

    models: tuple[Checkpoint, ...]
    base: Checkpoint | None
    rows: int
    details: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def align_vocabularies(
    models: Sequence[Checkpoint],
    base: Checkpoint | None = None,
    *,
    source: Literal["union", "base"] | Checkpoint = "union",
    tokens: Mapping[str, TokenSource] | None = None,
    pad_to_multiple_of: int | None = None,
    dtype: torch.dtype | None = None,
) -> Aligned:
    """Give every model a row for every token of one vocabulary, in one order, as mergekit's ``tokenizer`` does.

    A model's own row is taken where it has the token. A row that it lacks comes from where ``tokens`` says, else from the
    only model that has the token, else from the base, else it is the mean of the rows of those that have it. A token that
    no model has is zeros, and rows beyond the last token are the mean of all. Rows are read when they are written.

    Args:
        models: what is merged.
        base: what they were fine-tuned from. Without it the first model is the base of the vocabulary.
        source: ``union``: the base's vocabulary, then the other models' tokens; ``base``: the base's alone; or the
            model whose vocabulary it is.
        tokens: token → where its row comes from. A token that the vocabulary lacks is added.
        pad_to_multiple_of: the number of rows is brought up to a multiple of it.
        dtype: of the aligned tensors: each model's own unless given, to which means and other models' rows are rounded.

    Raises:
        SourceError: a tokenizer cannot be read.
        MatchError: a model has no tokenizer, or vocabularies of different kinds are to be joined.
        MethodError: ``tokens`` names what no model has, or the multiple is not a number above zero.
    """
    everyone = _distinct([*([] if base is None else [base]), *models])
    given = None if isinstance(source, str) else source
    known = everyone if given is None or given in everyone else [*everyone, given]
    vocabularies = _vocabularies(known)
    _check_request(source, tokens or {}, known, vocabularies, pad_to_multiple_of)
    kept = vocabularies[known.index(given)] if given is not None else vocabularies[0]
    joined = union(vocabularies[: len(everyone)]) if source == "union" else kept
    fresh = [token for token in tokens or {} if token not in joined.ids]
    joined = extended(joined, [], [_plain_token(token) for token in fresh])
    count = max(joined.ids.values(), default=-1) + 1
    multiple = pad_to_multiple_of or 1
    rows = -(-count // multiple) * multiple

    ids = [vocabulary.ids for vocabulary in vocabularies]
    donors, origins = _donors(
        joined, ids[: len(everyone)], tokens or {}, known, vocabularies, has_base=base is not None
    )
    told = _told(origins, rows - count)
    owner = known.index(given) if given is not None else 0
    made = _files(joined, vocabularies[owner])
    aligned: list[Checkpoint] = []
    details: dict[str, str] = {}
    for checkpoint, own in zip(everyone, ids[: len(everyone)], strict=True):
        index, gifts = _index(joined.ids, own, donors, rows, tokens or {})
        tensors: dict[str, LazyTensor] = dict(checkpoint.tensors)
        for name in vocabulary_tensors(checkpoint):
            same = [other.tensors.get(other.ties.get(name, name)) for other in known]
            tensors[name] = aligned_tensor(
                checkpoint.tensors[name], index, gifts, same, dtype or checkpoint.tensors[name].dtype
            )
            details.setdefault(name, told)
        config, documents = renumbered(checkpoint, own, known[owner], joined.ids, rows)
        aligned.append(
            replace(
                checkpoint,
                tensors=tensors,
                config=config,
                side_files=_carried(checkpoint, known[owner], changed=bool(made)),
                documents={**checkpoint.documents, **documents, **made},
            )
        )
    place = {id(checkpoint): new for checkpoint, new in zip(everyone, aligned, strict=True)}
    return Aligned(
        models=tuple(place[id(model)] for model in models),
        base=None if base is None else place[id(base)],
        rows=rows,
        details=details,
        notes=tuple(_notes(vocabularies, joined)),
    )


def _distinct(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    return list({id(checkpoint): checkpoint for checkpoint in checkpoints}.values())


def _vocabularies(known: Sequence[Checkpoint]) -> list[Vocabulary]:
    """The vocabulary of every model; one without a tokenizer that has as many rows as the first has the first one's."""
    found: list[Vocabulary] = []
    problems: list[str] = []
    for checkpoint in known:
        names = vocabulary_tensors(checkpoint)
        if not names:
            problems.append(f"{checkpoint.source} has no tensor with a row for each token")
            continue
        rows = min(checkpoint.tensors[name].shape[0] for name in names)
        vocabulary = read_vocabulary(checkpoint, rows)
        if vocabulary is None and found and found[0].rows == rows:
            vocabulary = replace(found[0], source=checkpoint.source, borrowed=True)
        if vocabulary is None:
            problems.append(f"{checkpoint.source} has no tokenizer beside its weights")
        else:
            found.append(vocabulary)
    if problems:
        raise MatchError(
            "The vocabularies of these models cannot be aligned.",
            problems=problems,
            hint="Aligning needs each model as a folder with its tokenizer.json and config.json.",
        )
    return found


def _check_request(
    source: object,
    tokens: Mapping[str, TokenSource],
    known: Sequence[Checkpoint],
    vocabularies: Sequence[Vocabulary],
    multiple: int | None,
) -> None:
    problems: list[str] = []
    if isinstance(source, str) and source not in ("union", "base"):
        problems.append(f"the tokenizer is {source!r}, neither 'union', nor 'base', nor a model")
    if multiple is not None and multiple < 1:
        problems.append(f"rows cannot be brought up to a multiple of {multiple}")
    for token, wanted in tokens.items():
        if wanted.model is None:
            if wanted.token is not None or wanted.token_id is not None:
                problems.append(f"{token!r} is to take a row, but it is not said of which model")
            continue
        if wanted.model not in known:
            problems.append(f"{token!r} is to take a row of {wanted.model.source}, which is not one of the models")
            continue
        own = vocabularies[known.index(wanted.model)]
        if wanted.token_id is not None and not 0 <= wanted.token_id < own.rows:
            problems.append(f"{token!r} is to take row {wanted.token_id} of {own.source}, which has {own.rows} rows")
        spelled = wanted.token if wanted.token is not None else token
        if wanted.token_id is None and spelled not in own.ids:
            near = nearest(spelled, list(own.added))
            problems.append(f"{token!r} is to take the row of {spelled!r}, which {own.source} does not have{near}")
    if problems:
        raise MethodError("The vocabularies cannot be aligned as asked.", problems=problems)


def _plain_token(token: str) -> dict[str, Any]:
    """A token of which nothing but its spelling is known, as tokenizers add it."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    return {"id": -1, "content": token, **flags}


def _donors(
    joined: Vocabulary,
    ids: Sequence[Mapping[str, int]],
    tokens: Mapping[str, TokenSource],
    known: Sequence[Checkpoint],
    vocabularies: Sequence[Vocabulary],
    *,
    has_base: bool,
) -> tuple[dict[str, Donors], dict[str, int]]:
    """For every token that not all models have, or that is forced, where its row comes from; and how often from where."""
    donors: dict[str, Donors] = {}
    origins: dict[str, int] = {}
    names = [checkpoint.source for checkpoint in known]
    for token in joined.ids:
        owners = [number for number, own in enumerate(ids) if token in own]
        wanted = tokens.get(token)
        if len(owners) == len(ids) and not (wanted and wanted.force):
            origin = "in all models"
        elif wanted and wanted.zero:
            donors[token], origin = Donors(), "zeros as asked"
        elif wanted and wanted.model is not None:
            number = known.index(wanted.model)
            spelled = wanted.token if wanted.token is not None else token
            row = wanted.token_id if wanted.token_id is not None else vocabularies[number].ids[spelled]
            donors[token], origin = Donors(((number, row),)), f"from {names[number]} as asked"
        elif not owners:
            donors[token], origin = Donors(), "zeros, in no model"
        elif len(owners) == 1 or (has_base and owners[0] == 0):
            donors[token] = Donors(((owners[0], ids[owners[0]][token]),))
            origin = f"only in {names[owners[0]]}" if len(owners) == 1 else "from the base where missing"
        else:
            donors[token] = Donors(tuple((number, ids[number][token]) for number in owners))
            origin = "the mean of those that have it"
        origins[origin] = origins.get(origin, 0) + 1
    return donors, origins


def _index(
    new: Mapping[str, int],
    own: Mapping[str, int],
    donors: Mapping[str, Donors],
    rows: int,
    tokens: Mapping[str, TokenSource],
) -> tuple[np.ndarray, dict[int, Donors]]:
    """For every new row the model's own, and the donors of those that it has not. An id without a token is padding."""
    index = np.full(rows, PADDING, dtype=np.int64)
    gifts: dict[int, Donors] = {}
    for token, row in new.items():
        if token in own and not (token in tokens and tokens[token].force):
            index[row] = own[token]
        else:
            index[row] = MISSING
            gifts[row] = donors[token]
    return index, gifts


def _told(origins: Mapping[str, int], padding: int) -> str:
    parts = [f"{count:,} {origin}" for origin, count in origins.items()]
    return "rows: " + ", ".join([*parts, *([f"{padding:,} of padding"] if padding else [])])


def _files(joined: Vocabulary, original: Vocabulary) -> dict[str, bytes]:
    """The files of the new tokenizer; none where its owner's files are right as they are."""
    changed = joined is not original or original.dropped or original.converted
    return tokenizer_files(joined) if changed else {}


def _carried(checkpoint: Checkpoint, owner: Checkpoint, *, changed: bool) -> dict[str, Any]:
    """The side files of a model, with the tokenizer of its owner in the place of its own, and without what is stale."""
    rest = {name: path for name, path in checkpoint.side_files.items() if not is_tokenizer_file(name)}
    own = {name: path for name, path in owner.side_files.items() if is_tokenizer_file(name)}
    return {
        **rest,
        **{name: path for name, path in own.items() if not (changed and is_tokenizer_file(name, stale=True))},
    }


def _notes(vocabularies: Sequence[Vocabulary], joined: Vocabulary) -> list[str]:
    notes = [
        f"{vocabulary.source}: {len(vocabulary.dropped):,} tokens have no row and are taken for absent"
        for vocabulary in vocabularies
        if vocabulary.dropped
    ]
    notes += [
        f"{own.source}: no tokenizer, so {vocabularies[0].source}'s is taken for its own"
        for own in vocabularies
        if own.borrowed
    ]
    greedy = joined.spec["model"]["type"] == "WordPiece" or joined.spec["model"].get("ignore_merges")
    if greedy and len(joined.ids) > len(vocabularies[0].ids):
        notes.append(
            "the longest piece is taken first, so text that holds a new one is split in another way than before"
        )
    return notes
