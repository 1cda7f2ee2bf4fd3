"""Two factors for one product: of many factors side by side, or of a whole matrix, by its largest singular values."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["compressed", "truncated"]


def compressed(b: Tensor, a: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """Return the best factors of a rank for B · A, and the share of its length that they miss.

    The product is never formed: both factors are made orthogonal, and what is left between them is as small as the rank.

    >>> b, a = torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> first, second, missed = compressed(b, a, 1)
    >>> torch.allclose(first @ second, (b @ a).double()), missed < 1e-12
    (True, True)
    """
    outer, left = torch.linalg.qr(b.double())
    inner, right = torch.linalg.qr(a.double().T)
    new_b, new_a, missed = truncated(left @ right.T, rank)
    return outer @ new_b, new_a @ inner.T, missed


def truncated(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """Return the best factors of a rank for a matrix, of equal lengths, and the share of its length that they miss.

    >>> b, a, missed = truncated(torch.diag(torch.tensor([4.0, 3.0])), 1)
    >>> (b @ a).abs().round(), round(missed, 6)
    (tensor([[4., 0.],
            [0., 0.]]), 0.6)
    """
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    rank = min(rank, len(s))
    root = s[:rank].sqrt()
    squares = s.double().square()
    total = float(squares.sum())
    missed = (float(squares[rank:].sum()) / total) ** 0.5 if total else 0.0
    return u[:, :rank] * root, root[:, None] * v[:rank], missed
