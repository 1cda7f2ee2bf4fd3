"""The verb: a model under another tokenizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from scionwood import anatomy as anatomies
from scionwood.checkpoint import (
    Checkpoint,
    ComputedTensor,
    Entry,
    LazyTensor,
    Ledger,
    Lineage,
    Parent,
    Source,
    installed_versions,
    parent_of,
)
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.parent import digest_of, told
from scionwood.engine.threads import use_threads
from scionwood.errors import MatchError, MethodError, SourceError, nearest
from scionwood.methods import registry
from scionwood.methods.record import Record, resolve
from scionwood.methods.vocabulary.rows import Rows
from scionwood.verbs.vocabulary.dictionary import read_dictionary
from scionwood.verbs.vocabulary.holes import by_place, in_use, with_holes
from scionwood.verbs.vocabulary.inputs import Inputs, read_text
from scionwood.verbs.vocabulary.overlap import Match
from scionwood.verbs.vocabulary.settings import Numbers, check_settings, settle
from scionwood.verbs.vocabulary.tables import SettingPath, Table, as_stored, counts_from_padding, sizes_of, tables_of
from scionwood.verbs.vocabulary.tokens import Tokens, read_tokens, tokens_beside
from scionwood.verbs.vocabulary.vectors import read_vectors

__all__ = ["Setting", "check_inputs", "setting_of", "vocabulary"]

_THE_VERB_S = ("table", "role", "tables", "kept", "generator")
"""Inputs of methods that are another thing for each table, or for each call."""


def vocabulary(
    source: Source | nn.Module,
    *,
    tokenizer: str | Path | Checkpoint,
    method: str = "mean_subword",
    text: Sequence[str | Path] = (),
    vectors: Sequence[str | Path] = (),
    dictionary: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    pad_to_multiple_of: int | None = None,
    special: Mapping[str, str] | None = None,
    match: Match = "exact",
    inputs: Mapping[str, Any] | str | Path | None = None,
) -> Checkpoint:
    """Give a model another tokenizer's vocabulary: rows of its embedding and head for the new tokens.

    Which tensors have a row for each token is read off the anatomy. Tokens of both vocabularies are known by their text,
    whatever letters a tokenizer writes it with; special ones by what they are for.

    Args:
        source: the model, with its own tokenizer beside it: whatever :func:`scionwood.open` takes.
        tokenizer: the new one: a folder, a ``tokenizer.json``, a model with one, or a hub id.
        method: a method of the family vocabulary; ``scionwood methods vocabulary`` lists them.
        text: files of text that the new tokenizer is for, for methods that learn from it.
        vectors: a file of word vectors, as word2vec (text or binary), GloVe or fastText write it, gzip'd or not; or
            two: of the source's language and of the target's. Without, methods that need vectors train small ones on
            the text.
        dictionary: a file of word pairs, a word of the source's language and one of the target's on each line, by which
            WECHSEL turns the first of two files of vectors into the second; without, the words that both have.
        options: the method's own options.
        seed: of everything random.
        pad_to_multiple_of: rows are added up to a multiple of it, the mean of the others.
        special: purpose (``eos``) → the new token that serves it, where the tokenizer does not say.
        match: which tokens are in both vocabularies: those of the same text, or with ``fuzzy`` also those of the same
            letters whatever their case and whether or not a space stands before them.
        inputs: what only the user can give, by name: for ``speech_tokens`` its ``units`` and ``frames``; or a safetensors
            file of such tensors. Of what is not in a file the lineage has digests, and the output is not made again
            without it.

    Returns:
        A lazy checkpoint with the new tokenizer's files. Its ledger says for every table how many rows were copied, mixed,
        made of something else, and drawn at random.

    Raises:
        SourceError: the model, the tokenizer, the text, the vectors or the dictionary cannot be read, or tables hold NaN
            or infinity.
        MatchError: the model has no table of tokens or no tokenizer, or special tokens have no counterpart.
        MethodError: an unknown method, option, input or way to match, or a method without what it needs.
    """
    function = registry.load(method, family="vocabulary")
    resolved = resolve(function, dict(options or {}))
    file = inputs if isinstance(inputs, (str, Path)) else None
    handed = open_checkpoint(file).state_dict() if file is not None else dict(cast("Mapping[str, Any]", inputs or {}))
    check_inputs(handed, [function])
    setting = setting_of(
        source,
        tokenizer,
        text=text,
        vectors=vectors,
        dictionary=dictionary,
        seed=seed,
        pad_to_multiple_of=pad_to_multiple_of,
        special=special,
        match=match,
        inputs=handed,
    )
    given = {} if file is not None else {name: digest_of(value, name) for name, value in handed.items()}
    checkpoint = setting.checkpoint
    settled = settle(checkpoint, setting.numbers(), setting.count)
    made = setting.rows(function, resolved)
    tensors: dict[str, LazyTensor] = {**checkpoint.tensors, **setting.tensors(made)}
    padding = setting.count - len(setting.target.used)
    entries = [
        Entry(name, "reworded", name, _detail(made[name], padding), tensor.num_elements)
        if name in made
        else Entry(name, "copied", name, "", tensor.num_elements)
        for name, tensor in tensors.items()
    ]
    recipe: dict[str, Any] = {
        "verb": "vocabulary",
        "source": told(checkpoint),
        "tokenizer": str(tokenizer) if isinstance(tokenizer, (str, Path)) else tokenizer.source,
        "method": method,
        "options": resolved,
        "text": [str(each) for each in text],
        "vectors": [str(each) for each in vectors],
        "dictionary": None if dictionary is None else str(dictionary),
        "pad_to_multiple_of": pad_to_multiple_of,
        "special": dict(special or {}),
        "match": match if match != "exact" else None,
        "inputs": str(file) if file is not None else given,
    }
    return dataclasses.replace(
        checkpoint,
        tensors=tensors,
        config=settled.config,
        side_files=settled.side_files,
        documents=settled.documents,
        source=f"vocabulary({checkpoint.source})",
        revision=None,
        lineage=Lineage(
            {key: value for key, value in recipe.items() if value},
            (
                parent_of(checkpoint, "source"),
                *_files(setting, text, vectors, dictionary, file),
                *(Parent(f"inputs[{name!r}]", digest=digest, role="input") for name, digest in given.items()),
            ),
            seed,
            installed_versions("transformers", "tokenizers"),
        ),
        ledger=Ledger(entries),
        origin=None,
    )


@dataclasses.dataclass(frozen=True)
class Setting:
    """A model, its tokenizer, and the one that it gets.

    Args:
        checkpoint: the model.
        tables: the stored tensors with a row for each token, by name.
        sizes: the settings of its config that say how many rows these have, by path.
        from_padding: its positions are counted from the number of the padding token.
        source: its tokenizer.
        target: the new one.
        count: how many rows the tables get, padding included.
        inputs: what methods ask for.
    """

    checkpoint: Checkpoint
    tables: Mapping[str, Table]
    sizes: Collection[SettingPath]
    from_padding: bool
    source: Tokens
    target: Tokens
    count: int
    inputs: Inputs

    def numbers(self) -> Numbers:
        """What moves the numbers of tokens in configs."""
        held = min(table.rows for table in self.tables.values())
        return Numbers(self.source, self.target, self.inputs.named, self.sizes, held, from_padding=self.from_padding)

    def rows(self, method: Callable[..., Rows], options: Mapping[str, Any]) -> dict[str, Rows]:
        """Ask a method for the rows of every table; on one thread, that they are the same whatever the machine has.

        Raises:
            MethodError: it lacks what it needs.
            SourceError: rows of tokens hold NaN or infinity.
        """
        held = {name: in_use(table.read(self.source.size), self.source).float() for name, table in self.tables.items()}
        _check_finite(held, self.checkpoint.source)
        # The input table and the head, or one where they are tied: what CW2V learns together.
        matrices = [held[name] for name, table in self.tables.items() if table.role != "bias"][:2]
        kept: dict[str, Any] = {}
        made = {}
        with use_threads(1):
            for name, table in self.tables.items():
                handed = by_place(self.inputs.hand(method, held[name], table.role, matrices, kept), self.source)
                made[name] = with_holes(method(*handed.values(), **options), held[name], self.source, self.target)
        return made

    def tensors(self, made: Mapping[str, Rows]) -> dict[str, ComputedTensor]:
        """The tables with these rows, as they are stored."""
        return {
            name: _tensor(name, self.tables[name], rows, self.count, self.source.size) for name, rows in made.items()
        }


def check_inputs(given: Collection[str], methods: Sequence[Callable[..., Any]]) -> None:
    """See that every input that the user gives is one that a method takes.

    Raises:
        MethodError: some are not; all of them.
    """
    records = [Record.of(method) for method in methods]
    known = list(dict.fromkeys(name for record in records for name in record.inputs if name not in _THE_VERB_S))
    unknown = [name for name in given if name not in known]
    if unknown:
        takes = f": known are {', '.join(known)}" if known else ": there is none that a user gives"
        raise MethodError(
            f"{', '.join(record.name.partition('.')[2] for record in records)} cannot be given these inputs.",
            problems=[f"unknown input {name!r}{nearest(name, known) or takes}" for name in unknown],
        )


def _check_finite(tables: Mapping[str, Tensor], source: str) -> None:
    counts = {name: int((~table.isfinite()).sum()) for name, table in tables.items()}
    problems = [f"{name}: {count:,} of {tables[name].numel():,}" for name, count in counts.items() if count]
    if problems:
        raise SourceError(
            f"The rows of the tokens of {source} hold NaN or infinity, and new rows would be made of them.",
            problems=problems,
            hint="the weights are damaged, or its training failed: take an earlier checkpoint",
        )


def setting_of(
    source: Source | nn.Module,
    tokenizer: str | Path | Checkpoint,
    *,
    text: Sequence[str | Path] = (),
    vectors: Sequence[str | Path] = (),
    dictionary: str | Path | None = None,
    seed: int = 0,
    pad_to_multiple_of: int | None = None,
    special: Mapping[str, str] | None = None,
    match: Match = "exact",
    inputs: Mapping[str, Any] | None = None,
) -> Setting:
    """Read a model, both tokenizers, the text and the vectors.

    Raises:
        SourceError: something cannot be read.
        MatchError: the model has no config, no table of tokens, or no tokenizer, or its config does not count its rows.
        MethodError: there is no such way to match or to pad, or there are too many files of vectors.
    """
    multiple = 1 if pad_to_multiple_of is None else pad_to_multiple_of
    if multiple < 1:
        raise MethodError(f"Rows cannot be brought up to a multiple of {multiple}.")
    if match not in get_args(Match):
        ways = get_args(Match)
        raise MethodError(f"Tokens match {' or '.join(ways)}, not {match!r}{nearest(str(match), ways)}.")
    checkpoint = open_checkpoint(source)
    if checkpoint.config is None or "model_type" not in checkpoint.config:
        raise MatchError(
            f"{checkpoint.source} has no config that says which model it is", hint="give a folder with a config.json"
        )
    target = read_tokens(tokenizer)
    check_settings(target)
    if len(vectors) > 2:
        raise MethodError(f"{len(vectors)} files of vectors are too many: one, or the source's and the target's.")
    documents, spaces = read_text(text), [read_vectors(file) for file in vectors]
    pairs = [] if dictionary is None else read_dictionary(dictionary)
    model = anatomies.from_config(checkpoint.config, checkpoint.source)
    tables = {table.stored.name: table for table in tables_of(model, checkpoint)}
    least = min(table.rows for table in tables.values())
    own = tokens_beside(checkpoint, least)
    handed = Inputs(
        own,
        target,
        text=documents,
        vectors=spaces,
        pairs=pairs,
        seed=seed,
        named=special,
        given=inputs,
        match=match,
    )
    count = -(-target.size // multiple) * multiple
    sizes = sizes_of(model, list(tables.values()))
    return Setting(checkpoint, tables, sizes, counts_from_padding(model), own, target, count, handed)


def _tensor(name: str, table: Table, made: Rows, rows: int, count: int) -> ComputedTensor:
    """A table under the new vocabulary, made a range of rows at a time where tokens are rows."""
    shape = tuple(rows if dim == table.dim else size for dim, size in enumerate(table.stored.shape))
    dtype = table.stored.dtype
    mean: list[Tensor] = []

    def padding(own: Tensor) -> Tensor:
        if not mean:
            with use_threads(1):
                mean.append(made.apply(own).mean(0, keepdim=True))
        return mean[0]

    def compute(start: int, stop: int) -> Tensor:
        own = table.read(count)
        part = made.part(start, min(stop, len(made))).apply(own)
        if stop > len(made):
            part = torch.cat([part, padding(own).expand(stop - max(start, len(made)), -1)])
        return as_stored(part, table)

    if table.dim == 0:
        return ComputedTensor(name, shape, dtype, compute, sources=[table.stored])

    def whole(start: int, stop: int) -> Tensor:
        return compute(0, rows)[start:stop]

    return ComputedTensor(name, shape, dtype, whole, whole=True, sources=[table.stored])


def _detail(made: Rows, padding: int) -> str:
    parts = [f"{count:,} {status}" for status, count in made.counts.items() if count]
    parts += [f"{padding:,} of padding"] if padding else []
    return "rows: " + ", ".join(parts) + (f"; {made.note}" if made.note else "")


def _files(
    setting: Setting,
    text: Sequence[str | Path],
    vectors: Sequence[str | Path],
    dictionary: str | Path | None,
    inputs: str | Path | None,
) -> list[Parent]:
    """The tokenizer, the text, the vectors, the dictionary and the inputs by digest, so that they are known again."""
    single = {"dictionary": dictionary, "inputs": inputs}
    return [
        *(Parent.of_file(path, "tokenizer") for path in setting.target.files.values()),
        *(Parent.of_file(Path(each).expanduser(), "text") for each in text),
        *(Parent.of_file(Path(each).expanduser(), "vectors") for each in vectors),
        *(Parent.of_file(Path(each).expanduser(), role) for role, each in single.items() if each is not None),
    ]
