"""The product of two factors as a lazy tensor: alone, or on top of a weight; in float32, by rows."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import torch
from torch import Tensor

from scionwood.checkpoint import ComputedTensor, LazyTensor
from scionwood.verbs.adapter.lora import LowRank

__all__ = ["adapted", "adapted_bias", "difference", "factors"]

_BLOCK = 1 << 18
"""Elements of a block. Blocks start at fixed rows, so that the bits do not depend on which rows are asked for."""


def factors(product: LowRank) -> tuple[Tensor, Tensor]:
    """Return B (out, rank) and A (rank, in) in float32; a kernel's taps count as inputs."""
    b, a = product.b.read().float(), product.a.read().float()
    return b.reshape(b.shape[0], -1), a.reshape(a.shape[0], -1)


class _Blocks:
    """Rows of a matrix that a function gives in blocks."""

    def __init__(self, rows: int, width: int, block: Callable[[int, int], Tensor]) -> None:
        self.rows = rows
        self.step = max(1, _BLOCK // max(1, width))
        self.block = block

    def __call__(self, start: int, stop: int) -> Tensor:
        first = start // self.step * self.step
        parts = [self.block(low, min(low + self.step, self.rows)) for low in range(first, stop, self.step)]
        return torch.cat(parts)[start - first : stop - first]


class _Product:
    """Rows of scale · B · A, in the layout of the weight."""

    def __init__(self, product: LowRank) -> None:
        self.product = product
        self._lock = threading.Lock()
        self._factors: tuple[Tensor, Tensor] | None = None

    def __call__(self, start: int, stop: int) -> Tensor:
        with self._lock:
            if self._factors is None:
                b, a = factors(self.product)
                self._factors = (a.T.contiguous(), b.T.contiguous()) if self.product.transposed else (b, a)
        left, right = self._factors
        return (left[start:stop] @ right) * self.product.scale


class _Adapted:
    """Rows of a weight with the product on top and, for DoRA, every output brought to its own length."""

    def __init__(self, weight: LazyTensor, product: LowRank) -> None:
        self.weight = weight
        self.product = _Product(product)
        self.magnitude = product.magnitude
        self.transposed = product.transposed
        self.step = max(1, _BLOCK // max(1, math.prod(weight.shape[1:])))
        self._lock = threading.Lock()
        self._factor: Tensor | None = None

    def __call__(self, start: int, stop: int) -> Tensor:
        rows = self.sum(start, stop)
        if self.magnitude is None:
            return rows
        if self.transposed:
            return rows * self._factor_of_columns()
        length = torch.linalg.vector_norm(rows, dim=1)
        return rows * (self.magnitude.read().float().reshape(-1)[start:stop] / length)[:, None]

    def sum(self, start: int, stop: int) -> Tensor:
        return self.weight.read(start, stop).float().reshape(stop - start, -1) + self.product(start, stop)

    def _factor_of_columns(self) -> Tensor:
        """Lengths of the outputs where they are columns: a pass over all rows."""
        with self._lock:
            if self._factor is None:
                assert self.magnitude is not None
                squares = torch.zeros(self.weight.shape[1], dtype=torch.float64)
                for start in range(0, self.weight.shape[0], self.step):
                    rows = self.sum(start, min(start + self.step, self.weight.shape[0]))
                    squares += rows.double().square().sum(0)
                self._factor = (self.magnitude.read().double().reshape(-1) / squares.sqrt()).float()
            return self._factor


def difference(product: LowRank, name: str) -> ComputedTensor:
    """Return scale · B · A as a float32 tensor of the weight's shape."""
    return _computed(name, product.shape, torch.float32, _Product(product), [product.b, product.a])


def adapted(weight: LazyTensor, product: LowRank, dtype: torch.dtype) -> ComputedTensor:
    """Return a weight with the product on top, rounded once."""
    sources = [weight, product.b, product.a, *([] if product.magnitude is None else [product.magnitude])]
    return _computed(weight.name, weight.shape, dtype, _Adapted(weight, product), sources)


def adapted_bias(bias: LazyTensor, product: LowRank, dtype: torch.dtype) -> ComputedTensor:
    """Return a bias with the factor's own bias on top."""
    added = product.bias
    assert added is not None

    def rows(start: int, stop: int) -> Tensor:
        return (bias.read(start, stop).float() + product.scale * added.read(start, stop).float()).to(dtype)

    return ComputedTensor(bias.name, bias.shape, dtype, rows, sources=[bias, added])


def _computed(
    name: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    block: Callable[[int, int], Tensor],
    sources: list[LazyTensor],
) -> ComputedTensor:
    blocks = _Blocks(shape[0], math.prod(shape[1:]), block)

    def rows(start: int, stop: int) -> Tensor:
        return blocks(start, stop).to(dtype).reshape(stop - start, *shape[1:])

    return ComputedTensor(name, shape, dtype, rows, sources=sources)
