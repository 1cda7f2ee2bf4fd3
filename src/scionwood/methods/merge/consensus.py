"""Sign consensus: keep what agrees with the elected sign (the second and third step of TIES)."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["agree"]


def agree(deltas: Sequence[Tensor], weights: Sequence[float], *, normalize: bool) -> Tensor:
    """Elect a sign by the weighted sum, keep the deltas that have it, and add them up.

    A sum of zero elects the positive sign, as mergekit has it: opposite deltas then keep the positive one rather than vanish. With
    ``normalize`` each element is divided by the sum of the weights of those that were kept there.

    >>> agree([torch.tensor([1.0, -2.0]), torch.tensor([2.0, 1.0])], [1.0, 1.0], normalize=True)
    tensor([ 1.5000, -2.0000])
    """
    weighted = [delta * weight for delta, weight in zip(deltas, weights, strict=True)]
    total = weighted[0].clone()
    for delta in weighted[1:]:
        total.add_(delta)
    positive = total >= 0
    result = torch.zeros_like(total)
    divisor = torch.zeros_like(total) if normalize else None
    for delta, weight in zip(weighted, weights, strict=True):
        kept = torch.where(positive, delta > 0, delta < 0)
        result.add_(delta * kept)
        if divisor is not None:
            divisor.add_(kept, alpha=weight)
    if divisor is not None:
        result.div_(torch.where(divisor == 0, 1.0, divisor))
    return result
