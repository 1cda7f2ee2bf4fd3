"""Random selection: one random subset of each dimension, the same in every tensor (Xu et al., 2024, arXiv:2311.18823).

The subset is drawn without replacement and sorted. One draw serves every tensor that has the dimension, so that what
one tensor writes the next one reads: that consistency is what carries the gain (81.7 % on CIFAR-100 against 77.4 % for
``random_inconsistent``), not the choice of the indices.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.methods.record import method
from scionwood.methods.select.spacing import flat

__all__ = ["random"]


@method(unit="dimension", laws={"identity", "increasing"}, paper="2311.18823")
def random(source: Sequence[int], target: Sequence[int], generator: torch.Generator) -> Tensor:
    """Return a sorted random subset of a dimension's indices.

    >>> random((8,), (3,), torch.Generator().manual_seed(0)).tolist()
    [0, 4, 7]

    Raises:
        MethodError: the target is larger than the source.
    """
    n, m = flat(source, target)
    return torch.randperm(n, generator=generator)[:m].sort().values
