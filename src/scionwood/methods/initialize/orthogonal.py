"""The exact orthogonal draw: uniform over all matrices with orthonormal rows or columns (Haar measure).

    G ~ N(0, 1);   G = Q R;   Q <- Q diag(sign(diag R))

Without the signs the draw leans to one side: an implementation of QR decides them, not the Gaussian. All of it in
float64, so that the rows are orthonormal to the last bit that float32 has, at any width.
"""

import torch
from torch import Tensor

__all__ = ["orthogonal", "thin_svd"]


def orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return a random matrix in float64, orthonormal along its shorter side.

    >>> q = orthogonal(2, 5, torch.Generator().manual_seed(0))
    >>> tuple(q.shape), bool((q @ q.T - torch.eye(2)).abs().max() < 1e-12)
    ((2, 5), True)

    Args:
        rows: with more of them than columns, the columns are orthonormal; otherwise the rows.
        columns: see rows.
        generator: the torch.Generator to draw from.
    """
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(tall)
    # A zero on the diagonal has probability zero; as a sign it would delete a column.
    q = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    return q if rows >= columns else q.T.contiguous()


def thin_svd(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return the singular vectors of a random matrix that have its shape, in float64.

    Where the matrix is square those are the left ones. The law is that of ``orthogonal`` but for the signs, which an
    implementation of the singular value decomposition decides.

    >>> q = thin_svd(5, 2, torch.Generator().manual_seed(0))
    >>> tuple(q.shape), bool((q.T @ q - torch.eye(2)).abs().max() < 1e-12)
    ((5, 2), True)

    Args:
        rows: with more of them than columns, the columns are orthonormal; otherwise the rows.
        columns: see rows.
        generator: the torch.Generator to draw from.
    """
    left, _, right = torch.linalg.svd(
        torch.randn(rows, columns, generator=generator, dtype=torch.float64), full_matrices=False
    )
    return left if rows >= columns else right
