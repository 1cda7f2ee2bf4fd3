"""Maxout initialisation: a signal kept through maxima of K pieces (Tseran & Montufar, 2023, arXiv:2301.06956).

    W ~ N(0, sqrt(c / fan_in)),   c = 1 / E[(max of K normals)^2];   b = 0;   the last layer: c = 1

c is 1, 0.784, 0.645, 0.556 for K = 2, 3, 4, 5; where a max-pooling over n places follows, that of K n pieces (0.266 for
K = 5 and 2 x 2 places, the published 0.26573). He's 2, right for ReLU, lets the signal grow by a factor of 3.6 a layer at
K = 5. Fan-in counts the units of the layer before, not their pieces, as a weight's own shape does. How much a gradient
grows depends on the input, so this holds in expectation over wide layers only.

The published table agrees to its last digit but one; here the integral is computed. The default K is the paper's.
"""

import math
from functools import lru_cache
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import normal, zeros
from scionwood.methods.initialize.moments import expectation
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["maxout", "mean_square_maximum"]


@method(scope="tensor", laws={"shape", "deterministic", "variance"}, paper="2301.06956")
def maxout(
    site: Site,
    generator: torch.Generator,
    *,
    pieces: Annotated[int, Finite(at_least=1)] = 5,
    pooling: Annotated[int, Finite(at_least=1)] = 1,
) -> Tensor | None:
    """Return Gaussian weights for layers of maxima; biases are zero.

    >>> weight = maxout(Site("w", "linear", (500, 200)), torch.Generator().manual_seed(0))
    >>> round(float(weight.var() * 200), 2)
    0.56

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        pieces: how many pieces each maximum is of.
        pooling: how many places a max-pooling takes right after; 4 for 2 x 2.
    """
    if site.kind == "bias":
        return zeros(site)
    if not site.is_weight:
        return None
    factor = 1.0 if site.head else 1 / mean_square_maximum(pieces * pooling)
    return normal(site, math.sqrt(factor / site.fan_in), generator)


@lru_cache
def mean_square_maximum(count: int) -> float:
    """Return E[(max of some standard normals)^2].

    >>> [round(mean_square_maximum(count), 6) for count in (1, 2, 3, 4, 5)]
    [1.0, 1.0, 1.275664, 1.551329, 1.80002]
    """

    def integrand(z: Tensor) -> Tensor:
        below = torch.special.ndtr(z)
        return (count * z.square() * below ** (count - 1))[None]

    return float(expectation(integrand, [float(cut) for cut in range(-8, 9)]))
