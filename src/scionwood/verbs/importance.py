"""Importance that needs the weights alone: one pass over a checkpoint, a few megabytes at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from scionwood.anatomy import Anatomy
from scionwood.anatomy.anatomy import Dimension
from scionwood.anatomy.layout import Layout, Slot
from scionwood.checkpoint import Checkpoint, LazyTensor
from scionwood.methods.select.llminit import column_variance
from scionwood.methods.select.magnitude import accumulate

__all__ = ["magnitude_scores", "variance_scores"]

TILE = 2**22
"""Rows are read in pieces of about this many bytes."""


def magnitude_scores(anatomy: Anatomy, checkpoint: Checkpoint, layout: Layout) -> dict[str, Tensor]:
    """The sum of |w| over every tensor that has an axis, for every index of every axis, in float64."""
    scores = {
        name: torch.zeros(axis.size, dtype=torch.float64) for name, axis in anatomy.axes.items() if axis.parts is None
    }
    for name, tensor in anatomy.tensors.items():
        if name not in layout:
            continue
        sums = [torch.zeros(size, dtype=torch.float64) for size in tensor.shape]
        for slot in layout[name]:
            _add(sums, slot, checkpoint.tensors[slot.name])
        for dim, own in zip(tensor.dims, sums, strict=True):
            _share_out(anatomy, dim, own, scores)
    return scores


def _add(sums: list[Tensor], slot: Slot, stored: LazyTensor) -> None:
    if not stored.shape:
        return
    step = max(1, TILE // max(1, stored.nbytes // stored.shape[0]))
    for low in range(0, stored.shape[0], step):
        high = min(low + step, stored.shape[0])
        rows = slot.unfold(stored.read(low, high))
        for dim, own in enumerate(sums):
            first = slot.start[dim] + (low if slot.order[0] == dim else 0)
            accumulate(own[first : first + rows.shape[dim]], rows, dim)


def _share_out(anatomy: Anatomy, dim: Dimension, sums: Tensor, scores: dict[str, Tensor]) -> None:
    """Hand the sums along a dimension on to its axes, through products and concatenations."""
    sizes = [anatomy.axes[axis].size for axis in dim]
    grid = sums.reshape(sizes)
    for place, axis in enumerate(dim):
        own = grid.sum([p for p in range(len(sizes)) if p != place]) if len(sizes) > 1 else grid
        parts = anatomy.axes[axis].parts
        if parts is None:
            scores[axis] += own
            continue
        widths = [math.prod(anatomy.axes[leaf].size for leaf in part) for part in parts]
        for part, piece in zip(parts, own.split(widths), strict=True):
            if part:
                _share_out(anatomy, part, piece, scores)


def variance_scores(anatomy: Anatomy, checkpoint: Checkpoint, layout: Layout) -> dict[str, Tensor]:
    """The variance of every column of every embedding table, over all rows, by the axis of its columns."""
    scores: dict[str, Tensor] = {}
    for name, tensor in anatomy.tensors.items():
        if len(tensor.dims) != 2 or name not in layout or len(layout[name]) != 1:
            continue
        rows, columns = tensor.dims
        is_table = len(rows) == 1 and "vocab" in anatomy.axes[rows[0]].tags
        if is_table and len(columns) == 1 and columns[0] not in scores:
            slot = layout[name][0]
            scores[columns[0]] = column_variance(slot.unfold(checkpoint.tensors[slot.name].read()))
    return scores
