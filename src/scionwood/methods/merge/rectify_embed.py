"""Embeddings of different vocabularies cut to what they have in common, so that they can be merged row by row.

This is no merge but a step before one. Rows must mean the same tokens in all models as far as they go, as where a
fine-tuning added tokens at the end; nothing here can tell whether they do. Rows that are cut off are lost: where tokens
matter, give the models one vocabulary first.
"""

from collections.abc import Sequence

from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["common_shape", "rectify_embed"]


def common_shape(shapes: Sequence[Sequence[int]], base: Sequence[int] | None = None) -> tuple[int, int]:
    """Return the rows and columns that all embeddings are cut to: the fewest of each, or the base's.

    >>> common_shape([(6, 2), (5, 2)]), common_shape([(6, 2)], base=(5, 2))
    ((5, 2), (5, 2))

    Args:
        shapes: of the models' embeddings.
        base: the shape of the base's, for merges of differences to it.

    Raises:
        MethodError: an embedding that is no matrix, or that is smaller than the base's.
    """
    problems = [
        f"one has {len(shape)} dimensions" for shape in (*shapes, *(() if base is None else (base,))) if len(shape) != 2
    ]
    if not problems and base is not None:
        problems = [
            f"{list(shape)} has less than the base's {list(base)}"
            for shape in shapes
            if shape[0] < base[0] or shape[1] < base[1]
        ]
    if problems or not shapes:
        raise MethodError("The embeddings cannot be cut to one shape.", problems=problems)
    rows, columns = base if base is not None else (min(shape[dim] for shape in shapes) for dim in (0, 1))
    return rows, columns


def rectify_embed(tensors: Sequence[Tensor], base: Tensor | None = None) -> list[Tensor]:
    """Return views of the embeddings of all models in one shape.

    >>> import torch
    >>> [list(tensor.shape) for tensor in rectify_embed([torch.ones(5, 2), torch.ones(6, 2)])]
    [[5, 2], [5, 2]]

    Args:
        tensors: one embedding from each model.
        base: the base's embedding, for merges of differences to it.

    Raises:
        MethodError: an embedding that is no matrix, or that is smaller than the base's.
    """
    rows, columns = common_shape([tensor.shape for tensor in tensors], None if base is None else base.shape)
    return [tensor[:rows, :columns] for tensor in tensors]
