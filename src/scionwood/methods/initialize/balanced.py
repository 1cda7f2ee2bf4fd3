"""Balanced weights: neighbouring layers share their singular vectors and values (Saxe et al., 2013, arXiv:1312.6120).

    W_l = R_(l+1) S^(1/L) R_l^T,   R orthogonal:   W_(l+1)^T W_(l+1) = W_l W_l^T

Layers that are balanced stay so under gradient flow, and a deep linear network then learns each mode of its task by one
equation (``scionwood.inspect.deep_linear``). With S = gain^L I the whole map keeps every direction at any depth: all
singular values of twenty orthogonal layers are 1, those of Gaussian ones spread over many orders of magnitude. The R of
a dimension is keyed by its axis, so that whatever writes an axis and whatever reads it share it. The rank must be one
for a chain of unequal widths, the smallest of them; by default it is each weight's own.

The paper has no code; it analyses linear networks, and uses the orthogonal start for others too.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import shaped, zeros
from scionwood.methods.initialize.orthogonal import orthogonal
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["balanced", "balanced_chain"]


@method(scope="tensor", laws={"shape", "deterministic"}, paper="1312.6120")
def balanced(
    site: Site,
    generator: torch.Generator,
    draws: Callable[..., torch.Generator],
    *,
    gain: Annotated[float, Finite(above=0)] = 1.0,
    rank: Annotated[int, Finite(at_least=1)] | None = None,
) -> Tensor | None:
    """Return a weight with one singular value, balanced with its neighbours; biases are zero.

    >>> seeds = lambda *key: torch.Generator().manual_seed(hash(key) % 1000)
    >>> axes = (("b",), ("a",)), (("c",), ("b",))
    >>> first, second = (balanced(Site("", "linear", (4, 4), axes=pair), seeds(), seeds).double() for pair in axes)
    >>> torch.allclose(second.T @ second, first @ first.T, atol=1e-6)
    True

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from, where a dimension has no axis.
        draws: gives the torch.Generator of a key: what writes an axis and what reads it share its rotation.
        gain: the singular value of each layer.
        rank: of every weight, the smallest width of the chain; each its own smaller side otherwise.
    """
    if site.kind == "bias":
        return zeros(site)
    if not site.is_weight:
        return None
    sides = (site.shape[0], site.fan_in)
    known = len(site.axes) == len(site.shape)
    keys: list[tuple[str, ...]] = [site.axes[0], tuple(itertools.chain(*site.axes[1:]))] if known else [(), ()]
    count = min(*sides, rank or max(sides))
    out, into = (
        orthogonal(side, side, draws("balanced", *key) if key else generator)[:, :count]
        for side, key in zip(sides, keys, strict=True)
    )
    return shaped(site, out * gain @ into.T)


def balanced_chain(
    left: Tensor, values: Tensor, right: Tensor, widths: Sequence[int], generator: torch.Generator
) -> list[Tensor]:
    """Return the layers, first to last, whose product is left diag(values) right^T, in float64.

    >>> eye = torch.eye(2, dtype=torch.float64)
    >>> layers = balanced_chain(eye, torch.tensor([4.0, 1.0]), eye, (3,), torch.Generator().manual_seed(0))
    >>> [tuple(layer.shape) for layer in layers], (layers[1] @ layers[0]).diagonal().round(decimals=9).tolist()
    ([(3, 2), (2, 3)], [4.0, 1.0])

    Args:
        left: (outputs, rank), orthonormal columns.
        values: (rank,), not negative.
        right: (inputs, rank), orthonormal columns.
        widths: of the hidden layers, none below the rank.
        generator: the torch.Generator to draw from.
    """
    layers = len(widths) + 1
    inner = [orthogonal(width, len(values), generator) for width in widths]
    sides = [right.double(), *inner, left.double()]
    share = values.double() ** (1 / layers)
    return [(sides[layer + 1] * share) @ sides[layer].T for layer in range(layers)]
