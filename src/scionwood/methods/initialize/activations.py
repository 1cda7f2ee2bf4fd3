"""Activation functions by name, with the places where they are not smooth.

Names are those that a site reads (``site.Site.reads``) and those of PyTorch. An integral over a kink is exact only where
it is cut there, so a function comes with its kinks. A name may have numbers, as in ``leaky_relu(0.2)``; and what has no
name may be written with the elementwise operations of PyTorch, ``x`` for the input: ``mul(x, exp(neg(x)))``.
"""

import ast
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeGuard

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from scionwood.errors import MethodError, nearest
from scionwood.methods.initialize.site import Site

__all__ = ["ACTIVATIONS", "Activation", "Function", "activation", "reading", "reading_or_feeding"]

Function: TypeAlias = str | Callable[[Tensor], Tensor]
"""An activation function, by its name or itself."""


@dataclass(frozen=True)
class Activation:
    """A function of numbers, one by one.

    Args:
        function: takes a tensor and gives one of the same shape; differentiable by autograd but for the kinks.
        kinks: where it is not smooth.
        name: what it is called, in messages.
        gate: what its result is multiplied by: a function of another value of the same variance.
    """

    function: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()
    name: str = "a function"
    gate: "Activation | None" = None

    @property
    def gated(self) -> bool:
        """Whether its result is multiplied by another's."""
        return self.gate is not None

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)

    def value(self, at: float) -> float:
        """Return its value at a point."""
        return float(self.function(torch.tensor(at, dtype=torch.float64)))

    def slope(self, at: float) -> float:
        """Return its derivative at a point, by autograd.

        >>> activation("sigmoid").slope(0.0)
        0.25
        """
        point = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            result = self.function(point)
        if not result.requires_grad:
            return 0.0
        (slope,) = torch.autograd.grad(result, point, allow_unused=True)
        return 0.0 if slope is None else float(slope)

    def scaled(self, frequency: float) -> "Activation":
        """Return f(frequency x), as sinusoidal networks have it.

        >>> activation("sin").scaled(30.0).slope(0.0)
        30.0
        """
        if frequency == 1:
            return self
        kinks = tuple(kink / frequency for kink in self.kinks)
        return Activation(lambda inputs: self.function(frequency * inputs), kinks, f"{self.name}({frequency:g} x)")


def _hardtanh(inputs: Tensor) -> Tensor:
    return inputs.clamp(-1.0, 1.0)


ACTIVATIONS: dict[str, Activation] = {
    name: Activation(function, kinks, name)
    for name, function, kinks in (
        ("identity", lambda inputs: inputs, ()),
        ("relu", torch.relu, (0.0,)),
        ("relu6", F.relu6, (0.0, 6.0)),
        ("relu_squared", lambda inputs: torch.relu(inputs) ** 2, (0.0,)),
        ("leaky_relu", F.leaky_relu, (0.0,)),
        # The slopes that PyTorch starts prelu with and has on average in rrelu.
        ("prelu", lambda inputs: F.leaky_relu(inputs, 0.25), (0.0,)),
        ("rrelu", lambda inputs: F.leaky_relu(inputs, 11 / 48), (0.0,)),
        ("elu", F.elu, (0.0,)),
        ("selu", F.selu, (0.0,)),
        ("celu", F.celu, (0.0,)),
        ("gelu", F.gelu, ()),
        ("gelu_tanh", lambda inputs: F.gelu(inputs, approximate="tanh"), ()),
        ("quick_gelu", lambda inputs: inputs * torch.sigmoid(1.702 * inputs), ()),
        ("silu", F.silu, ()),
        ("mish", F.mish, ()),
        # torch.softplus turns linear at 20, a step of 2e-9 that an integral would have to be cut at.
        ("softplus", lambda inputs: torch.logaddexp(inputs, torch.zeros_like(inputs)), ()),
        ("sigmoid", torch.sigmoid, ()),
        ("logsigmoid", lambda inputs: -torch.logaddexp(-inputs, torch.zeros_like(inputs)), ()),
        ("tanh", torch.tanh, ()),
        ("tanhshrink", lambda inputs: inputs - torch.tanh(inputs), ()),
        ("softsign", F.softsign, (0.0,)),
        ("erf", torch.erf, ()),
        ("hardtanh", _hardtanh, (-1.0, 1.0)),
        ("hardsigmoid", F.hardsigmoid, (-3.0, 3.0)),
        ("hardswish", F.hardswish, (-3.0, 3.0)),
        ("sin", torch.sin, ()),
        ("cos", torch.cos, ()),
        ("gaussian", lambda inputs: torch.exp(-inputs.square() / 2), ()),
        ("exp", torch.exp, ()),
        ("square", torch.square, ()),
        ("abs", torch.abs, (0.0,)),
    )
}
"""Every activation function that has a name here."""

