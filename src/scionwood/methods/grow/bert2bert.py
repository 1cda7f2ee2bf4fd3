"""Wider by copies, the new rows from the same block or from the next one (Chen et al., 2022, arXiv:2110.07207).

What reads an axis takes the columns g, divided by the number of copies (in-expansion). What writes it takes the rows g:

- ``fpi``, function-preserving: of the same block; with D a multiple of d, the function stays.
- ``aki``, advanced knowledge: the new rows j >= n of the *next* block, whose columns are expanded as its own; the last
  block falls back on itself. Copies that differ break the symmetry that keeps equal ones equal, at the price of exactness.

g(j) = j mod n, which keeps norms where D is a multiple of d. Whole heads are copied; embeddings and norms take g as they
are. The paper grows depth by stacking: ``--depth stack``. From memory of the paper, the numbers computed by hand: its
code was not at hand.
"""

from typing import Literal

import torch

from scionwood.methods.grow.growth import Growth
from scionwood.methods.record import method

__all__ = ["bert2bert"]


@method(unit="axis", laws=set(), paper="2110.07207", resizes=("free", "output", "positional"))
def bert2bert(source: int, target: int, *, expansion: Literal["fpi", "aki"] = "aki") -> Growth:
    """Return the index j mod n, and for ``aki`` that its new indices are the next block's.

    >>> bert2bert(2, 3).index.tolist(), bert2bert(2, 3).following.tolist()
    ([0, 1, 0], [False, False, True])

    Args:
        expansion: fpi takes new rows from the same block, aki from the next.
    """
    index = torch.arange(target) % source
    following = torch.arange(target) >= source
    return Growth(index, divide=True, following=following if expansion == "aki" else None)
