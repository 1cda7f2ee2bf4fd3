"""Gaussian moments of an activation function: E[f(s Z)], E[f(s Z)^2], E[f'(s Z)^2], E[Z f f'], by exact quadrature.

Integrals are cut at the kinks of the function and, finer and finer, towards them, as a function of s z has its details
near s z = 0 however large s is. Each piece takes a Gauss-Legendre rule, and is halved until that changes nothing: twelve
digits for tanh at q = 1e6 as for ReLU, where the usual Gauss-Hermite rule has lost all but three.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from scionwood.methods.initialize.activations import Activation, activation

__all__ = ["Moments", "correlated", "expectation", "moments"]

_EDGE = 12.0
"""Where the Gaussian ends: what lies beyond weighs 4e-33."""

_MOST_PIECES = 2048

_NODES, _WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(16))


@dataclass(frozen=True)
class Moments:
    """What a wide layer does to a Gaussian of variance q that goes through an activation function f.

    Args:
        q: the variance before the activation, s^2.
        mean: E[f(s Z)].
        second: E[f(s Z)^2].
        slope: E[f'(s Z)^2].
        cross: E[Z f(s Z) f'(s Z)].

    >>> relu = moments("relu", 1.0)
    >>> [round(number, 12) for number in (relu.second, relu.slope, relu.chi_perp(2.0), relu.chi_par(2.0))]
    [0.5, 0.5, 1.0, 1.0]
    """

    q: float
    mean: float
    second: float
    slope: float
    cross: float

    def chi_perp(self, sigma_w_squared: float) -> float:
        """Return sigma_w^2 E[f'^2]: by how much a layer multiplies the squared length of a gradient."""
        return sigma_w_squared * self.slope

    def chi_par(self, sigma_w_squared: float) -> float:
        """Return sigma_w^2 E[Z f f'] / s, the derivative of the next variance: a fixed point is stable below 1."""
        return sigma_w_squared * self.cross / math.sqrt(self.q)


def moments(which: str | Activation | Callable[[Tensor], Tensor], q: float) -> Moments:
    """Return the Gaussian moments of an activation function at a variance.

    A gated function is f(U) g(V), with U and V independent and of variance q: its slope counts both factors.

    >>> round(moments("tanh", 1.0).second ** -0.5, 6), round(moments("gelu", 1.0).second ** -0.5, 6)
    (1.592537, 1.53353)

    Args:
        which: a name, or a function of tensors.
        q: the variance of what comes before the activation.
    """
    return _moments(activation(which), float(q))


@lru_cache(maxsize=4096)
def _moments(function: Activation, q: float) -> Moments:
    scale = math.sqrt(q)

    def integrand(z: Tensor) -> Tensor:
        inputs = (scale * z).requires_grad_()
        with torch.enable_grad():
            values = function(inputs)
            slopes = torch.zeros_like(inputs)
            if values.requires_grad:
                (slopes,) = torch.autograd.grad(values.sum(), inputs)
        values = values.detach()
        return torch.stack([values, values.square(), slopes.square(), z * values * slopes])

    mean, second, slope, cross = expectation(integrand, _cuts(function.kinks, scale)).tolist()
    if function.gate is not None:
        # E[(f g)^2] = E[f^2] E[g^2]; its gradient has two parts, f' g and f g'; d/dq of the product gives the cross term.
        other = _moments(function.gate, q)
        mean, slope = mean * other.mean, slope * other.second + second * other.slope
        cross = cross * other.second + second * other.cross
        second *= other.second
    return Moments(q, mean, second, slope, cross)


def expectation(integrand: Callable[[Tensor], Tensor], cuts: Iterable[float] = (), tolerance: float = 1e-14) -> Tensor:
    """Return E[f(Z)] for a standard normal Z, by Gauss-Legendre rules on pieces that are halved where it matters.

    >>> round(float(expectation(lambda z: z.abs()[None], (0.0,))), 12), round(math.sqrt(2 / math.pi), 12)
    (0.797884560803, 0.797884560803)

    Args:
        integrand: from n numbers to (k, n): k functions at once.
        cuts: where a function is not smooth; others only cost halvings.
        tolerance: what a halving may change, relative to the whole integral.
    """
    edges = sorted({-_EDGE, _EDGE, *(cut for cut in cuts if -_EDGE < cut < _EDGE)})
    points = torch.tensor(edges, dtype=torch.float64)
    pieces = torch.stack([points[:-1], points[1:]], dim=1)
    coarse = _rule(integrand, pieces)
    total = torch.zeros(len(coarse), dtype=torch.float64)
    for _ in range(40):
        middle = pieces.mean(dim=1, keepdim=True)
        halves = torch.cat([torch.cat([pieces[:, :1], middle], 1), torch.cat([middle, pieces[:, 1:]], 1)])
        fine = _rule(integrand, halves)
        left, right = fine[:, : len(pieces)], fine[:, len(pieces) :]
        size = (total.abs() + (left + right).abs().sum(dim=1)).clamp(min=1e-300)
        settled = ((left + right - coarse).abs() <= tolerance * size[:, None]).all(dim=0)
        total = total + (left + right)[:, settled].sum(dim=1)
        open_ = torch.cat([~settled, ~settled])
        pieces, coarse = halves[open_], fine[:, open_]
        # Where rounding errors are all that is left of a function, halving finds no end.
        if not 0 < len(pieces) <= _MOST_PIECES:
            break
    return total + coarse.sum(dim=1)


def correlated(which: str | Activation | Callable[[Tensor], Tensor], q: float, correlation: float) -> float:
    """Return E[f(U) f(V)] for Gaussians U, V of variance q with a correlation.

    >>> round(correlated("relu", 1.0, 0.0), 12), round(1 / (2 * math.pi), 12)
    (0.159154943092, 0.159154943092)

    Args:
        which: a name, or a function of tensors.
        q: the variance of both.
        correlation: from -1 to 1.
    """
    function = activation(which)
    scale, rest = math.sqrt(q), math.sqrt(max(0.0, 1 - correlation**2))
    cuts = _cuts(function.kinks, scale)
    if rest < 1e-12:
        sign = 1.0 if correlation > 0 else -1.0
        both = {*cuts, *(-cut for cut in cuts)}
        return float(expectation(lambda z: (function(scale * z) * function(sign * scale * z))[None], both))
    edges = torch.tensor(cuts, dtype=torch.float64)
    grid = torch.linspace(-_EDGE, _EDGE, 13, dtype=torch.float64)

    def inner(z: Tensor) -> Tensor:
        # What is not smooth in v = s (c z + r w) lies at another w for every z.
        moved = ((edges - correlation * z[:, None]) / rest).clamp(-_EDGE, _EDGE)
        points = torch.cat([grid.expand(len(z), -1), moved], dim=1).sort(dim=1).values
        half = points.diff(dim=1)[..., None] / 2
        w = points[:, :-1, None] + half * (_NODES + 1)
        values = function(scale * (correlation * z[:, None, None] + rest * w)) * _density(w) * half * _WEIGHTS
        return (function(scale * z) * values.sum(dim=(1, 2)))[None]

    near = [kink / scale + side * rest * 2.0**step for kink in function.kinks for side in (-1, 1) for step in range(5)]
    bent = [kink / scale for kink in function.kinks] + near
    tilted = [] if correlation == 0 else [edge / correlation for edge in bent]
    return float(expectation(inner, [*cuts, *tilted], tolerance=1e-13))


def _cuts(kinks: Iterable[float], scale: float) -> list[float]:
    """Where to cut an integral over z of a function of scale * z: at its kinks, and finer and finer towards zero."""
    cuts = {0.0, *(kink / scale for kink in kinks)} if scale > 0 else {0.0}
    step = 0.25 / scale if scale > 0 else _EDGE
    step = max(step, 1e-12)
    while step < _EDGE:
        cuts |= {step, -step}
        step *= 2
    return sorted(cuts | {float(whole) for whole in range(-11, 12)})


def _rule(integrand: Callable[[Tensor], Tensor], pieces: Tensor) -> Tensor:
    """The integral over each piece, (k, pieces)."""
    half = (pieces[:, 1:] - pieces[:, :1]) / 2
    z = pieces[:, :1] + half * (_NODES + 1)
    values = integrand(z.reshape(-1))
    return (values.reshape(len(values), *z.shape) * (_density(z) * half * _WEIGHTS)).sum(dim=2)


def _density(z: Tensor) -> Tensor:
    return torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
