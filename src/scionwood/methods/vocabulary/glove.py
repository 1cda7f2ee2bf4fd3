"""GloVe, small: static vectors of tokens from the text alone (Pennington, Socher & Manning, 2014).

    X_ij = sum over pairs within the window of 1 / distance
    loss = sum_ij min(1, (X_ij / x_max)^(3/4)) (w_i . c_j + a_i + b_j - log X_ij)^2,   vector_i = w_i + c_i

The published program takes one pair at a time; here every step takes a share of all pairs at once, with AdaGrad from
squares of 1 and from the same start (uniform within 1 / (2 dim)). So single numbers differ from the program's, while
neighbourhoods hardly do. The program's rate of 0.05 also enters its sums of squares, and its steps are as many as the
pairs, so that it cannot be taken over: on a chain of 150 tokens and 30,000 words the loss after 15 rounds is 0.120 by a
copy of the program, 0.191 here at 0.05, and 0.100 at 0.2, the default. Window 15, at least 5 occurrences, x_max 10, 300
dimensions and 15 rounds are what TokAlign trains with. 200,000 words of 4,000 tokens take 0.5 s a round at 50
dimensions and 1.5 s at 300, on one core.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from scionwood.errors import MethodError

__all__ = ["Pairs", "Trainer", "cooccurrence", "given_or_trained", "glove"]

Trainer: TypeAlias = Callable[..., Tensor]
"""Trains vectors on a text: called with what is asked of them, by the names of ``glove``."""

CHUNK = 1 << 22
"""How many pairs are counted, or multiplied, at once."""


class Pairs(NamedTuple):
    """The entries of a symmetric matrix that are not zero, by row and column."""

    rows: Tensor
    columns: Tensor
    weights: Tensor


def cooccurrence(text: Sequence[Tensor], size: int, *, window: int = 15) -> Pairs:
    """Return how near tokens stand to each other: over all pairs within the window, the sum of 1 / distance.

    >>> pairs = cooccurrence([torch.tensor([0, 1, 0, 2])], 3, window=2)
    >>> list(zip(pairs.rows.tolist(), pairs.columns.tolist(), pairs.weights.tolist()))
    [(0, 0, 1.0), (0, 1, 2.0), (0, 2, 1.0), (1, 0, 2.0), (1, 2, 0.5), (2, 0, 1.0), (2, 1, 0.5)]

    Args:
        text: token ids, document by document; pairs do not reach from one into the next.
        size: of the vocabulary.
        window: how far to either side.
    """
    keys, sums = torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.float64)
    waiting: list[tuple[Tensor, Tensor]] = []
    held = 0
    for part, documents in _joined(text):
        for distance in range(1, min(window, len(part) - 1) + 1):
            first, second = part[:-distance], part[distance:]
            together = documents[:-distance] == documents[distance:]
            found = first[together] * size + second[together]
            waiting.append((found, torch.full((len(found),), 1 / distance, dtype=torch.float64)))
            held += len(found)
            if held > CHUNK:
                keys, sums, waiting, held = *_add_up([(keys, sums), *waiting]), [], 0
    keys, sums = _add_up([(keys, sums), *waiting])
    mirrored = keys % size * size + keys // size
    keys, sums = _add_up([(keys, sums), (mirrored, sums)])
    return Pairs(keys // size, keys % size, sums.float())


def glove(
    text: Sequence[Tensor],
    size: int,
    generator: torch.Generator,
    *,
    dim: int = 300,
    window: int = 15,
    min_count: int = 5,
    x_max: float = 10.0,
    iterations: int = 15,
    rate: float = 0.2,
    batches: int = 32,
) -> Tensor:
    """Return a vector for each token; rows of zeros for what occurs too seldom.

    Args:
        text: token ids, document by document.
        size: of the vocabulary.
        generator: to draw from.
        dim: of the vectors.
        window: how far to either side tokens count as near.
        min_count: what occurs less often gets no vector, and is left out before windows are laid.
        x_max: pairs from this weight on count in full.
        iterations: how often every pair is seen.
        rate: AdaGrad's.
        batches: into how many steps a round is cut; at most one for every fifty pairs.
    """
    vectors = torch.zeros(size, dim)
    ids = [part.long() for part in text]
    counts = torch.bincount(torch.cat(ids), minlength=size) if ids else torch.zeros(size, dtype=torch.long)
    kept = torch.nonzero(counts >= max(min_count, 1)).flatten()
    if not len(kept):
        return vectors
    place = torch.full((size,), -1)
    place[kept] = torch.arange(len(kept))
    moved = [place[part] for part in ids]
    pairs = cooccurrence([part[part >= 0] for part in moved], len(kept), window=window)
    if not len(pairs.rows):
        return vectors
    # A token and its context share one table each: rows 0 to n are words, n to 2 n are contexts; the last is the bias.
    tables = (torch.rand((2, len(kept), dim + 1), generator=generator) - 0.5) / dim
    steps = _cut(pairs, max(1, min(batches, len(pairs.rows) // 50)), len(kept), x_max, generator)
    squares = torch.ones_like(tables)
    for _ in range(iterations):
        for step in torch.randperm(len(steps), generator=generator).tolist():
            _descend(tables, squares, steps[step], rate)
    vectors[kept] = tables[0, :, :dim] + tables[1, :, :dim]
    return vectors


def given_or_trained(vectors: Tensor | Trainer, **asked: int | None) -> Tensor:
    """Return the vectors, trained as asked where they are not given.

    >>> given_or_trained(lambda dim=2: torch.ones(1, dim), dim=None, min_count=None)
    tensor([[1., 1.]])

    Args:
        vectors: a row for each token, or what trains them.
        asked: how, by the names of ``glove``; nothing where it is the trainer's to say.

    Raises:
        MethodError: vectors are given, and something is asked of their training.
    """
    told = {name: value for name, value in asked.items() if value is not None}
    if not isinstance(vectors, Tensor):
        return vectors(**told)
    if told:
        raise MethodError(
            f"{' and '.join(told)} say how vectors are trained on a text, but these are given.",
            hint="leave the vectors away, or what is asked of them",
        )
    return vectors


class _Step(NamedTuple):
    """Some of the pairs, sorted by row, and how to sort them by column."""

    rows: Tensor
    columns: Tensor
    logs: Tensor
    importance: Tensor
    by_column: Tensor
    row_starts: Tensor
    column_starts: Tensor


def _cut(pairs: Pairs, count: int, size: int, x_max: float, generator: torch.Generator) -> list[_Step]:
    order = torch.randperm(len(pairs.rows), generator=generator)
    steps = []
    for share in order.chunk(count):
        some = share.sort().values  # pairs come sorted by row
        rows, columns, weights = (part[some] for part in pairs)
        by_column = columns.argsort(stable=True)
        starts = [
            torch.searchsorted(sorted_ids, torch.arange(size)) for sorted_ids in (rows, columns[by_column].contiguous())
        ]
        importance = (weights / x_max).pow(0.75).clamp(max=1)
        steps.append(_Step(rows, columns, weights.log(), importance, by_column, starts[0], starts[1]))
    return steps


def _descend(tables: Tensor, squares: Tensor, step: _Step, rate: float) -> None:
    """One step of AdaGrad on both tables, in place."""
    words, contexts = tables
    dim = words.shape[1] - 1
    products = torch.empty_like(step.logs)
    for start in range(0, len(products), CHUNK // dim + 1):
        span = slice(start, start + CHUNK // dim + 1)
        rows, columns = step.rows[span], step.columns[span]
        products[span] = torch.linalg.vecdot(words[rows, :dim], contexts[columns, :dim])
    errors = step.importance * (products + words[step.rows, dim] + contexts[step.columns, dim] - step.logs)
    # The bias's partner is 1: with it in the last column, one sum of rows gives both gradients.
    partners = [table.clone() for table in (contexts, words)]
    for partner in partners:
        partner[:, dim] = 1
    gradients = torch.stack(
        (
            _sum_rows(partners[0], step.columns, step.row_starts, errors),
            _sum_rows(partners[1], step.rows[step.by_column], step.column_starts, errors[step.by_column]),
        )
    )
    squares += gradients.square()
    tables -= rate * gradients / squares.sqrt()


def _sum_rows(table: Tensor, indices: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    return embedding_bag(indices, table, starts, mode="sum", per_sample_weights=weights)


def _joined(text: Sequence[Tensor]) -> "list[tuple[Tensor, Tensor]]":
    """Return the documents as one line of ids, with the number of the document of each."""
    parts = [part.long() for part in text if len(part)]
    if not parts:
        return []
    numbers = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts]))
    return [(torch.cat(parts), numbers)]


def _add_up(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the keys once each, in order, and the sum of the weights of each."""
    keys, places = torch.unique(torch.cat([key for key, _ in parts]), return_inverse=True)
    weights = torch.cat([weight for _, weight in parts])
    return keys, torch.zeros(len(keys), dtype=torch.float64).index_add_(0, places, weights)