_OTHERWISE = {"log_sigmoid": "logsigmoid", "glu": "gated sigmoid", "swish": "silu", "": "identity"}

_LINEAR = ("input", "softmax")
"""What a site may read that is no activation function: as it comes."""


def activation(which: str | Activation | Callable[[Tensor], Tensor]) -> Activation:
    """Return an activation function by its name, or one that is given as a function of tensors.

    >>> activation("hardtanh").kinks, activation(torch.sin).slope(0.0)
    ((-1.0, 1.0), 1.0)
    >>> activation("leaky_relu(0.5)").value(-2.0), activation("add(x, square(sin(x)))").slope(0.0)
    (-1.0, 1.0)

    Args:
        which: a name, one with numbers, or a function as it is written; "gated silu" for one whose result is multiplied by
            something linear, "tanh * sigmoid" for one multiplied by another; a callable (taken to be smooth but for 0);
            or an Activation, which says where its kinks are.

    Raises:
        MethodError: an unknown name, or a function that is not defined for every number.
    """
    if isinstance(which, Activation):
        return which
    return _named(which.strip()) if isinstance(which, str) else _checked(which)


def _checked(function: Callable[[Tensor], Tensor]) -> Activation:
    """A function that is given as such; what it is for is seen by asking it."""
    name = getattr(function, "__name__", type(function).__name__)
    points = torch.linspace(-6, 6, 25, dtype=torch.float64)
    try:
        values = function(points)
    except Exception as error:
        raise MethodError(
            f"{name} takes no tensor of numbers: {error}", hint="Give a function of one tensor."
        ) from error
    if not isinstance(values, Tensor) or values.shape != points.shape or not bool(values.isfinite().all()):
        raise MethodError(f"{name} does not give a finite number for every number.", hint="Give another function.")
    return Activation(function, (0.0,), name)


@lru_cache(maxsize=256)
def _named(which: str) -> Activation:
    name = _OTHERWISE.get(which.lower(), which.lower())
    if name in _LINEAR:
        return ACTIVATIONS["identity"]
    if name.startswith("gated "):
        return replace(_multiplied(_named(which[len("gated ") :]), ACTIVATIONS["identity"]), name=which)
    if " * " in which:
        first, _, others = which.partition(" * ")
        return replace(_multiplied(_named(first), _named(others)), name=which)
    found = ACTIVATIONS.get(name) or _written(which)
    if found is None:
        hint = nearest(name, list(ACTIVATIONS)) or f": known are {', '.join(ACTIVATIONS)}"
        raise MethodError(f"There is no activation function {which!r}{hint}.")
    return found


def _multiplied(one: Activation, gate: Activation) -> Activation:
    return replace(one, gate=gate if one.gate is None else _multiplied(one.gate, gate))


