"""Wider by random copies, divided by how often each was copied: Net2WiderNet (Chen et al., 2016, arXiv:1511.05641).

g(j) = j for j < n, and drawn from 0 … n - 1 beyond. What writes the axis takes the rows g, what reads it the columns g,
each divided by the number of its copies, so that W2' W1' x = W2 W1 x for anything elementwise in between. Any target size
is served. All tensors of an axis share one g.

Exact where no norm stands along the axis: a norm's statistics weigh every channel by its copies, so that only a target in
which all are copied equally often keeps them. ``balanced`` draws so: no index is copied twice before all are copied once.
With ``noise``, the copies differ by a share of the tensor's deviation in what reads them, paired so that it cancels.

The widely used port in PyTorch (erogol) normalises the old weights and adds noise unasked, and does not preserve.
"""

from typing import Annotated

import torch

from scionwood.methods.grow.growth import Growth
from scionwood.methods.record import Finite, method

__all__ = ["net2net"]


@method(unit="axis", laws={"preserving"}, paper="1511.05641", resizes=("free", "output", "positional"))
def net2net(
    source: int,
    target: int,
    generator: torch.Generator,
    *,
    balanced: bool = False,
    snr_db: Annotated[float, Finite()] | None = None,
) -> Growth:
    """Return the index 0 … n - 1, and drawn ones after it.

    >>> net2net(2, 3, torch.Generator().manual_seed(0)).index[:2].tolist()
    [0, 1]

    Args:
        balanced: copy every index once before any is copied twice.
        snr_db: power of the weights over that of noise that cancels between neighbouring copies, in decibels; none
            for no noise.
    """
    more = target - source
    if balanced:
        rounds = [torch.randperm(source, generator=generator) for _ in range(-(-more // source))]
        drawn = torch.cat([*rounds, torch.arange(0)])[:more]
    else:
        drawn = torch.randint(source, (more,), generator=generator)
    return Growth(torch.cat([torch.arange(source), drawn]), divide=True, snr_db=snr_db)
