"""The two ways in which these methods make rows: shared tokens copied, others mixed or given, the rest drawn."""

import torch
from torch import Tensor

from scionwood.methods.vocabulary.rows import COPIED, DRAWN, MADE, MIXED, Rows, drawn_rows

__all__ = ["with_mixtures", "with_rows"]


def with_mixtures(
    table: Tensor, overlap: Tensor, tokens: Tensor, indices: Tensor, weights: Tensor, generator: torch.Generator
) -> Rows:
    """Return copies where there is an overlap, mixtures for the tokens named, and draws for the others.

    >>> table = torch.tensor([[0.0], [2.0], [4.0]])
    >>> halves = torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]])
    >>> rows = with_mixtures(table, torch.tensor([2, -1]), torch.tensor([1]), *halves, torch.Generator())
    >>> rows.apply(table).tolist(), rows.status.tolist()
    ([[4.0], [1.0]], [0, 1])

    Args:
        table: the rows of the source's tokens.
        overlap: for each target token the source token to copy, or -1.
        tokens: those that are mixed.
        indices: of which source tokens, (tokens, k).
        weights: how much of each, (tokens, k).
        generator: to draw from.
    """
    status = _status(overlap, tokens, MIXED)
    width = max(1, indices.shape[1])
    all_indices = torch.zeros((len(overlap), width), dtype=torch.long)
    all_weights = torch.zeros(len(overlap), width)
    copied = overlap >= 0
    all_indices[copied, 0], all_weights[copied, 0] = overlap[copied], 1.0
    all_indices[tokens, : indices.shape[1]] = indices
    all_weights[tokens, : indices.shape[1]] = weights.float()
    left = torch.nonzero(status == DRAWN).flatten()
    return Rows(
        indices=all_indices,
        weights=all_weights,
        status=status,
        tokens=left,
        values=drawn_rows(table, len(left), generator) if len(left) else None,
    )


def with_rows(
    table: Tensor,
    overlap: Tensor,
    tokens: Tensor,
    rows: Tensor,
    generator: torch.Generator,
    *,
    status: int = MADE,
    statistics: Tensor | None = None,
    primitives: Tensor | None = None,
    note: str = "",
) -> Rows:
    """Return copies where there is an overlap, the rows given for the tokens named, and draws for the others.

    Args:
        table: the rows of the source's tokens, or their coordinates where there are primitives.
        overlap: for each target token the source token to copy, or -1.
        tokens: those with rows of their own; none that is copied.
        rows: these, as wide as the table.
        generator: to draw from.
        status: of the rows given.
        statistics: the rows whose mean and standard deviation are drawn to; the table where nothing is said.
        primitives: what all rows are multiplied by in the end; what is copied loses some too, and counts as made.
        note: what else is to be said of the rows.
    """
    told = _status(overlap, tokens, status)
    if primitives is not None:
        told[told != DRAWN] = MADE
    own = torch.nonzero(told != COPIED).flatten()
    place = torch.full(overlap.shape, -1)
    place[own] = torch.arange(len(own))
    values = torch.empty(len(own), table.shape[1])
    values[place[tokens]] = rows.to(values.dtype)
    fresh = told[own] == DRAWN
    fresh[place[tokens]] = False  # rows that are given may have been drawn, too
    values[fresh] = drawn_rows(table if statistics is None else statistics, int(fresh.sum()), generator)
    if primitives is not None:
        copied = torch.nonzero(overlap >= 0).flatten()
        values[place[copied]] = table[overlap[copied]].to(values.dtype)
        values = values @ primitives.to(values.dtype)
    return Rows(
        indices=overlap.clamp(min=0)[:, None],
        weights=(told == COPIED).float()[:, None],
        status=told,
        tokens=own,
        values=values if len(own) else None,
        note=note,
    )


def _status(overlap: Tensor, tokens: Tensor, status: int) -> Tensor:
    told = torch.full(overlap.shape, DRAWN, dtype=torch.uint8)
    told[tokens] = status
    told[overlap >= 0] = COPIED
    return told
