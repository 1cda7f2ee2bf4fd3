"""Functions of one value, number by number: what a piece of graph computes, and what that is called.

A piece is followed with its numbers: what it gives at some points says which known function it is, however it is written.
One that is not known is called by how it is written, as in ``mul(x, exp(neg(x)))``: whoever counts with it can read that.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, fx

from scionwood.anatomy.nodes import operation

__all__ = ["UNKNOWN", "Function", "composed", "is_elementwise"]

UNKNOWN = "unknown"
"""How the name of a function begins of which nothing but its last operation is known."""

_LONGEST = 240
"""The most characters that a name may have."""

_UNTAGGED = frozenset({"where", "hardswish", "log_sigmoid"})
"""Elementwise operations that PyTorch does not tag so, in all their forms."""

_OTHER_INPUTS = frozenset({"rrelu", "prelu"})
"""Elementwise operations that draw, or have a weight."""

_ARITHMETIC = frozenset({"add", "sub", "rsub", "mul", "div", "pow"})
"""Operations that take a number where they take a tensor."""

_POINTS = torch.cat([torch.linspace(-9.1, 8.9, 91, dtype=torch.float64), torch.tensor([-50.0, -21.0, 21.0, 50.0])])
"""Where functions are compared: beyond nine deviations hardly anything lies, but a spread may be large."""

_KNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "relu_squared": lambda x: F.relu(x).square(),
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "tanh": torch.tanh,
    "tanhshrink": F.tanhshrink,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "exp": torch.exp,
    "abs": torch.abs,
    "square": torch.square,
    "gaussian": lambda x: torch.exp(-x.square() / 2),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Function:
    """A function of one value of a graph.

    Attributes:
        source: the value.
        before: what that reads.
        text: how it is written, ``x`` for the value; nothing, where that is too long.
        values: what it gives at some points.
        name: what it is called: a known name, one with its numbers as ``leaky_relu(0.5)``, or as it is written. What the
            value is multiplied by beforehand is no part of it: how much comes in is for weights to say.
    """

    source: fx.Node
    before: str = "identity"
    text: str = "x"
    values: Tensor = dataclasses.field(default=_POINTS, repr=False)
    name: str = "identity"

    @property
    def reads(self) -> str:
        """What reads its result: what is linear is not in the way of what was read before."""
        return self.before if _is_line(self.values) else self.name


def is_elementwise(node: fx.Node) -> bool:
    """Whether an operation takes every number by itself."""
    name = operation(node)
    tags = getattr(node.target, "tags", ())
    return (torch.Tag.pointwise in tags or name in _UNTAGGED) and name not in _OTHER_INPUTS


def composed(node: fx.Node, given: Callable[[fx.Node], Function | float | None]) -> Function | None:
    """What a node computes, if that is a function of one value, number by number.

    Args:
        node: an operation.
        given: what an argument is: a function of a value, a number that stands in the graph, or neither.
    """
    if not is_elementwise(node):
        return None
    told = {arg: given(arg) for arg in node.all_input_nodes}
    functions = [own for own in told.values() if isinstance(own, Function)]
    if len({own.source for own in functions}) != 1 or None in told.values():
        return None
    values = _values(node, told)
    if values is None:
        return None
    inner, text = functions[0], _written(node, told)
    name = _called(node, told, values) if text else _known(operation(node), values)
    return Function(inner.source, inner.before, text, values, name or f"{UNKNOWN} ({operation(node)})")


_Told: TypeAlias = Mapping[fx.Node, "Function | float | None"]


def _values(node: fx.Node, told: _Told) -> Tensor | None:
    """What an operation gives at all points, if it gives one number for each."""

    def value(arg: Any) -> Any:
        own = told[arg] if isinstance(arg, fx.Node) else arg
        if isinstance(own, Function):
            return own.values.clone()  # an operation in place would change it
        return torch.tensor(own, dtype=torch.float64) if isinstance(arg, fx.Node) else own

    try:
        values = node.target(*map(value, node.args), **{key: value(arg) for key, arg in node.kwargs.items()})  # type: ignore[operator]
    except (RuntimeError, TypeError, KeyError):
        return None
    return values if isinstance(values, Tensor) and values.shape == _POINTS.shape else None


def _written(node: fx.Node, told: _Told) -> str:
    """How an operation is written: nothing, where that is too long or a part of it is."""
    name = operation(node)

    def text(arg: Any) -> str:
        own = told[arg] if isinstance(arg, fx.Node) else arg
        if isinstance(own, Function):
            return own.text
        return f"full_like(x, {own!r})" if isinstance(arg, fx.Node) and name not in _ARITHMETIC else repr(own)

    parts = [*map(text, node.args), *(f"{key}={text(arg)}" for key, arg in node.kwargs.items())]
    whole = f"{name}({', '.join(parts)})"
    return "" if "" in parts or len(whole) > _LONGEST else whole


def _called(node: fx.Node, told: _Told, values: Tensor) -> str:
    """What a function is called, without a factor that its value is multiplied by beforehand."""
    (inner, *others) = [own for own in told.values() if isinstance(own, Function)]
    if not others and inner.text != "x" and _is_factor(inner.values):
        bare = {arg: Function(inner.source) if own is inner else own for arg, own in told.items()}
        return _called(node, bare, cast("Tensor", _values(node, bare)))
    return _known(operation(node), values) or _short(_written(node, told))


def _short(text: str) -> str:
    """A function as it is written; the value that it is a function of is left out where it stands first, and nowhere else."""
    name, _, others = text.removesuffix(")").partition("(")
    first, _, others = others.partition(", ")
    if first != "x" or re.search(r"\bx\b", others):
        return text
    return f"{name}({others})" if others else name


def _known(own: str, values: Tensor) -> str | None:
    """The known function that gives these values, rather the one of the operation's own name."""
    alike = torch.isclose(values.double(), _table(), rtol=1e-5, atol=1e-6).all(dim=1)
    names = [name for name, fits in zip(_KNOWN, alike.tolist(), strict=True) if fits]
    return own if own in names else next(iter(names), None)


@functools.cache
def _table() -> Tensor:
    return torch.stack([function(_POINTS) for function in _KNOWN.values()])


def _is_factor(values: Tensor) -> bool:
    return bool(torch.allclose(values.double() * _POINTS[-1], values[-1].double() * _POINTS, rtol=1e-9, atol=1e-9))


def _is_line(values: Tensor) -> bool:
    numbers = values.double()
    ends = numbers[0], numbers[1]
    slope = (ends[1] - ends[0]) / (_POINTS[1] - _POINTS[0])
    return bool(torch.allclose(numbers, ends[0] + slope * (_POINTS - _POINTS[0]), rtol=1e-9, atol=1e-9))
