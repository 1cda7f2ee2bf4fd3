"""Dropping entries at random, and the rescaling that keeps the sum of magnitudes, as mergekit has it since 0.1.0."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Drawn", "Uniform", "keep", "l1_factors", "magnitudes", "ones"]


class Uniform(Protocol):
    """A random number in [0, 1) for each element, of which only comparisons are asked: most of its bits are never made."""

    def below(self, probability: float | Tensor) -> Tensor:
        """Return for each element whether its number is below a probability: one for all, or one for each column."""
        ...


@dataclass(frozen=True)
class Drawn:
    """Numbers that were drawn whole.

    >>> Drawn(torch.tensor([0.1, 0.9])).below(0.5)
    tensor([ True, False])
    """

    numbers: Tensor

    def below(self, probability: float | Tensor) -> Tensor:
        return self.numbers < probability


def keep(delta: Tensor, uniform: Uniform, probability: float) -> Tensor:
    """Return the entries whose number is below the probability, and zero for the others.

    >>> keep(torch.tensor([1.0, 2.0]), Drawn(torch.tensor([0.1, 0.9])), 0.5)
    tensor([1., 0.])
    """
    return ones(uniform.below(probability)).mul_(delta)


def ones(mask: Tensor) -> Tensor:
    """Return a mask in float32.

    >>> ones(torch.tensor([True, False]))
    tensor([1., 0.])
    """
    # Of bytes: torch takes five times as long over truths.
    return mask.view(torch.uint8).float()


def magnitudes(deltas: Iterable[Tensor], kept: Iterable[Tensor]) -> Tensor:
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
