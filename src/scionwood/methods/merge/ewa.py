"""Experts weights averaging: draw experts together, and make one layer of them (Huang et al., 2023, arXiv:2308.06093).

    share  W_e <- (1 - beta) W_e + beta / (E - 1) sum_(j != e) W_j        convert  W = mean_e W_e

A layer is trained as several experts, each on a random part of the tokens, which are shared a little after every step
and averaged in the end: the model keeps its architecture and comes out better. The tensors are the experts of one
layer. Without ``expert`` the result is the one layer, with it that expert after a step of sharing; sharing keeps their
mean. Averaging hurts experts that were never drawn together, as those of a mixture that was trained with a router.

The form of the step is a reconstruction from the abstract.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.methods.merge.geometry import average
from scionwood.methods.merge.weighting import check_index
from scionwood.methods.record import Finite, method

__all__ = ["ewa"]


@method(
    space="weight",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "linear", "permutation"},
    paper="2308.06093",
)
def ewa(
    tensors: Sequence[Tensor],
    *,
    expert: Annotated[int, Finite(at_least=0)] | None = None,
    beta: Annotated[float, Finite(at_least=0, at_most=1)] = 0.001,
) -> Tensor:
    """Return the mean of the experts, or one of them after it was drawn to the others.

    >>> import torch
    >>> experts = [torch.tensor([weight]) for weight in (0.0, 1.0, 2.0, 3.0)]
    >>> ewa(experts), [round(float(ewa(experts, expert=number, beta=0.3)), 4) for number in range(4)]
    (tensor([1.5000]), [0.6, 1.2, 1.8, 2.4])

    Args:
        tensors: one tensor from each expert.
        expert: which expert to give after a step of sharing, 0 for the first.
        beta: how much of an expert is replaced by the mean of the others; the paper tunes 0.0001 to 0.1.

    Raises:
        MethodError: there is no such expert.
    """
    count = len(tensors)
    if expert is None or count == 1:
        return average(tensors, [1.0] * count)
    weights = [beta / (count - 1)] * count
    weights[check_index(expert, count)] = 1 - beta
    return average(tensors, weights)
