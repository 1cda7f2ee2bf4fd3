"""Convolutions, pooling and resampling: channels are contracted in groups, taps are kernel axes, space is positional."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scionwood.anatomy.atoms import Dim, size_of
from scionwood.anatomy.walk import Call, Value


def _space(call: Call, given: Sequence[Dim], sizes: Sequence[int]) -> list[Dim]:
    """What a convolution or a pooling does to space: neighbours matter before, and after."""
    for dim in given:
        call.walk.pin(dim, "positional")
    return [call.walk.fresh(size, "positional") for size in sizes]


def _convolution(call: Call) -> Value:
    transposed = bool(call.get("transposed")) or "transpose" in call.operation._schema.name
    return _convolve(call, transposed=transposed)


def _convolve(call: Call, *, transposed: bool) -> Value:
    """Weights are (out, in / groups, taps), or (in, out / groups, taps) when transposed."""
    walk = call.walk
    given: Value = call["input"]
    weight: Value = call["weight"]
    groups = call.get("groups") or 1
    taps = weight.dims[2:]
    rank = len(taps)
    batch, channels, space = given.dims[: -rank - 1], given.dims[-rank - 1], given.dims[-rank:]
    first, second = weight.dims[:2]
    for dim in taps:
        walk.pin(dim, "kernel")
    if transposed:
        outer, inner = walk.regroup([first], [groups, size_of(first) // groups])
        walk.unify(channels, first)
        out: Dim = (*outer, *second)
        reads, writes = inner, second
    else:
        outer, inner = walk.regroup([first], [groups, size_of(first) // groups])
        walk.unify(channels, (*outer, *second))
        out = first
        reads, writes = second, inner
    if weight.origin is not None:
        walk.roles.extend((weight.origin, dim, "reads") for dim in (reads, *taps))
        # A group is read and written at once; it is written as far as the layout of the weight goes.
        walk.roles.extend((weight.origin, dim, "writes") for dim in (writes, outer))
    bias: Value | None = call.get("bias")
    if bias is not None:
        walk.unify(bias.dims[0], out)
        if bias.origin is not None:
            walk.roles.append((bias.origin, bias.dims[0], "scales"))
    pointwise = all(size_of(dim) == 1 for dim in taps) and tuple(call.shape[-rank:]) == tuple(size_of(d) for d in space)
    after = list(space) if pointwise else _space(call, space, call.shape[-rank:])
    return Value([*batch, out, *after])


def _resample(call: Call) -> Value:
    """Pooling and interpolation over the trailing dimensions whose sizes are the result's."""
    value: Value = call["self" if "self" in call else "input"]
    rank = _rank(call.operation._schema.name)
    given, sizes = value.dims[-rank:], call.shape[-rank:]
    if tuple(size_of(d) for d in given) == tuple(sizes) and "adaptive" in call.operation._schema.name:
        return value.like(value.dims)
    if "adaptive" in call.operation._schema.name and all(size == 1 for size in sizes):
        return Value([*value.dims[:-rank], *[()] * rank])
    return Value([*value.dims[:-rank], *_space(call, given, sizes)])


def _resample_pair(call: Call) -> list[Value]:
    value: Value = call["self"]
    rank = _rank(call.operation._schema.name)
    after = _space(call, value.dims[-rank:], call.result[0].shape[-rank:])
    return [Value([*value.dims[:-rank], *after]) for _ in call.result]


def _rank(name: str) -> int:
    return next(
        rank for rank in (1, 2, 3) if f"{rank}d" in name or {1: "linear1d", 2: "bilinear", 3: "trilinear"}[rank] in name
    )


def _grid_sample(call: Call) -> Value:
    """Looked up at the points of a grid: the result lies over the grid's points, whatever their order."""
    value, grid = call["input"], call["grid"]
    call.walk.unify(value.dims[0], grid.dims[0])
    for dim in value.dims[2:]:
        call.walk.pin(dim, "positional")
    call.walk.pin(grid.dims[-1], "part")
    return Value([*value.dims[:2], *grid.dims[1:-1]])


def _image_to_columns(call: Call) -> Value:
    """``im2col``: channels and taps in one dimension, windows in another."""
    value: Value = call["self"]
    kernel = list(call["kernel_size"])
    taps = [call.walk.fresh(size, "kernel") for size in kernel]
    windows = _space(call, value.dims[2:], [call.shape[2]])
    joined = (*value.dims[1], *(atom for tap in taps for atom in tap))
    return Value([value.dims[0], joined, *windows])


def _columns_to_image(call: Call) -> Value:
    """``col2im``, the reverse: windows are laid over each other in space."""
    value: Value = call["self"]
    *batch, joined, windows = value.dims
    taps = math.prod(call["kernel_size"])
    channels, inner = call.walk.regroup([joined], [size_of(joined) // taps, taps])
    call.walk.pin(inner, "kernel")
    return Value([*batch, channels, *_space(call, [windows], call.shape[-2:])])


_CONVOLUTIONS = (
    "conv1d",
    "conv2d",
    "conv3d",
    "convolution",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "_convolution",
)
_POOLS = [f"{kind}_pool{rank}d" for kind in ("avg", "max", "adaptive_avg", "lp") for rank in (1, 2, 3)]
_RESAMPLERS = (
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d",
    "upsample_trilinear3d", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa", "_upsample_nearest_exact2d", "_upsample_nearest_exact1d",
)  # fmt: skip
_POOL_PAIRS = [
    f"{kind}{rank}d{suffix}"
    for kind in ("max_pool", "adaptive_max_pool")
    for rank in (1, 2, 3)
    for suffix in ("_with_indices", "")
]

RULES = {
    **dict.fromkeys([n for n in _POOL_PAIRS if n not in _POOLS], _resample_pair),
    **dict.fromkeys(_CONVOLUTIONS, _convolution),
    **dict.fromkeys(_POOLS, _resample),
    **dict.fromkeys(_RESAMPLERS, _resample),
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), _grid_sample),
    "im2col": _image_to_columns,
    "col2im": _columns_to_image,
}
