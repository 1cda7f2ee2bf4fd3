"""NuSLERP: slerp with weights, over tensors, rows or columns, of weights or of task vectors (mergekit, 2024).

    t = w_2 / (w_1 + w_2),   theta = sin((1 - t) W) / sin W * a + sin(t W) / sin W * b,   W the angle between a and b

With a base, a and b are the differences to it, and the base is added back. One angle for each row or column helps where
parts of a tensor have turned by different amounts; it hurts where rows are short and their angles mostly noise. The
factors are for unit vectors and are applied to vectors as they are. mergekit names its ``nuslerp_row_wise`` by the
other dimension: with ``nuslerp_flatten: false`` it goes along rows where that is false, and along columns where it is
true. A vector turns as one in any case; a tensor of more dimensions is a matrix of its last, whose columns mergekit cuts
finer.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import add_up, gram_of
from scionwood.methods.merge.weighting import Weights, spread_weights
from scionwood.methods.record import method
from scionwood.methods.summary import Sum

__all__ = ["nuslerp"]


def _pair(tensors: Sequence[Tensor], base: Tensor | None) -> Sequence[Tensor]:
    if len(tensors) != 2:
        raise MethodError(
            f"NuSLERP goes between two models, and {len(tensors)} are given.", hint="karcher and multislerp take more."
        )
    return tensors if base is None else [tensor - base for tensor in tensors]


def _products(pair: Sequence[Tensor], dims: tuple[int, ...], *, keepdim: bool = False) -> Tensor:
    a, b = (tensor.double() for tensor in pair)
    return torch.stack([(x * y).sum(dims, keepdim=keepdim) for x, y in ((a, a), (a, b), (b, b))])


def _gram(tensors: Sequence[Tensor], found: Mapping[str, Any], options: Mapping[str, Any]) -> Tensor:
    pair = _pair(tensors, found["base"])
    if options["arc"] == "tensor" or len(found["shape"]) < 2:
        products = gram_of(pair)
        return torch.stack([products[0, 0], products[0, 1], products[1, 1]])
    return _products(pair, (0,))


def _factors(products: Tensor, t: float) -> tuple[Tensor, Tensor]:
    squares, between, others = products
    lengths = squares.sqrt().clamp(min=1e-7) * others.sqrt().clamp(min=1e-7)
    angle = (between / lengths).clamp(-1, 1).acos()
    sine = angle.sin()
    straight = sine.abs() < 1e-8
    divisor = torch.where(straight, 1.0, sine)
    first = torch.where(straight, 1 - t, ((1 - t) * angle).sin() / divisor)
    second = torch.where(straight, t, (t * angle).sin() / divisor)
    return first.float(), second.float()


@method(
    space="weight",
    scope="row",
    laws={"homogeneous", "idempotent"},
    summaries=[Sum("gram", _gram, when=lambda options: options["arc"] != "row", needs=("base", "shape"))],
)
def nuslerp(
    tensors: Sequence[Tensor],
    base: Tensor | None = None,
    gram: Tensor | None = None,
    *,
    weights: Weights = 1.0,
    arc: Literal["tensor", "row", "column"] = "tensor",
) -> Tensor:
    """Return the point between the two tensors that their weights say.

    >>> a, b = torch.tensor([[1.0, 0, 0], [0, 2, 0]]), torch.tensor([[0, 1.0, 0], [0, 2, 2]])
    >>> nuslerp([a, b], arc="row")
    tensor([[0.7071, 0.7071, 0.0000],
            [0.0000, 2.1648, 1.0824]])

    Args:
        tensors: the two tensors.
        base: what their differences are interpolated of; without one, they are themselves.
        gram: their inner products, over the tensor or over each column.
        weights: of the two models; half and half where they sum to nothing.
        arc: what turns as one: the tensor, each row, or each column.

    Raises:
        MethodError: there are not two models, or the weights do not fit them.
    """
    pair = _pair(tensors, base)
    a, b = spread_weights(weights, 2)
    t = 0.5 if abs(a + b) < 1e-6 else b / (a + b)
    products = _products(pair, (-1,), keepdim=True) if arc == "row" or gram is None else gram
    first, second = _factors(products, t)
    if first.ndim:  # of rows or columns
        device = pair[0].device
        result = (pair[0] * first.to(device)).add_(pair[1] * second.to(device))
    else:
        result = add_up(pair, [float(first), float(second)])
    return result if base is None else result.add_(base)
