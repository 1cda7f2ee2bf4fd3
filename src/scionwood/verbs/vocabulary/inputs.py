"""What methods of vocabularies ask for beside a table, made once when it is first asked for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from scionwood.errors import MethodError, SourceError
from scionwood.methods.record import Record
from scionwood.methods.vocabulary.glove import Trainer, glove
from scionwood.methods.vocabulary.neighbours import of_one_width
from scionwood.methods.vocabulary.ofa import mean_of_words
from scionwood.verbs.fresh import generator_for
from scionwood.verbs.vocabulary.dictionary import Pair, vectors_of_pairs
from scionwood.verbs.vocabulary.overlap import Match, overlap_of, pieces_of
from scionwood.verbs.vocabulary.tokens import Tokens
from scionwood.verbs.vocabulary.vectors import Vectors

__all__ = ["Inputs", "read_text"]

MadeT = TypeVar("MadeT")

WIDTH = 100
"""Of vectors that are trained on the text where nothing is asked: FOCUS's, not TokAlign's 300, which small texts cannot fill."""

MIN_COUNT = 2
"""How often a token or a word occurs that gets a vector."""

ITERATIONS = 15
"""How often every pair is seen."""

MADE = frozenset({"units", "frames", "anchors", "dictionary"})
"""What no tokenizer says, and only the user can make."""

_WORD = re.compile(r"\w+|[^\w\s]")


class Inputs:
    """Everything that a method of the family may be handed.

    Args:
        source: the model's own tokenizer.
        target: the new one.
        text: documents of the new language or domain; methods that need none go without.
        vectors: of words, one space for both tokenizers; or the source's words and the target's, each of its own.
        pairs: words of one meaning, by which WECHSEL turns the source's space into the target's; without, words of one
            spelling.
        seed: of everything random.
        named: purpose → new special token, where the tokenizer does not say.
        given: inputs by name that the user has made: ``units`` and ``frames``, ``anchors``, ``dictionary``; tensors, or
            arrays and lists that can be made such.
        match: what counts as the same text.

    Raises:
        MethodError: what is given is no table of numbers, or there are pairs of words without two spaces.
    """

    def __init__(
        self,
        source: Tokens,
        target: Tokens,
        *,
        text: Sequence[str] = (),
        vectors: Sequence[Vectors] = (),
        pairs: Sequence[Pair] = (),
        seed: int = 0,
        named: Mapping[str, str] | None = None,
        given: Mapping[str, Any] | None = None,
        match: Match = "exact",
    ) -> None:
        self.source = source
        self.target = target
        self.documents = list(text)
        self.spaces = list(vectors)
        self.pairs = list(pairs)
        if self.pairs and len(self.spaces) != 2:
            raise MethodError(
                f"A dictionary turns the space of one file of vectors into that of another; {len(self.spaces)} are given.",
                hint="give --vectors twice: of the source's language, and of the target's",
            )
        self.seed = seed
        self.named = named
        self.match: Match = match
        self.given = _as_tensors(given or {})
        self._made: dict[Hashable, Any] = {}

    def hand(
        self, method: Callable[..., Any], table: Tensor, role: str, tables: Sequence[Tensor], kept: dict[str, Any]
    ) -> dict[str, Any]:
        """Return what a method asks for, by name.

        Raises:
            MethodError: it needs a text, or what only the user can give; it says how.
        """
        record = Record.of(method)
        own: dict[str, Callable[[], Any]] = {
            "table": lambda: table,
            "role": lambda: role,
            "tables": lambda: tables,
            "kept": lambda: kept,
            # The same for every table, that they get the same mixture, and for every method, that what differs in a report
            # is not the draw.
            "generator": lambda: generator_for(self.seed, "vocabulary"),
            "overlap": lambda: self.overlap,
            "pieces": lambda: self.pieces,
            "special": lambda: self.special,
            "wordless": lambda: self.wordless,
            "text": lambda: self.text,
            "counts_of_tokens": lambda: self.counts if self.documents or "counts_of_tokens" in record.needs else None,
            "source_vectors": lambda: self.source_vectors(record),
            "target_vectors": lambda: self.target_vectors(record),
            "word_vectors": lambda: self.word_vectors,
            "source_words": lambda: self._words_of(self.source, self.words),
            "target_words": lambda: self.target_words,
        }
        handed = {}
        missing = []
        for name in record.inputs:
            if name in self.given:
                handed[name] = self.given[name]
            elif name in own:
                handed[name] = own[name]()
            elif name in record.optional:
                handed[name] = None
            else:
                missing.append(name)
        if missing:
            raise MethodError(
                f"{record.name.partition('.')[2]} needs what no tokenizer says: {', '.join(missing)}",
                hint=f"give inputs={{{', '.join(f'{name!r}: …' for name in missing)}}} or a safetensors file of them (--inputs FILE)",
            )
        if record.name == "vocabulary.wechsel" and len(self.spaces) == 2 and handed.get("dictionary") is None:
            handed["dictionary"] = self.dictionary
        return handed

    # Of the tokenizers alone.

    @cached_property
    def overlap(self) -> Tensor:
        """For each target token the source token of the same text or purpose."""
        return self.overlap_by(self.match)

    def overlap_by(self, match: Match) -> Tensor:
        """The same, by what counts as the same text."""
        return self._kept(("overlap", match), lambda: overlap_of(self.source, self.target, self.named, match=match))

    @cached_property
    def pieces(self) -> list[Tensor]:
        """For each target token the source's tokens of its text."""
        return pieces_of(self.source, self.target)

    @cached_property
    def special(self) -> Tensor:
        """Whether each target token is a special one."""
        flags = torch.zeros(self.target.size, dtype=torch.bool)
        flags[sorted(self.target.special_ids)] = True
        return flags

    @cached_property
    def wordless(self) -> Tensor:
        """Whether each number of the source's is a special token's, or none's."""
        flags = torch.ones(self.source.size, dtype=torch.bool)
        flags[list(self.source.spelled)] = False
        return flags

    # Of the text.

    def _need_text(self) -> list[str]:
        if not self.documents:
            raise MethodError(
                "This method learns from text, and has none.",
                hint="give --text FILE (text=…): some megabytes of what the new tokenizer is for; "
                "wechsel, ofa and hyperofa are content with --vectors FILE",
            )
        return self.documents

    @cached_property
    def text(self) -> list[Tensor]:
        """The text by the target's tokenizer."""
        return self._cut(self.target)

    @cached_property
    def _source_text(self) -> list[Tensor]:
        return self._cut(self.source)

    def _cut(self, tokens: Tokens) -> list[Tensor]:
        encoded = tokens.tokenizer.encode_batch(self._need_text(), add_special_tokens=False)
        return [torch.tensor(each.ids, dtype=torch.long) for each in encoded]

    @cached_property
    def counts(self) -> Tensor:
        """How often each target token occurs in the text."""
        return torch.bincount(torch.cat(self.text), minlength=self.target.size)

    # Vectors.

    def source_vectors(self, record: Record) -> Tensor | Trainer:
        """Of the source's tokens: of words, or for TokAlign what trains them on the text cut by the source's tokenizer."""
        if not self.spaces and record.name == "vocabulary.tokalign":
            return self._trainer("source", self._source_text, self.source.size)
        return self._of_tokens(record, self.source, 0)

    def target_vectors(self, record: Record) -> Tensor | Trainer:
        """Of the target's tokens: of words, or what trains them on the text cut by the target's where that is enough."""
        if not self.spaces and record.name in ("vocabulary.tokalign", "vocabulary.focus"):
            return self._trainer("target", self.text, self.target.size)
        return self._of_tokens(record, self.target, -1)

    @cached_property
    def words(self) -> Vectors:
        """Words and their vectors: those given, or trained on the text's words."""
        if self.spaces:
            return self.spaces[0]
        found: dict[str, int] = {}
        documents = [
            torch.tensor([found.setdefault(word, len(found)) for word in _WORD.findall(each)], dtype=torch.long)
            for each in self._need_text()
        ]
        counts = torch.bincount(torch.cat(documents), minlength=len(found)).tolist()
        return Vectors(found, self._trainer("words", documents, len(found))(), counts=counts)

    @cached_property
    def word_vectors(self) -> Tensor:
        """Those of a second space stand behind those of the first, which it is taken to be one with."""
        matrices = [space.matrix for space in self.spaces or [self.words]]
        of_one_width(matrices[0], matrices[-1])
        return torch.cat(matrices) if len(matrices) > 1 else matrices[0]

    @cached_property
    def target_words(self) -> list[Tensor]:
        """For each target token its words among the vectors: of the last space."""
        if len(self.spaces) < 2:
            return self._words_of(self.target, self.words)
        first, last = self.spaces
        return [words + len(first.words) for words in self._words_of(self.target, last)]

    def _of_tokens(self, record: Record, tokens: Tokens, place: int) -> Tensor:
        """Vectors of tokens: the means of their words; by n-grams, where vectors have them, of the tokens' own text.

        WECHSEL officially takes the latter for all tokens, the other methods here for those that no word holds. It also
        weighs words by their frequency, as counted in the text that they were trained on or as the file of vectors has it;
        the text is of the target alone, and would count none of the source's words.
        """
        space = self.spaces[place] if self.spaces else self.words
        weighed = record.name == "vocabulary.wechsel"
        own_text = space.ngrams is not None and weighed

        def make() -> Tensor:
            made = torch.zeros(tokens.size, space.rows.shape[1])
            if not own_text:
                frequencies = space.frequencies if weighed else None
                made = mean_of_words(self._words_of(tokens, space), space.matrix, frequencies)
            if space.ngrams is not None:
                texts = {number: text for number, text in tokens.texts.items() if not bool(made[number].any())}
                made[list(texts)] = space.of(list(texts.values()))
            return made

        return self._kept(("tokens", id(tokens), id(space), weighed), make)

    def _kept(self, key: Hashable, make: Callable[[], MadeT]) -> MadeT:
        """What was made for one table or method before, and is the same for the next."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _trainer(self, name: str, text: Sequence[Tensor], size: int) -> Trainer:
        """What trains vectors by a text as a method asks, once for all tables and for all methods that ask alike."""

        def train(*, dim: int = WIDTH, min_count: int = MIN_COUNT, iterations: int = ITERATIONS) -> Tensor:
            how = {"dim": dim, "min_count": min_count, "iterations": iterations}
            generator = generator_for(self.seed, "glove", name)
            return self._kept((name, *how.values()), lambda: glove(text, size, generator, **how))

        return train

    def _words_of(self, tokens: Tokens, space: Vectors) -> list[Tensor]:
        """For each token the words whose spelling it is a part of, with and without a space before it and a capital letter.

        Special tokens have none: what cannot be spelled says nothing of the token that stands for that.
        """

        def make() -> list[Tensor]:
            found: list[dict[int, None]] = [{} for _ in range(tokens.size)]
            plain = dict(enumerate(space.words))
            capital = {n: upper for n, word in plain.items() if (upper := word[:1].upper() + word[1:]) != word}
            for before, forms in itertools.product(("", " "), (plain, capital)):
                texts = [before + form for form in forms.values()]
                for number, each in zip(forms, tokens.plain.encode_batch(texts, add_special_tokens=False), strict=True):
                    for token in each.ids:
                        found[token][number] = None
            for token in tokens.special_ids:
                found[token] = {}
            return [torch.tensor(list(each), dtype=torch.long) for each in found]

        return self._kept(("words", id(tokens), id(space)), make)

    @cached_property
    def dictionary(self) -> tuple[Tensor, Tensor]:
        """Vectors of the pairs of words; for want of any, of the words that both spaces have."""
        first, second = self.spaces
        if self.pairs:
            return vectors_of_pairs(self.pairs, first, second)
        shared = [word for word in first.words if word in second.words]
        if not shared:
            raise MethodError(
                "The two files of vectors have no word in common, so that nothing turns the one space into the other.",
                hint="give --dictionary FILE: a word of the source's language and one of the target's on each line",
            )
        return first.of(shared), second.of(shared)


def _as_tensors(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the user has made as tensors; whether it fits is for the methods to say."""
    made = dict(given)
    problems = []
    for name in MADE & set(made):
        parts = made[name] if name == "dictionary" else [made[name]]
        try:
            tensors = [torch.as_tensor(part).detach().cpu() for part in parts]
        except (TypeError, ValueError, RuntimeError) as error:
            problems.append(f"{name}: {error}")
            continue
        if name == "dictionary" and len(tensors) != 2:
            problems.append(f"{name}: {len(tensors)} tables, and not the source's and the target's")
        made[name] = tuple(tensors) if name == "dictionary" else tensors[0]
    if problems:
        raise MethodError("Some inputs are no tables of numbers.", problems=sorted(problems))
    return made


def read_text(files: Sequence[str | Path]) -> list[str]:
    """Return the documents of some files: what stands between empty lines.

    Raises:
        SourceError: files that cannot be read, or hold no text; all of them.
    """
    documents: list[str] = []
    problems = []
    for name in files:
        try:
            text = Path(name).expanduser().read_text(encoding="utf-8")
        except OSError as error:
            problems.append(f"{name}: {error.strerror}")
            continue
        except UnicodeDecodeError as error:
            problems.append(f"{name} is no UTF-8 text: byte {error.start}")
            continue
        found = [part for part in re.split(r"\n\s*\n", text) if part.strip()]
        if not found:
            problems.append(f"{name} holds no text")
        documents += found
    if problems:
        raise SourceError("The text cannot be read.", problems=problems)
    return documents
