"""LLMInit: a narrow embedding table from the columns of a wide one (Zhang et al., 2025, arXiv:2503.01814).

    uniform    0, s, 2s, …   with s = D // d: the last columns are never taken where s does not divide
    random     d columns without replacement (the published code draws with it: ``replace``)
    variance   the d columns that vary most over the 20 % most used rows, in their order

The paper takes the text embeddings of items as the first table of a recommender, and gives users the mean of their
items (``user_embedding``); a random table of the same width collapses. It helps where the rows' similarity is
meaningful and the target is trained on. It hurts for dimensions which other tensors read: it chooses by one table.
Rare rows must not choose the columns, hence the restriction to the most used ones.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Finite, method
from scionwood.methods.select.ranking import highest
from scionwood.methods.select.spacing import flat, strided

__all__ = ["column_variance", "llminit", "popular_rows", "user_embedding"]


@method(unit="axis", scores="variance", laws={"identity", "increasing"}, paper="2503.01814")
def llminit(
    source: Sequence[int],
    target: Sequence[int],
    generator: torch.Generator | None = None,
    scores: Tensor | None = None,
    *,
    rule: Literal["uniform", "random", "variance"] = "uniform",
    replace: bool = False,
) -> Tensor:
    """Return the columns of a table to take.

    >>> llminit((10,), (4,)).tolist()
    [0, 2, 4, 6]
    >>> llminit((4,), (2,), scores=torch.tensor([1.0, 0.0, 28.0, 0.0633]), rule="variance").tolist()
    [0, 2]

    Args:
        source: the sizes of the source's axes, outermost first.
        target: the sizes of the target's axes, outermost first.
        generator: what to draw from, for the rule random.
        scores: the variance of each column over the most used rows, for the rule variance.
        rule: how columns are chosen.
        replace: draw with replacement, so that columns repeat and are not sorted; for the rule random.

    Raises:
        MethodError: the target is larger than the source, or the rule lacks what it needs.
    """
    n, m = flat(source, target)
    if replace and rule != "random":
        raise MethodError(f"Only the rule random draws, so replace does not go with {rule!r}.")
    if rule == "uniform":
        return strided(n, m)
    if rule == "random":
        if generator is None:
            raise MethodError("The rule random needs a generator to draw from.")
        if replace:
            return torch.randint(n, (m,), generator=generator)
        return torch.randperm(n, generator=generator)[:m].sort().values
    if scores is None:
        raise MethodError(
            "The rule variance needs the variance of every column over the most used rows.",
            hint="Make them with llminit.column_variance and llminit.popular_rows.",
        )
    return highest(scores, n, m)


def popular_rows(uses: Tensor, ratio: Annotated[float, Finite(above=0, at_most=1)] = 0.2) -> Tensor:
    """Return the most used rows, int(ratio x rows) of them and at least two; ties go to the first row.

    >>> popular_rows(torch.tensor([5, 9, 7, 1]), 0.75)
    tensor([0, 1, 2])

    Args:
        uses: how often each row is used: interactions of an item, counts of a token.
        ratio: the part of the rows to return.
    """
    # Two, because one row has no variance.
    return highest(uses, len(uses), min(max(int(ratio * len(uses)), 2), len(uses)))


def column_variance(table: Tensor, rows: Tensor | None = None) -> Tensor:
    """Return the unbiased variance of every column over some rows of a table, or over all.

    >>> table = torch.tensor([[0, 1, 5, 2], [2, 1, -5, 2.5], [1, 1, 3, 2.2], [9, -9, 0, 0]])
    >>> column_variance(table, torch.tensor([0, 1, 2]))
    tensor([ 1.0000,  0.0000, 28.0000,  0.0633])
    """
    chosen = table if rows is None else table[rows]
    return chosen.float().var(0)


def user_embedding(interactions: Tensor, items: Tensor) -> Tensor:
    """Return the mean of the items that each user touched: (A @ items) / degree; nothing touched gives zeros.

    >>> touched = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    >>> user_embedding(touched, torch.tensor([[0, 5.0], [2, -5.0], [1, 3.0], [9, 0.0]]))
    tensor([[1.0000, 0.0000],
            [5.0000, 1.5000]])

    Args:
        interactions: users x items, dense or sparse; one where the user touched the item.
        items: the items' embedding, items x width.
    """
    degrees = (interactions @ torch.ones(len(items), 1, dtype=items.dtype)).clamp(min=1)
    return (interactions @ items) / degrees
