"""Momentum: a slow model that follows a continual training (Stojanovski et al., 2022, arXiv:2211.03186).

    slow_0 = theta_0,   slow_n = tau slow_(n - 1) + (1 - tau) theta_n

The base is the zero-shot model, the others are what it was tuned to, in the order of the run, task after task. The slow
model learns the tasks later than the fast one and forgets them less, and keeps what the zero-shot model could. It hurts
where tau does not suit the distance between checkpoints: the slow model lives on the last 1 / (1 - tau) of them, and
with fewer it has hardly left the base.

Momenta near 1 are for steps; between saved checkpoints a smaller one is meant. The paper searches tau, our default is
for ten checkpoints. ``final_checkpoints`` folds in the same way, from the oldest checkpoint on, without a base.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.methods.merge.geometry import add_up
from scionwood.methods.record import Finite, method

__all__ = ["momentum"]


@method(space="delta", scope="element", laws={"homogeneous", "linear"}, paper="2211.03186")
def momentum(deltas: Sequence[Tensor], *, tau: Annotated[float, Finite(at_least=0, at_most=1)] = 0.9) -> Tensor:
    """Return the slow model's difference to the base.

    >>> import torch
    >>> momentum([torch.tensor([1.0]), torch.tensor([2.0])], tau=0.9)
    tensor([0.2900])

    Args:
        deltas: the difference of each checkpoint to the zero-shot model, oldest first.
        tau: how much of the slow model stays at each checkpoint: 1 is the base, 0 the last checkpoint.
    """
    count = len(deltas)
    return add_up(deltas, [(1 - tau) * tau ** (count - 1 - number) for number in range(count)])
