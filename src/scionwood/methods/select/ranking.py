"""Small maths for the selections that rank: the highest scores, with ties broken by position."""

from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["highest"]


def highest(scores: Tensor, n: int, m: int) -> Tensor:
    """Return the m indices with the highest of n scores, ascending; of equal scores the first indices win.

    >>> import torch
    >>> highest(torch.tensor([3.0, 9.0, 3.0, 3.0]), 4, 2).tolist()
    [0, 1]

    Raises:
        MethodError: the scores are not n numbers.
    """
    if scores.shape != (n,):
        raise MethodError(f"There must be {n} scores, one for each index, not a tensor of {tuple(scores.shape)}.")
    if bool(scores.isnan().any()):
        raise MethodError(f"{int(scores.isnan().sum())} of {n} scores are not numbers (NaN), so nothing can be ranked.")
    return scores.argsort(descending=True, stable=True)[:m].sort().values
