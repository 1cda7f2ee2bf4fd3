"""The old weights in the corner, the rest as the target begins, for masks to fade in (Yao et al., 2023, arXiv:2305.02869).

W' = [[W, ·], [·, ·]], the dots as the target's own class initialises them. Taken by itself this changes the function: in
masked structural growth it is masks c, ramped from 0 to 1 in training, that keep it. They multiply the new channels, inner
activations and heads, and mix new blocks in as c B(x) + (1 - c) x; at c = 0 the function is the source's whatever the new
weights are. The verb makes the weights; the masks belong to training. They take the first channels for the old ones: where a
constant says where the old ones stand (rotary frequencies, slopes of heads), masks could not, and the new ones add nothing.
"""

import torch

from scionwood.methods.grow.growth import Growth, Place
from scionwood.methods.record import method

__all__ = ["masked"]


@method(unit="axis", laws={"corner"}, paper="2305.02869", resizes=("free", "output", "positional"))
def masked(source: int, target: int, kind: str, place: Place) -> Growth:
    """Return the index 0 … n - 1, and new indices after it, drawn on both sides.

    >>> masked(2, 3, "free", "inner").index.tolist(), masked(2, 3, "free", "inner").reading
    ([0, 1, -1], 'drawn')
    """
    index = torch.cat([torch.arange(source), torch.full((target - source,), -1)])
    if kind == "positional":
        return Growth(index, writing="zero" if place == "score" else "drawn", reading="zero")
    return Growth(index, writing="drawn", reading="drawn")
