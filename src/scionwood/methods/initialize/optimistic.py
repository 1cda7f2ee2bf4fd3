"""Optimistic start of value functions: every state looks good until it was seen (Guei et al., 2021, arXiv:2111.11090).

    V(s) = sum of m weights looked up = V_init:   w = V_init / m        a linear head: bias = V_init, weight unchanged

Updates pull the value of visited states down to what they are worth, so that greedy play prefers what it has not tried:
exploration without randomness. m counts every lookup of a state, the mirror images of a pattern too: 8 patterns with 8
symmetries have 64, so 320000 becomes 5000 in the paper's networks for 2048. Too large a value slows learning in
proportion. Accumulators of a learning rule (temporal coherence) start at 0 all the same.

The paper trains with this start for 90 % of the time at rate 0.1, then by temporal coherence at rate 1.
"""

from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["optimistic"]


@method(scope="tensor", laws={"shape", "deterministic"}, paper="2111.11090")
def optimistic(
    site: Site,
    *,
    value: Annotated[float, Finite()],
    active: Annotated[int, Finite(at_least=1)] = 1,
) -> Tensor | None:
    """Return the first value of the tables whose rows add up to the model's output, or of its head's bias; all others are left.

    The row of padding, which is never learned, is zero.

    >>> table = Site("table.weight", "embedding", (2, 1), head=True)
    >>> optimistic(table, value=320000.0, active=64).flatten().tolist()
    [5000.0, 5000.0]

    Args:
        site: the tensor.
        value: V_init, what every state is worth before it was seen.
        active: how many weights of the tables a state adds up.
    """
    if not site.head:
        return None
    if site.kind == "bias":
        return torch.full(site.shape, value)
    if site.kind not in ("embedding", "table"):
        return None
    made = torch.full(site.shape, value / active)
    if site.padding is not None:
        made[site.padding] = 0.0
    return made
