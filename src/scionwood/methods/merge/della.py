"""DELLA: drop entries at random, small ones sooner, and rescale the rest (Deep et al., 2024, arXiv:2406.11617).

    p_ij = density - epsilon + 2 epsilon rank_ij / (columns - 1),   rank_ij of |delta_ij| in its row, 0 for the smallest
    m_ij ~ Bernoulli(p_ij),   delta~_ij = m_ij delta_ij / p_ij

and what is left is merged by elected signs, as in TIES. The expectation is the task vector, as in DARE, and what is
likely noise goes first. It hurts as DARE does: where deltas are large, and where rows are so short that ranks say
little. A vector is one row, and rows are of the last dimension; mergekit ranks those of more than two along the second.

mergekit, since 0.1.0, does not divide by p but keeps the sum of magnitudes (``rescale="l1"``): that favours large
entries.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.consensus import agree
from scionwood.methods.merge.dropping import Uniform, l1_factors, magnitudes, ones
from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.ranks import ascending
from scionwood.methods.merge.weighting import Densities, Shares, Weights, spread, spread_weights
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum

__all__ = ["della"]


@functools.lru_cache(maxsize=64)
def _ramp(density: float, epsilon: float, columns: int) -> Tensor:
    """The probabilities of a row's entries in ascending order."""
    return torch.linspace(density - epsilon, density + epsilon, columns)


def _factors(delta: Tensor, uniform: Uniform, density: float, epsilon: float, *, divide: bool) -> Tensor:
    """What each entry is multiplied with: nothing where it is dropped, else one, or one over its probability."""
    columns = delta.shape[-1]
    if columns < 2 or density >= 1:
        kept = ones(uniform.below(density))
        return kept.div_(density) if divide else kept
    # The numbers of a row are those of its entries in ascending order: one ramp is compared with every row.
    ramp = _ramp(density, epsilon, columns)
    kept = ones(uniform.below(ramp))
    if divide:
        kept.div_(ramp.to(kept.device))
    return torch.empty_like(kept).scatter_(-1, ascending(delta), kept)


def _spread(
    density: float | Sequence[float], epsilon: float | Sequence[float], count: int
) -> list[tuple[float, float]]:
    """The density and the window of each model."""
    pairs = list(zip(spread(density, count, "densities"), spread(epsilon, count, "epsilons"), strict=True))
    problems = [
        f"with density {share:g} and epsilon {window:g} entries would be kept with probabilities from "
        f"{share - window:g} to {share + window:g}"
        for share, window in dict.fromkeys(pairs)
        if share < 1 and not 0 < share - window <= share + window <= 1
    ]
    if problems:
        raise MethodError(
            "Probabilities leave the range from 0 to 1.",
            problems=problems,
            hint="Both must be above 0 and at most 1.",
        )
    return pairs


def _lengths(deltas: Sequence[Tensor], found: Mapping[str, Any], options: Mapping[str, Any]) -> Tensor:
    pairs = _spread(options["density"], options["epsilon"], len(deltas))
    drawn = zip(deltas, found["uniforms"], pairs, strict=True)
    return magnitudes(
        deltas, [_factors(delta, uniform, *pair, divide=False).mul_(delta) for delta, uniform, pair in drawn]
    )


@method(
    space="delta",
    scope="row",
    laws={"homogeneous"},
    paper="2406.11617",
    summaries=[Sum("lengths", _lengths, when=lambda options: options["rescale"] == "l1", needs=("uniforms",))],
)
def della(
    deltas: Sequence[Tensor],
    uniforms: Sequence[Uniform],
    lengths: Tensor | None = None,
    *,
    density: Densities = 0.5,
    epsilon: Shares = 0.15,
    weights: Weights = 1.0,
    consensus: bool = True,
    normalize: bool = True,
    rescale: Literal["inverse_probability", "l1"] | None = "inverse_probability",
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the merged task vector.

    >>> from scionwood.methods.merge.dropping import Drawn
    >>> drawn = Drawn(torch.full((1, 5), 0.45))  # the probabilities are 0.35, 0.425, 0.5, 0.575 and 0.65
    >>> della([torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5]])], [drawn])
    tensor([[0.0000, 0.0000, 0.6000, 0.6957, 0.7692]])

    Args:
        deltas: the difference of each model to the base.
        uniforms: random numbers in [0, 1), those of a row for its entries in ascending order; an entry is kept where its
            number is below its probability.
        lengths: the sum of magnitudes of each delta, and of what is kept of it.
        density: the share of entries that is kept, one for all models or one for each; at 1 nothing is dropped.
        epsilon: how far the probabilities of the smallest and of the largest entry of a row are from the density, one
            for all models or one for each.
        weights: of the models.
        consensus: keep only what has the elected sign, as TIES does.
        normalize: divide by the weights; of what was kept, element by element, with consensus.
        rescale: what makes up for the entries dropped.
        scale: of the result.

    Raises:
        MethodError: the weights, densities or epsilons do not fit the models, or a probability would leave the range
            from 0 to 1.
    """
    pairs = _spread(density, epsilon, len(deltas))
    factors = [1.0] * len(deltas) if lengths is None else l1_factors(lengths)
    kept = []
    for delta, uniform, factor, pair in zip(deltas, uniforms, factors, pairs, strict=True):
        chosen = _factors(delta, uniform, *pair, divide=rescale == "inverse_probability").mul_(delta)
        kept.append(chosen if factor == 1 else chosen.mul_(factor))
    if consensus:
        result = agree(kept, spread_weights(weights, len(deltas)), normalize=normalize)
    else:
        result = add_up(kept, spread_weights(weights, len(deltas), normalize=normalize))
    return result if scale == 1.0 else result.mul_(scale)
