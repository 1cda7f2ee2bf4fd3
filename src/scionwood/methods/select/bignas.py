"""BigNAS slicing: the lowest channels and the centre of every kernel (Yu et al., 2020, arXiv:2003.11142).

    channels   W[:o, :i]                                  the first, as ``consecutive``
    kernels    [K//2 - k//2 : K//2 - k//2 + k]            the centre crop, for 7 to 3 the taps 2, 3, 4

Right for a super-network that was trained for it (sandwich rule, inplace distillation): then a slice is a trained
model, and only batch-norm statistics want recalibrating. On any other model it is ``consecutive`` with smaller kernels,
which cut away what the outer taps did. Depth goes with it: the first blocks of every stage.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.methods.record import method
from scionwood.methods.select.spacing import flat

__all__ = ["bignas"]


@method(unit="axis", resizes=("free", "kernel"), laws={"identity", "increasing", "nested"}, paper="2003.11142")
def bignas(source: Sequence[int], target: Sequence[int], kind: str = "free") -> Tensor:
    """Return the first indices of an axis of channels, or the centre of an axis of kernel taps.

    >>> bignas((8,), (3,)).tolist(), bignas((7,), (3,), "kernel").tolist(), bignas((5,), (3,), "kernel").tolist()
    ([0, 1, 2], [2, 3, 4], [1, 2, 3])

    Raises:
        MethodError: the target is larger than the source.
    """
    n, m = flat(source, target)
    start = n // 2 - m // 2 if kind == "kernel" else 0
    return torch.arange(start, start + m)
