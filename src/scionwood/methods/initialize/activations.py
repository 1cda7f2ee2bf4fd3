"""Activation functions by name, with the places where they are not smooth.

Names are those that a site reads (``site.Site.reads``) and those of PyTorch. An integral over a kink is exact only where
it is cut there, so a function comes with its kinks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from scionwood.errors import MethodError, nearest
from scionwood.methods.initialize.site import Site

__all__ = ["ACTIVATIONS", "Activation", "activation", "reading"]


@dataclass(frozen=True)
class Activation:
    """A function of numbers, one by one.

    Args:
        function: takes a tensor and gives one of the same shape; differentiable by autograd but for the kinks.
        kinks: where it is not smooth.
        name: what it is called, in messages.
        gated: its result is multiplied by something linear of the same variance.
    """

    function: Callable[[Tensor], Tensor]
    kinks: tuple[float, ...] = ()
    name: str = "a function"
    gated: bool = False

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

    Args:
        which: a name, a callable (taken to be smooth but for 0), or an Activation, which says where its kinks are.

    Raises:
        MethodError: an unknown name.
    """
    if isinstance(which, Activation):
        return which
    if callable(which):
        return Activation(which, (0.0,), getattr(which, "__name__", "a function"))
    name = _OTHERWISE.get(which.strip().lower(), which.strip().lower())
    if name in _LINEAR:
        return ACTIVATIONS["identity"]
    if name.startswith("gated "):
        inner = activation(name.removeprefix("gated "))
        return Activation(inner.function, inner.kinks, name, gated=True)
    if name not in ACTIVATIONS:
        hint = nearest(name, list(ACTIVATIONS)) or f": known are {', '.join(ACTIVATIONS)}"
        raise MethodError(f"There is no activation function {which!r}{hint}.")
    return ACTIVATIONS[name]


def reading(site: Site, override: str | None = None) -> Activation:
    """Return the activation function that a site reads, or the one given instead.

    What has no activation function before it (the model's own input, the result of a norm, of a softmax) reads the
    identity.

    >>> reading(Site("fc.weight", "linear", (4, 4), reads="gelu")).name
    'gelu'

    Raises:
        MethodError: the function has no name here, with what to do.
    """
    if override is not None:
        return activation(override)
    try:
        return activation(site.reads)
    except MethodError as error:
        raise MethodError(
            f"{site.name} reads {site.reads!r}, which is no activation function that has its numbers here.",
            hint=f"Say which one to count with: activation=one of {', '.join(ACTIVATIONS)}.",
        ) from error
