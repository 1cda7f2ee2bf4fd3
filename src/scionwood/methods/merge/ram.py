"""RAM: add up what one model alone changed, average what several did (2026, arXiv:2601.13572).

    active_i = |delta_i| > epsilon;   one active: its delta (times 1 + boost);   several: their mean;   none: nothing

Reinforced agents change few weights, and mostly different ones: averaging would shrink what only one of them learned.
``boost`` makes up for what a model loses where it shares: r * clip(shared_i / unique_i, 0, alpha), counted over the
model as in the paper, or over each tensor as in mergekit (``scope="tensor"``). It hurts where models changed everything
a little: then nothing is one model's alone, and it is their mean.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum, over_scope

__all__ = ["ram"]


def _counts(deltas: Sequence[Tensor], _: Mapping[str, Tensor], options: Mapping[str, Any]) -> Tensor:
    """For each model, how many entries it shares, and how many it has alone."""
    active = torch.stack([delta.abs() > options["epsilon"] for delta in deltas])
    several = active.sum(0) > 1
    shared = (active & several).reshape(len(deltas), -1).sum(1)
    unique = (active & ~several).reshape(len(deltas), -1).sum(1)
    return torch.stack([shared, unique])


@method(
    space="delta",
    scope="element",
    laws={"permutation"},
    paper="2601.13572",
    summaries=[Sum("counts", _counts, over=over_scope, when=lambda options: options["r"] > 0)],
)
def ram(
    deltas: Sequence[Tensor],
    counts: Tensor | None = None,
    *,
    epsilon: Annotated[float, Finite(at_least=0)] = 1e-5,
    r: Annotated[float, Finite(at_least=0)] = 0.0,
    alpha: Annotated[float, Finite(at_least=0)] = 0.2,
    scope: Literal["tensor", "model"] = "model",
) -> Tensor:
    """Return the merged task vector.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> a, b = torch.tensor([1.0, 2.0, 0.0, 0.0]), torch.tensor([0.0, 4.0, 3.0, 0.0])
    >>> merge_tensors(ram, [a, b], torch.zeros(4))
    tensor([1., 3., 3., 0.])
    >>> merge_tensors(ram, [a, b], torch.zeros(4), {"r": 0.1})
    tensor([1.0200, 3.0000, 3.0600, 0.0000])

    Args:
        deltas: the difference of each model to the base.
        counts: for each model, how many entries it shares with others and how many it has alone.
        epsilon: an entry that is larger is active.
        r: how much of the shared-to-unique ratio is added to what a model has alone; 0.1 in RAM+.
        alpha: the largest ratio that counts.
        scope: what shared and unique entries are counted over: each tensor, or the model.
    """
    shared, unique = torch.zeros(2, len(deltas)) if counts is None else counts.double()
    boosts = (1 + r * (shared / unique.clamp(min=max(epsilon, 1e-12))).clamp(0, alpha)).tolist()
    total, alone, active = (torch.zeros_like(deltas[0]) for _ in range(3))
    for delta, boost in zip(deltas, boosts, strict=True):
        mask = delta.abs() > epsilon
        kept = delta * mask
        total += kept
        alone.add_(kept, alpha=boost)
        active += mask
    return torch.where(active == 1, alone, total / active.clamp(min=1))
