"""Model Stock: from the base towards the average, as far as models agree (Jang et al., 2024, arXiv:2403.19522).

    c = mean over pairs of cos(delta_i, delta_j),   t = N c / (1 + (N - 1) c)
    theta = t mean_i theta_i + (1 - t) theta_0

The centre of many fine-tunings lies near the base and their average; the less the few at hand agree, the nearer to the
base. Where they disagree (c towards -1 / (N - 1)) the published formula explodes: t is held between 0 and 1 unless
``clamp`` is false.

The paper's other form has a t for every output filter: ``filter_wise``, each row by itself (the last dimension, as
mergekit has it; a vector is one row). It follows the models where they agree in part, and follows noise where rows are
short.
"""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import GRAM, mix
from scionwood.methods.record import method

__all__ = ["model_stock"]


@method(
    space="delta",
    scope="row",
    laws={"permutation"},
    paper="2403.19522",
    summaries=[dataclasses.replace(GRAM, when=lambda options: not options["filter_wise"])],
)
def model_stock(
    deltas: Sequence[Tensor], gram: Tensor | None = None, *, filter_wise: bool = False, clamp: bool = True
) -> Tensor:
    """Return t times the mean of the deltas, t by the angle between them.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> base, a, b = torch.zeros(2), torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.75**0.5])  # 60 degrees: t = 2/3
    >>> merge_tensors(model_stock, [a, b], base)
    tensor([0.5000, 0.2887])

    Args:
        deltas: the difference of each model to the base.
        gram: their inner products.
        filter_wise: one t for every row, not one for the tensor.
        clamp: hold t between 0 and 1.

    Raises:
        MethodError: there is one model only.
    """
    count = len(deltas)
    if count < 2:
        raise MethodError("Model Stock measures the angle between models, and only one is given.")
    if filter_wise or gram is None:
        rows = [delta.double() for delta in deltas]
        products = torch.stack([torch.stack([(one * other).sum(-1) for other in rows]) for one in rows])
        share = (_ratio(products, clamp=clamp) / count).float()[:, None]
        result = deltas[0] * share
        for delta in deltas[1:]:
            result += delta * share
        return result
    return mix(deltas, (_ratio(gram, clamp=clamp) / count).expand(count))


def _ratio(products: Tensor, *, clamp: bool) -> Tensor:
    """How far to go towards the mean, by the inner products [model, model, ...] of the deltas."""
    count = len(products)
    lengths = torch.stack([products[number, number] for number in range(count)]).clamp(min=0).sqrt()
    cosines = (products / (lengths[:, None] * lengths[None, :]).clamp(min=1e-6)).clamp(-1, 1)
    above = [cosines[one, other] for one in range(count) for other in range(one + 1, count)]
    pairs = torch.stack(above).sum(0) / len(above)
    ratio = count * pairs / (1 + (count - 1) * pairs)
    return torch.where(1 + (count - 1) * pairs <= 0, 0.0, ratio).clamp(0, 1) if clamp else ratio
