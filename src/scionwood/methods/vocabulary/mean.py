"""Mean of all rows: every new token begins as the average token (Hewitt, 2021; as in arXiv:2407.05841).

    shared token: its own row        other: the mean of the source's rows

In a head such a row can never have the largest logit, being the average of logits, and takes less than an average
token's probability: what the model wrote before, it still writes. It hurts in that all new tokens are alike at first.
"""

import torch
from torch import Tensor

from scionwood.methods.record import method
from scionwood.methods.vocabulary.rows import COPIED, MIXED, Rows

__all__ = ["mean"]


@method(unit="axis", resizes=("input", "output"), laws={"convex", "copies", "equivariant"}, paper="2407.05841")
def mean(table: Tensor, overlap: Tensor) -> Rows:
    """Return copies of what is shared, and the mean row.

    >>> mean(torch.tensor([[0.0], [4.0]]), torch.tensor([1, -1])).apply(torch.tensor([[0.0], [4.0]])).tolist()
    [[4.0], [2.0]]

    Args:
        table: the rows of the source's tokens.
        overlap: for each target token the source token with the same text, or -1.
    """
    new = torch.nonzero(overlap < 0).flatten()
    copied = overlap >= 0
    average = table.double().mean(0).float()
    return Rows(
        indices=overlap.clamp(min=0)[:, None],
        weights=copied.float()[:, None],
        status=torch.where(copied, COPIED, MIXED).to(torch.uint8),
        tokens=new,
        values=average.expand(len(new), -1) if len(new) else None,
    )
