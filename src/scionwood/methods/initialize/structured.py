"""First std and learning rate of the factors of a structured layer (Qiu et al., 2024, arXiv:2406.06248).

    std = sqrt(min(d_in, d_out)) / d_in        Adam's rate: (d_in of the whole / d_in of the factor) / number of factors

A factor is a dense block from d_in to d_out numbers. With this std its largest singular value is near sqrt(d_out / d_in),
what maximal update parametrisation asks of a dense layer; 1 / sqrt(d_in) would make a factor of low rank too large.
``scionwood.train.layers.structured`` has the layers and says which blocks they are made of. The rates mean something only
for optimisers that, like Adam, step by a fixed length.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scionwood.errors import MethodError

__all__ = ["Factor", "factor_std", "factors"]


class Factor(NamedTuple):
    """One factor of a structured layer.

    Args:
        inputs: d_in of its dense block.
        outputs: d_out of its dense block.
        std: of its first entries.
        rate: what Adam's learning rate is multiplied by.
    """

    inputs: int
    outputs: int
    std: float
    rate: float


def factor_std(inputs: int, outputs: int) -> float:
    """Return the std of a factor's first entries.

    >>> factor_std(1024, 1024), factor_std(4096, 1024), round(factor_std(1024, 32), 8)
    (0.03125, 0.0078125, 0.00552427)
    """
    return math.sqrt(min(inputs, outputs)) / inputs


def factors(inputs: int, blocks: Sequence[tuple[int, int]]) -> list[Factor]:
    """Return what each factor of a layer starts with.

    >>> [(round(factor.std, 7), factor.rate) for factor in factors(1024, [(1024, 32), (32, 1024)])]
    [(0.0055243, 0.5), (0.1767767, 16.0)]

    Args:
        inputs: of the whole layer.
        blocks: (inputs, outputs) of each factor's dense block.

    Raises:
        MethodError: there are no factors.
    """
    if not blocks:
        raise MethodError("A structured layer has at least one factor.")
    return [Factor(into, out, factor_std(into, out), inputs / into / len(blocks)) for into, out in blocks]
