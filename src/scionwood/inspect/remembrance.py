"""Effective remembrance: how much the first tokens still change a prediction (Buitrago Ruiz & Gu, 2025, arXiv:2507.02782).

    EffRem_T(t) = TV(q(. | x[0:T]), q(. | x[t:T])),    TV(p, q) = 1/2 sum |p - q|

A recurrent model should have forgotten its first few tokens after thousands of others. High values at small t, with a
perplexity that grows on longer sequences, say that its states at great lengths were never seen in training;
``train.states`` is the remedy.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["effective_remembrance", "total_variation"]


def total_variation(left: Tensor, right: Tensor) -> Tensor:
    """Return the total variation distance between distributions along the last axis.

    >>> round(float(total_variation(torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.7]))), 6)
    0.6
    """
    return (left - right).abs().sum(dim=-1) / 2


@torch.no_grad()
def effective_remembrance(
    predict: Callable[[Tensor], Tensor], sequence: Tensor, starts: Iterable[int]
) -> list[tuple[int, float]]:
    """Return (t, EffRem_T(t)) for each t asked for, averaged over a batch.

    >>> def last_token(sequence):
    ...     return 8 * torch.nn.functional.one_hot(sequence[:, -1], 4).float()
    >>> effective_remembrance(last_token, torch.tensor([[0, 1, 2, 3]]), [0, 2])  # it never looks back
    [(0, 0.0), (2, 0.0)]

    Args:
        predict: a sequence (batch, length) to the logits (batch, words) of what follows it.
        sequence: (batch, T).
        starts: the t, each from 0 to T - 1.

    Raises:
        MethodError: a start that leaves no token.
    """
    length = sequence.shape[1]
    starts = list(starts)
    if wrong := [start for start in starts if not 0 <= start < length]:
        raise MethodError(f"Starts lie from 0 to {length - 1} in a sequence of {length} tokens, not at {wrong}.")
    whole = predict(sequence).softmax(dim=-1)
    return [
        (start, float(total_variation(whole, predict(sequence[:, start:]).softmax(dim=-1)).mean())) for start in starts
    ]
