"""Univariate: new rows drawn about the mean, each dimension with its own deviation (as in arXiv:2407.05841).

shared token: its own row        other: N(mean_d, (scale std_d)^2) for each dimension d
"""

from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.making import with_rows
from scionwood.methods.vocabulary.rows import DRAWN, Rows, drawn_rows

__all__ = ["univariate"]


@method(unit="axis", resizes=("input", "output"), laws={"copies", "equivariant"}, paper="2407.05841")
def univariate(
    table: Tensor,
    overlap: Tensor,
    generator: torch.Generator,
    *,
    scale: Annotated[float, Finite(at_least=0)] = 1.0,
) -> Rows:
    """Return copies of what is shared, and draws.

    >>> rows = univariate(torch.ones(3, 2), torch.tensor([2, -1]), torch.Generator())
    >>> rows.counts["copied"], rows.counts["drawn"]
    (1, 1)

    Args:
        table: the rows of the source's tokens.
        overlap: for each target token the source token with the same text, or -1.
        generator: to draw from.
        scale: of the deviations.
    """
    new = torch.nonzero(overlap < 0).flatten()
    rows = drawn_rows(table, len(new), generator, scale=scale)
    return with_rows(table, overlap, new, rows, generator, status=DRAWN)
