"""TIES: trim each task vector, elect a sign, average what agrees (Yadav et al., 2023, arXiv:2306.01708).

    trim    keep the ``density`` share of each delta with the largest magnitudes, zero the rest
    elect   the sign of the weighted sum, element by element
    merge   the weighted mean of the kept deltas that have the elected sign; or their sum, or the largest of them

It helps where many task vectors interfere; with two similar models it is close to their average. It hurts where tasks
need small changes everywhere, which trimming drops, and where a few large models outvote the rest. Magnitudes at the
threshold are all kept: bf16 checkpoints have few distinct ones, and any other rule would have to pick among them by
position.

By default each tensor is trimmed by itself, as mergekit does. The published code trims the flattened model
(``scope="model"``): norms and biases, which move little, then lose nearly everything. It keeps one entry more than the
share (``official_trim``), and where signs balance it takes the sign that most of the model elects (``zero="majority"``;
the negative one where these balance too). mergekit takes the positive sign there, MergeLM's rewrite none.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from scionwood.methods.merge.consensus import at_least, divide, elect, follow
from scionwood.methods.merge.dropping import l1_factors, magnitudes
from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.weighting import Densities, Weights, spread, spread_weights
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Rank, Sum, over_scope

__all__ = ["ties"]

_Found = Mapping[str, Tensor]
_Options = Mapping[str, Any]


def _magnitudes(deltas: Sequence[Tensor], _: _Found, options: _Options) -> list[Tensor]:
    spread(options["density"], len(deltas), "densities")
    return [delta.abs() for delta in deltas]


def _keep(count: int, _: _Found, options: _Options) -> int | list[int]:
    more, density = int(options["official_trim"]), options["density"]
    if isinstance(density, Sequence):
        return [max(1, int(each * count) + more) for each in density]
    return max(1, int(density * count) + more)


def _trimmed(deltas: Sequence[Tensor], thresholds: Tensor) -> list[Tensor]:
    return [at_least(delta, threshold) for delta, threshold in zip(deltas, thresholds, strict=True)]


def _lengths(deltas: Sequence[Tensor], found: _Found, _: _Options) -> Tensor:
    return magnitudes(deltas, _trimmed(deltas, found["thresholds"]))


def _weighted(deltas: Sequence[Tensor], found: _Found, options: _Options) -> list[Tensor]:
    """The deltas that vote: trimmed, rescaled, weighted."""
    factors = l1_factors(found["lengths"]) if "lengths" in found else [1.0] * len(deltas)
    weights = spread_weights(options["weights"], len(deltas))
    kept = zip(_trimmed(deltas, found["thresholds"]), factors, weights, strict=True)
    return [delta if factor * weight == 1 else delta * (factor * weight) for delta, factor, weight in kept]


def _signs(deltas: Sequence[Tensor], found: _Found, options: _Options) -> Tensor:
    return add_up(_weighted(deltas, found, options), [1.0] * len(deltas)).sign().sum(dtype=torch.float64)


@method(
    space="delta",
    scope="element",
    laws={"homogeneous", "permutation"},
    paper="2306.01708",
    summaries=[
        Rank("thresholds", _magnitudes, _keep, over=over_scope),
        Sum("lengths", _lengths, over=over_scope, when=lambda options: options["rescale"] == "l1"),
        Sum("majority", _signs, over=over_scope, when=lambda options: options["zero"] == "majority"),
    ],
)
def ties(
    deltas: Sequence[Tensor],
    thresholds: Tensor,
    lengths: Tensor | None = None,
    majority: Tensor | None = None,
    *,
    density: Densities = 0.2,
    weights: Weights = 1.0,
    function: Literal["mean", "sum", "max"] = "mean",
    zero: Literal["positive", "majority", "drop"] = "positive",
    scope: Literal["tensor", "model"] = "tensor",
    official_trim: bool = False,
    rescale: Literal["l1"] | None = None,
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the merged task vector.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> v = [torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([2.0, 1.0, -4.0, 0.5])]
    >>> merge_tensors(ties, v, torch.zeros(4), {"density": 1.0})
    tensor([ 1.5000, -2.0000, -4.0000,  0.5000])

    Args:
        deltas: the difference of each model to the base.
        thresholds: the magnitude that the kept share of each delta reaches.
        lengths: the sum of magnitudes of each delta, and of what is kept of it.
        majority: the sum of the elected signs.
        density: the share of each delta that is kept, at least one entry; one for all or one for each. The paper keeps
            20 %.
        weights: of the models; they weigh in the election and in the mean.
        function: what is made of the deltas that agree: their mean, divided by their weights; their sum; or the largest.
        zero: which sign is elected where the weighted deltas add up to nothing: the positive one; the one that most of
            the tensor, or of the model, elects; or none, which drops them.
        scope: what is trimmed as one, and whose majority counts: each tensor, or the model.
        official_trim: keep one entry more than the share, as the published code does.
        rescale: multiply each trimmed delta so that the sum of its magnitudes stays, as mergekit can.
        scale: of the result; 1 in the paper, searched from 0.8 to 1.8 where data are there.

    Raises:
        MethodError: the weights or the densities do not fit the models.
    """
    found = {"thresholds": thresholds} | ({} if lengths is None else {"lengths": lengths})
    voting = _weighted(deltas, found, {"weights": weights})
    if zero == "positive":
        signs = elect(voting)
    else:
        signs = add_up(voting, [1.0] * len(voting)).sign()
        if majority is not None:
            signs = torch.where(signs == 0, torch.where(majority > 0, 1.0, -1.0), signs)
    if function == "max":
        largest = torch.zeros_like(signs)
        for delta in voting:
            largest = torch.maximum(largest, delta * signs)
        return largest.mul_(signs).mul_(scale)
    result, divisor = follow(voting, signs, spread_weights(weights, len(deltas)))
    if function == "mean":
        result = divide(result, divisor, spread_weights(weights, len(deltas)))
    return result if scale == 1.0 else result.mul_(scale)
