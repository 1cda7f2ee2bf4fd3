"""Sizes that are known only when a model runs: how many tokens go to one expert, how many pixels pass a threshold.

Each gets a prime of its own: nothing else has that size, and nothing divides it, so such a dimension is one with itself alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["settled"]

FIRST = 10_007


def settled(result: Any) -> Any:
    """Replace every symbolic size in a result, in the shapes of its tensors too."""
    if isinstance(result, Tensor) and all(type(size) is int for size in result.shape):
        return result
    return pytree.tree_map(_settle, result)


def _settle(item: Any) -> Any:
    if isinstance(item, Tensor):
        if all(type(size) is int for size in item.shape):
            return item
        return torch.empty([abs(_number(size)) for size in item.shape], dtype=item.dtype, device="meta")
    if isinstance(item, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return _number(item)
    return item


def _number(size: Any) -> Any:
    if not isinstance(size, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return size
    expression = size.node.expr
    value = expression.subs({symbol: _prime(str(symbol)) for symbol in expression.free_symbols})
    kind = {torch.SymInt: int, torch.SymFloat: float}.get(type(size), bool)
    return kind(value)


_given: dict[str, int] = {}


def _primes() -> Iterator[int]:
    for number in itertools.count(FIRST, 2):
        if all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2)):
            yield number


_supply = _primes()


def _prime(symbol: str) -> int:
    """The prime of a symbol: the same for the same name, as long as the process lives.

    >>> _prime("u0") == _prime("u0") != _prime("u1")
    True
    """
    if symbol not in _given:
        _given[symbol] = next(_supply)
    return _given[symbol]
