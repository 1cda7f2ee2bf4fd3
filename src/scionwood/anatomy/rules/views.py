"""Views: operations that rearrange, cut, join or repeat dimensions and compute nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from scionwood.anatomy import atoms
from scionwood.anatomy.atoms import UNIT, Dim, UnrefinableError, size_of
from scionwood.anatomy.walk import Call, Value


def _same(call: Call) -> Value:
    """A cast, a copy, a dropout in evaluation: the same dimensions."""
    return call["self" if "self" in call else "input"].like(call["self" if "self" in call else "input"].dims)


def _view(call: Call) -> Value:
    value: Value = call["self" if "self" in call else "input"]
    viewed = value.like(call.walk.regroup(value.dims, call.shape))
    return viewed


def _permute(call: Call) -> Value:
    value: Value = call["self"]
    return value.like([value.dims[dim] for dim in call["dims"]])


def _transpose(call: Call) -> Value:
    dims = list(call["self"].dims)
    first, second = call.dim("dim0"), call.dim("dim1")
    if dims:
        dims[first], dims[second] = dims[second], dims[first]
    return call["self"].like(dims)


def _reverse(call: Call) -> Value:
    """``t`` and ``.T``: all dimensions in reverse."""
    return call["self"].like(call["self"].dims[::-1])


def _swap_last(call: Call) -> Value:
    dims = call["self"].dims
    return call["self"].like([*dims[:-2], dims[-1], dims[-2]])


def _movedim(call: Call) -> Value:
    value: Value = call["self"]
    rank = len(value.dims)
    sources, targets = ([d % rank for d in _ints(call[name])] for name in ("source", "destination"))
    rest = iter(d for d in range(rank) if d not in sources)
    order = [sources[targets.index(place)] if place in targets else next(rest) for place in range(rank)]
    return value.like([value.dims[d] for d in order])


def _ints(item: Any) -> list[int]:
    return list(item) if isinstance(item, (list, tuple)) else [item]


def _unsqueeze(call: Call) -> Value:
    dims = list(call["self"].dims)
    dims.insert(int(call["dim"]) % (len(dims) + 1), UNIT)
    return call["self"].like(dims)


def _squeeze(call: Call) -> Value:
    value: Value = call["self"]
    rank = len(value.dims)
    asked = range(rank) if call.get("dim") is None else [d % rank for d in _ints(call["dim"])] if rank else []
    return value.like([dim for place, dim in enumerate(value.dims) if not (place in asked and size_of(dim) == 1)])


def _expand(call: Call) -> Value:
    """A dimension of size one becomes one along which nothing varies: any permutation of it is as good."""
    value: Value = call["self"]
    shape = call.shape
    dims = [UNIT] * (len(shape) - len(value.dims)) + list(value.dims)
    new = tuple(call.walk.fresh(size) if size_of(dim) != size else None for dim, size in zip(dims, shape, strict=True))
    grown = [own if own is not None else dim for own, dim in zip(new, dims, strict=True)]
    repeated = tuple(own for own in new if own)
    return dataclasses.replace(value.like(grown), origin=None, repeated=(*value.repeated, *repeated))


def _repeat(call: Call) -> Value:
    """Copies laid end to end: a new outer factor."""
    value: Value = call["self"]
    dims = [UNIT] * (len(call.shape) - len(value.dims)) + list(value.dims)
    grown = [(*call.walk.fresh(size // max(size_of(dim), 1)), *dim) for dim, size in zip(dims, call.shape, strict=True)]
    return dataclasses.replace(value.like(grown), origin=None)


def _repeat_interleave(call: Call) -> Any:
    """Each index repeated in place: a new inner factor."""
    value: Value = call["self"]
    if call.get("dim") is None or not isinstance(call.get("repeats"), int):
        return call.walk.give_up("aten::repeat_interleave", call.values(), call.result)
    place = call.dim()
    dims = list(value.dims)
    if value.origin is None and not value.constant:
        atoms.tag(dims[place], "groups")
    each = call.walk.fresh(call["repeats"])
    atoms.tag(each, "heads")
    dims[place] = (*dims[place], *each)
    return dataclasses.replace(value.like(dims), origin=None)


def _slice(call: Call) -> Value:
    value: Value = call["self"]
    place, size = call.dim(), size_of(value.dims[call.dim()])
    start, stop, step = call.get("start"), call.get("end"), call.get("step") or 1
    start, stop, step = slice(start, stop, step).indices(size)
    if len(range(start, stop, step)) != call.shape[place]:
        # Bounds that are known only when it runs.
        call.walk.pin(value.dims[place], "positional")
        return value.like(_replaced(value.dims, place, call.walk.fresh(call.shape[place], "positional")))
    return value.like(_replaced(value.dims, place, _stride(call, value.dims[place], start, max(start, stop), step)))


def _stride(call: Call, dim: Dim, start: int, stop: int, step: int) -> Dim:
    """Every step-th index is one of ``step`` inner parts; a plain range is a segment."""
    if step == 1:
        return call.walk.cut(dim, start, stop)
    size = size_of(dim)
    count = len(range(start, stop, step))
    if size % step == 0 and count * step == size:
        try:
            outer, inner = atoms.regroup(dim, [count, step])
        except UnrefinableError:
            pass
        else:
            call.walk.pin(inner, "part")
            return outer
    call.walk.pin(dim, "positional")
    return call.walk.fresh(count, "positional")


def _replaced(dims: Sequence[Dim], place: int, dim: Dim) -> list[Dim]:
    return [*dims[:place], dim, *dims[place + 1 :]]


def _narrow(call: Call) -> Value:
    value: Value = call["self"]
    place, start = call.dim(), call["start"]
    if not isinstance(start, int):
        return call.walk.give_up("aten::narrow", [value], call.result)
    return value.like(_replaced(value.dims, place, call.walk.cut(value.dims[place], start, start + call["length"])))


def _select(call: Call) -> Value:
    """One index taken out: it is a segment of its own, or the dimension has parts that mean different things."""
    value: Value = call["self"]
    place = call.dim()
    dim = value.dims[place]
    index = int(call["index"]) % size_of(dim)
    offset = 0
    for piece in atoms.segments(dim):
        if offset <= index < offset + size_of(piece):
            call.walk.pin(piece, "part")
        offset += size_of(piece)
    return value.like([*value.dims[:place], *value.dims[place + 1 :]])


def _unbind(call: Call) -> list[Value]:
    value: Value = call["self"]
    place = call.dim()
    call.walk.pin(value.dims[place], "part")
    return [value.like([*value.dims[:place], *value.dims[place + 1 :]]) for _ in call.result]


def _split(call: Call) -> list[Value]:
    """``split``, ``chunk``, ``split_with_sizes``, ``tensor_split``: the result's shapes say where the cuts are."""
    value: Value = call["self"]
    place = call.dim()
    if sum(tensor.shape[place] for tensor in call.result) != size_of(value.dims[place]):
        # Lengths that are known only when it runs.
        call.walk.pin(value.dims[place], "positional")
        return [
            value.like(_replaced(value.dims, place, call.walk.fresh(tensor.shape[place], "positional")))
            for tensor in call.result
        ]
    pieces, start = [], 0
    for tensor in call.result:
        stop = start + tensor.shape[place]
        pieces.append(value.like(_replaced(value.dims, place, call.walk.cut(value.dims[place], start, stop))))
        start = stop
    return pieces


