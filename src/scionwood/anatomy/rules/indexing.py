"""Indexing: an index names positions, so the dimension it points into is an input, a positional table, or labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from scionwood.anatomy.atoms import Dim, leaves, size_of, tag
from scionwood.anatomy.walk import Call, Value


def _pointed(call: Call, dim: Dim, index: Value) -> None:
    """A dimension is looked up by an index: free if the index holds its own labels, else the index decides what each row means."""
    if index.labels is not None and size_of(index.labels) == size_of(dim) and not index.constant:
        call.walk.unify(index.labels, dim)
        return
    call.walk.forget_labels(index)
    tag(dim, "vocab" if index.tokens else "positions" if index.constant else "table")
    call.walk.pin(dim, "positional" if index.constant else "input")


def _embedding(call: Call) -> Value:
    weight, indices = call["weight"], call["indices"]
    rows, width = weight.dims
    _pointed(call, rows, indices)
    if weight.origin is not None:
        call.walk.roles.extend([(weight.origin, rows, "reads"), (weight.origin, width, "writes")])
    return Value([*indices.dims, width])


def _bag(call: Call) -> list[Value]:
    """Rows looked up and summed by bag; the other results say what lies where."""
    weight, indices, offsets = call["weight"], call["indices"], call["offsets"]
    rows, width = weight.dims
    _pointed(call, rows, indices)
    if weight.origin is not None:
        call.walk.roles.extend([(weight.origin, rows, "reads"), (weight.origin, width, "writes")])
    bags = (
        offsets.dims[0]
        if size_of(offsets.dims[0]) == call.result[0].shape[0]
        else call.walk.fresh(call.result[0].shape[0])
    )
    rest = [Value([call.walk.fresh(size, "positional") for size in tensor.shape]) for tensor in call.result[1:]]
    return [Value([bags, width]), *rest]


def _index(call: Call) -> Value:
    """``x[i, :, j]``: indexed dimensions give way to the index's own, in place if adjacent, else in front."""
    value: Value = call["self"]
    listed = _without_masks(call, call["indices"], call.shape)
    indices: list[Value | None] = [*listed, *[None] * (len(value.dims) - len(listed))]
    at = [place for place, index in enumerate(indices) if index is not None]
    if len(at) == 1 and (span := _span(indices[at[0]], size_of(value.dims[at[0]]))) is not None:
        return value.like([*value.dims[: at[0]], call.walk.cut(value.dims[at[0]], *span), *value.dims[at[0] + 1 :]])
    given = [index for index in indices if index is not None]
    for place in at:
        index = indices[place]
        assert index is not None
        _pointed(call, value.dims[place], index)
    if value.origin is not None:
        # Rows chosen by labels (each expert's bias) are repeated where the labels are; others are read by who knows their places.
        labelled = {place for place in at if not {"input", "positional"} & _pins(value.dims[place])}
        call.walk.roles.extend(
            (value.origin, value.dims[place], "writes" if place in labelled else "reads") for place in at
        )
        call.walk.roles.extend((value.origin, dim, "writes") for place, dim in enumerate(value.dims) if place not in at)
    rank = max(len(index.dims) for index in given)
    looked_up = call.walk.align(given, rank)
    rest = [dim for place, dim in enumerate(value.dims) if place not in at]
    front = at[0] if at == list(range(at[0], at[-1] + 1)) else 0
    return Value([*rest[:front], *looked_up, *rest[front:]], constant=value.constant and all(i.constant for i in given))


_MASKS = (torch.bool, torch.uint8)


def _without_masks(
    call: Call, indices: Sequence[Value | None], shape: Sequence[int] | None = None
) -> list[Value | None]:
    """A mask stands for the lists of the positions where it is true, one list for each of its dimensions."""
    result: list[Value | None] = []
    for index in indices:
        if index is None or index.dtype not in _MASKS:
            result.append(index)
            continue
        for dim in index.dims:
            call.walk.pin(dim, "positional")
        # How many are true is a size of the result that the mask's neighbours do not explain; it stands where the first mask stands.
        count = shape[len(result)] if shape is not None and len(result) < len(shape) else 1
        found = call.walk.fresh(count, "positional")
        result.extend(Value([found]) for _ in index.dims)
    return result


