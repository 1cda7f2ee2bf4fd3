"""IBP initialisation: interval bounds that neither explode nor vanish (Shi et al., 2021, arXiv:2103.17268).

    W ~ N(0, sqrt(2 pi) / fan_in), the last layer but not;   what reads the ReLU of a residual sum: half of that

For certified training by interval bound propagation. An interval's half-width is multiplied by fan_in E|w|, 2 here, and
halved by ReLU, so that it keeps its size at any depth; with He initialisation it grows by some nine times a layer at a
width of 256. The weights are so small that ordinary training stalls unless a BatchNorm follows every layer. Norms,
biases and the last layer are left as they are.
"""

import math

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import normal
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import method

__all__ = ["interval"]


@method(scope="tensor", laws={"shape", "deterministic", "variance"}, paper="2103.17268")
def interval(site: Site, generator: torch.Generator) -> Tensor | None:
    """Return Gaussian weights that keep intervals at their width.

    >>> weight = interval(Site("w", "linear", (500, 100)), torch.Generator().manual_seed(0))
    >>> round(float(weight.std()), 3)
    0.025

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
    """
    if not site.is_weight or site.head:
        return None
    std = math.sqrt(2 * math.pi) / site.fan_in
    # A residual sum has intervals twice as wide: those of both its sides. Without a ReLU the paper says nothing of it.
    return normal(site, std / 2 if site.reads_sum and site.reads == "relu" else std, generator)
