"""Passthrough: one model as it is, or scaled (as mergekit has it).

    theta = scale * theta_1

It is what layers are stacked with. Scaling the projections that write to the residual stream by zero makes an added
layer do nothing, so that a deeper model begins as the same function.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Finite, method

__all__ = ["passthrough"]


@method(space="weight", scope="element", laws={"alone", "homogeneous", "linear"})
def passthrough(tensors: Sequence[Tensor], *, scale: Annotated[float, Finite()] | None = None) -> Tensor:
    """Return the one tensor, times the scale.

    >>> import torch
    >>> passthrough([torch.tensor([1.0, 2.0])], scale=0.5)
    tensor([0.5000, 1.0000])

    Args:
        tensors: the tensor of the one model.
        scale: what it is multiplied with; none leaves it as it is.

    Raises:
        MethodError: there is more than one model.
    """
    if len(tensors) != 1:
        raise MethodError(
            f"Passthrough takes one model, and {len(tensors)} are given.", hint="linear averages several."
        )
    return tensors[0] if scale is None else tensors[0] * scale