def _pins(dim: Dim) -> set[str]:
    return {pin for leaf in leaves(dim) for pin in leaf.pins}


def _span(index: Value | None, size: int) -> tuple[int, int] | None:
    """A constant list of successive indices is a slice written otherwise."""
    if (
        index is None
        or index.data is None
        or index.data.dim() != 1
        or index.data.is_floating_point()
        or index.data.numel() == 0
    ):
        return None
    if index.data.dtype == torch.bool:
        return None
    listed = [at % size for at in index.data.tolist()]
    if listed != list(range(listed[0], listed[0] + len(listed))):
        return None
    return listed[0], listed[-1] + 1


def _index_select(call: Call) -> Value:
    value, index = call["self"], call["index"]
    place = call.dim()
    _pointed(call, value.dims[place], index)
    return Value([*value.dims[:place], index.dims[0] if index.dims else (), *value.dims[place + 1 :]])


def _gather(call: Call) -> Value:
    """One index along a dimension for each position of the others, which are shared as far as they agree in size."""
    value, index = call["self"], call["index"]
    place = call.dim()
    _pointed(call, value.dims[place], index)
    for other, (mine, theirs) in enumerate(zip(value.dims, index.dims, strict=True)):
        if other == place:
            continue
        if size_of(mine) == size_of(theirs):
            call.walk.unify(mine, theirs)
        else:
            call.walk.pin(mine, "positional")
    return Value(list(index.dims))


def _scatter(call: Call) -> Value:
    """Written at indices along a dimension: the result has the dimensions of what is written into."""
    value, index = call["self"], call["index"]
    place = call.dim()
    source = call.get("src") if isinstance(call.get("src"), Value) else None
    if index.labels is not None and size_of(index.labels) == size_of(value.dims[place]):
        call.walk.unify(index.labels, value.dims[place])
    else:
        _pointed(call, value.dims[place], index)
    for other, mine in enumerate(value.dims):
        if other == place:
            continue
        for part in (index, source):
            if part is None or other >= len(part.dims):
                continue
            if size_of(mine) == size_of(part.dims[other]):
                call.walk.unify(mine, part.dims[other])
            else:
                call.walk.pin(mine, "positional")
                call.walk.pin(part.dims[other], "positional")
    return Value(list(value.dims), constant=value.constant and index.constant)


def _index_add(call: Call) -> Value:
    value, index, source = call["self"], call["index"], call["source"]
    place = call.dim()
    _pointed(call, value.dims[place], index)
    for other, (mine, theirs) in enumerate(zip(value.dims, source.dims, strict=True)):
        if other != place:
            call.walk.unify(mine, theirs)
    return Value(list(value.dims))


def _index_put(call: Call) -> Value:
    """Written where the indices point: what is written lies along the indices' own dimensions, then along the rest."""
    value: Value = call["self"]
    masked = any(index is not None and index.dtype in _MASKS for index in call["indices"])
    indices = _without_masks(call, call["indices"])
    given = [index for index in indices if index is not None]
    for place, index in enumerate(indices):
        if index is not None:
            _pointed(call, value.dims[place], index)
    written: Value = call["values"]
    call.walk.forget_labels(written)
    rest = [dim for place, dim in enumerate(value.dims) if place >= len(indices) or indices[place] is None]
    for mine, theirs in zip(reversed(rest), reversed(written.dims), strict=False):
        if size_of(mine) == size_of(theirs):
            call.walk.unify(mine, theirs)
    leading = Value(written.dims[: max(len(written.dims) - len(rest), 0)])
    if masked:
        for dim in leading.dims:
            call.walk.pin(dim, "positional")
    else:
        call.walk.align([*given, leading], max(len(part.dims) for part in (*given, leading)))
    return Value(list(value.dims))


def _masked_scatter(call: Call) -> Value:
    """Where the mask is true, the source's numbers in order: rows, if the mask is one value repeated along the last dimension."""
    value, mask, source = call["self"], call["mask"], call["source"]
    whole = bool(mask.dims) and mask.dims[-1] in mask.repeated and size_of(source.dims[-1]) == size_of(value.dims[-1])
    if whole:
        call.walk.unify(value.dims[-1], source.dims[-1])
    for dim in (*value.dims[: -1 if whole else None], *source.dims[: -1 if whole else None]):
        call.walk.pin(dim, "positional")
    return Value(list(value.dims))


