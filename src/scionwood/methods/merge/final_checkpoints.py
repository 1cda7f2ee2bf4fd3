"""Final checkpoints: their average in place of a decay of the learning rate (2025, arXiv:2511.18903).

    theta = sum_k w_k theta_k = theta_1 + sum_i (sum_(j > i) w_j) (theta_(i + 1) - theta_i)

so that weights are multipliers on the updates between checkpoints, as a decaying learning rate would have been. ``sma``
weighs alike, which is a linear decay to zero; ``wma`` by 1, 2, ...; ``ema`` moves by ``alpha`` to each next one;
``decay`` has the multipliers given. It is for runs of constant learning rate, with equal steps between checkpoints
(arXiv:2507.17634 too); after a decay it adds little.

The identity is derived from the abstract, and alpha comes from a summary of the paper. An ``ema`` starts at the oldest
checkpoint, which so gets the largest weight of all where there are few; ``bias_correction`` starts at nothing and
divides by what is missing.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import average
from scionwood.methods.record import Finite, method

__all__ = ["final_checkpoints"]


@method(space="weight", scope="element", laws={"alone", "homogeneous", "idempotent", "linear"}, paper="2511.18903")
def final_checkpoints(
    tensors: Sequence[Tensor],
    *,
    scheme: Literal["sma", "ema", "wma", "decay"] = "ema",
    alpha: Annotated[float, Finite(above=0, at_most=1)] = 0.2,
    bias_correction: bool = False,
    multipliers: Sequence[Annotated[float, Finite(at_least=0, at_most=1)]] | None = None,
) -> Tensor:
    """Return the average of the checkpoints by a scheme.

    >>> import torch
    >>> final_checkpoints(list(torch.eye(6)))
    tensor([0.3277, 0.0819, 0.1024, 0.1280, 0.1600, 0.2000])

    Args:
        tensors: one tensor from each checkpoint, oldest first.
        scheme: where the weights come from.
        alpha: for ema: the share of each next checkpoint; a momentum of 1 - alpha.
        bias_correction: for ema: give the oldest checkpoint no more than its turn.
        multipliers: for decay: of each update after the first checkpoint, none larger than the one before.

    Raises:
        MethodError: decay without its multipliers, too few of them, or rising ones; multipliers without decay.
    """
    count = len(tensors)
    if (multipliers is None) == (scheme == "decay"):
        raise MethodError("Multipliers and the scheme decay belong together: one is given without the other.")
    if multipliers is not None:
        if len(multipliers) != count - 1:
            raise MethodError(f"There are {len(multipliers)} multipliers for {count - 1} updates.")
        steps = [1.0, *multipliers, 0.0]
        weights = [before - after for before, after in pairwise(steps)]
        if min(weights) < 0:
            raise MethodError(f"The multipliers {list(multipliers)} rise: a decay goes down.")
        return average(tensors, weights)
    if scheme == "ema":
        weights = [alpha * (1 - alpha) ** (count - 1 - number) for number in range(count)]
        if not bias_correction:
            weights[0] = (1 - alpha) ** (count - 1)
    else:
        weights = [1.0 if scheme == "sma" else float(number) for number in range(1, count + 1)]
    return average(tensors, weights)
