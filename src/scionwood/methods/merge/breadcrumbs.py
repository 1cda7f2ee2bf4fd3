"""Breadcrumbs: drop the largest and the smallest entries of each delta (Davari et al., 2023, arXiv:2312.06795).

    drop the ``gamma`` share with the largest magnitudes, keep the next ``density`` share
    theta = theta_0 + scale * sum_i w_i (masked delta_i)

Outliers are what a merge is most sensitive to, and the bulk of tiny entries is noise. With ``consensus`` what is left
is merged by elected signs, as in TIES. It hurts where a model learned little but that well: its outliers are what it
learned.

Where magnitudes are equal at a threshold, all are taken alike; mergekit takes as many as fit, in the order of its sort.
Of a million random entries in float32 two differed for that (densities 0.5 and 0.7, gammas 0.01 and 0.02), of 16,384
none; in bfloat16, where magnitudes are few, 1.4 and 2.0 % differed. With the l1 rescale these move the factor, too,
and by it every entry that is kept.

Shares are of each tensor, as in the paper and in mergekit; the published code takes those of each row (``per="row"``),
which makes rows that moved little count as much as the others. Where both shares are more than everything, fewer
outliers are dropped; the published code then keeps less. The paper's beta and gamma are what is masked at either end,
the published code's beta is what is kept, as ``density`` is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from scionwood.methods.merge.consensus import agree, at_least
from scionwood.methods.merge.dropping import l1_factors, magnitudes
from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.weighting import Densities, Shares, Weights, spread, spread_weights
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Rank, Sum

__all__ = ["breadcrumbs"]


def _magnitudes(deltas: Sequence[Tensor], _: Mapping[str, Tensor], options: Mapping[str, Any]) -> list[Tensor]:
    spread(options["density"], len(deltas), "densities")
    spread(options["gamma"], len(deltas), "gammas")
    # Each twice: where the outliers end, and where the bulk begins.
    return [magnitude for delta in deltas for magnitude in [delta.abs()] * 2]


def _ranks(count: int, density: float, gamma: float, *, remove_first: bool) -> list[int]:
    """How many of the largest entries are outliers, and how many these and the kept ones are together."""
    kept, outliers = int(density * count), int(gamma * count)
    if remove_first:
        outliers = min(outliers, count - kept)
        return [outliers, outliers + kept]
    return [min(outliers, kept), kept]


def _keep(count: int, _: Mapping[str, Tensor], options: Mapping[str, Any]) -> list[int]:
    densities, gammas = (
        given if isinstance(given, Sequence) else [given] for given in (options["density"], options["gamma"])
    )
    models = max(len(densities), len(gammas))
    pairs = zip(spread(options["density"], models), spread(options["gamma"], models), strict=True)
    first = options["remove_first"]
    return [rank for density, gamma in pairs for rank in _ranks(count, density, gamma, remove_first=first)]


def _between(delta: Tensor, outliers: Tensor, bulk: Tensor) -> Tensor:
    """What reaches the bulk's threshold, less what reaches the outliers' own."""
    return at_least(delta, bulk).sub_(at_least(delta, outliers))


def _in_rows(delta: Tensor, density: float, gamma: float, *, remove_first: bool) -> Tensor:
    columns = delta.shape[-1]
    size = delta.abs()
    order = size.sort(dim=-1, descending=True).values
    outliers, last = _ranks(columns, density, gamma, remove_first=remove_first)
    inner = size >= order[:, last - 1 : last] if last else torch.zeros_like(size, dtype=torch.bool)
    return delta * (inner & (size < order[:, outliers - 1 : outliers]) if outliers else inner)


def _kept(deltas: Sequence[Tensor], thresholds: Tensor | None, options: Mapping[str, Any]) -> Iterator[Tensor]:
    """What is kept of each delta, made when it is asked for."""
    count, first = len(deltas), options["remove_first"]
    densities, gammas = spread(options["density"], count, "densities"), spread(options["gamma"], count, "gammas")
    if thresholds is not None:
        return (_between(delta, *pair) for delta, pair in zip(deltas, thresholds.reshape(count, 2), strict=True))
    each = zip(deltas, densities, gammas, strict=True)
    return (_in_rows(delta, density, gamma, remove_first=first) for delta, density, gamma in each)


def _lengths(deltas: Sequence[Tensor], found: Mapping[str, Tensor], options: Mapping[str, Any]) -> Tensor:
    return magnitudes(deltas, _kept(deltas, found.get("thresholds"), options))


@method(
    space="delta",
    scope="row",
    laws={"homogeneous", "permutation"},
    paper="2312.06795",
    summaries=[
        Rank("thresholds", _magnitudes, _keep, when=lambda options: options["per"] == "tensor"),
        Sum("lengths", _lengths, when=lambda options: options["rescale"] == "l1"),
    ],
)
def breadcrumbs(
    deltas: Sequence[Tensor],
    thresholds: Tensor | None = None,
    lengths: Tensor | None = None,
    *,
    density: Densities = 0.9,
    gamma: Shares = 0.01,
    per: Literal["tensor", "row"] = "tensor",
    remove_first: bool = True,
    weights: Weights = 1.0,
    consensus: bool = False,
    normalize: bool = False,
    rescale: Literal["l1"] | None = None,
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the merged task vector.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> merge_tensors(breadcrumbs, [torch.arange(1.0, 6)], torch.zeros(5), {"density": 0.6, "gamma": 0.2})
    tensor([0., 2., 3., 4., 0.])

    Args:
        deltas: the difference of each model to the base.
        thresholds: for each delta, the magnitude that the outliers reach, and the one that the kept entries reach.
        lengths: the sum of magnitudes of each delta, and of what is kept of it.
        density: the share that is kept, beside the outliers; one for all models or one for each.
        gamma: the share of outliers, one for all models or one for each; the paper searches 0.1 % to 1 %.
        per: what the shares are of: each tensor, or each row.
        remove_first: keep the share of what is left without the outliers; else outliers are taken off the share.
        weights: of the models.
        consensus: keep only what has the elected sign.
        normalize: divide by the weights; of what was kept, element by element, with consensus.
        rescale: multiply each masked delta so that the sum of its magnitudes stays, as mergekit can.
        scale: of the result; the published search begins at 0.2.

    Raises:
        MethodError: the weights or the shares do not fit the models.
    """
    options = {"density": density, "gamma": gamma, "remove_first": remove_first}
    kept = _kept(deltas, thresholds, options)
    if lengths is not None:
        kept = (delta.mul_(factor) for delta, factor in zip(kept, l1_factors(lengths), strict=True))
    if consensus:
        result = agree(list(kept), spread_weights(weights, len(deltas)), normalize=normalize)
    else:
        result = add_up(kept, spread_weights(weights, len(deltas), normalize=normalize))
    return result if scale == 1.0 else result.mul_(scale)
