"""Orthogonal weights at criticality: fluctuations that do not grow with depth (Day et al., 2023, arXiv:2310.07765).

    W = sqrt(C_W max(1, out / in)) Q,   Q semi-orthogonal by Haar measure;   b = 0

C_W = 1 / f'(0)^2 for odd functions (1 for tanh), 1 / E[f(Z)^2] otherwise (2 for ReLU). With Gaussian weights the
variance of a layer's signal from one draw of the network to the next grows in proportion to depth over width; with
orthogonal ones and tanh it stops growing after some twenty layers (``scionwood.inspect.fluctuation`` measures it). It
helps deep, narrow nets without norms. For ReLU orthogonality does not remove the fluctuations; and at criticality the
signal of tanh itself still shrinks as 1 / depth.

Functions that are neither odd nor homogeneous are not in the paper. The first and last layers may be Gaussian there
(``ends``).
"""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from scionwood.methods.initialize.activations import Activation, Function, reading
from scionwood.methods.initialize.drawing import normal, orthogonal_weight, shaped, zeros
from scionwood.methods.initialize.moments import moments
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["critical_variance", "orthogonal_critical"]


@method(scope="tensor", laws={"shape", "deterministic", "variance", "orthogonal"}, paper="2310.07765")
def orthogonal_critical(
    site: Site,
    generator: torch.Generator,
    *,
    activation: Function | None = None,
    c_w: Annotated[float, Finite(above=0)] | None = None,
    ends: Literal["orthogonal", "gaussian"] = "orthogonal",
) -> Tensor | None:
    """Return orthogonal weights at criticality; biases are zero.

    >>> weight = orthogonal_critical(Site("w", "linear", (3, 3), reads="tanh"), torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(weight @ weight.T, torch.eye(3), atol=1e-6))
    True

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        activation: the function to count with, rather than the one that each weight reads.
        c_w: fan_in times the variance of a weight, rather than the critical one.
        ends: whether the first and the last layer are orthogonal too, or Gaussian with the same variance.
    """
    if site.kind == "bias":
        return zeros(site)
    if not site.is_weight:
        return None
    variance = c_w if c_w is not None else critical_variance(reading(site, activation))
    if ends == "gaussian" and (site.head or site.reads == "input"):
        return normal(site, math.sqrt(variance / site.fan_in), generator)
    return shaped(site, orthogonal_weight(site, generator) * math.sqrt(variance))


def critical_variance(function: Activation) -> float:
    """Return C_W.

    >>> from scionwood.methods.initialize.activations import activation
    >>> critical_variance(activation("tanh")), round(critical_variance(activation("relu")), 12)
    (1.0, 2.0)
    """
    points = torch.tensor([0.1, 0.7, 1.9, 4.3], dtype=torch.float64)
    slope = function.slope(0.0)
    if not function.gated and slope and torch.allclose(function(points), -function(-points), atol=1e-12):
        return 1 / slope**2
    return 1 / moments(function, 1.0).second
