"""Robust weight signatures: patch robustness into a model that lacks it (Cai et al., 2023, arXiv:2302.12480).

    a = theta_S - theta_P,   b_k = theta_Rk - theta_P,   v_k = b_k - <b_k, a> / <a, a> a
    theta = theta_S + sum_k alpha / K v_k

The base P is pretrained, the first model S trained as usual, the others R_k on corrupted data. What their training did
beyond the usual one, orthogonal to it, is the signature of the corruption; it can be added and taken away again (with
``alpha`` negated). The paper patches the few shallowest layers, and takes the mean of the robust models' batch
statistics: choose the tensors for that.

The published code multiplies by alpha / K twice, before and after the projection: ``official_scaling``.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import GRAM, mix
from scionwood.methods.record import Finite, method

__all__ = ["robust_weight_signatures"]


@method(space="delta", scope="element", paper="2302.12480", summaries=[GRAM])
def robust_weight_signatures(
    deltas: Sequence[Tensor],
    gram: Tensor,
    *,
    alpha: Annotated[float, Finite()] = 1.0,
    official_scaling: bool = False,
) -> Tensor:
    """Return the delta of the first model with the signatures of the others added.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> merge_tensors(robust_weight_signatures, [torch.tensor([1.0, 0.0]), torch.tensor([2.0, 3.0])], torch.zeros(2))
    tensor([1., 3.])

    Args:
        deltas: the difference of each model to the base, the one trained as usual first.
        gram: their inner products.
        alpha: the strength of all signatures together.
        official_scaling: square the strength, as the published code does.

    Raises:
        MethodError: there is one model only.
    """
    count = len(deltas) - 1
    if count < 1:
        raise MethodError("A signature is what a robust model has beyond the usual one, and only one model is given.")
    strength = (alpha / count) ** 2 if official_scaling else alpha / count
    usual = float(gram[0, 0])
    along = float(gram[0, 1:].sum()) / usual if usual > 0 else 0.0
    return mix(deltas, torch.tensor([1 - strength * along] + [strength] * count, dtype=torch.float64))
