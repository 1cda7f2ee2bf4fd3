"""Inconsistent random selection, a control: a fresh subset for every tensor and dimension (arXiv:2311.18823).

It keeps the distribution of the weights and destroys what they say to each other: tensors that share an axis no longer
agree on its channels. Use it to measure what consistency is worth, never to make a model; the paper has 77.4 % for it
against 81.7 % for ``random`` and 72.4 % for a fresh start.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.methods.record import method
from scionwood.methods.select.random import random

__all__ = ["random_inconsistent"]


@method(unit="dimension", consistent=False, laws={"identity", "increasing"}, paper="2311.18823")
def random_inconsistent(source: Sequence[int], target: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return a sorted random subset of a dimension's indices, to be drawn anew for every tensor.

    >>> random_inconsistent((8,), (3,), torch.Generator().manual_seed(0)).tolist()
    [0, 4, 7]

    Raises:
        MethodError: the target is larger than the source.
    """
    return random(source, target, generator)
