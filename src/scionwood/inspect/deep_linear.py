"""How deep linear networks learn: a closed-form curve for each mode (Saxe et al., 2013, arXiv:1312.6120).

    two layers   u(t) = s e^(2 s t / tau) / (e^(2 s t / tau) - 1 + s / u_0)
    L layers     tau du/dt = L u^(2 - 2 / L) (s - u)

u is the strength that the network gives to a mode, s that of the mode in the correlation of inputs and targets, for
whitened inputs and balanced layers whose singular vectors are those of the task (``initialize.balanced`` with the
task's vectors). Half of a mode is learnt after tau / (2 s) log(s / u_0 - 1), strong ones first, the rest in some tau / s. The
formulae do not hold from unaligned weights, where modes compete at first.

L counts layers of weights; the paper's N_l counts layers of neurons, one more.
"""

import math

import torch
from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["half_time", "mode_strength", "time_to", "trajectory"]


def mode_strength(time: float, strength: float, start: float, tau: float = 1.0) -> float:
    """Return u(t) of a network of two layers.

    >>> round(mode_strength(1.0, 3.0, 0.001), 6), round(mode_strength(2.0, 3.0, 0.001), 6)
    (0.355712, 2.945721)

    Args:
        time: t.
        strength: s, where it ends.
        start: u_0, where it begins.
        tau: the inverse of the learning rate.
    """
    _check(strength, start)
    # In e^(-2 s t / tau), which does not overflow.
    faded = math.exp(-2 * strength * time / tau)
    return strength / (1 + (strength / start - 1) * faded)


def time_to(target: float, strength: float, start: float, tau: float = 1.0) -> float:
    """Return when a network of two layers reaches a strength between the first and the last.

    >>> round(time_to(1.5, 3.0, 0.001), 6)
    1.334339

    Raises:
        MethodError: the strength is not between them.
    """
    _check(strength, start)
    if not min(start, strength) <= target <= max(start, strength) or target == strength:
        raise MethodError(f"A mode that goes from {start:g} to {strength:g} never has the strength {target:g}.")
    return tau / (2 * strength) * math.log(target * (strength - start) / (start * (strength - target)))


def half_time(strength: float, start: float, tau: float = 1.0) -> float:
    """Return when a network of two layers has learnt half of a mode.

    >>> round(half_time(3.0, 0.001), 6)
    1.334339
    """
    return time_to(strength / 2, strength, start, tau)


def trajectory(
    times: Tensor, strength: float, start: float, *, layers: int = 2, tau: float = 1.0, steps: int = 200
) -> Tensor:
    """Return u at every time, in float64; two layers in closed form, more by the classical Runge-Kutta rule.

    >>> trajectory(torch.tensor([0.0, 1.0, 2.0]), 3.0, 0.001).round(decimals=6).tolist()
    [0.001, 0.355712, 2.945721]

    Args:
        times: ascending, from 0 on.
        strength: s.
        start: u_0.
        layers: of weights.
        tau: the inverse of the learning rate.
        steps: of the rule between two times.

    Raises:
        MethodError: a strength that is not positive, or fewer than one layer.
    """
    _check(strength, start)
    if layers < 1:
        raise MethodError(f"A network has at least one layer, not {layers}.")
    if layers == 2:
        return torch.tensor([mode_strength(float(time), strength, start, tau) for time in times], dtype=torch.float64)

    def slope(u: float) -> float:
        return layers * u ** (2 - 2 / layers) * (strength - u) / tau

    found, u, now = [], start, 0.0
    for time in times.tolist():
        step = (time - now) / steps
        for _ in range(steps if step else 0):
            first = slope(u)
            second = slope(u + step / 2 * first)
            third = slope(u + step / 2 * second)
            fourth = slope(u + step * third)
            u += step / 6 * (first + 2 * second + 2 * third + fourth)
        now = time
        found.append(u)
    return torch.tensor(found, dtype=torch.float64)


def _check(strength: float, start: float) -> None:
    if not (strength > 0 and start > 0):
        raise MethodError(
            f"A mode has a positive strength and a positive start, not {strength:g} and {start:g}.",
            hint="From 0 it never starts.",
        )
