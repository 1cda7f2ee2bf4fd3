"""Singular values and vectors of task matrices, in float64, as far as they are determined.

A direction whose singular value is zero can be any: what a library returns for it differs from machine to machine.
Subspace merges would raise such directions to the strength of the others, so they are left out here, and a merge has
one result.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import add_up

__all__ = ["mean", "polar", "triplets"]


def triplets(matrix: Tensor, *, most: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return U, s and V^T of a matrix: the singular values above float32's rounding, or the ``most`` largest of them.

    >>> triplets(torch.tensor([[0.0, 0.0], [0.0, 2.0]]))[1].tolist()
    [2.0]

    Raises:
        MethodError: the matrix holds what is not finite.
    """
    if not bool(matrix.isfinite().all()):
        raise MethodError("A tensor that is not finite has no singular values.", hint="Look for NaN and Inf in it.")
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    least = float(values[0]) * max(matrix.shape) * torch.finfo(torch.float32).eps if len(values) else 0.0
    count = int((values > least).sum())
    count = count if most is None else min(count, most)
    return left[:, :count], values[:count], right[:count]


def polar(columns: Tensor) -> tuple[Tensor, float]:
    """Return the nearest matrix with orthonormal columns, and the smallest singular value of the one given.

    Where columns depend on each other they share their directions, and the result is the nearest partial isometry.

    >>> polar(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))[1]
    1.0
    """
    if not columns.shape[1]:
        return columns, 1.0
    left, values, right = torch.linalg.svd(columns, full_matrices=False)
    sure = values > 1e-3
    return left[:, sure] @ right[sure], float(values[-1]) if columns.shape[0] >= columns.shape[1] else 0.0


def mean(deltas: Sequence[Tensor], weights: Sequence[float], scale: float) -> Tensor:
    """Return the mean of weighted task vectors: what subspace merges do with what is no matrix.

    >>> mean([torch.tensor([1.0]), torch.tensor([3.0])], [1.0, 1.0], 1.0)
    tensor([2.])
    """
    return add_up(deltas, [weight * scale / len(deltas) for weight in weights])
