"""TALL masks: keep what matters to several tasks, or what matters to one (Wang et al., 2024, arXiv:2405.07813).

    sum = sum_i delta_i;   M_i = |delta_i| > threshold |sum - delta_i|
    consensus  theta = theta_0 + scale [sum_i M_i >= min_tasks] sum        task i  theta(i) = theta_0 + M_i sum

Entries that matter to no task are noise, those that matter to one alone disturb the others: without them a sum of many
task vectors works better. With ``task`` the result is that task's model, restored from the sum and its mask. It hurts
where tasks are few: with two, what one learned alone is dropped. The paper tunes the threshold of each task from 0.2 to
0.6; FusionBench takes 0.6.
"""

from collections.abc import Sequence
from typing import Annotated

from torch import Tensor

from scionwood.methods.merge.geometry import add_up
from scionwood.methods.merge.weighting import check_index, spread
from scionwood.methods.record import Finite, method

__all__ = ["tall_mask"]

_Threshold = Annotated[float, Finite(at_least=0)]


@method(space="delta", scope="element", laws={"homogeneous", "permutation"}, paper="2405.07813")
def tall_mask(
    deltas: Sequence[Tensor],
    *,
    threshold: _Threshold | Sequence[_Threshold] = 0.4,
    min_tasks: Annotated[int, Finite(at_least=0)] = 2,
    task: Annotated[int, Finite(at_least=0)] | None = None,
    scale: Annotated[float, Finite()] = 1.0,
) -> Tensor:
    """Return the sum of the task vectors where enough tasks need it, or where one does.

    >>> import torch
    >>> a, b = torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([2.0, 1.0, -4.0, 0.5])
    >>> tall_mask([a, b], threshold=1, task=1)
    tensor([ 3., -0., -1.,  0.])

    Args:
        deltas: the difference of each model to the base.
        threshold: an entry matters to a task where it is larger than this many times what the others add up to; one for
            all or one for each.
        min_tasks: how many tasks an entry must matter to; at 0 everything is kept.
        task: restore this model, 0 for the first, rather than merge them all.
        scale: of the result.

    Raises:
        MethodError: there is no such task, or the thresholds do not fit the models.
    """
    total = add_up(deltas, [1.0] * len(deltas))
    thresholds = spread(threshold, len(deltas), "thresholds")
    masks = [delta.abs() > times * (total - delta).abs() for delta, times in zip(deltas, thresholds, strict=True)]
    if task is not None:
        return total * masks[check_index(task, len(deltas))] * scale
    votes = masks[0].int()
    for mask in masks[1:]:
        votes += mask
    return total * (votes >= min_tasks) * scale
