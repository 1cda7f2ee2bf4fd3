"""Univariate: new rows drawn about the mean, each dimension with its own deviation (as in arXiv:2407.05841).

shared token: its own row        other: N(mean_d, (scale std_d)^2) for each dimension d
"""

from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.making import with_rows
from scionwood.methods.vocabulary.rows import DRAWN, Rows

__all__ = ["univariate"]


@method(unit="axis", resizes=("input", "output"), laws={"copies"}, paper="2407.05841")
def univariate(
    table: Tensor,
    overlap: Tensor,
    generator: torch.Generator,
    *,
    scale: Annotated[float, Finite(at_least=0)] = 1.0,
) -> Rows:
    """Return copies of what is shared, and draws.

    Args:
        table: the rows of the source's tokens.
        overlap: for each target token the source token with the same text, or -1.
        generator: to draw from.
        scale: of the deviations.
    """
    new = torch.nonzero(overlap < 0).flatten()
    exact = table.double()
    noise = torch.randn((len(new), table.shape[1]), generator=generator, dtype=torch.float64)
    rows = exact.mean(0) + scale * exact.std(0, correction=0) * noise
    return with_rows(table, overlap, new, rows.float(), generator, status=DRAWN)
