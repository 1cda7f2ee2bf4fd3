"""Recurrent layers, which export as one operation: gates are parts, states are one through time."""

from __future__ import annotations

from scionwood.anatomy.atoms import Dim, concatenate, size_of
from scionwood.anatomy.walk import Call, Value


def _recurrent(call: Call, gates: int, states: int) -> list[Value]:
    """Weights per layer and direction: (gates x state, in), (gates x state, state), two biases, and a projection if it has one."""
    walk = call.walk
    given: Value = call["input"]
    parameters: list[Value] = list(call["params"])
    directions = 2 if call["bidirectional"] else 1
    layers = call["num_layers"]
    per = len(parameters) // (layers * directions)
    projected = per in (3, 5) and gates == 4
    feature: Dim = given.dims[-1]
    states_seen: list[Dim] = []
    for layer in range(layers):
        outputs: list[Dim] = []
        for direction in range(directions):
            own = parameters[(layer * directions + direction) * per :][:per]
            outputs.append(_cell(call, own, feature, gates, projected=projected))
        states_seen.extend(outputs)
        feature = concatenate(outputs)
    hidden = [
        walk.fresh(layers * directions, "part"),
        given.dims[0 if call["batch_first"] else 1],
        walk.fresh(call.result[1].shape[-1]),
    ]
    initial = call["hx"] if isinstance(call["hx"], (list, tuple)) else [call["hx"]]
    # The states of all layers and directions lie over each other in one tensor: they are tied.
    for state in [*states_seen, *(given.dims[2] for given in initial)]:
        if size_of(state) == size_of(hidden[2]):
            walk.unify(hidden[2], state)
    return [Value([*given.dims[:-1], feature]), *[Value(list(hidden)) for _ in range(states)]]


def _cell(call: Call, own: list[Value], feature: Dim, gates: int, *, projected: bool) -> Dim:
    walk = call.walk
    from_input, from_state = own[0], own[1]
    state = size_of(from_input.dims[0]) // gates
    part, unit = walk.regroup([from_input.dims[0]], [gates, state])
    walk.pin(part, "part")
    output: Dim = unit
    if projected:
        projection = own[-1]
        output = projection.dims[0]
        walk.unify(projection.dims[1], unit)
        walk.contract(projection, projection.dims[1])
    walk.unify(from_input.dims[1], feature)
    walk.contract(from_input, from_input.dims[1])
    walk.unify(from_state.dims[0], from_input.dims[0])
    walk.unify(from_state.dims[1], output)
    walk.contract(from_state, from_state.dims[1])
    for bias in own[2:4] if len(own) >= 4 else ():
        walk.unify(bias.dims[0], from_input.dims[0])
        if bias.origin is not None:
            walk.roles.append((bias.origin, bias.dims[0], "scales"))
    return output


def _lstm(call: Call) -> list[Value]:
    return _recurrent(call, 4, 2)


def _gru(call: Call) -> list[Value]:
    return _recurrent(call, 3, 1)


def _plain(call: Call) -> list[Value]:
    return _recurrent(call, 1, 1)


RULES = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _plain, "rnn_relu": _plain}
