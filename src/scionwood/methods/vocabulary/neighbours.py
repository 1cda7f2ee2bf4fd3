"""Cosine neighbours, and the weights made of their similarities: what FOCUS, WECHSEL, OFA and TokAlign share.

Similarities are made a block of queries at a time, so that 50,000 against 50,000 tokens need 128 MB beside the vectors.

    softmax(s / temperature)                     every neighbour counts
    sparsemax(s) = argmin over the simplex of ||p - s||^2      the far ones count nothing (Martins & Astudillo, 2016)
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from scionwood.errors import MethodError

__all__ = [
    "cosine_blocks",
    "has_vector",
    "nearest_rows",
    "of_one_width",
    "rotation",
    "softmax_weights",
    "sparsemax",
    "unit_rows",
]

BLOCK = 1 << 25
"""How many similarities are held at once."""


def unit_rows(rows: Tensor) -> Tensor:
    """Return the rows at length 1; rows of zeros stay.

    >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    lengths = rows.norm(dim=1, keepdim=True)
    return rows / lengths.where(lengths > 0, torch.ones_like(lengths))


def has_vector(rows: Tensor) -> Tensor:
    """Return for each row whether it is a vector: not all zeros."""
    return (rows != 0).any(dim=1)


def of_one_width(source: Tensor, target: Tensor) -> None:
    """Refuse vectors that cannot be compared, or turned into each other.

    Raises:
        MethodError: the two spaces differ in width.
    """
    if source.shape[1] != target.shape[1]:
        raise MethodError(
            f"The source's vectors have {source.shape[1]} dimensions, the target's {target.shape[1]}.",
            hint="Both must lie in one space: take vectors trained together, or aligned ones of one size.",
        )


def cosine_blocks(queries: Tensor, keys: Tensor, *, block: int = BLOCK) -> Iterator[tuple[slice, Tensor]]:
    """Yield the cosines of a block of the queries with all keys, and which queries the block is for."""
    unit_queries, unit_keys = unit_rows(queries), unit_rows(keys)
    step = max(1, block // max(1, len(keys)))
    for start in range(0, len(queries), step):
        span = slice(start, min(start + step, len(queries)))
        yield span, unit_queries[span] @ unit_keys.T


def nearest_rows(queries: Tensor, keys: Tensor, count: int, *, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """Return for each query the largest cosines with the keys, and which keys have them.

    >>> keys = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> similarities, indices = nearest_rows(torch.tensor([[0.0, 1.0]]), keys, 2)
    >>> indices.tolist()
    [[1, 2]]

    Args:
        queries: (n, k).
        keys: (m, k).
        count: how many; all keys where there are no more.
        block: how many similarities to hold at once.
    """
    count = min(count, len(keys))
    similarities = queries.new_empty((len(queries), count))
    indices = torch.empty((len(queries), count), dtype=torch.long)
    for span, cosines in cosine_blocks(queries, keys, block=block):
        similarities[span], indices[span] = cosines.topk(count, dim=1)
    return similarities, indices


def softmax_weights(similarities: Tensor, temperature: float) -> Tensor:
    """Return weights that sum to 1 along the rows.

    The official code of OFA and WECHSEL takes exponents without the maximum off; with cosines it comes to the same.

    >>> softmax_weights(torch.tensor([[0.9, 0.8, 0.5]], dtype=torch.float64), 0.1).numpy().round(6).tolist()
    [[0.721399, 0.265388, 0.013213]]
    """
    return torch.softmax(similarities / temperature, dim=-1)


def sparsemax(rows: Tensor) -> Tensor:
    """Return the nearest points of the simplex: weights that sum to 1, zeros among them.

    >>> sparsemax(torch.tensor([[0.9, 0.8, 0.5, -0.3], [2.0, 0.5, 0.1, 0.0]]))
    tensor([[0.5000, 0.4000, 0.1000, 0.0000],
            [1.0000, 0.0000, 0.0000, 0.0000]])
    """
    count = min(64, rows.shape[-1])
    while True:
        ordered = rows.topk(count, dim=-1).values
        excess = ordered.cumsum(-1) - 1
        places = torch.arange(1, count + 1, dtype=rows.dtype)
        support = (ordered * places > excess).sum(-1, keepdim=True)
        # The support is a run of the largest: where it ends within what was ordered, the rest cannot belong to it.
        if count == rows.shape[-1] or not bool((support == count).any()):
            break
        count = min(4 * count, rows.shape[-1])
    threshold = excess.gather(-1, support - 1) / support
    return (rows - threshold).clamp(min=0)


def rotation(source: Tensor, target: Tensor) -> Tensor:
    """Return the orthogonal matrix that takes the source's rows nearest to the target's (Schönemann, 1966).

        argmin over orthogonal R of ||source R - target|| = U V^T,   U S V^T = source^T target

    >>> turned = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    >>> torch.allclose(rotation(torch.eye(2), turned), turned)
    True
    """
    left, _, right = torch.linalg.svd(source.double().T @ target.double())
    return (left @ right).to(source.dtype)
