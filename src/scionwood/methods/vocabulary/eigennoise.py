"""EigenNoise: rows from Zipf's law and the ranks of the tokens alone (Heidenreich & Williams, 2022, arXiv:2205.04376).

    X_ij = 2 window N / (r_i r_j H_N),   log(max(X, 1)) = Q L Q^T,   rows = Q_d |L_d|^(1/2)

What independent words would meet of each other, if their frequencies followed Zipf's law, and the d eigenvectors that
hold most of it (signs of the eigenvalues alternate, hence the magnitude). No data is needed but the order of frequency:
counted in a text, or without one that of the ids.
The rows know nothing but how frequent a token is: log rank can be read off 16 dimensions at R^2 = 0.9999. The paper
finds that after training they come close to GloVe's. It helps where rows must be found without text; it hurts wherever
a source row could be had: nothing of the source is used but the scale of its rows.

X is of rank 1 and log X of rank 2. The paper's page gives X and an eigendecomposition, and that all words are
assumed to meet once; log(max(X, 1)) is how that is read here, with which X of 500 words has rank 53. What lies beyond the
rank is drawn: columns, and the rows of tokens that meet nobody even once (from rank c on, 43,872 of 50,000). Rows of the
tail are alike: the last two of 500 differ by 6e-4 at a length of 0.109, beside 5.45 at rank 1; ``normalise_rows`` gives
all of them one length.
"""

from typing import Annotated

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.making import with_rows
from scionwood.methods.vocabulary.neighbours import unit_rows
from scionwood.methods.vocabulary.rows import Rows
from scionwood.methods.vocabulary.zipf import Nonlinearity, largest_eigenpairs

__all__ = ["eigennoise", "noise_rows"]


@method(unit="axis", resizes=("input", "output"), paper="2205.04376")
def eigennoise(
    table: Tensor,
    overlap: Tensor,
    generator: torch.Generator,
    counts_of_tokens: Tensor | None = None,
    *,
    window: Annotated[float, Finite(above=0, at_most=1e9)] = 5.0,
    nonlinearity: Nonlinearity = "log_max",
    normalise_rows: bool = False,
) -> Rows:
    """Return rows by rank, at the standard deviation of the source's.

    Args:
        table: the rows of the source's tokens, (Vs, d); only their scale is used.
        overlap: as long as the target's vocabulary; nothing is copied.
        generator: to draw what has no eigenvector.
        counts_of_tokens: how often each target token occurs; what occurs alike is ranked by its id, as all are where
            nothing was counted: tokenizers number what they merged first before what is rarer.
        window: how far to either side words are taken to meet.
        nonlinearity: what is taken of the expected counts before their eigenvectors.
        normalise_rows: give all rows one length.

    Raises:
        MethodError: the window is so small that nobody meets anybody.
    """
    size, dim = len(overlap), table.shape[1]
    by_rank = noise_rows(size, dim, generator, window=window, nonlinearity=nonlinearity, normalise_rows=normalise_rows)
    counts = overlap.new_zeros(size) if counts_of_tokens is None else counts_of_tokens
    tokens = counts.argsort(descending=True, stable=True)
    met = (by_rank != 0).any(1)
    rows = by_rank[met] * float(table.std())
    nowhere = torch.full_like(overlap, -1)
    note = "ranked by id, as no text was counted" if counts_of_tokens is None else ""
    return with_rows(table, nowhere, tokens[met], rows.to(table.dtype), generator, note=note)


def noise_rows(
    size: int,
    dim: int,
    generator: torch.Generator,
    *,
    window: float = 5.0,
    nonlinearity: Nonlinearity = "log_max",
    normalise_rows: bool = False,
) -> Tensor:
    """Return a row for each rank, at a standard deviation of 1 over those that meet anybody; zeros for the others.

    Raises:
        MethodError: the window is so small that nobody meets anybody.
    """
    values, vectors = largest_eigenpairs(size, window, dim, nonlinearity)
    if not len(values):
        raise MethodError(
            f"Within a window of {window:g}, no two of {size:,} tokens are expected to meet even once, "
            "and no row can be made of that.",
            hint="Give a larger window; the default is 5.",
        )
    rows = vectors * values.abs().sqrt()
    # A rank past the reach of the first has nothing but rounding in its row.
    met = rows.abs().amax(1) > 1e-12 * rows.abs().max()
    rows[~met] = 0
    drawn = torch.randn((size, dim - rows.shape[1]), generator=generator, dtype=torch.float64)
    if normalise_rows:  # either part, that their lengths are one length together
        rows, drawn = unit_rows(rows), unit_rows(drawn) * drawn.shape[1] ** 0.5
    spread = rows[met].std(correction=0)
    rows[met] /= rows[met].std() if spread > 0 else rows[met].abs().max()  # numbers all alike have no deviation
    return torch.cat([rows, drawn * met[:, None]], 1)
