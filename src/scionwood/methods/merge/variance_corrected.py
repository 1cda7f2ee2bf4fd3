"""Variance-corrected averaging: an average that is as wide as the models are (2024, arXiv:2404.04616).

    a = sum_i w_i theta_i,   theta = mean(a) + (a - mean(a)) sqrt(sum_i w_i Var(theta_i) / Var(a))

Averaging models that do not correlate shrinks their weights (by the root of their number) and with them every
activation; this gives the spread back. For fine-tunings of one base the factor is nearly one. Where models oppose each
other it would explode: ``max_ratio`` holds it. The rule per tensor is a reconstruction from the abstract. Vectors and
scalars (biases, norms) are averaged.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from scionwood.methods.merge.geometry import GRAM, add_up
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum

__all__ = ["variance_corrected"]


def _sums(tensors: Sequence[Tensor], _: Mapping[str, Tensor], __: Mapping[str, Any]) -> Tensor:
    return torch.stack([tensor.sum(dtype=torch.float64) for tensor in tensors])


@method(
    space="weight",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "permutation"},
    paper="2404.04616",
    summaries=[GRAM, Sum("sums", _sums)],
)
def variance_corrected(
    tensors: Sequence[Tensor],
    gram: Tensor,
    sums: Tensor,
    shape: tuple[int, ...],
    *,
    weights: Weights = 1.0,
    max_ratio: Annotated[float, Finite(at_least=1)] = 10.0,
) -> Tensor:
    """Return the average of the tensors with their mean variance.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> a, b = torch.tensor([[1.0, -1.0], [2.0, -2.0]]), torch.tensor([[-1.0, -1.0], [2.0, 2.0]])
    >>> merge_tensors(variance_corrected, [a, b])
    tensor([[-0.1036, -1.5178],
            [ 2.7249, -0.1036]])

    Args:
        tensors: one tensor from each model.
        gram: their inner products.
        sums: the sum of the elements of each.
        shape: the shape of the whole tensor.
        weights: of the models.
        max_ratio: the most that deviations from the mean are multiplied with.

    Raises:
        MethodError: the weights do not fit the models, or sum to zero.
    """
    listed = spread_weights(weights, len(tensors), normalize=True)
    result = add_up(tensors, listed)
    if len(shape) < 2:
        return result
    weight, size = torch.tensor(listed, dtype=torch.float64), math.prod(shape)
    middle = float(weight @ sums) / size
    square = float(weight @ gram @ weight) / size
    wanted = float(weight @ (gram.diagonal() / size - (sums / size) ** 2))
    if square - middle**2 <= 1e-12 * square or wanted <= 0:
        return result
    ratio = min(math.sqrt(wanted / (square - middle**2)), max_ratio)
    return result.mul_(ratio).add_(middle * (1 - ratio))
