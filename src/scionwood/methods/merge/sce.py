"""SCE: select what varies, weigh by energy, erase what disagrees (Wan et al., 2024, arXiv:2408.07990).

    select     the ``select_topk`` share of positions with the largest variance over the models
    calculate  w_i = mean of delta_i^2 over what was selected, divided by their sum
    erase      entries that do not have the elected sign; theta = theta_0 + sum_i w_i delta_i / sum of the weights kept

The weights come from the models themselves, tensor by tensor: a model that changed a tensor more has more say in it.
That hurts where one model changed much for little, as a long training does. mergekit weighs alike where the energies
add up to less than 1e-6, which is nearly always so for fine-tuned models: ``least_energy``.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from scionwood.methods.merge.consensus import at_least, elect, follow
from scionwood.methods.merge.geometry import add_up
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Rank, Sum

__all__ = ["sce"]


def _variation(deltas: Sequence[Tensor]) -> Tensor:
    """The sum of squares about the mean of the models: the variance, but for their number, in the same order."""
    mean = add_up(deltas, [1 / len(deltas)] * len(deltas))
    total, part = torch.sub(deltas[0], mean).square_(), torch.empty_like(mean)
    for delta in deltas[1:]:
        torch.sub(delta, mean, out=part)
        total.addcmul_(part, part)
    return total


def _spread(deltas: Sequence[Tensor], _: Mapping[str, Tensor], __: Mapping[str, Any]) -> list[Tensor]:
    return [_variation(deltas)]


def _keep(varying: int, _: Mapping[str, Tensor], options: Mapping[str, Any]) -> int:
    return int(varying * options["select_topk"])


def _selected(deltas: Sequence[Tensor], thresholds: Tensor) -> Tensor:
    """One where a position was selected, and zero elsewhere."""
    return at_least(_variation(deltas), thresholds[0]).sign_()


def _energy(deltas: Sequence[Tensor], found: Mapping[str, Tensor], _: Mapping[str, Any]) -> Tensor:
    wide = torch.empty(deltas[0].numel(), dtype=torch.float64, device=deltas[0].device)
    if "thresholds" in found:
        mask = _selected(deltas, found["thresholds"])
        deltas = [delta * mask for delta in deltas]
    return torch.stack([wide.copy_(delta.reshape(-1)).dot(wide) for delta in deltas])


@method(
    space="delta",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "permutation"},
    paper="2408.07990",
    summaries=[
        Rank("thresholds", _spread, _keep, nonzero=True, when=lambda options: options["select_topk"] < 1),
        Sum("energies", _energy),
    ],
)
def sce(
    deltas: Sequence[Tensor],
    energies: Tensor,
    shape: tuple[int, ...],
    thresholds: Tensor | None = None,
    *,
    select_topk: Annotated[float, Finite(at_least=0, at_most=1)] = 1.0,
    least_energy: Annotated[float, Finite(at_least=0)] = 0.0,
) -> Tensor:
    """Return the merged task vector.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> a, b = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([-3.0, 0.5, 2.0])
    >>> merge_tensors(sce, [a, b], torch.zeros(3)).round(decimals=5)
    tensor([-3., -1.,  2.])

    Args:
        deltas: the difference of each model to the base.
        energies: the sum of squares of each delta, where it was selected.
        shape: the shape of the whole tensor.
        thresholds: the variance that the selected positions reach; none where all are selected.
        select_topk: the share of the positions that vary at all which is selected.
        least_energy: where the mean squares of all deltas add up to less, the models weigh alike; 1e-6 in mergekit.
    """
    total = float(energies.sum())
    even = total == 0 or total / math.prod(shape) < least_energy
    weights = [1 / len(deltas)] * len(deltas) if even else (energies / total).tolist()
    # Signs are elected by the deltas as they are, not as they are weighed.
    weighted = [delta * weight for delta, weight in zip(deltas, weights, strict=True)]
    result, divisor = follow(weighted, elect(deltas), weights)
    result.div_(divisor.clamp_(min=1e-6))
    return result if thresholds is None else result.mul_(_selected(deltas, thresholds))
