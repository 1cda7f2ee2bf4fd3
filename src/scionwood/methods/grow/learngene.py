"""Learngenes: how the blocks of a model of any depth come from a few (Xia et al., 2024, arXiv:2404.16897; 2023, arXiv:2312.05614).

    stage-wise weight sharing   layer l is block s, n_s times in a row, s = 1 … m
    linear expansion (TLEG)     theta_l = B + (l - 1) / L A,   l = 1 … L

The depth rules ``stage_sharing`` and ``linear_expansion`` grow by these formulas, and ``scionwood.train.growth.learngene``
trains by them the few blocks that are grown from.
"""

import itertools
from collections.abc import Sequence

from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["allocate", "expanded"]


def allocate(depth: int, repeats: Sequence[int]) -> list[int]:
    """Return how many of a model's layers each stage gets: spread as in the auxiliary model, the rest to later stages.

    >>> allocate(12, [3, 3, 3, 3]), allocate(6, [3, 3, 3, 3]), allocate(9, [1, 2, 3])
    ([3, 3, 3, 3], [1, 1, 2, 2], [1, 3, 5])

    Args:
        depth: of the model that is made.
        repeats: how often the auxiliary model applies the block of each stage.

    Raises:
        MethodError: fewer layers than stages, or a stage without layers.
    """
    if not repeats or min(repeats) < 1:
        raise MethodError(f"every stage has a layer at least, found {list(repeats)}")
    if depth < len(repeats):
        raise MethodError(f"{depth} layers do not reach for {len(repeats)} stages: each needs one")
    total = sum(repeats)
    counts = [max(1, depth * repeat // total) for repeat in repeats]
    for stage in itertools.cycle(reversed(range(len(repeats)))):
        if sum(counts) >= depth:
            break
        counts[stage] += 1
    while sum(counts) > depth:  # the least stages were lifted to one: the largest pays
        counts[counts.index(max(counts))] -= 1
    return counts


def expanded(start: Tensor, slope: Tensor, layer: int, depth: int) -> Tensor:
    """Return B + layer / depth A: a weight of one layer, counted from 0, of a model of some depth.

    >>> import torch
    >>> [float(expanded(torch.tensor(1.0), torch.tensor(2.0), layer, 4)) for layer in range(4)]
    [1.0, 1.5, 2.0, 2.5]

    Args:
        start: B, of any shape.
        slope: A, of the same.
        layer: from 0 to depth - 1.
        depth: of the model.
    """
    return start + layer / depth * slope
