"""The trace: a module's own graph, with what each of its placeholders stands for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind

from scionwood.anatomy.atoms import Dim, leaves
from scionwood.anatomy.build import Model
from scionwood.anatomy.walk import Value, Walk

__all__ = ["Trace", "prune", "trace"]


@dataclasses.dataclass
class Trace:
    """What one walk over a module's graph found.

    Attributes:
        dims: the dimensions of every stored tensor, by name.
        outputs: the dimensions of every output tensor, in the order of the flattened outputs.
        roles: (name, dimension, role) for every time a stored tensor was read, written or scaled along a dimension.
        paired: dimensions contracted between two activations.
        unknown: operations without a rule, with how often they occurred.
        used: the stored tensors that the graph looks at.
    """

    dims: dict[str, list[Dim]]
    outputs: list[list[Dim]]
    roles: list[tuple[str, Dim, str]]
    paired: list[Dim]
    unknown: dict[str, int]
    used: set[str]


def trace(model: Model) -> Trace:
    """Walk the graph of an exported module once."""
    from scionwood.anatomy.rules import LABEL_RULES, RULES

    program = model.program
    prune(model)
    stored = set(model.module.state_dict(keep_vars=True))
    walk = Walk(RULES, LABEL_RULES)
    bound: dict[str, Any] = {}
    dims: dict[str, list[Dim]] = {}
    used: set[str] = set()
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    for spec in program.graph_signature.input_specs:
        node = placeholders.get(getattr(spec.arg, "name", ""))
        if node is None:
            continue
        tensor, name = node.meta.get("val"), spec.target or ""
        if not isinstance(tensor, Tensor):
            bound[node.name] = tensor
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and name in stored and tensor.is_floating_point():
            dims[name] = [walk.fresh(size) for size in tensor.shape]
            bound[node.name] = Value(list(dims[name]), origin=name)
            if node.users:
                used.add(name)
        elif spec.kind == InputKind.USER_INPUT:
            bound[node.name] = Value(
                [walk.fresh(size, "input") for size in tensor.shape],
                tokens=not tensor.is_floating_point(),
                dtype=tensor.dtype,
            )
        else:
            known = model.constants.get(name, program.constants.get(name, tensor))
            bound[node.name] = walk.constant(
                known.clone() if isinstance(known, Tensor) and known.shape == tensor.shape else tensor
            )
    with torch.no_grad():
        result = walk.run(program.graph, bound, program.graph_module)
    outputs = [value.dims for value in _flat(result)]
    for parameter in dims.values():
        _pin_untaken(parameter)
    for parameter in dims.values():
        _forget_cuts(parameter)
    return Trace(dims, outputs, walk.roles, walk.paired, walk.unknown, used)


def prune(model: Model) -> None:
    """Take dead operations out of a model's graph: a forward may compute what it only asks the shape of."""
    model.program.graph.eliminate_dead_code(_must_stay)


def _pin_untaken(parameter: list[Dim]) -> None:
    """Rows beyond what these inputs needed (of a table of positions cut to the length of the text) are rows like the others."""
    for dim in parameter:
        found = list(leaves(dim))
        if any("taken" in leaf.tags for leaf in found):
            for leaf in found:
                if {"cut"} == leaf.tags & {"cut", "taken"} and not leaf.pins:
                    leaf.pins.add("positional")


def _forget_cuts(parameter: list[Dim]) -> None:
    for dim in parameter:
        for leaf in leaves(dim):
            leaf.tags -= {"cut", "taken"}


def _must_stay(node: torch.fx.Node) -> bool:
    """What is written in place is seen elsewhere; whatever else is unused has no effect, a dropout in evaluation neither."""
    if node.op in ("placeholder", "output"):
        return True
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _flat(item: Any) -> Iterator[Value]:
    if isinstance(item, Value):
        yield item
    elif isinstance(item, (list, tuple)):
        for one in item:
            yield from _flat(one)
    elif isinstance(item, dict):
        for one in item.values():
            yield from _flat(one)
