"""Low-rank initialisation: the same length in fewer directions (Liu et al., 2023, arXiv:2310.08513).

    W_0 ~ N(0, gain / sqrt(fan_in));   W_r = the r largest singular directions of W_0;   W = W_r |W_0|_F / |W_r|_F

The rank of the first weights decides how much a network must change its features: low rank learns richly, a full random
matrix lazily, unless the few directions already fit the task, which is lazy again. ``scionwood.inspect.lazy`` measures
it. All ranks are cut from one draw. Keeping the Frobenius norm raises the spectral norm as the rank falls (5 times from
full rank to rank 1 at width 100): a recurrent net may explode at rank 1.

The gain is that of the published code, for recurrent weights of width 300.
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import shaped
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["low_rank", "truncated"]


@method(scope="tensor", laws={"shape", "deterministic", "variance"}, paper="2310.08513")
def low_rank(
    site: Site,
    generator: torch.Generator,
    *,
    rank: Annotated[int, Finite(at_least=1)] | Annotated[float, Finite(above=0, at_most=1)] = 0.1,
    gain: Annotated[float, Finite(above=0)] = 1.25,
) -> Tensor | None:
    """Return a weight of low rank with the length of a full one; biases are left.

    >>> weight = low_rank(Site("w", "linear", (40, 40)), torch.Generator().manual_seed(0), rank=5)
    >>> int(torch.linalg.matrix_rank(weight))
    5

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        rank: a whole number of directions, or a share of the smaller side.
        gain: std of a weight times sqrt(fan_in).
    """
    if not site.is_weight:
        return None
    rows, columns = site.shape[0], site.fan_in
    full = torch.randn(rows, columns, generator=generator, dtype=torch.float64) * (gain / math.sqrt(columns))
    count = rank if isinstance(rank, int) else max(1, round(rank * min(rows, columns)))
    return shaped(site, truncated(full, count))


def truncated(matrix: Tensor, rank: int) -> Tensor:
    """Return the best approximation of a rank, made as long as the matrix.

    >>> truncated(torch.diag(torch.tensor([4.0, 3.0])), 1)
    tensor([[5., 0.],
            [0., 0.]])
    """
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    kept = values[:rank]
    length = values.square().sum().sqrt() / kept.square().sum().sqrt().clamp(min=1e-300)
    return (left[:, :rank] * (kept * length)) @ right[:rank]
