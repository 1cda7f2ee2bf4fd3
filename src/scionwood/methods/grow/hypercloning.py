"""Every index is copied k times, and what reads copies is divided by k (Samragh et al., 2024, arXiv:2409.12903).

With r_out and r_in copies along its two dimensions, W becomes W.repeat(r_out, r_in) / r_in: on [x, …, x] it gives
[y, …, y], and so do biases, norms and embeddings repeated without division. Heads are copied whole. Where a head itself
is widened m times, the score grows by sqrt(m), which queries and keys share as m^(-1/4) each; a tied embedding is not
divided, so that the norm before the output head is, k times. Neither is decided here: the verb finds them in the graph.

**Noise.** A clone without noise stays one: its copies get equal gradients, so that training never leaves what the small
model could compute. In every pair of neighbouring copies that a tensor reads, +N goes to the first and -N to the second,
with a power of 10^(-snr_db / 10) of the block's; equal inputs cancel it. The default of 10 is the noisy clone's of the
paper's comparison; the official code has none unless asked. Give none to compare functions bit for bit.

It helps where the larger model is to go on from where the smaller one is: the paper measures 2 to 4 times fewer tokens to
the same loss. It serves only sizes that are multiples.
"""

from typing import Annotated

import torch

from scionwood.errors import MethodError
from scionwood.methods.grow.growth import Growth
from scionwood.methods.record import Finite, method

__all__ = ["hypercloning"]


@method(unit="axis", laws={"preserving"}, paper="2409.12903", resizes=("free", "output", "positional"))
def hypercloning(source: int, target: int, *, snr_db: Annotated[float, Finite()] | None = 10.0) -> Growth:
    """Return the index 0 … n - 1, over and over.

    >>> hypercloning(3, 6).index.tolist()
    [0, 1, 2, 0, 1, 2]

    Args:
        snr_db: power of a block of weights over that of the noise in it, in decibels; none for no noise.

    Raises:
        MethodError: the target is no multiple of the source.
    """
    if target % source:
        below, above = target // source * source, -(-target // source) * source
        raise MethodError(
            f"hypercloning makes whole copies: {target} is no multiple of {source}",
            hint=f"give {above}"
            + (f" or {below}" if below > source else "")
            + ", or the method copy_pad, which serves any size",
        )
    return Growth(torch.arange(source).repeat(target // source), divide=True, snr_db=snr_db)
