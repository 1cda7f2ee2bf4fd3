"""Metrics-weighted averaging: checkpoints by their losses, or by how late they are (2025, arXiv:2504.18580).

    u_k = 1 / loss_k, or step_k;   theta = sum_k u_k^penalty theta_k / sum_k u_k^penalty

It weighs the checkpoints of one run by what is known of them anyway. A penalty of zero is the plain average, a large
one picks the best. It hurts where losses were not measured on the same data. That weights come from losses or steps and
one penalty factor is the paper's; the power is a reconstruction from the abstract.
"""

import math
from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import average
from scionwood.methods.merge.weighting import spread_weights
from scionwood.methods.record import Finite, method

__all__ = ["metrics_weighted"]


@method(space="weight", scope="element", laws={"alone", "homogeneous", "idempotent", "linear"}, paper="2504.18580")
def metrics_weighted(
    tensors: Sequence[Tensor],
    *,
    losses: Sequence[Annotated[float, Finite(above=0)]] | None = None,
    steps: Sequence[Annotated[float, Finite(above=0)]] | None = None,
    penalty: Annotated[float, Finite(at_least=0)] = 1.0,
) -> Tensor:
    """Return the average of the checkpoints, weighted by a metric.

    >>> import torch
    >>> metrics_weighted(list(torch.eye(3)), losses=(2, 1, 0.5))
    tensor([0.1429, 0.2857, 0.5714])

    Args:
        tensors: one tensor from each checkpoint.
        losses: of each checkpoint: the lower, the more weight.
        steps: at which each was saved: the later, the more weight. Without losses or steps: 1, 2, 3, ... as written.
        penalty: how much the metric counts.

    Raises:
        MethodError: both losses and steps are given, or not one for each model.
    """
    if losses is not None and steps is not None:
        raise MethodError("The weights come from losses or from steps, and both are given.")
    given = next((each for each in (losses, steps) if each is not None), range(1, len(tensors) + 1))
    sign = -1.0 if losses is not None else 1.0
    logarithms = [sign * penalty * math.log(metric) for metric in spread_weights(list(given), len(tensors))]
    weights = [math.exp(logarithm - max(logarithms)) for logarithm in logarithms]
    return average(tensors, weights)
