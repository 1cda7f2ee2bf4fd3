"""LAWA: the mean of the latest checkpoints of a run (Kaddour, 2022, arXiv:2209.14981).

    theta = (theta_(n - k + 1) + ... + theta_n) / k

It gives early what a decay of the learning rate gives at the end, and is for evaluation: training goes on from the raw
weights. It works best where the learning rate is high, and hurts where k reaches back to weights that the run has left
behind. With k at least the number of checkpoints it is stochastic weight averaging.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.methods.merge.geometry import average
from scionwood.methods.record import Finite, method

__all__ = ["lawa"]


@method(space="weight", scope="element", laws={"alone", "homogeneous", "idempotent", "linear"}, paper="2209.14981")
def lawa(tensors: Sequence[Tensor], *, k: Annotated[int, Finite(at_least=1)] = 6) -> Tensor:
    """Return the mean of the last k tensors.

    >>> import torch
    >>> lawa([torch.tensor([step]) for step in (1.0, 2.0, 3.0, 4.0)], k=3)
    tensor([3.])

    Args:
        tensors: one tensor from each checkpoint, oldest first.
        k: how many of the latest are averaged: 6 to 10, an epoch or a few thousand steps apart.
    """
    latest = tensors[-k:]
    return average(latest, [1.0] * len(latest))
