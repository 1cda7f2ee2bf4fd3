"""Dictionaries of two languages: pairs of words in a file, as MUSE and WECHSEL have them, and their vectors.

A line is a word of the source's language and one of the target's, with a tab between them; or, where there is no tab in it,
with spaces. Case is as it comes: each word is looked for as it is written, in small letters, and with a capital.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from scionwood.errors import MethodError, SourceError
from scionwood.verbs.vocabulary.vectors import Vectors

__all__ = ["Pair", "read_dictionary", "vectors_of_pairs"]

Pair = tuple[str, str]

TOLD = 5
"""How many of a file's lines are told that hold no pair."""


def read_dictionary(file: str | Path) -> list[Pair]:
    """Return the pairs of a file.

    Raises:
        SourceError: the file cannot be read, or has lines that are no pairs; it names them.
    """
    try:
        lines = Path(file).expanduser().read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise SourceError(f"{file} is no UTF-8 text: byte {error.start}.") from None
    pairs: list[Pair] = []
    problems = []
    for number, line in enumerate(lines, start=1):
        words = [word.strip() for word in (line.split("\t") if "\t" in line else line.split())]
        if len(words) == 2 and all(words):
            pairs.append((words[0], words[1]))
        elif line.strip():
            problems.append(f"line {number}: {line.strip()!r}")
    if problems:
        more = [f"and {len(problems) - TOLD:,} more"] if len(problems) > TOLD else []
        raise SourceError(
            f"{file} is no dictionary: some lines are no two words, with a tab or a space between them.",
            problems=[*problems[:TOLD], *more],
        )
    if not pairs:
        raise SourceError(f"{file} holds no pairs of words.")
    return pairs


def vectors_of_pairs(pairs: Sequence[Pair], first: Vectors, second: Vectors) -> tuple[Tensor, Tensor]:
    """Return the vectors of both words of each pair, in any case in which both spaces have them, each once.

    >>> import torch
    >>> first, second = Vectors({"house": 0}, torch.ones(1, 1)), Vectors({"Haus": 0}, torch.zeros(1, 1))
    >>> vectors_of_pairs([("House", "haus")], first, second)
    (tensor([[1.]]), tensor([[0.]]))

    Raises:
        MethodError: of no pair both words have vectors.
    """
    found = dict.fromkeys(
        (one, other) for pair in pairs for one in _cases(pair[0], first) for other in _cases(pair[1], second)
    )
    if not found:
        raise MethodError(
            f"Of none of the {len(pairs):,} pairs of the dictionary both words have vectors, "
            "so that nothing turns the one space into the other.",
            hint="its first words are of the first file of vectors, its second words of the second",
        )
    return first.of([one for one, _ in found]), second.of([other for _, other in found])


def _cases(word: str, space: Vectors) -> list[str]:
    return [each for each in dict.fromkeys((word, word.lower(), word.title())) if each in space.words]
