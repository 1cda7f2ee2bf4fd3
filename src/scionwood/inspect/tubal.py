"""The t-product, and what a small start does to a tubal factorisation (Karnik et al., 2024, arXiv:2410.16247).

    A * B: an FFT along the last axis, a matrix product per slice, the inverse FFT
    f(U) = 1/2 |A(U * U^T) - y|^2,   U <- U - rate (A^T(A(U * U^T) - y), symmetrised) * U,   U_0 = scale N(0, 1) / sqrt(n)

Gradient descent on more columns than needed and fewer measurements than unknowns can end in many tensors; from a
small start it ends in one of low tubal rank, and finds the tensor measured. From a large start it fits the
measurements and misses the tensor. Small starts cost steps.

Measured, 8000 steps, n = 8, k = 3, rank 1, 70 measurements: the smaller the start, the nearer the target and the lower
the rank (``tests/inspect/test_tubal.py`` holds the figures). The data model (A_i ~ N(0, 1/m), target of length 1) is a reconstruction from the abstract: no code was at hand.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["TubalRun", "t_identity", "t_product", "t_transpose", "tubal_experiment"]


class TubalRun(NamedTuple):
    """What one scale of the start led to.

    Args:
        scale: of the start.
        residual: the error on the measurements, relative to them.
        error: the distance to the target, relative to it.
        ratio: the second over the first singular value, the largest over the Fourier slices.
    """

    scale: float
    residual: float
    error: float
    ratio: float


def t_product(left: Tensor, right: Tensor) -> Tensor:
    """Return the t-product of tensors (n, r, k) and (r, m, k).

    >>> a = torch.arange(1.0, 9.0).reshape(2, 2, 2)
    >>> t_product(a, t_transpose(a)).permute(2, 0, 1).round().tolist()
    [[[30.0, 70.0], [70.0, 174.0]], [[28.0, 68.0], [68.0, 172.0]]]

    Raises:
        MethodError: the shapes do not fit.
    """
    if left.dim() != 3 or right.dim() != 3 or left.shape[1] != right.shape[0] or left.shape[2] != right.shape[2]:
        raise MethodError(
            f"A t-product takes tensors (n, r, k) and (r, m, k), not {tuple(left.shape)} and {tuple(right.shape)}."
        )
    product = torch.einsum("nrk,rmk->nmk", torch.fft.rfft(left), torch.fft.rfft(right))
    return torch.fft.irfft(product, n=left.shape[2])


def t_transpose(tensor: Tensor) -> Tensor:
    """Return the transpose under the t-product: each slice transposed, all but the first in reversed order.

    >>> t_transpose(torch.arange(3.0).reshape(1, 1, 3)).tolist()
    [[[0.0, 2.0, 1.0]]]
    """
    order = -torch.arange(tensor.shape[2], device=tensor.device) % tensor.shape[2]
    return tensor.transpose(0, 1)[:, :, order]


def t_identity(size: int, depth: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return the tensor that the t-product leaves others unchanged by.

    >>> t_identity(1, 3).tolist()
    [[[1.0, 0.0, 0.0]]]
    """
    identity = torch.zeros(size, size, depth, dtype=dtype)
    identity[:, :, 0] = torch.eye(size, dtype=dtype)
    return identity


def tubal_experiment(
    scale: float,
    *,
    size: int = 8,
    depth: int = 3,
    rank: int = 1,
    columns: int = 8,
    measurements: int = 70,
    rate: float = 0.03,
    steps: int = 8000,
    seed: int = 0,
) -> TubalRun:
    """Return where gradient descent from a start of a given scale ends.

    >>> tubal_experiment(1e-2, size=3, depth=2, columns=3, measurements=15, steps=1000, rate=0.1).residual < 0.1
    True

    Args:
        scale: of the start.
        size: n, of the target (n, n, k).
        depth: k.
        rank: the tubal rank of the target.
        columns: R, of the factor (n, R, k).
        measurements: m.
        rate: of the descent.
        steps: how many.
        seed: of the target, of the measurements and of the start.
    """
    generator = torch.Generator().manual_seed(seed)

    def gaussian(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    factor = gaussian(size, rank, depth)
    target = t_product(factor, t_transpose(factor))
    target = target / target.norm()
    sensing = gaussian(measurements, size * size * depth) / measurements**0.5
    measured = sensing @ target.flatten()
    learned = scale * gaussian(size, columns, depth) / size**0.5
    for _ in range(steps):
        residual = sensing @ t_product(learned, t_transpose(learned)).flatten() - measured
        gradient = (sensing.T @ residual).reshape(target.shape)
        learned = learned - rate * t_product((gradient + t_transpose(gradient)) / 2, learned)
    found = t_product(learned, t_transpose(learned))
    values = torch.linalg.svdvals(torch.fft.fft(found).permute(2, 0, 1))
    residual = sensing @ found.flatten() - measured
    return TubalRun(
        scale,
        float(residual.norm() / measured.norm()),
        float((found - target).norm() / target.norm()),
        float((values[:, 1] / values[:, 0]).max()),
    )
