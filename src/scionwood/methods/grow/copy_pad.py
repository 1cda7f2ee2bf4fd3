"""The old weights in the corner, zeros or small numbers around them (arXiv:2104.11390).

W' = [[W, P12], [P21, P22]]. A stream that several blocks share gets new channels that nobody writes (P21 = P22 = 0), so
that whatever reads them (P12, drawn) reads nothing; within a block it is the other way round: the new rows are drawn, and
what reads them is zero. One of the two is drawn, since zeros on both sides get no gradient; but where queries meet keys,
both are zero, so that the new places of a widened head learn nothing by themselves: its values do. Where a constant tells indices apart (rotary frequencies, slopes
of heads), the old weights stand where their constants are in the target, not in the corner.

A norm along the stream counts the new channels, too. ``pad`` says what is done about it:

========  ==========================================================================  =================================
pad       what                                                                        the function stays
========  ==========================================================================  =================================
zero      nothing: the paper's own, approximate                                       without norms along the stream
rms       the gain of every norm is multiplied by sqrt(d / D)                         with root-mean-square norms
mean      the same, and every new channel is the mean of the old ones (the "average   with layer norms, where they only
          expansion" of Wang et al., 2023, arXiv:2310.07999); new gains, biases 0     read the stream (pre-norm)
========  ==========================================================================  =================================

A norm's eps cannot be scaled along, so that the exact forms are exact to eps / variance. The paper has no code; the exact
forms and the default std are derived here, from the equations above. Any target size is served.
"""

from typing import Annotated, Literal

import torch

from scionwood.methods.grow.growth import Growth, Place
from scionwood.methods.record import Finite, method

__all__ = ["copy_pad"]


@method(unit="axis", laws={"corner"}, paper="2104.11390", resizes=("free", "output", "positional"))
def copy_pad(
    source: int,
    target: int,
    place: Place,
    *,
    pad: Literal["zero", "rms", "mean"] = "rms",
    std: Annotated[float, Finite(at_least=0)] = 0.002,
) -> Growth:
    """Return the index 0 … n - 1, and new indices after it.

    >>> copy_pad(2, 4, "stream").index.tolist()
    [0, 1, -1, -1]

    Args:
        pad: what new channels of the stream hold, and whether norms are made up for: zero, rms or mean.
        std: of what is drawn beside the old weights; 0.002 is a tenth of what transformers begin with.
    """
    index = torch.cat([torch.arange(source), torch.full((target - source,), -1)])
    if place == "stream":
        writing = "mean" if pad == "mean" else "zero"
        return Growth(index, writing=writing, reading="drawn", std=std, rescales=pad != "zero")
    if place == "score":
        return Growth(index, writing="zero", reading="zero", std=std, rescales=pad != "zero")
    return Growth(index, writing="drawn", reading="zero", std=std)
