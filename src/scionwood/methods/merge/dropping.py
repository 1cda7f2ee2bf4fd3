"""Dropping entries at random, and the rescaling that keeps the sum of magnitudes, as mergekit has it since 0.1.0."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["keep", "l1_factors", "magnitudes"]


def keep(delta: Tensor, drawn: Tensor, probability: float | Tensor) -> Tensor:
    """Return the entries whose number drawn is below their probability, and zero for the others.

    >>> keep(torch.tensor([1.0, 2.0]), torch.tensor([0.1, 0.9]), 0.5)
    tensor([1., 0.])
    """
    # The sign of the difference as a mask of ones and zeros: a comparison would cost more than all of this.
    mask = torch.rsub(drawn, probability) if isinstance(probability, float) else probability - drawn
    return mask.sign_().clamp_(min=0).mul_(delta)


def magnitudes(deltas: Sequence[Tensor], kept: Sequence[Tensor]) -> Tensor:
    """Return the sums of magnitudes, of each delta and of what is kept of it, in float64.

    >>> magnitudes([torch.tensor([1.0, -3.0])], [torch.tensor([0.0, -3.0])])
    tensor([[4.],
            [3.]], dtype=torch.float64)
    """
    return torch.stack(
        [torch.stack([tensor.abs().sum(dtype=torch.float64) for tensor in each]) for each in (deltas, kept)]
    )


def l1_factors(lengths: Tensor) -> list[float]:
    """Return what each delta's kept entries are multiplied with; 1 where nothing is there or nothing is kept.

    >>> l1_factors(torch.tensor([[4.0, 1.0], [3.0, 0.0]]))
    [1.3333333730697632, 1.0]
    """
    whole, kept = lengths
    there = (whole >= 1e-7) & (kept >= 1e-7)
    return torch.where(there, whole / torch.where(there, kept, 1.0), 1.0).tolist()
