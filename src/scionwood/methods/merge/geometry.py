"""Inner products of whole tensors: what spherical merges turn into weights of a plain sum.

A spherical mean of tensors lies in their span. So all it needs of them is how long they are and how they lean on each
other: the Gram matrix, one pass. The rest is arithmetic on a matrix of the size of the number of models.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scionwood.methods.summary import Sum

__all__ = ["GRAM", "add_up", "average", "gram_of", "mix"]


def gram_of(inputs: Sequence[Tensor]) -> Tensor:
    """Return the inner products of tensors with each other, in float64.

    >>> gram_of([torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0])])
    tensor([[5., 6.],
            [6., 9.]], dtype=torch.float64)
    """
    flat = torch.empty(len(inputs), inputs[0].numel(), dtype=torch.float64, device=inputs[0].device)
    for row, tensor in zip(flat, inputs, strict=True):
        row.copy_(tensor.reshape(-1))
    return flat @ flat.T


def _gram(inputs: Sequence[Tensor], _: Mapping[str, Tensor], __: Mapping[str, Any]) -> Tensor:
    return gram_of(inputs)


GRAM = Sum("gram", _gram)
"""The inner products of the inputs with each other, in float64."""


def mix(tensors: Sequence[Tensor], weights: Tensor) -> Tensor:
    """Return the sum of the tensors by weights that came out of a computation."""
    return add_up(tensors, weights.tolist())


def add_up(tensors: Iterable[Tensor], weights: Iterable[float]) -> Tensor:
    """Return the weighted sum of the tensors, added in the order given; one at a time is looked at.

    >>> add_up([torch.tensor([1.0]), torch.tensor([2.0])], [1.0, 0.5])
    tensor([2.])
    """
    pairs = zip(tensors, weights, strict=True)
    first, weight = next(pairs)
    result = first * weight
    for tensor, weight in pairs:
        result.add_(tensor, alpha=weight)
    return result


def average(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted mean of the tensors, made as a running one: what is equal in all of them stays as it is.

    A sum of thirds is not always the whole in float32; so what a fine-tuning froze would come out changed.

    >>> average([torch.tensor([0.1, 1.0])] * 2 + [torch.tensor([0.1, 4.0])], [1.0, 1.0, 1.0])
    tensor([0.1000, 2.0000])
    """
    if min(weights) < 0:
        # Partial sums may be nothing then, and the mean lies outside anyway.
        return add_up(tensors, [weight / sum(weights) for weight in weights])
    (result, total), *others = [pair for pair in zip(tensors, weights, strict=True) if pair[1]]
    for place, (tensor, weight) in enumerate(others):
        total += weight
        # The first is an input, and stays as it is.
        result = result.lerp_(tensor, weight / total) if place else result.lerp(tensor, weight / total)
    return result if others else result.clone()
