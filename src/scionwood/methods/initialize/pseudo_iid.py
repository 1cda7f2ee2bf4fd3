"""Pseudo-iid weights: low rank, block-sparse or orthogonal, critical (Nait Saada et al., 2023, arXiv:2310.16597).

    low rank      sigma_w / sqrt(r) A Q^T,  A ~ N(0, 1) of (out, r),  Q of (in, r) with orthonormal columns
    block-sparse  a share p of the blocks, entries N(0, sigma_w / sqrt(p fan_in)), rows and columns shuffled
    orthogonal    sigma_w sqrt(max(1, out / in)) times a semi-orthogonal matrix

Rows that can be exchanged, entries that are uncorrelated with variance sigma_w^2 / fan_in and have bounded moments give
wide networks the same Gaussian limit as independent weights do: so the (sigma_w, sigma_b) of ``edge_of_chaos`` carries
over unchanged. It helps where the weights are to stay of low rank or sparse through training. The rank must grow with
the width for it to hold: a few directions in a wide layer are outside of the class.

That entries may be drawn so is the paper's result; the three constructions are reconstructions from its abstract, each
with the variance that it asks for. Blocks are not thrown one by one, which leaves a small layer with none in one draw of
three and its rows dead in most: as many as p says are kept, as evenly over block rows and columns as they go, at least
one in each. Where the layer has too few blocks for that, they are smaller.
"""

import math
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from scionwood.methods.initialize import edge_of_chaos
from scionwood.methods.initialize.activations import Function, reading
from scionwood.methods.initialize.drawing import normal, orthogonal_weight, shaped, zeros
from scionwood.methods.initialize.edge_of_chaos import Unstable, bias_std, point_for
from scionwood.methods.initialize.orthogonal import orthogonal
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["block_sparse", "low_rank_product", "pseudo_iid", "taken"]


def taken(
    site: Site,
    *,
    ensemble: str = "low_rank",
    density: float = 0.25,
    block: int = 16,
    sigma_w: float | None = None,
    **options: Any,
) -> str:
    """Return what a ledger says of a weight or a bias: the point that it takes, and its blocks.

    >>> taken(Site("fc.weight", "linear", (32, 32), reads="relu"), ensemble="block_sparse")
    'sigma_w 1.4142, sigma_b 0; 4 of 16 blocks of 8 x 8'
    """
    point = edge_of_chaos.taken(site, **options) if sigma_w is None else ""
    if ensemble != "block_sparse" or not site.is_weight:
        return point
    side, high, wide, kept = _grid(site.shape[0], site.fan_in, density, block)
    return "; ".join(filter(None, [point, f"{kept} of {high * wide} blocks of {side} x {side}"]))


@method(scope="tensor", laws={"shape", "deterministic", "variance"}, paper="2310.16597", note=taken)
def pseudo_iid(
    site: Site,
    generator: torch.Generator,
    *,
    ensemble: Literal["low_rank", "block_sparse", "orthogonal"] = "low_rank",
    rank: Annotated[float, Finite(above=0, at_most=1)] = 0.25,
    density: Annotated[float, Finite(above=0, at_most=1)] = 0.25,
    block: Annotated[int, Finite(at_least=1)] = 16,
    activation: Function | None = None,
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
        density: of a block-sparse matrix, the share of blocks that are kept.
        block: side of a block; smaller in layers that have fewer than 1 / density of them along a side.
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

    No row and no column is zero.

    >>> matrix = block_sparse(64, 64, 0.25, 16, torch.Generator().manual_seed(0))
    >>> float((matrix != 0).double().mean()) * 16 % 1  # whole blocks, of sixteen
    0.0
    """
    side, high, wide, kept = _grid(rows, columns, density, block)
    place = torch.arange(kept)
    grid = torch.zeros(high, wide, dtype=torch.bool)
    # Along diagonals that wrap around and move on by one each time they close.
    grid[place % high, (place + place // math.lcm(high, wide)) % wide] = True
    grid = _shuffled(grid, generator)  # the last ones are cut where the side does not divide the matrix
    mask = grid.repeat_interleave(side, 0)[:rows].repeat_interleave(side, 1)[:, :columns]
    mask = _shuffled(mask, generator)
    entries = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    return entries * mask / math.sqrt(kept / grid.numel() * columns)


def _grid(rows: int, columns: int, density: float, block: int) -> tuple[int, int, int, int]:
    """The side of a block, how many are above each other and beside each other, and how many are kept."""
    side = min(block, max(1, int(min(rows, columns) * density)))
    high, wide = -(-rows // side), -(-columns // side)
    return side, high, wide, max(round(density * high * wide), high, wide)


def _shuffled(matrix: Tensor, generator: torch.Generator) -> Tensor:
    rows, columns = (torch.randperm(size, generator=generator) for size in matrix.shape)
    return matrix[rows][:, columns]
