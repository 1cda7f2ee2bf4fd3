"""Layer index rescaling: deeper layers begin with smaller weights (Owen et al., 2025, arXiv:2503.17500).

    layer l of L, from 1:  W ~ N(0, std / sqrt(l factor))        elsewhere, embeddings too:  N(0, std)        biases: 0
    gpt2:                  W ~ N(0, std) everywhere, the last of a residual branch N(0, std / sqrt(2 L))

It keeps the stream of a deep pre-norm decoder from growing with depth; in one of 6 layers it gains nothing (loss 2.656
against 2.604 with the same deviation everywhere); beside it the paper pulls weights back while it
trains (``scionwood.train.rescaling``). The published patch knows ``nn.Linear`` alone and passes over GPT-2's layers;
here every linear map counts, however it is stored. Defaults are the published code's; its recipe for Llama has 0.006.
The row of padding of an embedding is zero, as the published code has it. Learned vectors outside of the layers that
join the stream count as embeddings: positions, kinds of tokens, class tokens. What is looked up inside of a layer, as the
scores by relative position of T5 and Swin are, is neither a linear map nor outside, and is left to its class; so are
positions that are fixed.
"""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import normal, zeros
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["layer_index", "standard_deviation"]

Scheme = Literal["index", "gpt2"]


@method(scope="tensor", laws={"shape", "deterministic"}, paper="2503.17500")
def layer_index(
    site: Site,
    generator: torch.Generator,
    *,
    std: Annotated[float, Finite(above=0)] = 0.02,
    factor: Annotated[float, Finite(above=0)] = 1.0,
    scheme: Scheme = "index",
) -> Tensor | None:
    """Return Gaussian weights and embeddings, tables of positions too, whose deviation depends on the layer; biases are zero.

    >>> [standard_deviation(Site("w", "linear", (4, 4), layer=layer, layers=16)) for layer in (1, 4, 16)]
    [0.02, 0.01, 0.005]

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        std: in the first layer, and outside of layers.
        factor: multiplies the layer's number.
        scheme: index divides by the layer's number; gpt2 by twice the depth, at the end of branches alone.
    """
    if site.kind == "bias":
        return zeros(site)
    if not (site.is_weight or site.kind == "embedding" or _joins_stream(site)):
        return None
    made = normal(site, standard_deviation(site, std, factor, scheme), generator)
    if site.padding is not None:
        made[site.padding] = 0.0
    return made


def _joins_stream(site: Site) -> bool:
    """Whether it is a learned table of vectors outside of the layers; one vector alone may be the bias of anything."""
    return site.kind == "table" and site.learned and site.layer is None and len(site.shape) > 1 and site.shape[-1] > 1


def standard_deviation(site: Site, std: float = 0.02, factor: float = 1.0, scheme: Scheme = "index") -> float:
    """Return the deviation of a weight's entries.

    >>> from scionwood.methods.initialize.site import Branch
    >>> last = Site("o", "linear", (4, 4), layer=3, layers=8, branch=Branch(0, 16, 1, 2, True, 2))
    >>> standard_deviation(last, scheme="gpt2"), standard_deviation(Site("head", "linear", (4, 4)))
    (0.005, 0.02)
    """
    if site.layer is None or not site.is_weight:
        return std
    if scheme == "gpt2":
        last = site.branch is not None and site.branch.last
        return std / math.sqrt(2 * site.layers) if last else std
    return std / math.sqrt(site.layer * factor)
