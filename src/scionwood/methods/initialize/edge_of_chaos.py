"""Edge of chaos: weights and biases at which gradients neither grow nor vanish (Hayou et al., 2019, arXiv:1902.06853).

    q = sigma_b^2 + sigma_w^2 E[f(sqrt(q) Z)^2]        chi_perp = sigma_w^2 E[f'(sqrt(q) Z)^2] = 1

W ~ N(0, sigma_w / sqrt(fan_in)), b ~ N(0, sigma_b): the variance q of what comes before an activation is a fixed point,
and the squared length of a gradient keeps its mean. Two inputs then grow alike only slowly with depth l, as 1 / l for
smooth functions and 1 / l^2 for ReLU, so a deep net without norms or shortcuts still trains. ReLU has the single point
(sigma_w, sigma_b) = (sqrt 2, 0), at any q; sigma_b is set to 0 there.

The fixed point must also be stable: chi_par = d q_next / d q < 1. At small sigma_b that of GELU and SiLU is not (1.095
and 1.099 at 0.2), and the variance runs away from it. There the **doubly critical** point, chi_perp = chi_par = 1, is
taken unless ``unstable`` says otherwise: sigma_w^2 = 1.983, sigma_b^2 = 0.173 for GELU, 1.988 and 0.555 for SiLU.

With ``variance`` the fixed point itself is chosen, and sigma_b follows: sigma_b^2 = q - sigma_w^2 E[f^2].

It hurts nothing where norms stand, but does nothing there either. The paper prefers smooth functions and small sigma_b
and gives no default; 0.2 is that of its examples. It has no code: the equations are those of mean field theory.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.initialize.activations import Activation, Function, reading, reading_or_feeding
from scionwood.methods.initialize.activations import activation as named
from scionwood.methods.initialize.drawing import normal, zeros
from scionwood.methods.initialize.moments import correlated, moments
from scionwood.methods.initialize.roots import changes
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = [
    "Critical",
    "bias_std",
    "correlations",
    "doubly_critical",
    "edge",
    "edge_at",
    "edge_of_chaos",
    "note",
    "point_for",
    "taken",
]

Unstable = Literal["doubly", "keep", "refuse"]


@dataclass(frozen=True)
class Critical:
    """A point on the edge of chaos.

    Args:
        q: the variance before an activation, the fixed point.
        sigma_w: std of a weight times sqrt(fan_in).
        sigma_b: std of a bias.
        chi_par: the derivative of the next variance; above 1 the fixed point is unstable.
        any_q: every variance is a fixed point, as for ReLU.
    """

    q: float
    sigma_w: float
    sigma_b: float
    chi_par: float
    any_q: bool = False

    @property
    def stable(self) -> bool:
        """Whether the variance stays where it is."""
        return self.chi_par <= 1 + 1e-9


def taken(
    site: Site,
    *,
    activation: str | None = None,
    sigma_b: float = 0.2,
    variance: float | None = None,
    unstable: Unstable = "doubly",
    **_: object,
) -> str:
    """Return what a ledger says of a weight or a bias: the point that it takes.

    >>> taken(Site("fc.weight", "linear", (4, 4), reads="tanh"))
    'sigma_w 1.3041, sigma_b 0.2'
    """
    if site.norm or not (site.is_weight or site.kind == "bias"):
        return ""
    function = (reading_or_feeding if site.kind == "bias" else reading)(site, activation)
    return note(function, sigma_b, unstable, variance)


@method(scope="tensor", laws={"shape", "deterministic", "variance"}, paper="1902.06853", note=taken)
def edge_of_chaos(
    site: Site,
    generator: torch.Generator,
    *,
    activation: Function | None = None,
    sigma_b: Annotated[float, Finite(at_least=0)] = 0.2,
    variance: Annotated[float, Finite(above=0)] | None = None,
    unstable: Unstable = "doubly",
) -> Tensor | None:
    """Return Gaussian weights and biases at the edge of chaos of the activation they read.

    What reads no activation takes sigma_w = 1, its bias 0; the first layer's bias is drawn as that of the layer which
    reads it. Biases of norms are zero.

    >>> site = Site("fc.weight", "linear", (256, 400), reads="tanh")
    >>> round(float(edge_of_chaos(site, torch.Generator().manual_seed(0)).std()), 3)
    0.065

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        activation: the function to count with, rather than the one that each weight reads.
        sigma_b: std of the biases.
        variance: q, of what comes before an activation, rather than sigma_b, which follows from it.
        unstable: where the variance would run away: take the doubly critical point with its own sigma_b, keep it, or
            refuse.

    Raises:
        MethodError: the function has no edge of chaos at this sigma_b or variance, or an unstable one is refused.
    """
    if site.kind == "bias":
        std = bias_std(site, activation, sigma_b, unstable, variance)
        return normal(site, std, generator) if std else zeros(site)
    if not site.is_weight:
        return None
    sigma_w = point_for(reading(site, activation), sigma_b, unstable, variance).sigma_w
    return normal(site, sigma_w / math.sqrt(site.fan_in), generator)


def point_for(
    function: Activation, sigma_b: float, unstable: Unstable = "doubly", variance: float | None = None
) -> Critical:
    """Return the point that an initialiser takes: that of a variance where one is given, else of sigma_b.

    >>> point = point_for(named("gelu"), 0.2)
    >>> round(point.sigma_w**2, 4), round(point.sigma_b**2, 4)
    (1.9831, 0.1729)

    Raises:
        MethodError: the function has no edge of chaos there, or an unstable one is refused.
    """
    if function.name == "identity":
        return Critical(1.0, 1.0, 0.0, 1.0, any_q=True)
    if (free := _homogeneous(function)) is not None:
        return free
    points = edge(function, sigma_b) if variance is None else (edge_at(function, variance),)
    if not points:
        raise MethodError(
            f"{function.name} has no edge of chaos at sigma_b = {sigma_b:g}.",
            hint="Try another sigma_b, or initialize.vi3nr, which only keeps the variance.",
        )
    for point in points:
        if point.stable:
            return point
    doubly = doubly_critical(function) if unstable == "doubly" else None
    if unstable == "refuse" or (unstable == "doubly" and doubly is None):
        raise MethodError(
            f"At {_wanted(sigma_b, variance)} the variance runs away from the edge of chaos of {function.name}: chi_par is "
            f"{points[0].chi_par:.4f}.",
            hint="unstable=doubly takes a point that holds, where there is one; unstable=keep takes this one.",
        )
    return doubly or points[0]


def note(function: Activation, sigma_b: float, unstable: Unstable = "doubly", variance: float | None = None) -> str:
    """Return what is to be said of the point taken.

    >>> note(named("silu"), 0.2, "keep")
    'sigma_w 1.6795, sigma_b 0.2: unstable, the variance runs away (chi_par 1.0987)'
    >>> note(named("silu"), 0.2)
    'sigma_w 1.4100, sigma_b 0.7451: doubly critical, as sigma_b = 0.2 is unstable'
    """
    point = point_for(function, sigma_b, unstable, variance)
    text = f"sigma_w {point.sigma_w:.4f}, sigma_b {point.sigma_b:.4g}"
    if not point.stable:
        return f"{text}: unstable, the variance runs away (chi_par {point.chi_par:.4f})"
    if point.any_q or math.isclose(*((point.sigma_b, sigma_b) if variance is None else (point.q, variance))):
        return text
    return f"{text}: doubly critical, as {_wanted(sigma_b, variance)} is unstable"


def _wanted(sigma_b: float, variance: float | None) -> str:
    return f"sigma_b = {sigma_b:g}" if variance is None else f"variance = {variance:g}"


@lru_cache(maxsize=256)
def edge(function: Activation | str, sigma_b: float) -> tuple[Critical, ...]:
    """Return every point on the edge of chaos with this sigma_b, smallest variance first.

    >>> point = edge("tanh", 0.2)[0]
    >>> round(point.q, 6), round(point.sigma_w, 6), round(point.chi_par, 4)
    (0.512079, 1.304146, 0.5426)
    """
    function = named(function)
    if (free := _homogeneous(function)) is not None:
        return (free,) if sigma_b == 0 else ()

    def excess(q: float) -> float:
        at = moments(function, q)
        return (sigma_b**2 + at.second / at.slope - q) / q if at.slope > 0 else math.inf

    return tuple(_point(function, q, sigma_b) for q in changes(excess, 1e-8, 1e6))


def edge_at(function: Activation | str, q: float) -> Critical:
    """Return the point on the edge of chaos with this variance.

    >>> round(edge_at("tanh", 0.512079).sigma_b, 5)
    0.2

    Raises:
        MethodError: sigma_b^2 would be negative.
    """
    function = named(function)
    at = moments(function, q)
    remains = q - at.second / at.slope
    if remains < -1e-12 * q:
        raise MethodError(
            f"{function.name} has no edge of chaos at the variance {q:g}: sigma_b^2 would be {remains:.4g}.",
            hint="Ask for another variance.",
        )
    return _point(function, q, math.sqrt(max(0.0, remains)))


@lru_cache(maxsize=256)
def doubly_critical(function: Activation | str) -> Critical | None:
    """Return the point with chi_perp = chi_par = 1, or None where there is none.

    >>> point = doubly_critical("gelu")
    >>> round(point.q, 6), round(point.sigma_w**2, 6), round(point.sigma_b**2, 6)
    (3.561553, 1.983058, 0.172922)
    >>> doubly_critical("tanh")
    """
    function = named(function)
    if (free := _homogeneous(function)) is not None:
        return free

    def excess(q: float) -> float:
        at = moments(function, q)
        return at.chi_par(1 / at.slope) - 1 if at.slope > 0 else math.inf

    for q in changes(excess, 1e-4, 1e4):
        at = moments(function, q)
        if q >= at.second / at.slope:
            return edge_at(function, q)
    return None


def correlations(function: Activation | str, point: Critical, start: float, layers: int) -> list[float]:
    """Return the correlation of two inputs, layer by layer.

    >>> [round(c, 4) for c in correlations("relu", Critical(1.0, 2**0.5, 0.0, 1.0), 0.0, 3)]
    [0.0, 0.3183, 0.4937, 0.6048]

    Args:
        function: the activation function.
        point: sigma_w, sigma_b and q.
        start: the correlation before the first activation.
        layers: how many steps.
    """
    found = [start]
    for _ in range(layers):
        mixed = point.sigma_b**2 + point.sigma_w**2 * correlated(function, point.q, found[-1])
        found.append(min(1.0, mixed / point.q))
    return found


def _point(function: Activation, q: float, sigma_b: float) -> Critical:
    at = moments(function, q)
    return Critical(q, at.slope**-0.5, sigma_b, at.chi_par(1 / at.slope))


def _homogeneous(function: Activation) -> Critical | None:
    """The point of a function whose second moment is a multiple of q, and its slope that multiple too."""
    factors = [(at.second / q, at.slope) for q in (1e-2, 1.0, 1e2) if (at := moments(function, q))]
    if all(math.isclose(second, factors[0][1], rel_tol=1e-9) for pair in factors for second in pair):
        return Critical(1.0, factors[0][1] ** -0.5, 0.0, 1.0, any_q=True)
    return None


def bias_std(
    site: Site, activation: Function | None, sigma_b: float, unstable: Unstable, variance: float | None = None
) -> float:
    """Return the std of a bias: that of the point its own layer's weight takes, in the first layer the next one's.

    >>> site = Site("fc.bias", "bias", (4,), reads="relu")
    >>> bias_std(site, None, 0.2, "doubly"), bias_std(site, "tanh", 0.2, "doubly")
    (0.0, 0.2)
    """
    if site.norm:
        return 0.0
    return point_for(reading_or_feeding(site, activation), sigma_b, unstable, variance).sigma_b
