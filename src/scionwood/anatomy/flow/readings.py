"""What is read: the name of the function that a value is of those before it, from the operations of a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from scionwood.anatomy.build import Model
from scionwood.anatomy.flow.functions import UNKNOWN, Function, composed, is_elementwise
from scionwood.anatomy.flow.state import State, same_source
from scionwood.anatomy.nodes import CASTS, VIEWS, arguments_of, operation, uncast

__all__ = ["FILLED", "PLAIN", "STATISTICS", "Readings", "multiplied"]

PLAIN = frozenset({"identity", "input", "softmax"})
"""What a value reads that no activation function has made."""

_LINEAR = frozenset({"add", "sub", "rsub", "mul", "div", "where", "masked_fill", "lerp"})
"""Operations on several values that are linear in each."""

STATISTICS = frozenset({"rsqrt", "sqrt", "reciprocal", "std", "linalg_vector_norm", "norm"})

FILLED: dict[str, Callable[[fx.Node], Any]] = {
    **dict.fromkeys(("zeros", "new_zeros", "zeros_like"), lambda _: 0.0),
    **dict.fromkeys(("ones", "new_ones", "ones_like"), lambda _: 1.0),
    **dict.fromkeys(("full", "new_full", "full_like"), lambda node: arguments_of(node)["fill_value"]),
    "scalar_tensor": lambda node: arguments_of(node)["s"],
}
"""Operations that give one number throughout, and which."""

_TAKEN_APART = {"tanh": "gelu", "erf": "gelu", "sigmoid": "silu"}
"""x times this function of x: the activation function that it is a part of."""


class Readings:
    """Says what reads a value, by what is known of all before it."""

    def __init__(self, model: Model, states: Mapping[fx.Node, State]) -> None:
        self.states = states
        self.values = model.program.constants
        specs = model.program.graph_signature.input_specs
        self.constants = {getattr(spec.arg, "name", ""): spec.target or "" for spec in specs}

    def computed(self, node: fx.Node, merged: State) -> State:
        """What reads an operation on every number by itself, if its result is a function of one value."""
        name, function = operation(node), composed(node, self.given)
        if function is not None:
            known = function.reads in (function.before, name) or function.before in PLAIN
            return dataclasses.replace(
                merged, function=function, reads=function.reads if known else f"{UNKNOWN} ({name})"
            )
        condition = self.states[node.all_input_nodes[0]].function if name == "where" else None
        chosen = condition is not None and condition.before != "input"
        parameters = any(self.states[arg].parameter for arg in node.all_input_nodes)
        if is_elementwise(node) and _is_float(node) and not parameters and (chosen or name not in _LINEAR):
            return dataclasses.replace(merged, reads=f"{UNKNOWN} ({name})")
        return merged

    def given(self, arg: fx.Node) -> Function | float | None:
        """What an argument is in a function: a function itself, or a number."""
        state = self.states[arg]
        number = self._number(arg) if state.constant or operation(arg) in FILLED else None
        if number is not None or state.constant or state.parameter:
            return number
        start = uncast(arg)
        return state.function or Function(start, self.states[start].reads)

    def _number(self, node: fx.Node) -> float | None:
        """The one number that a constant is of."""
        if node.op == "placeholder":
            value = self.values.get(self.constants.get(node.name, ""))
            return float(value) if type(value) is Tensor and value.numel() == 1 and not value.is_meta else None
        name, inputs = operation(node), node.all_input_nodes
        if name in FILLED:
            written = any(not is_elementwise(user) or user.target._schema.is_mutable for user in node.users)  # type: ignore[union-attr]
            return None if written else FILLED[name](node)
        return self._number(inputs[0]) if name in VIEWS | CASTS and len(inputs) == 1 else None


def multiplied(node: fx.Node, merged: State, states: Sequence[State]) -> State:
    """What is known of a product or a quotient of two values, beside what is of both."""
    plain = [state for state in states if not state.statistic]
    if len(plain) == 1:  # a norm that is written out
        return dataclasses.replace(plain[0], reads="identity", function=None, summed=False)
    if operation(node) == "div":  # by a sum of weights, or one norm by another
        return dataclasses.replace(merged, reads=states[0].reads, statistic=False)
    mixed = [state.reads for state in states if state.reads != "softmax"]
    if len(mixed) == 1:  # the shares of a mean
        return dataclasses.replace(merged, reads=mixed[0])
    activated = [state.reads for state in states if state.reads not in PLAIN]
    merged.reads = _product(activated, one=same_source(*states)) or merged.reads
    return merged


def _product(activated: Sequence[str], *, one: bool) -> str | None:
    """What reads the product of two values, by the activation functions that made them.

    Args:
        activated: one for each value that is not linear.
        one: both values are made of one.
    """
    unknown = next((name for name in activated if name.startswith(UNKNOWN)), None)
    if one and len(set(activated)) == 1 and len(activated) == 2:
        return activated[0]
    if unknown or len(activated) != 1:
        return unknown or " * ".join(activated) or None
    name = activated[0]
    return _TAKEN_APART.get(name, name) if one else f"gated {name}"


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()