def _written(text: str) -> Activation | None:
    """A function that is written with elementwise operations, if it is one; ``x`` may be left out where it stands first."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        return None
    if isinstance(tree, ast.Name):
        tree = ast.Call(tree, [], [])
    if isinstance(tree, ast.Call) and not re.search(r"\bx\b", text):
        tree.args.insert(0, ast.Name("x"))
    if not isinstance(tree, ast.Call) or not _is_known(tree):
        return None
    points = torch.linspace(-6, 6, 25, dtype=torch.float64)
    try:
        values = _value(tree, points)
    except (RuntimeError, TypeError):
        return None
    if values.shape != points.shape or not bool(values.isfinite().all()):
        raise MethodError(
            f"{text} is not a finite number for every number.", hint="Say which function to count with instead."
        )
    constants = [part.value for part in ast.walk(tree) if isinstance(part, ast.Constant)]
    numbers = [float(value) for value in constants if _is_number(value)]
    # Cutting where nothing is bent does no harm.
    ratios = [one / other for one in numbers for other in numbers if other]
    kinks = sorted({sign * number for number in (0.0, *numbers, *ratios) for sign in (-1.0, 1.0)})
    return Activation(lambda inputs: _value(tree, inputs).to(inputs.dtype), tuple(kinks), text)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_known(tree: ast.expr) -> bool:
    """Whether every part is x, a number, or an elementwise operation."""
    match tree:
        case ast.Call(ast.Name(name), args, keywords):
            return _operation(name) is not None and all(map(_is_known, [*args, *(each.value for each in keywords)]))
        case ast.UnaryOp(ast.USub(), ast.Constant(value)):
            return _is_number(value)
        case _:
            return isinstance(tree, ast.Constant) or (isinstance(tree, ast.Name) and tree.id == "x")


def _operation(name: str) -> Any:
    """An operation of PyTorch that takes every number by itself, draws none and changes nothing."""
    packet = getattr(torch.ops.aten, name, None) if not name.endswith("_") else None
    if packet is None or name in ("rrelu", "prelu"):
        return None
    tags = {tag for overload in packet.overloads() for tag in getattr(packet, overload).tags}
    return packet if torch.Tag.pointwise in tags or name in _UNTAGGED else None


_UNTAGGED = ("full_like", "hardswish", "log_sigmoid", "where")
"""Elementwise operations that PyTorch does not tag so in all their forms."""


def _value(tree: ast.expr, inputs: Tensor) -> Any:
    match tree:
        case ast.Call(ast.Name(name), args, keywords):
            given = [_value(arg, inputs) for arg in args]
            return _operation(name)(*given, **{str(each.arg): _value(each.value, inputs) for each in keywords})
        case ast.UnaryOp(_, number):
            return -_value(number, inputs)
        case ast.Constant(value):
            return value
        case _:
            return inputs


def reading(site: Site, override: Function | None = None) -> Activation:
    """Return the activation function that a site reads, or the one given instead.

    What has no activation function before it (the model's own input, the result of a norm, of a softmax) reads the
    identity.

    >>> reading(Site("fc.weight", "linear", (4, 4), reads="gelu")).name
    'gelu'

    Raises:
        MethodError: it is not known which function a site reads, with what to do.
    """
    return _counted_with(site, "reads", override)


def reading_or_feeding(site: Site, override: Function | None = None) -> Activation:
    """Return the activation function that a site reads; of the first layer, which reads none, that which it feeds.

    >>> reading_or_feeding(Site("fc.weight", "linear", (4, 4), reads="input", feeds="tanh")).name
    'tanh'

    Raises:
        MethodError: it is not known which function that is, with what to do.
    """
    return _counted_with(site, "feeds" if site.reads == "input" else "reads", override)


def _counted_with(site: Site, does: Literal["reads", "feeds"], override: Function | None) -> Activation:
    if override is not None:
        return activation(override)
    name = (site.feeds or "identity") if does == "feeds" else site.reads
    try:
        return activation(name)
    except MethodError as error:
        raise MethodError(
            f"{site.name} {does} {name!r}, which is no activation function that has its numbers here.",
            hint="Say which one to count with, as a name or written out (activation=gelu, activation=leaky_relu(0.2), "
            f"activation=mul(x, exp(neg(x)))). Names are {', '.join(ACTIVATIONS)}.",
        ) from error
