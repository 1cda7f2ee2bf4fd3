"""Known numbers: constants whose values a graph carries are computed with, so that it is seen along which dimensions they vary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scionwood.anatomy.atoms import Atom, Dim, expand, imprint

__all__ = ["compute", "dims_of"]

LARGEST_PROFILE = 2**22
"""The most numbers kept of a constant along one dimension: 32 MB."""

_RANDOM = frozenset(
    {
        torch.ops.aten.rand_like.default,
        torch.ops.aten.randn_like.default,
        torch.ops.aten.bernoulli.default,
        torch.ops.aten.empty_like.default,
    }
)
"""Results that are not a function of the arguments, or not numbers yet."""


def dims_of(data: Tensor) -> list[Dim]:
    """Dimensions of known numbers: free where nothing varies, else positional, with the numbers as the profile.

    >>> [sorted(atom.pins) for dim in dims_of(torch.tensor([[1.0, 2.0], [1.0, 2.0]])) for atom in dim]
    [[], ['constants']]
    """
    dims: list[Dim] = []
    for place, size in enumerate(data.shape):
        rows = data.movedim(place, 0).reshape(size, -1) if data.numel() else data.new_zeros(size, 1)
        if size < 2 or bool((rows == rows[:1]).all()):
            dims.append(expand((Atom(size),)))
            continue
        profiled = rows.numel() <= LARGEST_PROFILE and not rows.is_complex()
        dim = expand((Atom(size, "constants" if profiled else "positional"),))
        if profiled:
            imprint(dim, rows.double())
        dims.append(dim)
    return dims


def compute(operation: torch._ops.OpOverload, arguments: Mapping[str, Any]) -> Any:
    """Carry out an operation on known numbers alone; nothing, if it cannot be.

    Tensors among the arguments are objects with their numbers as ``data``.
    """

    class UnknownError(Exception):
        pass

    def fill(item: Any) -> Any:
        if hasattr(item, "dims"):
            if item.data is None:
                raise UnknownError
            return item.data
        if isinstance(item, torch.device):
            return torch.device("cpu")
        return type(item)(map(fill, item)) if isinstance(item, (list, tuple)) else item

    if operation in _RANDOM:
        return None
    keyword_only = {argument.name for argument in operation._schema.arguments if argument.kwarg_only}
    try:
        filled = {name: fill(item) for name, item in arguments.items()}
        return operation(
            *(item for name, item in filled.items() if name not in keyword_only),
            **{name: item for name, item in filled.items() if name in keyword_only},
        )
    except (UnknownError, RuntimeError, NotImplementedError, TypeError, IndexError, ValueError):
        return None
