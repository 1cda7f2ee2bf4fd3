"""Gain of an activation function from its value and slope at 0 (Kumar, 2017, arXiv:1704.08863).

    std^2 = 1 / (fan_in g'(0)^2 (1 + g(0)^2))        with a corner at 0 (ReLU): std^2 = 1 / (fan_in E[g(Z)^2])

He initialisation for whatever is smooth at 0: 1 for tanh, 12.8 for the sigmoid (3.58 / sqrt(fan_in)), 2 for ReLU. A deep
sigmoid net keeps its signal longer with it: over ten layers of 512 the spread of a batch falls to 2e-2 rather than 2e-6.
It slows the collapse, it does not prevent it. It is a linearisation: far from 0 it is wrong, and for GELU and SiLU it
gives 2 / sqrt(fan_in) where 1.53 and 1.68 keep a Gaussian (see ``vi3nr``); the 1 + g(0)^2 takes the variance before the
activation to be 1.

The formula is that of the abstract with the paper's constant 3.6 for the sigmoid reproduced; the paper treats ReLU alone
among functions with a corner, and products (gated units) not at all: both take the exact moment here.
"""

import math

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.initialize.activations import Activation, Function, reading
from scionwood.methods.initialize.drawing import normal, zeros
from scionwood.methods.initialize.moments import moments
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import method

__all__ = ["activation_gain", "variance_factor"]


@method(scope="tensor", laws={"shape", "deterministic", "variance"}, paper="1704.08863")
def activation_gain(site: Site, generator: torch.Generator, *, activation: Function | None = None) -> Tensor | None:
    """Return Gaussian weights by the value and slope of the activation they read; biases are zero.

    >>> site = Site("fc.weight", "linear", (256, 400), reads="sigmoid")
    >>> round(float(activation_gain(site, torch.Generator().manual_seed(0)).std()), 3)
    0.179

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        activation: the function to count with, rather than the one that each weight reads.

    Raises:
        MethodError: the function is flat at 0, or has no name here.
    """
    if site.kind == "bias":
        return zeros(site)
    if not site.is_weight:
        return None
    return normal(site, math.sqrt(variance_factor(reading(site, activation)) / site.fan_in), generator)


def variance_factor(function: Activation) -> float:
    """Return fan_in std^2.

    >>> from scionwood.methods.initialize.activations import activation
    >>> [round(variance_factor(activation(name)), 6) for name in ("tanh", "sigmoid", "softplus", "silu", "relu")]
    [1.0, 12.8, 2.701876, 4.0, 2.0]

    Raises:
        MethodError: the function is flat at 0.
    """
    value, left, right = function.value(0.0), function.slope(-1e-7), function.slope(1e-7)
    if function.gated or abs(left - right) > 1e-5 + 1e-3 * max(abs(left), abs(right)):
        return 1 / moments(function, 1.0).second
    slope = (left + right) / 2
    if abs(slope) < 1e-6:
        raise MethodError(
            f"{function.name} is flat at 0, so that its slope there gives no gain.",
            hint="initialize.vi3nr takes the exact moments instead.",
        )
    # At 0 itself: the two sides agree, and autograd is exact there.
    slope = function.slope(0.0) or slope
    return 1 / (slope**2 * (1 + value**2))
