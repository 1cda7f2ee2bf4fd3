"""What views do to the dimensions of a parameter, and to the labels of the rows that numbers come from."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from scionwood.anatomy.nodes import CASTS, VIEWS, arguments_of, operation, shape_of

__all__ = ["moved", "permuted", "rows_taken", "shares_memory", "written_by"]


def permuted(node: fx.Node, order: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Which dimension of a parameter stands where after a view; nothing, where a view does more than permute."""
    name = operation(node)
    if (
        order is None
        or name in CASTS
        or (node.target is operator.getitem and shape_of(node.all_input_nodes[0]) is None)
    ):
        return order
    if len(order) != len(shape_of(node.all_input_nodes[0]) or ()):
        return None  # dimensions of size one were added before
    shape, given = shape_of(node), shape_of(node.all_input_nodes[0])
    if shape == given and name in ("view", "reshape", "expand"):
        return order
    if name in ("t", "numpy_T"):
        return order[::-1]
    if name in ("transpose", "swapaxes", "swapdims"):
        first, second = (int(dim) % len(order) for dim in node.args[1:3])  # type: ignore[arg-type]
        swapped = list(order)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        return tuple(swapped)
    if (
        name in ("select", "unbind") and len(order) == 3 and node.args[1:2] in ((), (0,))
    ):  # one of the maps that a tensor packs
        return order[1:]
    if name == "permute":
        return tuple(order[dim] for dim in node.args[1])  # type: ignore[union-attr, index]
    # Dimensions of size one come and go: a depthwise kernel without its one input is put back as it was.
    if name in ("squeeze", "unsqueeze", "view", "reshape"):
        return order
    return None


def rows_taken(weight: fx.Node) -> Tensor:
    """Which rows of a stored matrix a view of it has: a fused projection may be used part by part."""
    shape = shape_of(weight) or (0,)
    views = []
    while operation(weight) in VIEWS | CASTS or weight.target is operator.getitem:
        views.append(weight)
        weight = weight.all_input_nodes[0]
    stored = shape_of(weight) or ()
    rows: Any = torch.arange(stored[0])[:, None].expand(stored) if len(stored) == 2 else None
    for view in reversed(views):
        rows = moved(view, rows)
    fits = isinstance(rows, Tensor) and tuple(rows.shape) == shape and torch.equal(rows[:, 0], rows[:, -1])
    return rows[:, 0] if fits else torch.arange(shape[0])


def moved(node: fx.Node, labels: Any) -> Any:
    """Do to the labels of rows what is done to the numbers."""
    if labels is None or operation(node) in CASTS:
        return labels
    try:
        if node.target is operator.getitem:
            return labels[node.args[1]]
        if operation(node) in ("view", "_unsafe_view"):
            return labels.reshape(shape_of(node))  # the numbers lie side by side, where labels are spread over a batch
        arguments = [labels if isinstance(arg, fx.Node) else arg for arg in node.args]
        return node.target(*arguments, **node.kwargs)  # type: ignore[operator]
    except (RuntimeError, TypeError, IndexError):
        return None


def shares_memory(node: fx.Node) -> fx.Node | None:
    """The argument whose numbers a node gives again, as views and what works in place do."""
    if node.target is operator.getitem:
        return node.all_input_nodes[0]
    schema = getattr(node.target, "_schema", None)
    if schema is None or all(given.alias_info is None for given in schema.returns):
        return None
    return next((value for value, arg in _arguments(node) if arg.alias_info is not None), None)


def written_by(node: fx.Node) -> list[fx.Node]:
    """The arguments that a node writes into."""
    return [value for value, arg in _arguments(node) if arg.is_write]


def _arguments(node: fx.Node) -> list[tuple[fx.Node, Any]]:
    """The values that a node is given, each with what the schema says of it."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return []
    named = arguments_of(node)
    return [(named[arg.name], arg) for arg in schema.arguments if isinstance(named.get(arg.name), fx.Node)]
