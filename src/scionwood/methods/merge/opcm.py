"""OPCM: add models one after another, each without what the merge has already (Tang et al., 2025, arXiv:2501.09522).

    S_1 = delta_1;   S_t = S_(t-1) + delta_t - U [M * (U^T delta_t V)] V^T,   S_(t-1) = U diag(s) V^T
    theta = theta_0 + S_N (mean_t |delta_t|) / |S_N|,   norms over the whole model

M covers the diagonal, and the square of the ``split`` strongest directions: as many as hold the ``alpha`` share of the
singular values, less the one that crosses it. What a task has outside these directions does not disturb what came
before. It is for models that arrive over time, of which only the merge is kept: running it on all of them in their
order gives what running it on each as it comes would. It hurts where tasks share their directions: only the first one's
strength counts there.

What is no matrix is summed. The published code takes linear layers alone as matrices, and so sums embeddings too; here
every tensor of two dimensions is one. It also clears the diagonal of directions that have no singular value, which can
be any; those are left alone here. Each tensor is decomposed twice, for the norm and for the result.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from scionwood.methods.merge.spectral import triplets
from scionwood.methods.record import Finite, method
from scionwood.methods.summary import Sum, over_model

__all__ = ["opcm"]


def _summed(deltas: Sequence[Tensor], alpha: float) -> Tensor:
    """The sum of the deltas, each without what the sum before it has; in float64."""
    total = deltas[0].double()
    for delta in deltas[1:]:
        new = delta.double()
        if new.ndim == 2 and total.any():
            left, values, right = triplets(total)
            shares = values.cumsum(0) / values.sum()
            split = int((shares > alpha).int().argmax()) if bool((shares > alpha).any()) else 0
            inner = left.T @ new @ right.T
            mask = torch.eye(len(values), dtype=torch.float64, device=new.device)
            mask[:split, :split] = 1
            new = new - left @ (mask * inner) @ right
        total = total + new
    return total


def _squares(deltas: Sequence[Tensor], _: Mapping[str, Tensor], options: Mapping[str, Any]) -> Tensor:
    made = [*deltas, _summed(deltas, options["alpha"])]
    return torch.stack([tensor.double().square().sum() for tensor in made])


@method(
    space="delta",
    scope="tensor",
    laws={"alone", "homogeneous"},
    paper="2501.09522",
    summaries=[Sum("squares", _squares, over=over_model)],
)
def opcm(
    deltas: Sequence[Tensor], squares: Tensor, *, alpha: Annotated[float, Finite(at_least=0, at_most=1)] = 0.5
) -> Tensor:
    """Return the merged task vector of models in the order of their arrival.

    >>> from scionwood.methods.merge.whole import merge_tensors
    >>> first, second = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> merged = merge_tensors(opcm, [first, second], torch.zeros(2, 2))
    >>> merged / merged[1, 1]  # before the norm is set: 3 and 1 stay on the diagonal, 2 and 3 come beside them
    tensor([[3.0000, 2.0000],
            [3.0000, 1.0000]])

    Args:
        deltas: the difference of each model to the base, in the order of their arrival.
        squares: the sum of squares of each delta, and of what they add up to, over the model.
        alpha: the share of the singular values whose directions are closed to later models.

    Raises:
        MethodError: a delta is not finite.
    """
    norms = squares.sqrt()
    factor = float(norms[:-1].mean() / norms[-1]) if float(norms[-1]) > 0 else 0.0
    return (_summed(deltas, alpha) * factor).float()
