"""Parameters: what a view, a multiple and another function of a stored tensor are of it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence

from torch import fx
from torch.export.graph_signature import InputKind

from scionwood.anatomy.build import Model
from scionwood.anatomy.flow.functions import Function
from scionwood.anatomy.flow.state import State
from scionwood.anatomy.flow.views import permuted
from scionwood.anatomy.nodes import operation, shape_of

__all__ = ["derived", "placeholders", "viewed"]

_RESHAPES = frozenset({"view", "reshape", "_unsafe_view", "flatten", "unflatten"})


def derived(node: fx.Node, state: State, given: Callable[[fx.Node], Function | float | None]) -> State:
    """A simple function of one parameter: exp(A), 1 + w; a multiple of it is still it, and so is what zeros were laid around."""
    name = operation(node)
    if name in ("pad", "constant_pad_nd"):
        return dataclasses.replace(state, order=None)
    if name == "neg":
        return dataclasses.replace(state, factor=-state.factor)
    if name in ("mul", "div") and len(node.args) == 2:
        left, right = (given(arg) if isinstance(arg, fx.Node) else arg for arg in node.args)
        number = right if left is None or name == "div" else left
        if isinstance(number, (int, float)) and number:
            factor = state.factor * number if name == "mul" else state.factor / number
            return dataclasses.replace(state, factor=factor)
    return State(parameter=state.parameter, computed=True)


def viewed(node: fx.Node, state: State) -> State:
    """What a view makes of a parameter: dimensions that are joined or cut are others."""
    given, shape = shape_of(node.all_input_nodes[0]), shape_of(node)
    if operation(node) in ("expand", "expand_as") and _is_repeated(given, shape):
        return state
    if given is None or shape is None or operation(node) not in _RESHAPES or _wide(given) == _wide(shape):
        return dataclasses.replace(state, order=permuted(node, state.order))
    if state.order != tuple(range(len(given))):
        return State(parameter=state.parameter, computed=True)  # rows and columns are mixed
    return dataclasses.replace(state, order=tuple(range(len(shape))), viewed=shape)


def _is_repeated(given: Sequence[int] | None, shape: Sequence[int] | None) -> bool:
    """Whether a view is of the whole value again and again: one for each of a batch."""
    core = list(itertools.dropwhile(lambda size: size == 1, given or ()))
    return bool(core and shape) and list(shape or ())[-len(core) :] == core


def _wide(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def placeholders(model: Model) -> dict[str, State]:
    """What is known of the values that a graph begins with, by the names of their nodes: parameters, and the model's input."""
    stored = model.module.state_dict(keep_vars=True)
    kept: dict[int, str] = {}
    first = {name: kept.setdefault(id(tensor), name) for name, tensor in stored.items()}
    found: dict[str, State] = {}
    for spec in model.program.graph_signature.input_specs:
        name, target = getattr(spec.arg, "name", ""), spec.target or ""
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and target in stored:
            tensor = stored[target]
            found[name] = (
                State(parameter=first[target], order=tuple(range(tensor.dim())))
                if tensor.is_floating_point()
                else State(constant=True)
            )
        elif spec.kind == InputKind.USER_INPUT:
            found[name] = State(reads="input")
    return found
