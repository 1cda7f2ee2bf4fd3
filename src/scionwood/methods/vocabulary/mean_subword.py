"""Mean of the old subwords: a new token begins as the mean of what it was cut into (as in arXiv:2407.05841).

    shared token: its own row        other: mean of the rows of the source's tokens of its text        neither: drawn

It needs nothing but the two tokenizers, and costs nothing; where words were cut into two or three pieces it is hard to
beat. Two texts cut into the same pieces in another order get one row. It hurts where pieces are single bytes, which mean
little by themselves. A head must predict how a token begins: ``head`` may take the first piece's row there.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scionwood.methods.record import method
from scionwood.methods.vocabulary.making import with_mixtures
from scionwood.methods.vocabulary.rows import Rows

__all__ = ["mean_subword"]


@method(unit="axis", resizes=("input", "output"), laws={"copies", "equivariant"}, paper="2407.05841")
def mean_subword(
    table: Tensor,
    overlap: Tensor,
    pieces: Sequence[Tensor],
    role: str,
    generator: torch.Generator,
    *,
    head: Literal["mean", "first"] = "mean",
) -> Rows:
    """Return copies of what is shared, and means.

    >>> table = torch.tensor([[0.0], [2.0], [6.0]])
    >>> pieces = [torch.tensor([1]), torch.tensor([0, 1, 1])]
    >>> rows = mean_subword(table, torch.tensor([1, -1]), pieces, "input", torch.Generator())
    >>> rows.apply(table).flatten()
    tensor([2.0000, 1.3333])

    Args:
        table: the rows of the source's tokens.
        overlap: for each target token the source token with the same text, or -1.
        pieces: for each target token the source's tokens of its text.
        role: what the table is.
        generator: to draw from.
        head: for a head of its own, the mean of the pieces as for the input, or the first piece alone.
    """
    first = head == "first" and role in ("output", "bias")
    tokens = [number for number, own in enumerate(pieces) if len(own) and int(overlap[number]) < 0]
    used = [pieces[number][:1] if first else pieces[number] for number in tokens]
    width = max((len(own) for own in used), default=1)
    indices, weights = torch.zeros((len(used), width), dtype=torch.long), torch.zeros(len(used), width)
    for place, own in enumerate(used):
        indices[place, : len(own)] = own
        weights[place, : len(own)] = 1 / len(own)
    return with_mixtures(table, overlap, torch.tensor(tokens, dtype=torch.long), indices, weights, generator)
