"""Fluctuations: how a signal differs between draws of a network (Day et al., 2023, arXiv:2310.07765).

    K_l = mean over units of z_l^2, for one input;     V_l = n Var(K_l) / E[K_l]^2 over draws of the network

For Gaussian weights V grows in proportion to depth: with depth over width, single networks leave the theory of wide
ones. For orthogonal weights and tanh it stays small at any depth; without an activation it is 0.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["Fluctuation", "fluctuation"]


class Fluctuation(NamedTuple):
    """One layer of the probe.

    Args:
        layer: which, from 1.
        mean: E[K].
        relative: n Var(K) / E[K]^2.
    """

    layer: int
    mean: float
    relative: float


def fluctuation(
    draw: Callable[[int, int, torch.Generator], Tensor],
    activation: Callable[[Tensor], Tensor],
    *,
    width: int,
    layers: int,
    networks: int,
    seed: int = 0,
) -> list[Fluctuation]:
    """Return mean and fluctuation of every layer of square networks, over draws of all their weights.

    >>> def gaussian(width, layer, generator):
    ...     return torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5
    >>> rows = fluctuation(gaussian, torch.tanh, width=16, layers=3, networks=100)
    >>> [row.layer for row in rows], rows[2].relative > rows[0].relative
    ([1, 2, 3], True)

    Args:
        draw: (width, layer, generator) to a weight (width, width).
        activation: applied before every layer but the first, which reads an input of ones.
        width: n.
        layers: how many.
        networks: how many draws, at least two.
        seed: of the generator.

    Raises:
        MethodError: fewer than two networks.
    """
    if networks < 2:
        raise MethodError(f"A fluctuation is over at least two networks, not {networks}.")
    generator = torch.Generator().manual_seed(seed)
    kernels = torch.empty(networks, layers, dtype=torch.float64)
    for network in range(networks):
        signal = torch.ones(width, dtype=torch.float64)
        for layer in range(layers):
            read = activation(signal) if layer else signal
            signal = draw(width, layer, generator).double() @ read
            kernels[network, layer] = signal.square().mean()
    means, variances = kernels.mean(dim=0), kernels.var(dim=0)
    relative = width * variances / means.square()
    return [Fluctuation(layer + 1, float(means[layer]), float(relative[layer])) for layer in range(layers)]
