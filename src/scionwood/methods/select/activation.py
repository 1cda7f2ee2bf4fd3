"""Selection by activation: the channels most active on calibration data (Minitron, 2024, arXiv:2407.14679).

    score_c = aggregate over sequences, then over samples, of |a_c|,   the m highest are taken, in their order

where a_c is a hidden unit of an MLP, a channel after its norm (summed over the layers), or the L2 norm of a head's
output at each token. About 1024 samples are enough, and scoring once is as good as scoring again after every cut. It
helps most where a large model is cut moderately and distilled afterwards. It hurts when the calibration data are not
those that the model will see: what is silent on them is lost.

The authors' published code averages |a| over the sequence and takes the L2 norm over the batch: the default here. The
paper tabulates other pairs. This file has the scores' arithmetic; what runs the model and hooks it comes with the
statistics. Padding must be masked before: give the mask.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import method
from scionwood.methods.select.ranking import highest
from scionwood.methods.select.spacing import flat

__all__ = ["activation", "activation_scores", "head_norms", "with_head_residuals"]

Aggregate = Literal["mean", "l2", "variance"]


@method(
    unit="axis",
    scores="activation",
    statistics={"activation"},
    laws={"identity", "increasing", "nested", "equivariant"},
    paper="2407.14679",
)
def activation(source: Sequence[int], target: Sequence[int], scores: Tensor) -> Tensor:
    """Return the indices with the highest scores, ascending; ties go to the first index.

    >>> activation((4,), (2,), torch.tensor([0.0, 0.5, 2.0, 0.1])).tolist()
    [1, 2]

    Raises:
        MethodError: the target is larger than the source, or the scores are not one number for each index.
    """
    n, m = flat(source, target)
    return highest(scores, n, m)


def activation_scores(
    activations: Tensor, mask: Tensor | None = None, *, sequence: Aggregate = "mean", batch: Aggregate = "l2"
) -> Tensor:
    """Return the score of every channel from activations of shape (batch, sequence, channels), in float32 or wider.

    >>> activation_scores(torch.tensor([[[3.0, 1.0], [-3.0, 0.0]], [[4.0, 0.0], [4.0, 0.0]]]))
    tensor([5.0000, 0.5000])

    Args:
        activations: of shape (batch, sequence, channels).
        mask: of shape (batch, sequence), true where a token counts; all of them unless given.
        sequence: how the tokens of a sample become one number.
        batch: how the samples become one number.

    Raises:
        MethodError: the shapes do not fit, or a sample has no token that counts.
    """
    if activations.ndim != 3 or (mask is not None and mask.shape != activations.shape[:2]):
        shapes = [tuple(each.shape) for each in (activations, mask) if each is not None]
        raise MethodError(f"Activations are (batch, sequence, channels), their mask (batch, sequence): not {shapes}.")
    counts = torch.ones(activations.shape[:2], dtype=torch.bool) if mask is None else mask.bool()
    if not bool(counts.any(1).all()):
        raise MethodError("A sample has no token that counts.", hint="Leave out samples that are all padding.")
    wide = activations.abs() if activations.dtype == torch.float64 else activations.float().abs()
    samples = torch.stack([_aggregate(tokens[keep], sequence) for tokens, keep in zip(wide, counts, strict=True)])
    return _aggregate(samples, batch)


def head_norms(outputs: Tensor) -> Tensor:
    """Return the L2 norm of every head's output at every token: (…, heads, width) to (…, heads).

    >>> head_norms(torch.tensor([[[[3.0, 4.0], [0.0, 1.0]]]]))
    tensor([[[5., 1.]]])
    """
    return outputs.float().norm(dim=-1)


def with_head_residuals(heads: Tensor, scores: Tensor, keep: int) -> Tensor:
    """Return the heads to keep, in their order, with what the dropped ones knew folded in (the paper's head residual).

    With L heads ranked by score, K kept: the kept rank i >= 2K - L gets head_i + (head_i - head_j), where the dropped
    rank j = 2K - i - 1 mirrors it across the cut. The index is the paper's, read from zero; no published code has it.

    >>> with_head_residuals(torch.tensor([[1.0], [10.0], [4.0]]), torch.tensor([1.0, 3.0, 2.0]), 2)
    tensor([[10.],
            [ 7.]])

    Args:
        heads: the weights of the heads, of shape (heads, …).
        scores: one for each head.
        keep: how many stay, at least half.

    Raises:
        MethodError: fewer than half of the heads would stay, or more than there are.
    """
    number = len(heads)
    if not number <= 2 * keep <= 2 * number:
        raise MethodError(f"Head residuals keep between half and all of the heads, not {keep} of {number}.")
    ranked = scores.argsort(descending=True, stable=True)
    result = heads.clone()
    receivers = ranked[2 * keep - number : keep]
    result[receivers] += heads[receivers] - heads[ranked[keep:].flip(0)]
    return result[ranked[:keep].sort().values]


def _aggregate(values: Tensor, how: Aggregate) -> Tensor:
    """Reduce the first dimension."""
    if how == "mean":
        return values.mean(0)
    return values.norm(dim=0) if how == "l2" else values.var(0, correction=0)
