"""Parameters in a graph: which node is one, who uses it, and what depends on the model's input."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export.graph_signature import InputKind
from torch.fx.node import map_aggregate

from scionwood.anatomy.absorb.nodes import BIJECTIVE, LARGEST_MASK, SAME, TRANSPOSE, floating, shape_of
from scionwood.anatomy.build import Model
from scionwood.anatomy.nodes import operation

__all__ = ["Parameters"]


class Parameters:
    """The parameters and the constants of one model's graph.

    Args:
        model: the model.
        ties: parameters that are one with another: name → the name that counts.

    Attributes:
        number: the place of every node in the order of execution.
        parameter: the nodes that are parameters, by name.
        constants: the values of nodes that are constants, where they are known.
        shapes: the shape of every parameter.
        depends: whether a node depends on the model's ``input``, or on a ``parameter`` alone, or is a ``constant``.
        uses: for every parameter, the nodes that use it, past casts and transpositions.
    """

    def __init__(self, model: Model, ties: Mapping[str, str]) -> None:
        self.model = model
        self.graph = model.program.graph
        self.number = {node: count for count, node in enumerate(self.graph.nodes)}
        self.parameter: dict[fx.Node, str] = {}
        self.constants: dict[fx.Node, Tensor] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        placeholders = {node.name: node for node in self.graph.nodes if node.op == "placeholder"}
        stored = set(model.module.state_dict(keep_vars=True))
        kinds: dict[fx.Node, str] = {}
        for spec in model.program.graph_signature.input_specs:
            node = placeholders.get(getattr(spec.arg, "name", ""))
            if node is None:
                continue
            name = spec.target or ""
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and name in stored and floating(node):
                self.parameter[node] = ties.get(name, name)
                self.shapes[self.parameter[node]] = shape_of(node)
                kinds[node] = "parameter"
            elif spec.kind == InputKind.USER_INPUT:
                kinds[node] = "input"
            else:
                kinds[node] = "constant"
                value = model.constants.get(name, model.program.constants.get(name))
                if isinstance(value, Tensor):
                    self.constants[node] = value
        self._numbers: dict[fx.Node, Tensor | None] = {}
        # What a value depends on: the model's input, or parameters, or neither.
        self.depends: dict[fx.Node, str] = {}
        for node in self.graph.nodes:
            found = {self.depends[given] for given in node.all_input_nodes}
            found.add(kinds.get(node, "constant"))
            self.depends[node] = next(word for word in ("input", "parameter", "constant") if word in found)
        self.uses: dict[str, set[fx.Node]] = {}
        for node, name in self.parameter.items():
            self.uses.setdefault(name, set()).update(self.used_by(node))

    def used_by(self, node: fx.Node) -> Iterator[fx.Node]:
        """The nodes that use a parameter, past casts and transpositions of it."""
        for user in node.users:
            if operation(user) in SAME | TRANSPOSE and self.depends[user] == "parameter":
                yield from self.used_by(user)
            elif user.op != "output":
                yield user

    def parameter_of(self, node: Any) -> tuple[str, tuple[int, ...]] | None:
        """The parameter that a node is a cast or a transposition of, and which of its dimensions each of the node's is."""
        if not isinstance(node, fx.Node):
            return None
        if node in self.parameter:
            return self.parameter[node], tuple(range(len(shape_of(node))))
        name = operation(node)
        if node.op != "call_function" or name not in SAME | TRANSPOSE:
            return None
        found = self.parameter_of(node.args[0])
        if found is None or name in SAME:
            return found
        order = list(found[1])
        if name == "permute":
            order = [order[dim] for dim in node.args[1]]  # type: ignore[union-attr]
        elif name == "transpose":
            a, b = (int(dim) % len(order) for dim in node.args[1:3])  # type: ignore[arg-type]
            order[a], order[b] = order[b], order[a]
        else:
            order.reverse()
        return found[0], tuple(order)

    def tensor(self, node: fx.Node) -> Tensor | None:
        """The numbers of a constant, where they are known or can be computed."""
        if node not in self._numbers:
            self._numbers[node] = self._evaluated(node)
        return self._numbers[node]

    def _evaluated(self, node: fx.Node) -> Tensor | None:
        held = node.meta.get("val")
        if self.depends[node] != "constant" or not isinstance(held, Tensor) or held.numel() > LARGEST_MASK:
            return None
        if node in self.constants:
            return self.constants[node]
        if node.op == "get_attr":
            found = getattr(self.model.program.graph_module, str(node.target), None)
            return found if isinstance(found, Tensor) else None
        known = {given: self.tensor(given) for given in node.all_input_nodes}
        if node.op != "call_function" or any(each is None or each.is_meta for each in known.values()):
            return None
        with contextlib.suppress(Exception), torch.no_grad():  # whatever cannot be computed is not known
            # Operations in place would change what others see.
            args, kwargs = map_aggregate(
                (node.args, {name: arg for name, arg in node.kwargs.items() if name != "device"}),
                lambda arg: known[arg].clone() if isinstance(arg, fx.Node) else arg,  # type: ignore[union-attr]
            )
            return node.target(*args, **kwargs)  # type: ignore[operator]
        return None

    def value(self, node: Any) -> float | None:
        """The one number that a constant holds, where it is known."""
        if isinstance(node, (int, float)) and not isinstance(node, bool):
            return float(node)
        if not isinstance(node, fx.Node) or self.depends.get(node) != "constant":
            return None
        if node in self.constants:
            held = self.constants[node]
            return float(held) if held.numel() == 1 else None
        if node.op == "get_attr":
            held = getattr(self.model.program.graph_module, str(node.target), None)
            return float(held) if isinstance(held, Tensor) and held.numel() == 1 else None
        if operation(node) in SAME | BIJECTIVE and node.args:
            return self.value(node.args[0])
        if operation(node) in ("scalar_tensor", "full") and not isinstance(node.args[-1], (list, tuple)):
            return self.value(node.args[-1])
        return self._computed(node)

    def _computed(self, node: fx.Node) -> float | None:
        """One number that was computed from others, such as a root."""
        held = node.meta.get("val")
        if node.op != "call_function" or not isinstance(held, Tensor) or held.numel() != 1:
            return None
        known = {given: self.value(given) for given in node.all_input_nodes}
        if None in known.values() or not known:
            return None
        with contextlib.suppress(Exception):  # whatever cannot be computed is not known
            args, kwargs = map_aggregate(
                (node.args, node.kwargs), lambda arg: torch.tensor(known[arg]) if isinstance(arg, fx.Node) else arg
            )
            return float(node.target(*args, **kwargs))  # type: ignore[operator]
        return None
