"""Pointwise operations: aligned dimensions are one; and operations that make tensors out of nothing."""

from __future__ import annotations

import dataclasses

from scionwood.anatomy.atoms import Dim, size_of
from scionwood.anatomy.walk import Call, Value


def _pointwise(call: Call) -> Value:
    values = call.values()
    rank = len(call.shape)
    dims = call.walk.align(values, rank)
    known = [v for v in values if not v.constant]
    for value in known if len(known) > 1 else ():
        if value.origin is not None:
            call.walk.roles.extend((value.origin, dim, "scales") for dim in value.dims)
    result = Value(dims, constant=not known)
    if len(known) == 1 and [size_of(d) for d in known[0].dims] == list(call.shape):
        result.origin = known[0].origin
        result.weights = known[0].weights
    return result


def _prelu(call: Call) -> Value:
    """A slope for each channel, which is the second dimension, or one for all."""
    value, slope = call["self"], call["weight"]
    if size_of(slope.dims[0] if slope.dims else ()) > 1:
        call.walk.unify(value.dims[1], slope.dims[0])
    if slope.origin is not None:
        call.walk.roles.extend((slope.origin, dim, "scales") for dim in slope.dims)
    return Value(list(value.dims))


def _copy(call: Call) -> Value:
    """Written over in place: the destination's dimensions are the source's."""
    destination: Value = call["self"]
    source: Value = call["src"]
    call.walk.align([destination, source], len(call.shape))
    return dataclasses.replace(
        destination.like(destination.dims), constant=destination.constant and source.constant, origin=source.origin
    )


def _equal(call: Call) -> Value:
    """``==`` between labels and the indices of the dimension they name is a one-hot code: no position is used."""
    given = [v for v in call.values() if v.labels is not None]
    if len(given) == 2 and size_of(given[0].labels or ()) == size_of(given[1].labels or ()):
        call.walk.unify(given[0].labels or (), given[1].labels or ())
    else:
        for value in given:
            call.walk.forget_labels(value)
    return _pointwise(call)


def _one_hot(call: Call) -> Value:
    value: Value = call["self"]
    new: Dim
    if value.labels is not None and size_of(value.labels) == call.shape[-1]:
        new = value.labels
    else:
        call.walk.forget_labels(value)
        new = call.walk.fresh(call.shape[-1], "positional")
    return Value([*value.dims, new])


def _uniform(call: Call) -> Value:
    """Zeros, ones, a full or an empty tensor: nothing varies along any dimension."""
    return Value([call.walk.fresh(size) for size in call.shape], constant=True)


def _arange(call: Call) -> Value:
    """The numbers in order are the labels of their own dimension until something computes with them."""
    dim = call.walk.fresh(call.shape[0])
    plain = not call.get("start") and (call.get("step") in (None, 1))
    if not plain:
        call.walk.pin(dim, "positional")
    return Value([dim], constant=True, labels=dim if plain else None)


def _ordered(call: Call) -> Value:
    return Value([call.walk.fresh(size, "positional") for size in call.shape], constant=True)


def _meshgrid(call: Call) -> list[Value]:
    given: list[Value] = call["tensors"]
    dims = [v.dims[0] if v.dims else () for v in given]
    if call.get("indexing") == "xy" and len(dims) >= 2:
        dims[0], dims[1] = dims[1], dims[0]
    return [Value(list(dims), constant=v.constant) for v in given]


def _softmax(call: Call) -> Value:
    value: Value = call["self"]
    return Value(list(value.dims), weights=True)


def _scan(call: Call) -> Value:
    """A running sum uses the order; over counts of labels it lists where each label's segment ends."""
    value: Value = call["self"]
    if not value.counts:
        call.walk.pin(value.dims[call.dim()], "positional")
    return dataclasses.replace(value.like(value.dims), origin=None)


def _scan_pair(call: Call) -> list[Value]:
    value: Value = call["self"]
    call.walk.pin(value.dims[call.dim()], "positional")
    return [Value(list(value.dims)) for _ in call.result]


def _einsum_free(call: Call) -> Value:
    """``outer`` and ``ger``: no dimension is shared."""
    return Value([call["self"].dims[0], call["vec2"].dims[0]])


_UNIFORM = (
    "zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full",
    "new_empty", "scalar_tensor", "empty_strided", "new_empty_strided",
)  # fmt: skip


_RANDOM = (
    "rand", "randn", "rand_like", "randn_like", "randint", "randint_like", "randperm", "bernoulli", "uniform", "normal", "random",
    "exponential", "multinomial",
)  # fmt: skip
"""A draw is another number at every position."""


def _fill(call: Call) -> Value:
    """In-place fills keep the dimensions of what they fill: later writes go through its views."""
    return Value(list(call["self"].dims), constant=call["self"].constant)


RULES = {
    "pointwise": _pointwise,
    **dict.fromkeys(("masked_fill", "where", "log_sigmoid", "hardswish", "complex", "polar", "isin"), _pointwise),
    **dict.fromkeys(("real", "imag", "conj", "conj_physical", "_conj", "resolve_conj"), _pointwise),
    "type_as": lambda call: call["self"].like(call["self"].dims),
    "prelu": _prelu,
    "copy": _copy,
    "eq": _equal,
    "one_hot": _one_hot,
    **dict.fromkeys(_UNIFORM, _uniform),
    **dict.fromkeys(("fill", "zero"), _fill),
    **dict.fromkeys(_RANDOM, _ordered),
    "arange": _arange,
    "linspace": _ordered,
    "eye": _ordered,
    "tril_indices": _ordered,
    "triu_indices": _ordered,
    "meshgrid": _meshgrid,
    "softmax": _softmax,
    "_softmax": _softmax,
    "log_softmax": _softmax,
    "_log_softmax": _softmax,
    "cumsum": _scan,
    "cumprod": _scan,
    "logcumsumexp": _scan,
    "cummax": _scan_pair,
    "cummin": _scan_pair,
    "outer": _einsum_free,
}

KEEP_LABELS = frozenset(
    {
        "eq",
        "one_hot",
        "zeros_like",
        "ones_like",
        "full_like",
        "empty_like",
        "new_zeros",
        "new_ones",
        "new_empty",
        "cumsum",
    }
)
