"""What initialisers do with their draws: numbers of a site's shape, in float32."""

import math

import torch
from torch import Tensor

from scionwood.methods.initialize.orthogonal import orthogonal
from scionwood.methods.initialize.site import Site

__all__ = ["normal", "orthogonal_weight", "shaped", "uniform", "zeros"]


def normal(site: Site, std: float, generator: torch.Generator) -> Tensor:
    """Return Gaussian numbers of mean 0.

    >>> float(normal(Site("w", "linear", (100, 100)), 0.5, torch.Generator().manual_seed(0)).std().round(decimals=2))
    0.5
    """
    return torch.randn(site.shape, generator=generator).mul_(std)


def uniform(site: Site, bound: float, generator: torch.Generator) -> Tensor:
    """Return numbers spread evenly between -bound and bound.

    >>> float(uniform(Site("w", "linear", (100, 100)), 0.5, torch.Generator().manual_seed(0)).abs().max().round(decimals=2))
    0.5
    """
    return torch.rand(site.shape, generator=generator).mul_(2 * bound).sub_(bound)


def zeros(site: Site) -> Tensor:
    """Return zeros.

    >>> zeros(Site("b", "bias", (2,)))
    tensor([0., 0.])
    """
    return torch.zeros(site.shape)


def shaped(site: Site, matrix: Tensor) -> Tensor:
    """Return a matrix of (out, in * taps) as the site wants it, in float32.

    >>> shaped(Site("w", "convolution", (2, 1, 3)), torch.ones(2, 3, dtype=torch.float64)).shape
    torch.Size([2, 1, 3])
    """
    return matrix.reshape(site.shape).float()


def orthogonal_weight(site: Site, generator: torch.Generator) -> Tensor:
    """Return a weight's (out, in * taps) with every entry of mean square 1 / fan_in, rows or columns orthogonal.

    A semi-orthogonal matrix is multiplied by sqrt(max(1, out / in)). Each group of a grouped convolution, a map of its
    own, has its own draw.

    >>> weight = orthogonal_weight(Site("w", "linear", (6, 3)), torch.Generator().manual_seed(0))
    >>> round(float((weight**2).mean() * 3), 12)
    1.0
    """
    rows = site.shape[0] // site.groups
    scale = math.sqrt(max(1.0, rows / site.fan_in))
    return torch.cat([orthogonal(rows, site.fan_in, generator) * scale for _ in range(site.groups)])