def _cat(call: Call) -> Value:
    given: list[Value] = [v for v in call["tensors"] if not (len(v.dims) == 1 and size_of(v.dims[0]) == 0)]
    rank = len(call.shape)
    place = int(call.get("dim") or 0) % rank
    dims = [UNIT if d == place else call.walk.align([Value([v.dims[d]]) for v in given], 1)[0] for d in range(rank)]
    dims[place] = atoms.concatenate([v.dims[place] for v in given])
    if size_of(dims[place]) != call.shape[place]:
        # Lengths that are known only when it runs.
        call.walk.pin(dims[place], "positional")
        dims[place] = call.walk.fresh(call.shape[place], "positional")
    return Value(dims, constant=all(v.constant for v in given))


def _stack(call: Call) -> Value:
    given: list[Value] = call["tensors"]
    rank = len(call.shape)
    dims = call.walk.align(given, rank - 1)
    dims.insert(int(call.get("dim") or 0) % rank, call.walk.fresh(len(given), "part"))
    return Value(dims, constant=all(v.constant for v in given))


def _pad(call: Call) -> Value:
    """Padding with a constant joins a dimension with segments along which nothing varies; any other mode uses positions."""
    value: Value = call["self"]
    amounts = list(call["pad"])
    plain = (call.get("mode") or "constant") == "constant"
    dims = list(value.dims)
    for place in range(len(amounts) // 2):
        before, after = amounts[2 * place : 2 * place + 2]
        position = len(dims) - 1 - place
        if before == after == 0:
            continue
        dim = dims[position]
        if not plain or before < 0 or after < 0:
            call.walk.pin(dim, "positional")
            dims[position] = call.walk.fresh(call.shape[position], "positional")
        else:
            dims[position] = atoms.concatenate(
                [call.walk.fresh(n) if n > 1 else UNIT for n in (before,) if n]
                + [dim]
                + [call.walk.fresh(n) if n > 1 else UNIT for n in (after,) if n]
            )
    return Value(dims, constant=value.constant)


def _unfold(call: Call) -> Value:
    """Sliding windows along one dimension."""
    value: Value = call["self"]
    place = call.dim("dimension")
    dim, size, step = value.dims[place], call["size"], call["step"]
    if size == step and size_of(dim) % size == 0:
        outer, inner = call.walk.regroup([dim], [size_of(dim) // size, size])
    else:
        call.walk.pin(dim, "positional")
        outer, inner = call.walk.fresh(call.shape[place], "positional"), call.walk.fresh(size, "positional")
    return value.like([*_replaced(value.dims, place, outer), inner])


def _displaced(call: Call) -> Value:
    """``roll`` and ``flip``: the same dimensions, in which positions now matter."""
    value: Value = call["self"]
    for place in _ints(call["dims"]) or range(len(value.dims)):
        call.walk.pin(value.dims[place], "positional")
    return value.like(value.dims)


def _as_complex(call: Call) -> Value:
    """Pairs of numbers become complex ones: the two halves of a pair mean different things."""
    value: Value = call["self"]
    call.walk.pin(value.dims[-1], "part")
    return value.like(value.dims[:-1])


def _as_real(call: Call) -> Value:
    value: Value = call["self"]
    return value.like([*value.dims, call.walk.fresh(2, "part")])


def _diagonal(call: Call) -> Value:
    value: Value = call["self"]
    first, second = call.dim("dim1"), call.dim("dim2")
    for place in (first, second):
        call.walk.pin(value.dims[place], "positional")
    rest = [dim for place, dim in enumerate(value.dims) if place not in (first, second)]
    return Value([*rest, call.walk.fresh(call.shape[-1], "positional")])


def _triangle(call: Call) -> Value:
    """``tril`` and ``triu`` look at positions."""
    value: Value = call["self"]
    for dim in value.dims[-2:]:
        call.walk.pin(dim, "positional")
    return dataclasses.replace(value.like(value.dims), origin=None)


def _pixel_shuffle(call: Call) -> Value:
    """Channels (c, r, r) become space (h, r), (w, r)."""
    value: Value = call["self"]
    factor = call["upscale_factor"]
    *batch, channels, high, wide = value.dims
    outer, down, across = call.walk.regroup([channels], [size_of(channels) // factor**2, factor, factor])
    for dim in (down, across, high, wide):
        call.walk.pin(dim, "positional")
    return value.like([*batch, outer, (*high, *down), (*wide, *across)])


def _channel_shuffle(call: Call) -> Value:
    value: Value = call["self" if "self" in call else "input"]
    channels = value.dims[1]
    outer, inner = call.walk.regroup([channels], [call["groups"], size_of(channels) // call["groups"]])
    return value.like([value.dims[0], (*inner, *outer), *value.dims[2:]])


_SAME = (
    "to", "_to_copy", "type_as", "contiguous", "clone", "alias", "detach", "dropout", "feature_dropout", "alpha_dropout", "native_dropout",
    "lift_fresh_copy", "lift_fresh", "view_as_real_copy", "requires_grad", "identity",
)  # fmt: skip

RULES = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_as", "reshape_as"), _view),
    "permute": _permute,
    "transpose": _transpose,
    "swapaxes": _transpose,
    "t": _reverse,
    "numpy_T": _reverse,
    "mT": _swap_last,
    "matrix_H": _swap_last,
    "adjoint": _swap_last,
    "movedim": _movedim,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "expand_as": _expand,
    "broadcast_to": _expand,
    "repeat": _repeat,
    "tile": _repeat,
    "repeat_interleave": _repeat_interleave,
    "slice": _slice,
    "narrow": _narrow,
    "select": _select,
    "unbind": _unbind,
    **dict.fromkeys(("split", "chunk", "split_with_sizes", "tensor_split", "unsafe_chunk", "unsafe_split"), _split),
    **dict.fromkeys(("cat", "concat", "concatenate"), _cat),
    "stack": _stack,
    "pad": _pad,
    "constant_pad_nd": _pad,
    "unfold": _unfold,
    "roll": _displaced,
    "flip": _displaced,
    "diagonal": _diagonal,
    "view_as_complex": _as_complex,
    "view_as_real": _as_real,
    "tril": _triangle,
    "triu": _triangle,
    "pixel_shuffle": _pixel_shuffle,
    "channel_shuffle": _channel_shuffle,
    "native_channel_shuffle": _channel_shuffle,
}

KEEP_LABELS = frozenset(
    {
        *_SAME, "view", "reshape", "_unsafe_view", "flatten", "unflatten", "permute", "transpose", "t", "unsqueeze", "squeeze", "expand",
        "expand_as", "slice", "select", "repeat", "unbind", "split", "chunk", "movedim",
    }
)  # fmt: skip
