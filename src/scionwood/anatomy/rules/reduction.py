"""Reductions and normalisations: what is summed over disappears, what is normalised over is one with the weight's dimension."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scionwood.anatomy.atoms import UNIT, Dim, tag
from scionwood.anatomy.walk import Call, Value


def _reduced(call: Call, value: Value, dims: Any, *, keep: bool) -> list[Dim]:
    rank = len(value.dims)
    if dims is None or (isinstance(dims, (list, tuple)) and not dims):
        gone = set(range(rank))
    else:
        gone = {int(d) % rank for d in (dims if isinstance(dims, (list, tuple)) else [dims])} if rank else set()
    if keep:
        return [UNIT if place in gone else dim for place, dim in enumerate(value.dims)]
    return [dim for place, dim in enumerate(value.dims) if place not in gone]


def _reduce(call: Call) -> Value:
    value: Value = call["self"]
    if value.origin is not None:
        call.walk.roles.extend((value.origin, dim, "scales") for dim in value.dims)
    elif call.operation._schema.name == "aten::sum" and not value.weights:
        for place in {int(dim) % len(value.dims) for dim in call.get("dim") or ()}:
            tag(value.dims[place], "summed")
    return Value(_reduced(call, value, call.get("dim"), keep=bool(call.get("keepdim"))), constant=value.constant)


def _reduce_labelled(call: Call) -> object:
    """``max`` and ``min`` along a dimension give values and the index where they stood; the full and the two-tensor forms do not."""
    value: Value = call["self"]
    if "other" in call:
        return call.walk.rules["pointwise"](call)
    if "dim" not in call or call["dim"] is None:
        return Value([], constant=value.constant)
    dims = _reduced(call, value, call["dim"], keep=bool(call.get("keepdim")))
    where = Value(list(dims), labels=value.dims[call.dim()])
    return [Value(list(dims), constant=value.constant), where]


def _arg_reduce(call: Call) -> Value:
    value: Value = call["self"]
    if call.get("dim") is None:
        for dim in value.dims:
            call.walk.pin(dim, "positional")
        return Value([])
    dims = _reduced(call, value, call["dim"], keep=bool(call.get("keepdim")))
    return Value(dims, labels=value.dims[call.dim()])


def _moments(call: Call) -> list[Value]:
    value: Value = call["self"]
    dims = _reduced(call, value, call.get("dim"), keep=bool(call.get("keepdim")))
    return [Value(list(dims)) for _ in call.result]


def _norm(call: Call) -> Value:
    value: Value = call["self"]
    return Value(_reduced(call, value, call.get("dim"), keep=bool(call.get("keepdim"))), constant=value.constant)


def _affine(call: Call, dims: Iterable[Dim], *names: str) -> None:
    """A weight, a bias or a running statistic stands along these dimensions."""
    wanted = list(dims)
    for name in names:
        value: Value | None = call.get(name)
        if value is None:
            continue
        call.walk.align([Value(wanted), value], len(wanted))
        if value.origin is not None:
            call.walk.roles.extend((value.origin, dim, "scales") for dim in value.dims)


def _layer_norm(call: Call) -> Value:
    value: Value = call["input"]
    _affine(call, value.dims[len(value.dims) - len(call["normalized_shape"]) :], "weight", "bias")
    return Value(list(value.dims))


def _batch_norm(call: Call) -> Value:
    value: Value = call["input"]
    _affine(call, [value.dims[1]], "weight", "bias", "running_mean", "running_var")
    return Value(list(value.dims))


def _group_norm(call: Call) -> Value:
    """Channels are groups x width; each group is normalised by itself."""
    value: Value = call["input"]
    channels = value.dims[1]
    groups = call["num_groups"]
    width = call.result.shape[1] // groups
    call.walk.regroup([channels], [groups, width])
    _affine(call, [channels], "weight", "bias")
    return Value(list(value.dims))


def _native(rule: object) -> object:
    """The native forms return statistics beside the result."""

    def native(call: Call) -> list[Value]:
        first = rule(call)  # type: ignore[operator]
        rest = [Value([call.walk.fresh(size, "coarse") for size in tensor.shape]) for tensor in call.result[1:]]
        return [first, *rest]

    return native


def _weight_norm(call: Call) -> Value:
    """A direction and a length: the length stands along one dimension of the direction."""
    direction, length = call["v"], call["g"]
    dims = call.walk.align([direction, length], len(direction.dims))
    if length.origin is not None:
        call.walk.roles.extend((length.origin, dim, "scales") for dim in length.dims)
    return Value(dims, origin=direction.origin)


def _normalize(call: Call) -> Value:
    return Value(list(call["self"].dims))


_PLAIN = (
    "mean",
    "sum",
    "prod",
    "amax",
    "amin",
    "any",
    "all",
    "logsumexp",
    "var",
    "std",
    "nansum",
    "nanmean",
    "count_nonzero",
    "norm",
)

RULES = {
    **dict.fromkeys(_PLAIN, _reduce),
    **dict.fromkeys(("linalg_vector_norm", "frobenius_norm"), _norm),
    **dict.fromkeys(("max", "min"), _reduce_labelled),
    **dict.fromkeys(("argmax", "argmin"), _arg_reduce),
    **dict.fromkeys(("var_mean", "std_mean", "aminmax"), _moments),
    **dict.fromkeys(("layer_norm", "rms_norm", "_fused_rms_norm"), _layer_norm),
    "native_layer_norm": _native(_layer_norm),
    **dict.fromkeys(("batch_norm", "instance_norm"), _batch_norm),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit_no_training"), _native(_batch_norm)),
    "group_norm": _group_norm,
    "_weight_norm": _weight_norm,
    "renorm": _normalize,
}
