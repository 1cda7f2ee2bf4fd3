"""Fusing: a new base out of what others have made of the old one (Choshen et al., 2022, arXiv:2204.03044).

    theta = theta_0 + beta * mean_i (theta_i - theta_0)

Fine-tuned models of one base, averaged, are a better start for the next task than the base was; repeated by many
contributors it is ColD fusion (arXiv:2212.01378). It is for the bodies: heads belong to their tasks, and stay out. One
contributor that diverged spoils a mean: ``center="median"`` takes the median of each entry, ``screen`` leaves out who
is far from the others. Contributors that were tuned with weight decay towards zero bring less.

Distances are over the whole model. With N contributors one that is far away is N - 1 times as far from the mean as the
others, so a screen between 1 and N - 1 finds it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from scionwood.methods.merge.geometry import average
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum, over_model

__all__ = ["fusing"]


def _distances(deltas: Sequence[Tensor], _: Mapping[str, Tensor], __: Mapping[str, Any]) -> Tensor:
    mean = torch.stack(list(deltas)).mean(0, dtype=torch.float64)
    return torch.stack([(delta - mean).square().sum() for delta in deltas])


@method(
    space="delta",
    scope="element",
    laws={"alone", "homogeneous", "idempotent", "permutation"},
    paper="2204.03044",
    summaries=[Sum("squares", _distances, over=over_model, when=lambda options: options["screen"] is not None)],
)
def fusing(
    deltas: Sequence[Tensor],
    squares: Tensor | None = None,
    *,
    beta: Annotated[float, Finite(at_least=0, at_most=1)] = 1.0,
    center: Literal["mean", "median"] = "mean",
    screen: Annotated[float, Finite(at_least=1)] | None = None,
) -> Tensor:
    """Return the new base's difference to the old one.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> models = [torch.tensor([1.0]), torch.tensor([1.2]), torch.tensor([1.1]), torch.tensor([50.0])]
    >>> merge_tensors(fusing, models, torch.tensor([0.0]), {"screen": 2.0})
    tensor([1.1000])

    Args:
        deltas: the difference of each contributor to the base.
        squares: the squared distance of each contributor to the mean of all, over the model.
        beta: how far to go from the old base; at 1 nothing but its contributors is left of it.
        center: the mean of the contributors, or the median of each entry, of two in the middle their mean.
        screen: leave out who is farther from the mean than this many times the median distance.
    """
    if squares is not None and screen is not None:
        distances = squares.sqrt()
        near = (distances <= screen * distances.quantile(0.5)).tolist()
        deltas = [delta for delta, stays in zip(deltas, near, strict=True) if stays]
    if center == "median":
        ordered = torch.stack(list(deltas)).sort(0).values
        return ordered[[(len(deltas) - 1) // 2, len(deltas) // 2]].mean(0).mul_(beta)
    return average(deltas, [1.0] * len(deltas)).mul_(beta)