def _masked_select(call: Call) -> Value:
    value: Value = call["self"]
    for dim in value.dims:
        call.walk.pin(dim, "positional")
    return Value([call.walk.fresh(call.shape[0], "positional")])


def _nonzero(call: Call) -> Any:
    """Where something is true, in the order of positions: as one table of indices, or one list for each dimension."""
    value: Value = call["self"]
    for dim in value.dims:
        call.walk.pin(dim, "positional")
    if isinstance(call.result, (list, tuple)):
        found = call.walk.fresh(call.result[0].shape[0], "positional")
        return [Value([found]) for _ in call.result]
    return Value([call.walk.fresh(size, "positional") for size in call.shape])


def _unique(call: Call) -> list[Value]:
    value: Value = call["self"]
    for dim in value.dims:
        call.walk.pin(dim, "positional")
    return [Value([call.walk.fresh(size, "positional") for size in tensor.shape]) for tensor in call.result]


def _search(call: Call) -> Value:
    """``searchsorted`` and ``bucketize``: the bounds are in order, the result has the dimensions of what is looked for."""
    bounds = call["sorted_sequence" if "sorted_sequence" in call else "boundaries"]
    given = call["self"]
    call.walk.pin(bounds.dims[-1], "positional")
    return Value(
        list(given.dims) if isinstance(given, Value) else [], constant=isinstance(given, Value) and given.constant
    )


def _top(call: Call) -> list[Value]:
    """``topk`` and ``kthvalue``: the values come in an order of their own; the indices are labels of the dimension."""
    value: Value = call["self"]
    place = call.dim()
    size = call.result[0].shape[place] if call.result[0].dim() == len(value.dims) else 1
    kept = call.walk.fresh(size, "positional")
    dims = [*value.dims[:place], kept, *value.dims[place + 1 :]]
    if call.result[0].dim() < len(value.dims):
        del dims[place]
    return [Value(list(dims)), Value(list(dims), labels=value.dims[place])]


def _sort(call: Call) -> list[Value]:
    """Sorted values keep their labels; where each stood is a label of the dimension that was sorted."""
    value: Value = call["self"]
    place = call.dim() if "dim" in call else len(value.dims) - 1
    dims = [*value.dims[:place], call.walk.fresh(call.result[0].shape[place], "positional"), *value.dims[place + 1 :]]
    return [Value(list(dims), labels=value.labels), Value(list(dims), labels=value.dims[place])]


def _argsort(call: Call) -> Value:
    value: Value = call["self"]
    place = call.dim()
    dims = [*value.dims[:place], call.walk.fresh(call.shape[place], "positional"), *value.dims[place + 1 :]]
    return Value(dims, labels=value.dims[place])


def _counts(call: Call) -> Value:
    """How often each label occurs, label by label: ``histc`` over all of them, or ``bincount``."""
    value: Value = call["self"]
    size = call.shape[0]
    whole = "bins" not in call or (
        call["bins"] == size and float(call["min"]) == 0 and float(call["max"]) in (size, size - 1)
    )
    if value.labels is not None and size_of(value.labels) == size and whole:
        return Value([value.labels], counts=True)
    call.walk.forget_labels(value)
    return Value([call.walk.fresh(size, "positional")])


RULES = {
    "embedding": _embedding,
    **dict.fromkeys(("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"), _bag),
    "index": _index,
    "index_select": _index_select,
    "gather": _gather,
    "scatter": _scatter,
    "scatter_add": _scatter,
    "scatter_reduce": _scatter,
    "index_add": _index_add,
    "index_put": _index_put,
    "topk": _top,
    "kthvalue": _top,
    "sort": _sort,
    "argsort": _argsort,
    "masked_scatter": _masked_scatter,
    "masked_select": _masked_select,
    "nonzero": _nonzero,
    "nonzero_numpy": _nonzero,
    **dict.fromkeys(("_unique", "_unique2", "unique_dim", "unique_consecutive"), _unique),
    **dict.fromkeys(("searchsorted", "bucketize"), _search),
    "histc": _counts,
    "bincount": _counts,
}

KEEP_LABELS = frozenset(
    {"embedding", "index", "index_select", "gather", "scatter", "scatter_add", "sort", "histc", "bincount", "index_put"}
)
