"""PCB-Merging: let parameters compete, within their task and between tasks (Du et al., 2024, arXiv:2410.02396).

    a_i      |delta_i|, held between its 0.0001 and its 0.9999 quantile;  c_i = sign(delta_i) a_i
    within   exp(N ((a_i - min) / (max - min))^2)
    between  tanh(delta_i sum_j delta_j)
    s_i      within * between, as far as it exceeds its 1 - ``density`` quantile, over the largest excess
    theta    theta_0 + scale * sum_i s_i c_i / sum_i s_i

What is large in its own task and wanted by the others too counts most; what opposes the others is dropped. Few entries
decide, as in TIES, but by degrees rather than by a vote. It hurts where deltas are tiny everywhere: the tangent of a
product of two of them is then nothing but that product, and one large tensor decides what is kept of all.

Quantiles are of the flattened model, as in the paper; ``scope="tensor"`` takes each tensor by itself. Scores are
computed in float64. A delta that is the same everywhere has no competition: it counts nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from scionwood.methods.merge.ranks import backwards, halves, places, signed
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Rank, over_scope

__all__ = ["pcb_merging"]

TAIL = 0.0001


def _magnitudes(deltas: Sequence[Tensor], _: Mapping[str, Tensor], __: Mapping[str, Any]) -> list[Tensor]:
    return [end for delta in deltas for end in (backwards(delta.abs()), delta.abs())]


def _tails(count: int, _: Mapping[str, Tensor], __: Mapping[str, Any]) -> list[int]:
    return [int(count * TAIL) + 1, count - max(0, int(count * (1 - TAIL) - 1))]


def _clamped(deltas: Sequence[Tensor], thresholds: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """For each delta its magnitude within the quantiles, and the score of its entries."""
    sizes, scores = [], []
    total = torch.stack(list(deltas)).sum(0, dtype=torch.float64)
    for delta, (lower, upper) in zip(deltas, thresholds.reshape(-1, 2), strict=True):
        least, most = float(backwards(lower)), float(upper)
        size = delta.abs().double()
        if most > least:
            size.clamp_(least, most)
            within = (len(deltas) * ((size - least) / (most - least)) ** 2).exp()
        else:
            within = torch.zeros_like(size)
        sizes.append(size.float())
        scores.append((within * (delta.double() * total).tanh()).float())
    return sizes, scores


def _scores(deltas: Sequence[Tensor], found: Mapping[str, Tensor], _: Mapping[str, Any]) -> list[Tensor]:
    parts = [halves(score) for score in _clamped(deltas, found["thresholds"])[1]]
    return [part for above, below in parts for part in (above, below, above)]


def _limits(count: int, _: Mapping[str, Tensor], options: Mapping[str, Any]) -> list[int]:
    return [*places(count, min(int(count * (1 - options["density"])), count - 1)), 1]


@method(
    space="delta",
    scope="element",
    laws={"permutation"},
    paper="2410.02396",
    summaries=[
        Rank("thresholds", _magnitudes, _tails, over=over_scope),
        Rank("limits", _scores, _limits, over=over_scope),
    ],
)
def pcb_merging(
    deltas: Sequence[Tensor],
    thresholds: Tensor,
    limits: Tensor,
    *,
    density: Annotated[float, Finite(above=0, at_most=1)] = 0.1,
    scope: Literal["tensor", "model"] = "model",
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the merged task vector.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> a, b = torch.tensor([1.0, -2.0, 3.0, 0.5, 0.1]), torch.tensor([2.0, 1.0, -4.0, 0.5, 0.2])
    >>> merge_tensors(pcb_merging, [a, b], torch.zeros(5), {"density": 0.4})
    tensor([ 2., -2.,  0.,  0.,  0.])

    Args:
        deltas: the difference of each model to the base.
        thresholds: for each delta, its lower quantile, in the opposite order of numbers, and its upper one.
        limits: for each delta, the score that the kept share reaches, of either sign's parts, and the largest score.
        density: the share of each delta that competes to the end; 0.05 to 0.1 in the paper.
        scope: what quantiles are taken of: each tensor, or the model.
        scale: of the result; 1.2 in the paper, or 0.8 to 1.3 where data are there.
    """
    sizes, scores = _clamped(deltas, thresholds)
    total, divisor = torch.zeros_like(deltas[0]), torch.zeros_like(deltas[0])
    for delta, size, score, (above, below, largest) in zip(deltas, sizes, scores, limits.reshape(-1, 3), strict=True):
        least = float(signed(above, below))
        width = float(largest) - least
        share = ((score - least) / width).clamp_(0, 1) if width > 0 else torch.zeros_like(score)
        total += torch.copysign(size, delta) * share * (delta != 0)
        divisor += share
    return total.div_(divisor.clamp_(min=1e-12)).mul_(scale)
