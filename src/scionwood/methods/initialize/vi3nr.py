"""VI3NR: weights that keep any activation's input at a wanted spread (Koneputugodage et al., 2025, arXiv:2504.19270).

    std = gain / sqrt(fan_in);   gain = sigma / sqrt(E[f(sigma Z)^2]);   first layer: sigma / sqrt(mean_x^2 + std_x^2)

sigma is the std of what comes before an activation, to be chosen. With ReLU it is He initialisation; for the Gaussians
and sines of coordinate networks it finds what other schemes guess. Gradients keep their size as well where

    chi(sigma) = gain^2 E[f'(sigma Z)^2] = 1

(square layers): ``sigma="backward"`` solves that, 1.5538 for exp(-x^2 / 2) and 6.7546 for the sigmoid. Sine, tanh and
GELU have no such sigma: chi only nears 1 as sigma goes to 0. The first layer, which reads no activation, takes the sigma
of the one that it feeds: were it smaller, the layers after it would come nearer to theirs only one by one.

The published code draws a million samples for the gain; here it is the integral. It uses the second moment, not the
variance, and 1 / sqrt(fan_in), not Xavier's mean of the fans. Its functions are uniform and normal alike; uniform is
what its example calls. The condition on gradients is derived from the paper's theory.

It hurts where the variance it asks for is no stable fixed point (chi_par > 1, see ``edge_of_chaos``): with GELU, std 1
becomes 2.5 to 3 after 30 layers of 512 and 28 to 39 after 60.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.initialize.activations import Activation, Function, reading_or_feeding
from scionwood.methods.initialize.activations import activation as named
from scionwood.methods.initialize.drawing import normal, uniform, zeros
from scionwood.methods.initialize.moments import moments
from scionwood.methods.initialize.roots import changes
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["Spread", "backward", "chi", "gain", "note", "taken", "vi3nr"]


@dataclass(frozen=True)
class Spread:
    """A std before the activation, and what it does to gradients.

    Args:
        sigma: the std.
        chi: by how much a square layer multiplies the squared length of a gradient.
        exact: chi is 1; otherwise it is as near as it gets between 0.01 and 100.
    """

    sigma: float
    chi: float
    exact: bool


def taken(
    site: Site,
    *,
    activation: str | None = None,
    frequency: float = 1.0,
    sigma: float | Literal["backward"] = 1.0,
    **_: object,
) -> str:
    """Return what a ledger says of a weight: whether the spread that it takes stays, and what gradients do.

    >>> taken(Site("fc.weight", "linear", (4, 4), reads="tanh"), sigma="backward")
    'std 0.01 stays (chi_par 0.9998), squared gradients times 1 a layer: none keeps them, this is the nearest'
    """
    if not site.is_weight:
        return ""
    function, wanted = _counted(site, activation, frequency, sigma)
    if function.name == "identity":
        return ""
    nearest = sigma == "backward" and not backward(function).exact
    return note(function, wanted) + (": none keeps them, this is the nearest" if nearest else "")


@method(scope="tensor", laws={"shape", "deterministic", "variance"}, paper="2504.19270", note=taken)
def vi3nr(
    site: Site,
    generator: torch.Generator,
    *,
    activation: Function | None = None,
    frequency: Annotated[float, Finite(above=0)] = 1.0,
    sigma: Annotated[float, Finite(above=0)] | Literal["backward"] = 1.0,
    input_mean: Annotated[float, Finite()] = 0.0,
    input_std: Annotated[float, Finite(above=0)] = 1.0,
    distribution: Literal["uniform", "normal"] = "uniform",
) -> Tensor | None:
    """Return weights that give what comes after them the std sigma; biases are zero.

    >>> site = Site("fc.weight", "linear", (256, 400), reads="sin")
    >>> round(float(vi3nr(site, torch.Generator().manual_seed(0)).std() * 20), 2)
    1.52

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        activation: the function to count with, rather than the one that each weight reads.
        frequency: the function reads this many times its input, as the sines of SIREN do.
        sigma: std of what comes before an activation; backward takes the one at which gradients keep their size.
        input_mean: of what the first layer reads.
        input_std: of what the first layer reads; coordinates from -1 to 1 have 0.577.
        distribution: of the weights.
    """
    if site.kind == "bias":
        return zeros(site)
    if not site.is_weight:
        return None
    function, wanted = _counted(site, activation, frequency, sigma)
    factor = wanted / math.hypot(input_mean, input_std) if site.reads == "input" else gain(function, wanted)
    std = factor / math.sqrt(site.fan_in)
    return normal(site, std, generator) if distribution == "normal" else uniform(site, std * math.sqrt(3), generator)


def _counted(
    site: Site, activation: Function | None, frequency: float, sigma: float | Literal["backward"]
) -> tuple[Activation, float]:
    """The function to count with, and the std that is wanted before it; the first layer's is the one that it feeds."""
    function = reading_or_feeding(site, activation)
    if function.name == "identity":
        return function, 1.0 if sigma == "backward" else sigma
    function = function.scaled(frequency)
    return function, backward(function).sigma if sigma == "backward" else sigma


