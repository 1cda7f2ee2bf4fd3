"""Within heads: every source head gives an equal share of its channels (after Xu et al., 2024, arXiv:2311.18823).

The last axis of the unit is the width of a head. Where H heads of width W become h heads of width w, every target head
is made of H / h source heads, each giving w h / H channels, evenly spaced within it by the rule of ``uniform``. With
the number of heads unchanged that is the same head, thinner. It helps where every head matters and width can be spared;
for rotary models the two halves of a width are cut apart, by the anatomy.

Heads in groups (key heads x query heads for each) are joined axis by axis, so that queries follow their keys; then the
index is not increasing. A unit of one axis has no heads: ``uniform``. The rule is ours: the paper has the flat one,
which equals it when everything divides.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import method
from scionwood.methods.select.spacing import flat
from scionwood.methods.select.uniform import uniform

__all__ = ["within_heads"]


@method(unit="dimension", laws={"identity", "fair"}, paper="2311.18823")
def within_heads(source: Sequence[int], target: Sequence[int]) -> Tensor:
    """Return indices to which every source head gives the same number of channels.

    >>> within_heads((2, 4), (2, 2)).tolist()  # two heads, half as wide
    [0, 2, 4, 6]
    >>> within_heads((4, 4), (2, 4)).tolist()  # each target head is half of one and half of the next
    [0, 2, 4, 6, 8, 10, 12, 14]

    Raises:
        MethodError: the target is larger than the source, or the shares do not come out even.
    """
    flat(source, target)
    if len(source) == 1:
        return uniform(source, target)
    *heads, width = source
    *new_heads, new_width = target
    problems: list[str] = []
    parts = 1
    if len(heads) != len(new_heads):
        problems.append(f"the source has {len(heads)} axes of heads, the target {len(new_heads)}")
    for number, new_number in zip(heads, new_heads, strict=False):
        if number % new_number:
            problems.append(f"{number} heads do not come together in {new_number}")
        parts *= number // new_number
    if new_width % max(parts, 1):
        problems.append(f"{parts} source heads cannot share a target head of width {new_width}")
    if problems:
        raise MethodError(
            f"No equal shares within heads from {' x '.join(map(str, source))} to {' x '.join(map(str, target))}.",
            problems=problems,
            hint="uniform takes any sizes.",
        )
    # Split each axis of heads in (new heads, heads that come together), then bring all of the latter next to the width.
    split = [size for n, m in zip(heads, new_heads, strict=True) for size in (m, n // m)]
    count = len(heads)
    order = [*range(0, 2 * count, 2), *range(1, 2 * count, 2), 2 * count]
    index = torch.arange(math.prod(source)).view(*split, width).permute(order)
    return index.index_select(-1, uniform((width,), (new_width // parts,))).flatten()
