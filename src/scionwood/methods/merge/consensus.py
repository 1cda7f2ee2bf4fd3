"""Sign consensus: keep what agrees with the elected sign (the second and third step of TIES)."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["agree", "at_least", "divide", "elect", "follow"]


def agree(deltas: Sequence[Tensor], weights: Sequence[float], *, normalize: bool) -> Tensor:
    """Elect a sign by the weighted sum, keep the deltas that have it, and add them up.

    A sum of zero elects the positive sign, as mergekit has it: opposite deltas then keep the positive one rather than
    vanish. With ``normalize`` each element is divided by the sum of the weights of those that were kept there.

    >>> agree([torch.tensor([1.0, -2.0]), torch.tensor([2.0, 1.0])], [1.0, 1.0], normalize=True)
    tensor([ 1.5000, -2.0000])
    """
    weighted = [delta if weight == 1 else delta * weight for delta, weight in zip(deltas, weights, strict=True)]
    total, divisor = follow(weighted, elect(weighted), weights)
    return divide(total, divisor, weights) if normalize else total


def divide(total: Tensor, divisor: Tensor, weights: Sequence[float]) -> Tensor:
    """Divide a sum, in place, by the weights of what was added up; where that is nothing, by one.

    >>> divide(torch.tensor([3.0, 0.0]), torch.tensor([1.5, 0.0]), [1.0, 0.5])
    tensor([2., 0.])
    """
    if min(weights) > 0:
        # No sum of weights is smaller than the least: a bound costs a tenth of a mask.
        return total.div_(divisor.clamp_(min=min(weights)))
    return total.div_(divisor.masked_fill_(divisor == 0, 1.0))


def elect(deltas: Sequence[Tensor]) -> Tensor:
    """Return 1 or -1 for each element: the sign of the sum.

    >>> elect([torch.tensor([1.0, -2.0, 1.0]), torch.tensor([2.0, 1.0, -1.0])])
    tensor([ 1., -1.,  1.])
    """
    total = deltas[0].clone() if len(deltas) == 1 else deltas[0] + deltas[1]
    for delta in deltas[2:]:
        total += delta
    return torch.copysign(torch.ones(()), total, out=total)


def follow(deltas: Sequence[Tensor], signs: Tensor, weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return the sum of the deltas that have the elected sign, and the sum of the weights of those.

    >>> follow([torch.tensor([1.0, -2.0]), torch.tensor([2.0, 1.0])], torch.tensor([1.0, 1.0]), [1.0, 0.5])
    (tensor([3., 1.]), tensor([1.5000, 0.5000]))
    """
    # In the elected direction what disagrees is negative: no mask is made, which would cost more than the sum. All
    # of it is made in one place, which is in the cache from the second model on.
    total = torch.mul(deltas[0], signs).clamp_(min=0)
    divisor, share = total.sign().mul_(weights[0]), torch.empty_like(signs)
    for delta, weight in zip(deltas[1:], weights[1:], strict=True):
        total.add_(torch.mul(delta, signs, out=share).clamp_(min=0))
        divisor.add_(share.sign_(), alpha=weight)
    return total.mul_(signs), divisor


def at_least(delta: Tensor, threshold: Tensor) -> Tensor:
    """Return the entries whose magnitude reaches a threshold, and zero for the others.

    >>> at_least(torch.tensor([1.0, -2.0, 3.0]), torch.tensor(2.0))
    tensor([ 0., -2.,  3.])
    """
    # Hard shrinking keeps what is larger than its bound; the number just below the threshold is such a bound.
    bound = torch.nextafter(threshold, torch.zeros(()))
    return torch.nn.functional.hardshrink(delta, float(bound))
