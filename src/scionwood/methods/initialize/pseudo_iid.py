"""Pseudo-iid weights: low rank, block-sparse or orthogonal, critical (Nait Saada et al., 2023, arXiv:2310.16597).

    low rank      sigma_w / sqrt(r) A Q^T,  A ~ N(0, 1) of (out, r),  Q of (in, r) with orthonormal columns
    block-sparse  blocks kept with probability p, entries N(0, sigma_w / sqrt(p fan_in)), rows and columns shuffled
    orthogonal    sigma_w sqrt(max(1, out / in)) times a semi-orthogonal matrix

Rows that can be exchanged, entries that are uncorrelated with variance sigma_w^2 / fan_in and have bounded moments give
wide networks the same Gaussian limit as independent weights do: so the (sigma_w, sigma_b) of ``edge_of_chaos`` carries
over unchanged. It helps where the weights are to stay of low rank or sparse through training. The rank must grow with
the width for it to hold: a few directions in a wide layer are outside of the class.

That entries may be drawn so is the paper's result; the three constructions are reconstructions from its abstract, each
with the variance that it asks for. Blocks are weighted by p, not by the share that happened to be kept.
"""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from scionwood.methods.initialize.activations import reading
from scionwood.methods.initialize.drawing import normal, orthogonal_weight, shaped, zeros
from scionwood.methods.initialize.edge_of_chaos import Unstable, bias_std, point_for
from scionwood.methods.initialize.orthogonal import orthogonal
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["block_sparse", "low_rank_product", "pseudo_iid"]


@method(scope="tensor", laws={"shape", "deterministic", "variance"}, paper="2310.16597")
def pseudo_iid(
    site: Site,
    generator: torch.Generator,
    *,
    ensemble: Literal["low_rank", "block_sparse", "orthogonal"] = "low_rank",
    rank: Annotated[float, Finite(above=0, at_most=1)] = 0.25,
    density: Annotated[float, Finite(above=0, at_most=1)] = 0.25,
    block: Annotated[int, Finite(at_least=1)] = 16,
    activation: str | None = None,
    sigma_w: Annotated[float, Finite(above=0)] | None = None,
    sigma_b: Annotated[float, Finite(at_least=0)] = 0.2,
    unstable: Unstable = "doubly",
) -> Tensor | None:
    """Return structured weights with the spread of the edge of chaos, and its biases.

    >>> site = Site("fc.weight", "linear", (64, 64), reads="tanh")
    >>> int(torch.linalg.matrix_rank(pseudo_iid(site, torch.Generator().manual_seed(0))))
    16

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        ensemble: which kind of matrix.
        rank: of a low-rank matrix, as a share of the smaller side.
        density: of a block-sparse matrix, the probability that a block is kept.
        block: side of a block.
        activation: the function to count with, rather than the one that each weight reads.
        sigma_w: std of a weight times sqrt(fan_in), rather than that of the edge of chaos.
        sigma_b: std of the biases.
        unstable: where the variance would run away: take the doubly critical point with its own sigma_b, keep it, or
            refuse.
    """
    if site.kind == "bias":
        std = sigma_b if sigma_w is not None and not site.norm else bias_std(site, activation, sigma_b, unstable)
        return normal(site, std, generator) if std else zeros(site)
    if not site.is_weight:
        return None
    scale = sigma_w if sigma_w is not None else point_for(reading(site, activation), sigma_b, unstable).sigma_w
    rows, columns = site.shape[0], site.fan_in
    if ensemble == "orthogonal":
        matrix = orthogonal_weight(site, generator)
    elif ensemble == "low_rank":
        matrix = low_rank_product(rows, columns, max(1, round(rank * min(rows, columns))), generator)
    else:
        matrix = block_sparse(rows, columns, density, block, generator)
    return shaped(site, matrix * scale)


def low_rank_product(rows: int, columns: int, rank: int, generator: torch.Generator) -> Tensor:
    """Return a random matrix of a rank, its entries of variance 1 / columns.

    >>> low_rank_product(8, 6, 2, torch.Generator().manual_seed(0)).shape
    torch.Size([8, 6])
    """
    left = torch.randn(rows, rank, generator=generator, dtype=torch.float64)
    return left @ orthogonal(columns, rank, generator).T / math.sqrt(rank)


def block_sparse(rows: int, columns: int, density: float, block: int, generator: torch.Generator) -> Tensor:
    """Return a random matrix of which blocks are zero, rows and columns shuffled; its entries of variance 1 / columns.

    >>> matrix = block_sparse(64, 64, 0.25, 16, torch.Generator().manual_seed(0))
    >>> float((matrix != 0).double().mean()) * 16 % 1  # whole blocks, of sixteen
    0.0
    """
    grid = torch.rand(-(-rows // block), -(-columns // block), generator=generator) < density
    mask = grid.repeat_interleave(block, 0)[:rows].repeat_interleave(block, 1)[:, :columns]
    mask = mask[torch.randperm(rows, generator=generator)][:, torch.randperm(columns, generator=generator)]
    entries = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return entries * mask / math.sqrt(density * columns)
