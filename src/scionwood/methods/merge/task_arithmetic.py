"""Task arithmetic: the base plus a scaled sum of task vectors (Ilharco et al., 2022, arXiv:2212.04089).

    theta = theta_0 + scale * sum_i w_i (theta_i - theta_0)

A negative weight makes the model forget; 1/N for N models is their average. It is the one merge that reliably beats its
base on models found in the wild; many task vectors at full scale hurt each other.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method

__all__ = ["task_arithmetic"]


@method(space="delta", scope="element", laws={"permutation", "linear"}, paper="2212.04089")
def task_arithmetic(
    deltas: Sequence[Tensor],
    *,
    weights: Weights = 1.0,
    normalize: bool = False,
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return scale * sum_i w_i delta_i, to be added to the base.

    >>> import torch
    >>> task_arithmetic([torch.tensor([0.4, -0.1]), torch.tensor([-0.2, 0.3])], weights=(1, 0.5), scale=0.5)
    tensor([0.1500, 0.0250])

    Args:
        deltas: the difference of each model to the base.
        weights: of the models.
        normalize: divide by the sum of the weights.
        scale: of the sum; the paper searches 0.05 to 1 on held-out data, and takes 0.3 for eight tasks.

    Raises:
        MethodError: the weights do not fit the models, or sum to zero where they are normalised.
    """
    result = add_up(deltas, spread_weights(weights, len(deltas), normalize=normalize))
    return result if scale == 1.0 else result.mul_(scale)
