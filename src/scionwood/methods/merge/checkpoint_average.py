"""Checkpoint and run averaging: over the snapshots of a run, then over runs (Schmidt et al., 2023, arXiv:2305.16834).

    theta = mean over runs of mean over snapshots of theta_(run, snapshot)

With one run it is checkpoint averaging, with one snapshot of each run averaging; both make a transfer to a language
without validation data better and steadier. Every run counts the same, however many snapshots it has. Early snapshots
hurt, from when the learning rate was rising: ``discard`` leaves them out. Runs must start from the same weights, heads
included: rows of heads that were drawn anew are unrelated, and their mean is worth nothing.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.merge.geometry import average
from scionwood.methods.record import Finite, method

__all__ = ["checkpoint_average"]

_Count = Annotated[int, Finite(at_least=1)]


@method(space="weight", scope="element", laws={"alone", "homogeneous", "idempotent", "linear"}, paper="2305.16834")
def checkpoint_average(
    tensors: Sequence[Tensor],
    *,
    runs: _Count | Sequence[_Count] = 1,
    discard: Annotated[float, Finite(at_least=0, below=1)] = 0.0,
) -> Tensor:
    """Return the mean over runs of the means over their snapshots.

    >>> import torch
    >>> checkpoint_average(list(torch.eye(4)), runs=(3, 1), discard=0.4)
    tensor([0.0000, 0.2500, 0.2500, 0.5000])

    Args:
        tensors: one tensor from each snapshot, run after run, oldest first.
        runs: how many runs there are, all of the same number of snapshots; or the number of each.
        discard: the share of the first snapshots of each run that is left out; 0.1 to 0.2 where they are of a warm-up.

    Raises:
        MethodError: the runs do not fit the number of snapshots.
    """
    count = len(tensors)
    sizes = [count // runs] * runs if isinstance(runs, int) else list(runs)
    if sum(sizes) != count or 0 in sizes:
        what = f"{runs} runs of one length" if isinstance(runs, int) else f"runs of {list(runs)} snapshots"
        raise MethodError(f"There are {count} snapshots, which do not make {what}.")
    weights: list[float] = []
    for size in sizes:
        skipped = int(discard * size)
        weights += [0.0] * skipped + [1 / (size - skipped) / len(sizes)] * (size - skipped)
    return average(tensors, weights)
