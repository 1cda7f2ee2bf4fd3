"""Model Stock: from the base towards the average, as far as models agree (Jang et al., 2024, arXiv:2403.19522).

    c = mean over pairs of cos(delta_i, delta_j),   t = N c / (1 + (N - 1) c)
    theta = t mean_i theta_i + (1 - t) theta_0

The centre of many fine-tunings lies near the base and their average; the less the few at hand agree, the nearer to the
base. Where they disagree (c towards -1 / (N - 1)) the published formula explodes: t is held between 0 and 1 unless
``clamp`` is false. mergekit does not hold it; where the denominator is nothing it stays at the base, as is done here
(its versions before 0.1.5 gave NaN there). The authors' code was never released: FusionBench averages angles where
mergekit averages cosines (``average``), which is the same for two models.

The paper's other form has a t for every output filter: ``filter_wise``, each row by itself (the last dimension, as
mergekit has it; a vector is one row). It follows the models where they agree in part, and follows noise where rows are
short.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import GRAM, mix
from scionwood.methods.record import method

__all__ = ["model_stock"]


@method(
    space="delta",
    scope="row",
    laws={"homogeneous", "idempotent", "permutation"},
    paper="2403.19522",
    summaries=[dataclasses.replace(GRAM, when=lambda options: not options["filter_wise"])],
)
def model_stock(
    deltas: Sequence[Tensor],
    gram: Tensor | None = None,
    *,
    filter_wise: bool = False,
    average: Literal["cosine", "angle"] = "cosine",
    clamp: bool = True,
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
        average: what is averaged over the pairs of models.
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
        share = (_ratio(products, average, clamp=clamp) / count).float()[:, None]
        result = deltas[0] * share
        for delta in deltas[1:]:
            result += delta * share
        return result
    return mix(deltas, (_ratio(gram, average, clamp=clamp) / count).expand(count))


def _ratio(products: Tensor, average: str, *, clamp: bool) -> Tensor:
    """How far to go towards the mean, by the inner products [model, model, ...] of the deltas."""
    count = len(products)
    lengths = torch.stack([products[number, number] for number in range(count)]).clamp(min=0).sqrt()
    cosines = (products / (lengths[:, None] * lengths[None, :]).clamp(min=1e-6)).clamp(-1, 1)
    above = torch.stack([cosines[one, other] for one in range(count) for other in range(one + 1, count)])
    mean = above.sum(0) / len(above) if average == "cosine" else (above.acos().sum(0) / len(above)).cos()
    whole = 1 + (count - 1) * mean
    nothing = whole <= 0 if clamp else whole.abs() < 1e-6
    ratio = torch.where(nothing, 0.0, count * mean / torch.where(nothing, 1.0, whole))
    return ratio.clamp(0, 1) if clamp else ratio
