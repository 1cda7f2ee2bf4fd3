"""What methods of vocabularies ask for beside a table, made once when it is first asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scionwood.errors import MethodError, SourceError
from scionwood.methods.record import Record
from scionwood.methods.vocabulary.glove import glove
from scionwood.methods.vocabulary.ofa import mean_of_words
from scionwood.verbs.fresh import generator_for
from scionwood.verbs.vocabulary.tokens import Tokens, overlap_of, pieces_of

__all__ = ["Inputs", "read_text", "read_vectors"]

WIDTH = 100
"""Of vectors that are trained on the text: FOCUS's 100 dimensions, not TokAlign's 300, which small texts cannot fill."""

MIN_COUNT = 2
"""How often a token or a word occurs that gets a vector."""

_WORD = re.compile(r"\w+|[^\w\s]")


class Inputs:
    """Everything that a method of the family may be handed.

    Args:
        source: the model's own tokenizer.
        target: the new one.
        text: documents of the new language or domain; methods that need none go without.
        vectors: word → vector, one space for both tokenizers; or two spaces, the source's and the target's.
        seed: of everything random.
        named: purpose → new special token, where the tokenizer does not say.
        given: inputs by name that the user has made: ``units`` and ``frames``, ``anchors``, ``dictionary``.
    """

    def __init__(
        self,
        source: Tokens,
        target: Tokens,
        *,
        text: Sequence[str] = (),
        vectors: Sequence[Mapping[str, Tensor]] = (),
        seed: int = 0,
        named: Mapping[str, str] | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = source
        self.target = target
        self.documents = list(text)
        self.spaces = list(vectors)
        self.seed = seed
        self.named = named
        self.given = dict(given or {})

    def hand(self, method: Callable[..., Any], table: Tensor, role: str, tables: Sequence[Tensor]) -> dict[str, Any]:
        """Return what a method asks for, by name.

        Raises:
            MethodError: it needs a text, or what only the user can give; it says how.
        """
        record = Record.of(method)
        own: dict[str, Callable[[], Any]] = {
            "table": lambda: table,
            "role": lambda: role,
            "tables": lambda: tables,
            # One generator a method: every table gets the same mixture.
            "generator": lambda: generator_for(self.seed, record.name),
            "overlap": lambda: self.overlap,
            "pieces": lambda: self.pieces,
            "special": lambda: self.special,
            "text": lambda: self.text,
            "counts_of_tokens": lambda: self.counts,
            "source_vectors": lambda: self.source_vectors(record),
            "target_vectors": lambda: self.target_vectors(record),
            "word_vectors": lambda: self.words[1],
            "source_words": lambda: self._words_of(self.source, self.words[0]),
            "target_words": lambda: self._words_of(self.target, self.words[0]),
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
                hint=f"give inputs={{{', '.join(f'{name!r}: …' for name in missing)}}} from Python",
            )
        if record.name == "vocabulary.wechsel" and len(self.spaces) == 2 and handed.get("dictionary") is None:
            handed["dictionary"] = self._spelled_alike()
        return handed

    # Of the tokenizers alone.

    @cached_property
    def overlap(self) -> Tensor:
        """For each target token the source token of the same text or purpose."""
        return overlap_of(self.source, self.target, self.named)

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

    def source_vectors(self, record: Record) -> Tensor:
        """Of the source's tokens: of words, or for TokAlign of the text cut by the source's tokenizer."""
        if not self.spaces and record.name == "vocabulary.tokalign":
            return self._trained("source", self._source_text, self.source.size)
        words, vectors = self._space(0)
        return mean_of_words(self._words_of(self.source, words), vectors)

    def target_vectors(self, record: Record) -> Tensor:
        """Of the target's tokens: of words, or of the text cut by the target's tokenizer where that is enough."""
        if not self.spaces and record.name in ("vocabulary.tokalign", "vocabulary.focus"):
            return self._trained("target", self.text, self.target.size)
        words, vectors = self._space(-1)
        return mean_of_words(self._words_of(self.target, words), vectors)

    def _space(self, place: int) -> tuple[dict[str, int], Tensor]:
        if not self.spaces:
            return self.words
        space = self.spaces[place]
        return {word: number for number, word in enumerate(space)}, torch.stack(list(space.values()))

    @cached_property
    def words(self) -> tuple[dict[str, int], Tensor]:
        """Words and their vectors: those given, or trained on the text's words."""
        if self.spaces:
            return self._space(0)
        found: dict[str, int] = {}
        documents = [
            torch.tensor([found.setdefault(word, len(found)) for word in _WORD.findall(each)], dtype=torch.long)
            for each in self._need_text()
        ]
        return found, self._glove("words", documents, len(found))

    def _trained(self, side: str, text: Sequence[Tensor], size: int) -> Tensor:
        key = f"_{side}_trained"
        if key not in self.__dict__:
            self.__dict__[key] = self._glove(side, text, size)
        return self.__dict__[key]

    def _glove(self, name: str, text: Sequence[Tensor], size: int) -> Tensor:
        generator = generator_for(self.seed, "glove", name)
        return glove(text, size, generator, dim=WIDTH, min_count=MIN_COUNT)

    def _words_of(self, tokens: Tokens, words: Mapping[str, int]) -> list[Tensor]:
        """For each token the words whose spelling, with and without a space before it, it is a part of."""
        found: list[dict[int, None]] = [{} for _ in range(tokens.size)]
        listed = list(words)
        for before in ("", " "):
            encoded = tokens.plain.encode_batch([before + word for word in listed], add_special_tokens=False)
            for number, each in enumerate(encoded):
                for token in each.ids:
                    found[token][number] = None
        return [torch.tensor(list(each), dtype=torch.long) for each in found]

    def _spelled_alike(self) -> tuple[Tensor, Tensor]:
        """A dictionary for want of one: the words that both spaces have."""
        first, second = self.spaces
        shared = [word for word in first if word in second]
        if not shared:
            raise MethodError(
                "The two files of vectors have no word in common, so that nothing turns the one space into the other.",
                hint="give inputs={'dictionary': (source vectors, target vectors)} from Python",
            )
        return torch.stack([first[word] for word in shared]), torch.stack([second[word] for word in shared])


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


def read_vectors(file: str | Path) -> dict[str, Tensor]:
    """Return word → vector from a file as word2vec, GloVe and fastText write it: a word and its numbers, a line each.

    Raises:
        SourceError: the file cannot be read, or is not of that form; it names the line.
    """
    found: dict[str, Tensor] = {}
    width = 0
    try:
        with Path(file).expanduser().open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                word, *values = line.rstrip("\n").rstrip(" ").split(" ")
                if number == 1 and len(values) == 1:
                    continue  # how many words and numbers there are
                try:
                    vector = torch.tensor([float(value) for value in values])
                except ValueError:
                    raise SourceError(
                        f"{file}, line {number}: after the word stand other things than numbers"
                    ) from None
                width = width or len(vector)
                if len(vector) != width or not width:
                    raise SourceError(f"{file}, line {number}: {len(vector)} numbers, {width} before")
                found.setdefault(word, vector)
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{file} is no UTF-8 text: byte {error.start}.") from None
    if not found:
        raise SourceError(f"{file} holds no vectors.")
    return found
