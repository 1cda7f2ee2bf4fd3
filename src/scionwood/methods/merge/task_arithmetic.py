"""Task arithmetic: the base plus a scaled sum of task vectors (Ilharco et al., 2022, arXiv:2212.04089).

    theta = theta_0 + scale * sum_i w_i (theta_i - theta_0)

Weights may have either sign. A negative one makes the model forget what that model learned (negation). Three models
make an analogy: what is to C as B is to A, theta_0 + delta_C + (delta_B - delta_A), with weights -1, 1, 1 for A, B, C.
1/N for N models is their average.

It is the one merge that reliably beats its base on models found in the wild; many task vectors at full scale hurt each
other.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method

__all__ = ["task_arithmetic"]


@method(space="delta", scope="element", laws={"alone", "homogeneous", "linear", "permutation"}, paper="2212.04089")
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
    >>> toxic = torch.tensor([0.3, -0.1])
    >>> task_arithmetic([toxic], weights=-1.0)
    tensor([-0.3000,  0.1000])
    >>> plain, rude, poem = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.5]), torch.tensor([0.0, 2.0])
    >>> task_arithmetic([plain, rude, poem], weights=(-1, 1, 1))  # a rude poem
    tensor([0.0000, 2.5000])

    Args:
        deltas: the difference of each model to the base.
        weights: of the models; negative ones take away.
        normalize: divide by the sum of the weights.
        scale: of the sum; the paper searches 0.05 to 1 on held-out data, and takes 0.3 for eight tasks.

    Raises:
        MethodError: the weights do not fit the models, or sum to zero where they are normalised.
    """
    result = add_up(deltas, spread_weights(weights, len(deltas), normalize=normalize))
    return result if scale == 1.0 else result.mul_(scale)
