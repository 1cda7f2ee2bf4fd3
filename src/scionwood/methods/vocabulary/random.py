"""Random: new rows drawn from N(0, std), as a fresh embedding is: the control (as in arXiv:2407.05841).

A row of unlucky direction takes probability from all others at once: with N(0, 9) in a table of deviation 0.5, 0.15 of it
on average. Not a method to use.
"""

from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.making import with_rows
from scionwood.methods.vocabulary.rows import DRAWN, Rows

__all__ = ["random"]


@method(unit="axis", resizes=("input", "output"), laws={"copies"}, paper="2407.05841")
def random(
    table: Tensor,
    overlap: Tensor,
    generator: torch.Generator,
    *,
    std: Annotated[float, Finite(at_least=0)] = 0.02,
) -> Rows:
    """Return copies of what is shared, and draws about zero.

    Args:
        table: the rows of the source's tokens.
        overlap: for each target token the source token with the same text, or -1.
        generator: to draw from.
        std: of every number; 0.02 is what transformers begins embeddings with.
    """
    new = torch.nonzero(overlap < 0).flatten()
    rows = std * torch.randn((len(new), table.shape[1]), generator=generator)
    return with_rows(table, overlap, new, rows, generator, status=DRAWN)
