"""Recurrent layers, which export as one operation: the cells that it runs, with their weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import fx

from scionwood.anatomy.nodes import arguments_of, operation

__all__ = ["Cell", "cells", "gives"]


class Cell(NamedTuple):
    """One cell: of one layer, in one direction.

    Attributes:
        layer: which of the layers that read each other, from 0.
        from_input: the weight that the layer's input goes through, all gates over each other.
        from_state: the weight that the cell's own state goes through.
        biases: one for each of the two, or none.
        projection: the weight that makes the state smaller, if there is one.
    """

    layer: int
    from_input: fx.Node
    from_state: fx.Node
    biases: Sequence[fx.Node]
    projection: fx.Node | None


def gives(node: fx.Node) -> str:
    """The activation function that a recurrent layer's states are made by."""
    return "relu" if "relu" in operation(node) else "tanh"


def cells(node: fx.Node) -> Iterator[Cell]:
    """The cells of a recurrent operation, layer by layer."""
    arguments = arguments_of(node)
    if "w_ih" in arguments:
        biases = [arguments[name] for name in ("b_ih", "b_hh") if isinstance(arguments.get(name), fx.Node)]
        yield Cell(0, arguments["w_ih"], arguments["w_hh"], biases, None)
        return
    parameters: list[Any] = list(arguments["params"])
    count = arguments["num_layers"] * (2 if arguments["bidirectional"] else 1)
    each = len(parameters) // count
    bound = 4 if arguments["has_biases"] else 2
    for number in range(count):
        own = parameters[number * each :][:each]
        layer = number * arguments["num_layers"] // count
        yield Cell(layer, own[0], own[1], own[2:bound], own[bound] if each > bound else None)
