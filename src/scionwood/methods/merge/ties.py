"""TIES: trim each task vector, elect a sign, average what agrees (Yadav et al., 2023, arXiv:2306.01708).

    trim    keep the ``density`` share of each delta with the largest magnitudes, zero the rest
    elect   the sign of the weighted sum, element by element
    merge   the mean of the kept deltas that have the elected sign, weighted

It helps where many task vectors interfere; with two similar models it is close to their average. Magnitudes at the
threshold are all kept: bf16 checkpoints have few distinct ones, and any other rule would have to pick among them by
position. The published code trims over the flattened model, and so keeps one more than ``density``; here it is each
tensor by itself, as in mergekit.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from torch import Tensor

from scionwood.methods.merge.consensus import agree, at_least
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Rank

__all__ = ["ties"]


def _magnitudes(deltas: Sequence[Tensor], _: Mapping[str, Tensor], __: Mapping[str, Any]) -> list[Tensor]:
    return [delta.abs() for delta in deltas]


def _keep(count: int, _: Mapping[str, Tensor], options: Mapping[str, Any]) -> int:
    return int(options["density"] * count)


@method(
    space="delta",
    scope="element",
    laws={"permutation"},
    paper="2306.01708",
    summaries=[Rank("thresholds", _magnitudes, _keep)],
)
def ties(
    deltas: Sequence[Tensor],
    thresholds: Tensor,
    *,
    density: Annotated[float, Finite(above=0, at_most=1)] = 0.2,
    weights: Weights = 1.0,
    normalize: bool = True,
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the merged task vector.

    >>> import torch
    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> v = [torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([2.0, 1.0, -4.0, 0.5])]
    >>> merge_tensors(ties, v, torch.zeros(4), {"density": 1.0})
    tensor([ 1.5000, -2.0000, -4.0000,  0.5000])

    Args:
        deltas: the difference of each model to the base.
        thresholds: the magnitude that the kept share of each delta reaches.
        density: the share of each delta that is kept; the paper keeps 20 %.
        weights: of the models; they weigh in the election and in the mean.
        normalize: divide by the weights of what was kept, element by element.
        scale: of the result; 1 in the paper, searched from 0.8 to 1.8 where data are there.

    Raises:
        MethodError: the weights do not fit the models.
    """
    kept = [at_least(delta, threshold) for delta, threshold in zip(deltas, thresholds, strict=True)]
    result = agree(kept, spread_weights(weights, len(deltas)), normalize=normalize)
    return result if scale == 1.0 else result.mul_(scale)
