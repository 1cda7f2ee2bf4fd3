"""Reversible merging: a few pseudo-models from which each of many models comes back (2025, arXiv:2510.14163).

    M = [vec theta_1 .. vec theta_N] = U S V^T;   basis = U_p S_p, p pseudo-models;   theta_i ~ basis (V_p)_i

Instead of one model for all tasks it keeps the best p-dimensional space for the tensor, and N p coefficients. It is for
adapters, of which there are many and alike; models that differ in all directions need p = N. The result is the member
as it comes back, or one pseudo-model with ``component``, of the sign that makes its largest coefficient positive.

The form over whole tensors is a reconstruction; the paper works position by position. Factors of adapters are not
unique: balance them before, or merge their products.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.merge.geometry import GRAM, mix
from scionwood.methods.merge.weighting import check_index
from scionwood.methods.record import Finite, method

__all__ = ["reversible"]


@method(space="weight", scope="element", laws={"idempotent"}, paper="2510.14163", summaries=[GRAM])
def reversible(
    tensors: Sequence[Tensor],
    gram: Tensor,
    *,
    p: Annotated[int, Finite(at_least=1)] = 2,
    member: Annotated[int, Finite(at_least=0)] = 0,
    component: Annotated[int, Finite(at_least=0)] | None = None,
) -> Tensor:
    """Return a member as the basis gives it back, or a pseudo-model of the basis.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> models = [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0])]
    >>> merge_tensors(reversible, models, options={"p": 1})
    tensor([0.5000, 0.5000])

    Args:
        tensors: one tensor from each model.
        gram: their inner products.
        p: how many pseudo-models are kept; with as many as models everything comes back.
        member: which model to give back, 0 for the first.
        component: which pseudo-model to give instead, 0 for the strongest.

    Raises:
        MethodError: there is no such model, or no such pseudo-model.
    """
    values, vectors = torch.linalg.eigh(gram)
    basis = vectors.flip(-1)[:, :p]
    if component is not None:
        weights = basis[:, check_index(component, basis.shape[1])]
        return mix(tensors, weights * torch.sign(weights[weights.abs().argmax()]))
    # What has no strength gives nothing back, whichever way its vector points.
    basis = basis * (values.flip(0)[:p] > 1e-12 * values[-1])
    return mix(tensors, basis @ basis[check_index(member, len(tensors))])
