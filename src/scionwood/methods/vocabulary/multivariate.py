"""Multivariate: new rows drawn about the mean with the covariance of the old ones (Hewitt, 2021; as in arXiv:2407.05841).

    shared token: its own row        other: N(mu, scale Sigma),   Sigma = (E - mu)^T (E - mu) / V

With the published scale of 1e-5 the rows are the mean with just enough noise to tell them apart; what transformers does
when it resizes an embedding is of this kind. In the paper it is on par with methods that need vectors or training.
"""

from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.making import with_rows
from scionwood.methods.vocabulary.rows import DRAWN, Rows

__all__ = ["multivariate"]


@method(unit="axis", resizes=("input", "output"), laws={"copies"}, paper="2407.05841")
def multivariate(
    table: Tensor,
    overlap: Tensor,
    generator: torch.Generator,
    *,
    scale: Annotated[float, Finite(at_least=0)] = 1e-5,
) -> Rows:
    """Return copies of what is shared, and draws about the mean.

    >>> rows = multivariate(torch.randn(50, 4), torch.tensor([-1, 3]), torch.Generator().manual_seed(0))
    >>> rows.counts["drawn"]
    1

    Args:
        table: the rows of the source's tokens.
        overlap: for each target token the source token with the same text, or -1.
        generator: to draw from.
        scale: of the covariance; the published code's 1e-5.
    """
    new = torch.nonzero(overlap < 0).flatten()
    exact = table.double()
    mean = exact.mean(0)
    values, vectors = torch.linalg.eigh((exact - mean).T @ (exact - mean) / max(1, len(exact)))
    root = vectors * values.clamp(min=0).sqrt()
    noise = torch.randn((len(new), table.shape[1]), generator=generator, dtype=torch.float64)
    rows = mean + scale**0.5 * noise @ root.T
    return with_rows(table, overlap, new, rows.float(), generator, status=DRAWN)
