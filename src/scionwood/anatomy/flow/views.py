"""What views do to the dimensions of a parameter, and to the labels of the rows that numbers come from."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx

from scionwood.anatomy.nodes import CASTS, operation, shape_of

__all__ = ["moved", "permuted"]


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


def moved(node: fx.Node, labels: Any) -> Any:
    """Do to the labels of rows what is done to the numbers."""
    if labels is None or operation(node) in CASTS:
        return labels
    try:
        if node.target is operator.getitem:
            return labels[node.args[1]]
        arguments = [labels if isinstance(arg, fx.Node) else arg for arg in node.args]
        return node.target(*arguments, **node.kwargs)  # type: ignore[operator]
    except (RuntimeError, TypeError, IndexError):
        return None
