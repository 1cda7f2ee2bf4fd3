"""ZSCL: the running mean of a fine-tuning, its start included (Zheng et al., 2023, arXiv:2303.06628).

    k_0 = theta_0,   k_n = alpha (n k_(n - 1) + theta_n) / (n + 1) + (1 - alpha) theta_start

Weight ensembling for continual learning: the mean keeps what the start of each task could, and the next task begins
from it. With ``alpha`` below 1 every step is pulled to a start besides (WE-WiSE, 0.98 in the published code): to the
base where there is one, else to the first model. It hurts where a task is far from its start: the mean stays behind.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.methods.merge.geometry import average
from scionwood.methods.record import Finite, method

__all__ = ["zscl"]


@method(space="weight", scope="element", laws={"alone", "homogeneous", "idempotent"}, paper="2303.06628")
def zscl(
    tensors: Sequence[Tensor],
    base: Tensor | None = None,
    *,
    alpha: Annotated[float, Finite(at_least=0, at_most=1)] = 1.0,
) -> Tensor:
    """Return the running mean of a task's weights.

    >>> import torch
    >>> zscl([torch.tensor([0.0]), torch.tensor([3.0]), torch.tensor([6.0])])
    tensor([3.])
    >>> zscl([torch.tensor([0.0]), torch.tensor([3.0]), torch.tensor([6.0])], torch.tensor([1.0]), alpha=0.98)
    tensor([2.9535])

    Args:
        tensors: the weights at the task's start, then those that were sampled, in their order.
        base: what every step is pulled to; without one, the start.
        alpha: how little it is pulled.
    """
    # The mean as weights of the models, the last of them the base's.
    points = [*tensors, tensors[0] if base is None else base]
    weights = [1.0] + [0.0] * len(tensors)
    for number in range(1, len(tensors)):
        weights = [alpha * number / (number + 1) * weight for weight in weights]
        weights[number] += alpha / (number + 1)
        weights[-1] += 1 - alpha
    return average(points, weights)