def gain(function: Activation | str, sigma: float) -> float:
    """Return sigma / sqrt(E[f(sigma Z)^2]).

    >>> [round(gain(name, 1.0), 6) for name in ("relu", "tanh", "sin", "gaussian", "gelu")]
    [1.414214, 1.592537, 1.520867, 1.316074, 1.53353]

    Raises:
        MethodError: the function is zero.
    """
    second = moments(named(function), sigma**2).second
    if second <= 0:
        raise MethodError(f"{named(function).name} gives nothing but zeros, which no weight can spread.")
    return sigma / math.sqrt(second)


def chi(function: Activation | str, sigma: float) -> float:
    """Return gain^2 E[f'(sigma Z)^2]: by how much a square layer multiplies the squared length of a gradient.

    >>> round(chi("tanh", 1.0), 6), round(chi("gaussian", 1.0), 6)
    (1.177807, 0.333333)
    """
    return gain(function, sigma) ** 2 * moments(named(function), sigma**2).slope


def note(function: Activation | str, sigma: float) -> str:
    """Return what is to be said of a spread: whether the variance stays, and what gradients do.

    >>> note("tanh", 1.0)
    'std 1 stays (chi_par 0.4611), squared gradients times 1.178 a layer'
    >>> note("gelu", 1.0)
    'std 1 drifts (chi_par 1.1441), squared gradients times 1.072 a layer'
    """
    function = named(function)
    drift = moments(function, sigma**2).chi_par(gain(function, sigma) ** 2)
    stays = "stays" if drift <= 1 + 1e-9 else "drifts"
    return f"std {sigma:g} {stays} (chi_par {drift:.4f}), squared gradients times {chi(function, sigma):.4g} a layer"


@lru_cache(maxsize=256)
def backward(function: Activation | str) -> Spread:
    """Return the smallest std at which gradients keep their size, or the one that comes nearest.

    >>> round(backward("gaussian").sigma, 6), round((1 + 2**0.5) ** 0.5, 6)
    (1.553774, 1.553774)
    >>> backward("relu")
    Spread(sigma=1.0, chi=1.0, exact=True)
    """
    function = named(function)

    def excess(sigma: float) -> float:
        return chi(function, sigma) - 1

    if all(abs(excess(sigma)) < 1e-10 for sigma in (0.1, 1.0, 10.0)):
        return Spread(1.0, 1.0, exact=True)
    roots = changes(excess, 1e-2, 1e2)
    if roots:
        return Spread(roots[0], chi(function, roots[0]), exact=True)
    nearest = min((10 ** (step / 20) for step in range(-40, 41)), key=lambda sigma: abs(excess(sigma)))
    return Spread(nearest, chi(function, nearest), exact=False)
