"""Selection by magnitude: the channels with the largest sum of |weights| (L1; Li et al., 2017, arXiv:1608.08710).

The score of a channel is summed over every tensor that has its axis, so that one choice serves them all:

    score_c = sum over tensors W with the axis of sum |W[…, c, …]|,   the m highest are taken, in their order

It needs no data and finds channels that are dead. Weight selection compares itself with it and wins: large weights are
not the ones that train best (arXiv:2311.18823), and the L1 norm of a channel grows with the fan of the tensors it is
in, so that wide tensors outvote narrow ones. The paper scores single filters of convolutions; the sum over all
tensors of an axis is what makes the choice consistent across a model.
"""

from collections.abc import Sequence

from torch import Tensor

from scionwood.methods.record import method
from scionwood.methods.select.ranking import highest
from scionwood.methods.select.spacing import flat

__all__ = ["accumulate", "magnitude"]


@method(unit="axis", scores="magnitude", laws={"identity", "increasing", "nested", "equivariant"}, paper="1608.08710")
def magnitude(source: Sequence[int], target: Sequence[int], scores: Tensor) -> Tensor:
    """Return the indices with the highest scores, ascending; ties go to the first index.

    >>> import torch
    >>> magnitude((4,), (2,), torch.tensor([1.0, 5.0, 2.0, 5.0])).tolist()
    [1, 3]

    Raises:
        MethodError: the target is larger than the source, or the scores are not one number for each index.
    """
    n, m = flat(source, target)
    return highest(scores, n, m)


def accumulate(scores: Tensor, tensor: Tensor, dim: int) -> Tensor:
    """Add the absolute sums of a tensor along one dimension to the scores, in place, and return them.

    The sums run in float64, where threads and the size of pieces change them by 1e-16 at most. A large tensor comes in
    pieces: rows of ``dim`` 0 go to their slice of the scores, pieces cut elsewhere all to the whole. An axis inside a
    product is reached by ``tensor.unflatten``.

    >>> import torch
    >>> accumulate(torch.zeros(2, dtype=torch.float64), torch.tensor([[1.0, -2.0, 3.0], [0.0, 4.0, -1.0]]), 0)
    tensor([6., 5.], dtype=torch.float64)

    Args:
        scores: one number for each index of the dimension, in float64.
        tensor: a weight, or a piece of one.
        dim: its dimension that has the axis.
    """
    others = [other for other in range(tensor.ndim) if other != dim % tensor.ndim]
    # abs before the sum's own conversion: a whole float64 copy of the tensor is never made. No dims would mean all.
    scores += tensor.abs().sum(others, dtype=scores.dtype) if others else tensor.abs()
    return scores
