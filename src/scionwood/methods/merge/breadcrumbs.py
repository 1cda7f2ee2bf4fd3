"""Breadcrumbs: drop the largest and the smallest entries of each delta (Davari et al., 2023, arXiv:2312.06795).

    keep the entries below the ``gamma`` share with the largest magnitudes, as far as the next ``density`` share goes
    theta = theta_0 + scale * sum_i w_i (masked delta_i)

Outliers are what a merge is most sensitive to, and the bulk of tiny entries is noise. Shares are of each tensor; the
published code masks by row. With ``consensus`` what is left is merged by elected signs, as in TIES.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from torch import Tensor

from scionwood.methods.merge.consensus import agree, at_least
from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Rank

__all__ = ["breadcrumbs"]


def _magnitudes(deltas: Sequence[Tensor], _: Mapping[str, Tensor], __: Mapping[str, Any]) -> list[Tensor]:
    # Each twice: where the outliers end, and where the bulk begins.
    return [magnitude for delta in deltas for magnitude in [delta.abs()] * 2]


def _keep(count: int, _: Mapping[str, Tensor], options: Mapping[str, Any]) -> list[int]:
    outliers = int(options["gamma"] * count)
    return [outliers, min(count, outliers + int(options["density"] * count))]


@method(
    space="delta",
    scope="element",
    laws={"permutation"},
    paper="2312.06795",
    summaries=[Rank("thresholds", _magnitudes, _keep)],
)
def breadcrumbs(
    deltas: Sequence[Tensor],
    thresholds: Tensor,
    *,
    density: Annotated[float, Finite(above=0, at_most=1)] = 0.9,
    gamma: Annotated[float, Finite(at_least=0, below=1)] = 0.01,
    weights: Weights = 1.0,
    consensus: bool = False,
    normalize: bool = False,
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the merged task vector.

    >>> import torch
    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> merge_tensors(breadcrumbs, [torch.arange(1.0, 6)], torch.zeros(5), {"density": 0.6, "gamma": 0.2})
    tensor([0., 2., 3., 4., 0.])

    Args:
        deltas: the difference of each model to the base.
        thresholds: for each delta, the magnitude that the outliers reach, and the one that the kept entries reach.
        density: the share that is kept, after the outliers.
        gamma: the share of outliers; the paper searches 0.1 % to 1 %.
        weights: of the models.
        consensus: keep only what has the elected sign.
        normalize: divide by the weights; of what was kept, element by element, with consensus.
        scale: of the result.

    Raises:
        MethodError: the weights do not fit the models.
    """
    # What reaches the bulk's threshold, less what reaches the outliers' own.
    kept = [
        at_least(delta, thresholds[2 * number + 1]).sub_(at_least(delta, thresholds[2 * number]))
        for number, delta in enumerate(deltas)
    ]
    if consensus:
        result = agree(kept, spread_weights(weights, len(deltas)), normalize=normalize)
    else:
        result = add_up(kept, spread_weights(weights, len(deltas), normalize=normalize))
    return result if scale == 1.0 else result.mul_(scale)
