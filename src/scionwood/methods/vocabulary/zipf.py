"""The co-occurrence that Zipf's law alone expects, and its largest eigenpairs without the matrix.

    X_ij = c / (r_i r_j),   c = 2 window N / H_N,   r = 1 ... N,   H_N = 1 + 1/2 + ... + 1/N

For log(max(X, 1)) the entry is log c - log r_i - log r_j where r_i r_j <= c, and zero elsewhere. Ranks with one value of
floor(c / r) form a group; whole blocks of groups are zero or not, so that every column is, on every group, a sum of a
constant and log r. Two orthonormal vectors a group (2 sqrt(c) groups at most) hold the matrix exactly: at N = 50,000 a
matrix of 836 rows has all its 417 eigenvalues. The other functions of X are smooth and of small rank: a few columns
at ranks spread evenly in log r hold them (Nyström), to the precision of float64.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Nonlinearity", "expected_cooccurrence", "largest_eigenpairs", "level"]

Nonlinearity = Literal["log_max", "log1p", "log", "raw"]

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "log_max": lambda x: x.clamp(min=1).log(),
    "log1p": torch.log1p,
    "log": torch.log,
    "raw": lambda x: x,
}


def level(size: int, window: float) -> float:
    """Return c: what the most frequent token is expected to count beside itself.

    >>> round(level(4, 1), 6)
    3.84
    """
    return 2 * window * size / float(_ranks(size).reciprocal().sum())


def expected_cooccurrence(size: int, window: float) -> Tensor:
    """Return the matrix itself, in float64.

    >>> expected_cooccurrence(4, 1)[0]
    tensor([3.8400, 1.9200, 1.2800, 0.9600], dtype=torch.float64)
    """
    ranks = _ranks(size)
    return level(size, window) / (ranks[:, None] * ranks)


def largest_eigenpairs(size: int, window: float, count: int, nonlinearity: Nonlinearity) -> tuple[Tensor, Tensor]:
    """Return the eigenvalues largest in magnitude, as many as there are, and a column of ranks for each, in float64.

    The largest entry of a column is positive.
    """
    build = _grouped if nonlinearity == "log_max" else _nystroem
    basis, core = build(size, window, nonlinearity)
    values, vectors = torch.linalg.eigh(core)
    order = values.abs().argsort(descending=True, stable=True)[:count]
    order = order[values[order].abs() > 1e-12 * values.abs().max()]
    columns = basis(vectors[:, order])
    signs = columns.gather(0, columns.abs().argmax(0, keepdim=True)).sign()
    return values[order], columns * signs


Basis = Callable[[Tensor], Tensor]


def _grouped(size: int, window: float, nonlinearity: Nonlinearity) -> tuple[Basis, Tensor]:
    """The matrix over two vectors for each group of ranks: the constant, and log r without its mean."""
    c = torch.tensor(level(size, window), dtype=torch.float64)
    logs = _ranks(size).log()
    reach = (c / _ranks(size)).floor().clamp(max=size).long()
    _, group, counts = torch.unique_consecutive(reach, return_inverse=True, return_counts=True)
    sums = torch.zeros(len(counts), dtype=torch.float64)
    means = sums.index_add(0, group, logs) / counts
    slopes = logs - means[group]
    spreads = sums.index_add(0, group, slopes.square()).sqrt()
    roots = counts.double().sqrt()
    last = counts.cumsum(0)  # the last rank of each group
    alive = last[None, :] <= reach[last - 1][:, None]
    constant = roots[:, None] * roots * (c.log() - means[:, None] - means) * alive
    crossed = -spreads[:, None] * roots * alive
    core = torch.cat([torch.cat([constant, crossed.T], 1), torch.cat([crossed, torch.zeros_like(constant)], 1)])
    flat = spreads > 0  # a group of one rank has no slope
    tilt = torch.where(flat[group], slopes / spreads.where(flat, 1.0)[group], 0.0)

    def basis(vectors: Tensor) -> Tensor:
        constants, tilts = vectors.split(len(counts))
        return constants[group] / roots[group, None] + tilts[group] * tilt[:, None]

    return basis, core


def _nystroem(size: int, window: float, nonlinearity: Nonlinearity) -> tuple[Basis, Tensor]:
    """The matrix from some of its columns C and where they meet, W: C W^-1 C^T, over an orthonormal basis of C."""
    ranks, function = _ranks(size), FUNCTIONS[nonlinearity]
    marks = torch.logspace(0, torch.log10(ranks[-1]).item(), 120, dtype=torch.float64).round().long().clamp(1, size)
    marks = marks.unique()
    c = level(size, window)
    columns = function(c / (ranks[:, None] * marks))
    values, vectors = torch.linalg.eigh(columns[marks - 1])
    kept = values.abs() > 1e-13 * values.abs().max()
    orthonormal, triangle = torch.linalg.qr(columns @ vectors[:, kept])
    return (lambda some: orthonormal @ some), triangle / values[kept] @ triangle.T


def _ranks(size: int) -> Tensor:
    return torch.arange(1, size + 1, dtype=torch.float64)
