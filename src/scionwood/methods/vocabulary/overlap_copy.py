"""Overlap copy: what both vocabularies have is copied, the rest drawn (the baseline of arXiv:2305.14481 and others).

    shared token: its own row        other: N(mean, std) of the source's rows, dimension by dimension

It is what every better method must beat. It hurts in proportion to how much text the tokens are that were drawn. It is
``univariate`` at a scale of 1, to the number; the papers that call it by this name compare with no other scale.
"""

import torch
from torch import Tensor

from scionwood.methods.record import method
from scionwood.methods.vocabulary.rows import Rows
from scionwood.methods.vocabulary.univariate import univariate

__all__ = ["overlap_copy"]


@method(unit="axis", resizes=("input", "output"), laws={"copies", "equivariant"}, paper="2305.14481")
def overlap_copy(table: Tensor, overlap: Tensor, generator: torch.Generator) -> Rows:
    """Return copies of what is shared, and draws.

    >>> rows = overlap_copy(torch.ones(3, 2), torch.tensor([2, -1]), torch.Generator())
    >>> rows.counts["copied"], rows.counts["drawn"]
    (1, 1)

    Args:
        table: the rows of the source's tokens.
        overlap: for each target token the source token with the same text, or -1.
        generator: to draw from.
    """
    return univariate(table, overlap, generator)
