"""Regroup: a model with few heads of keys, seen as one with more of them, for growing.

Where g queries share one head of keys and values, the model is the same with s heads that are copies of it, each shared by
g / s of the queries: the queries stand in the same order, only the keys and values are there s times. So a model may grow into
one whose groups are smaller, and nothing is changed by that. Which axes are a head of keys and its group shows in where they
stand: the group is inside the heads in some tensors (queries, what reads the values), and not there in others (keys, values).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from scionwood.anatomy.anatomy import Anatomy, Axis, Dimension

__all__ = ["regrouped"]

Spread = dict[tuple[str, int], Tensor]
"""For a dimension of a tensor, by its name and place: the stored index of every index that it has when seen so."""


@dataclasses.dataclass(frozen=True)
class _Heads:
    """Heads of keys in the source (nothing, where there is one), the group that shares each, and what they are seen as."""

    heads: str | None
    group: str
    count: int
    times: int
    smaller: int


def regrouped(source: Anatomy, target: Anatomy, tensors: Mapping[str, str]) -> tuple[Anatomy, Spread]:
    """Return the source with as many heads of keys as the target's groups ask for, and where its tensors' indices come from.

    Args:
        source: the smaller model's anatomy.
        target: the larger one's.
        tensors: for every tensor of the target, the tensor of the source it comes from.
    """
    axes, seen, spread = dict(source.axes), dict(source.tensors), Spread()
    for name, axis in target.axes.items():
        if "heads" not in axis.tags or axis.kind != "free":
            continue
        where = [(tensor, tensors[tensor], place) for tensor, place in target.occurrences(name) if tensor in tensors]
        found = _heads(source, target, name, where)
        if found is None:
            continue
        own = found.heads or ".".join([*found.group.split(".")[:-1], "kv_heads"])
        axes[own] = Axis(own, found.count * found.times, "free", tags=frozenset({"heads"}))
        axes[found.group] = dataclasses.replace(axes[found.group], size=found.smaller)
        for tensor, origin, place in where:
            if (origin, place) in spread:
                continue  # several blocks of the target may come from one
            at = target.tensors[tensor].dims[place].index(name)
            dims, shape = list(seen[origin].dims), list(seen[origin].shape)
            spread[origin, place] = _index(source, found, dims[place], at)
            dims[place] = _dimension(source, found, own, dims[place], at, axes)
            shape[place] = len(spread[origin, place])
            seen[origin] = dataclasses.replace(seen[origin], dims=tuple(dims), shape=tuple(shape))
    return dataclasses.replace(source, axes=axes, tensors=seen), spread


def _heads(source: Anatomy, target: Anatomy, name: str, where: Sequence[tuple[str, str, int]]) -> _Heads | None:
    """The source's heads and group that an axis of the target answers to, if it counts heads of smaller groups."""
    pieces: list[Dimension] = []
    read: list[Dimension] = []
    inner: set[str] = set()
    for tensor, origin, place in where:
        new, old = target.tensors[tensor].dims, source.tensors[origin].dims
        if len(new) != len(old) or name not in new[place]:
            return None
        inner.update(axis for axis in target.leaves(new[place]) if axis != name and "heads" in target.axes[axis].tags)
        own = [piece for _, piece in _pieces(source, old[place], new[place].index(name))]
        pieces.extend(own)
        read.extend(own if "reads" in target.tensors[tensor].roles[place] else ())
    known = [_tagged(source, piece) for piece in pieces]
    every = set().union(*known)
    common = every.intersection(*known)
    if len(inner) > 1 or len(every) - len(common) != 1 or len(common) > 1:
        return None
    heads, (group,) = next(iter(common), None), every - common
    lead = () if heads is None else (heads,)
    for piece in pieces:
        rest = piece[len(lead) :]
        rest = rest[1:] if rest[:1] == (group,) else rest
        if piece[: len(lead)] != lead or every & set(source.leaves(rest)):
            return None
    if any(group not in piece for piece in read):
        return None  # a sum over heads of keys would count their copies
    stands = {(origin, place) for _, origin, place in where}
    if any(source.axes[axis].kind != "free" or not stands >= {*source.occurrences(axis)} for axis in every):
        return None
    size, smaller = source.axes[group].size, math.prod(target.axes[axis].size for axis in inner)
    count = 1 if heads is None else source.axes[heads].size
    if smaller >= size or size % smaller or target.axes[name].size < count * (size // smaller):
        return None
    return _Heads(heads, group, count, size // smaller, smaller)


def _tagged(anatomy: Anatomy, dim: Dimension) -> frozenset[str]:
    return frozenset(axis for axis in anatomy.leaves(dim) if "heads" in anatomy.axes[axis].tags)


def _pieces(anatomy: Anatomy, dim: Dimension, at: int) -> list[tuple[int, Dimension]]:
    """A dimension from a place on: one piece for each part of a concatenation there or behind it, with the part's size."""
    for place in range(at, min(at + 2, len(dim))):
        parts = anatomy.axes[dim[place]].parts
        if parts is not None:
            return [(_size(anatomy, part), (*dim[at:place], *part, *dim[place + 1 :])) for part in parts]
    return [(0, dim[at:])]


def _size(anatomy: Anatomy, dim: Dimension) -> int:
    return math.prod(anatomy.axes[axis].size for axis in dim)


def _index(source: Anatomy, found: _Heads, dim: Dimension, at: int) -> Tensor:
    """The stored index of every index of a dimension that is seen with more heads."""
    pieces = _pieces(source, dim, at)
    before = _size(source, dim[:at])
    if pieces[0][0] == 0:
        pieces = [(source.axes[found.group].size if found.group in dim else 1, dim[at:])]
    total = sum(size for size, _ in pieces)
    numbers = torch.arange(_size(source, dim)).view(before, found.count, total, -1)
    seen = []
    for held, (_, piece) in zip(numbers.split([size for size, _ in pieces], dim=2), pieces, strict=True):
        if found.group in piece:
            seen.append(held.reshape(before, found.count * found.times, held.shape[2] // found.times, -1))
        else:
            seen.append(held.repeat_interleave(found.times, dim=1))
    return torch.cat(seen, dim=2).flatten()


def _dimension(source: Anatomy, found: _Heads, own: str, dim: Dimension, at: int, axes: dict[str, Axis]) -> Dimension:
    """A dimension with more heads and smaller groups in it."""

    def seen(part: Dimension) -> Dimension:
        return tuple(axis for axis in part if axis != found.group or found.smaller > 1)

    rest = dim[at:] if found.heads is None else dim[at + 1 :]
    parts = source.axes[rest[0]].parts if rest else None
    if parts is None:
        return (*dim[:at], own, *seen(rest))
    new = tuple(seen(part) for part in parts)
    if any(new):
        size = sum(math.prod(axes[axis].size for axis in part) for part in new)
        axes[rest[0]] = dataclasses.replace(source.axes[rest[0]], parts=new, size=size)
    else:
        axes[rest[0]] = Axis(rest[0], len(new), "part")
    return (*dim[:at], own, *rest)
