"""Slerp: go from one model to the other along the arc between them (Shoemake, 1985; as mergekit has it).

    theta = sin((1 - t) W) / sin W * a + sin(t W) / sin W * b,   W the angle between a and b

Each tensor is one vector. The factors are for unit vectors and are applied to the tensors as they are, so that where
their lengths differ the length of the result is not their mean. Nearly parallel tensors (|cos W| > 0.9995) are
interpolated linearly, and so are opposite ones, between which every arc is as short as any other. It helps where a
straight line would shorten the weights; fine-tunings of one start are so nearly parallel that it is a straight line.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import GRAM, mix
from scionwood.methods.record import Finite, method

__all__ = ["slerp"]


@method(space="weight", scope="element", laws={"homogeneous", "idempotent"}, summaries=[GRAM])
def slerp(tensors: Sequence[Tensor], gram: Tensor, *, t: Annotated[float, Finite()] = 0.5) -> Tensor:
    """Return the point at t on the arc from the first tensor to the second.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> merge_tensors(slerp, [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])])
    tensor([0.7071, 1.4142])

    Args:
        tensors: the two tensors.
        gram: their inner products.
        t: 0 is the first model, 1 the second.

    Raises:
        MethodError: there are not two models.
    """
    if len(tensors) != 2:
        raise MethodError(
            f"Slerp goes between two models, and {len(tensors)} are given.", hint="karcher and multislerp take more."
        )
    lengths = gram.diagonal().sqrt()
    lengths = torch.where(lengths > 1e-8, lengths, 1.0)
    cosine = float(gram[0, 1] / (lengths[0] * lengths[1]))
    if abs(cosine) > 0.9995:
        return mix(tensors, torch.tensor([1 - t, t]))
    angle = math.acos(cosine)
    return mix(
        tensors, torch.tensor([math.sin((1 - t) * angle), math.sin(t * angle)], dtype=torch.float64) / math.sin(angle)
    )
