"""Robust weight signatures: patch robustness into a model that lacks it (Cai et al., 2023, arXiv:2302.12480).

    a = theta_S - theta_P,   b_k = theta_Rk - theta_P,   v_k = b_k - <b_k, a> / <a, a> a
    theta = theta_S + sum_k alpha / K v_k

The base P is pretrained, the first model S trained as usual, the others R_k on corrupted data. What their training did
beyond the usual one, orthogonal to it, is the signature of the corruption; it can be added and taken away again (with
``alpha`` negated). The paper patches the few shallowest layers, and takes the mean of the robust models' batch
statistics: choose the tensors for that.

It hurts where robust and usual training went different ways from the start: most of what they learned is then orthogonal.
With ``signature`` the result is the base plus one signature alone: to store, in few ``levels`` if asked, and to patch
another model by, as ``linear`` does with weights 1, 1 and -1 for that model, this result and the base.

The published code multiplies by alpha / K twice, before and after the projection: ``official_scaling``.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import GRAM, add_up
from scionwood.methods.merge.ranks import halves
from scionwood.methods.merge.weighting import check_index
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Rank

__all__ = ["robust_weight_signatures"]


def _signatures(deltas: Sequence[Tensor], gram: Tensor) -> list[Tensor]:
    """What each robust delta has beyond the usual one."""
    usual = float(gram[0, 0])
    along = [float(product) / usual if usual > 0 else 0.0 for product in gram[0, 1:]]
    return [delta - deltas[0] * share for delta, share in zip(deltas[1:], along, strict=True)]


def _ends(deltas: Sequence[Tensor], found: Mapping[str, Tensor], _: Mapping[str, Any]) -> list[Tensor]:
    return [half for signature in _signatures(deltas, found["gram"]) for half in halves(signature)]


def _rounded(signature: Tensor, ends: Tensor, levels: int) -> Tensor:
    """The nearest of evenly spaced levels between the least and the largest entry, or zero if it lies outside."""
    most, least = float(ends[0]), -float(ends[1])
    step = (most - least) / (levels - 1)
    return ((signature - least) / step).round_() * step + least if step > 0 else signature


@method(
    space="delta",
    scope="element",
    laws={"homogeneous", "idempotent"},
    paper="2302.12480",
    summaries=[GRAM, Rank("thresholds", _ends, lambda *_: 1, when=lambda options: options["levels"] is not None)],
)
def robust_weight_signatures(
    deltas: Sequence[Tensor],
    gram: Tensor,
    thresholds: Tensor | None = None,
    *,
    alpha: Annotated[float, Finite()] = 1.0,
    signature: Annotated[int, Finite(at_least=0)] | None = None,
    levels: Annotated[int, Finite(at_least=2)] | None = None,
    official_scaling: bool = False,
) -> Tensor:
    """Return the delta of the first model with the signatures of the others added, or one signature.

    >>> import torch
    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> usual, robust = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 3.0])
    >>> merge_tensors(robust_weight_signatures, [usual, robust], torch.zeros(2))
    tensor([1., 3.])
    >>> merge_tensors(robust_weight_signatures, [usual, robust], torch.zeros(2), {"signature": 0})
    tensor([0., 3.])

    Args:
        deltas: the difference of each model to the base, the one trained as usual first.
        gram: their inner products.
        thresholds: for each signature, its largest entry and the negative of its least one.
        alpha: the strength of all signatures together.
        signature: give that of this robust model alone, 0 for the first of them.
        levels: round each signature to so many evenly spaced values.
        official_scaling: square the strength, as the published code does.

    Raises:
        MethodError: there is one model only, or no such signature.
    """
    count = len(deltas) - 1
    if count < 1:
        raise MethodError("A signature is what a robust model has beyond the usual one, and only one model is given.")
    signatures = _signatures(deltas, gram)
    if levels is not None and thresholds is not None:
        pairs = zip(signatures, thresholds.reshape(-1, 2), strict=True)
        signatures = [_rounded(each, ends, levels) for each, ends in pairs]
    if signature is not None:
        return signatures[check_index(signature, count)]
    strength = (alpha / count) ** 2 if official_scaling else alpha / count
    return add_up([deltas[0], *signatures], [1.0] + [strength] * count)
