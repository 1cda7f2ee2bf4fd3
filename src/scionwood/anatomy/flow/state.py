"""What is known of one value of a graph while it is followed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from scionwood.anatomy.flow.functions import Function
from scionwood.anatomy.nodes import CASTS, VIEWS, operation, shape_of

__all__ = ["State", "after_weight", "joined", "same_source", "start_of"]


@dataclasses.dataclass
class State:
    """What is known of one value of the graph.

    Attributes:
        parameter: the stored tensor that it is a view, a cast or a simple function of.
        order: for a view that only permutes a parameter's dimensions, which stands where.
        viewed: the dimensions that are permuted, where they are not those it is stored with.
        factor: what the parameter is multiplied by.
        computed: it is more than a view of the parameter, or a multiple of one.
        constant: it depends neither on the input nor on weights.
        reads: the activation function that it is the result of.
        function: the function that it is of one value, number by number.
        summed: it comes from a residual sum, without a weight or a norm in between.
        weights: the contractions that it is made of without another one in between.
        attended: the attention that it is the result of.
        score: the labels of the queries and of the keys whose contraction it is the softmax of, or will be.
        softmax: it came out of a softmax.
        statistic: a norm's own, which what it multiplies is normalised by.
        labels: which row of which weight each number comes from.
    """

    parameter: str | None = None
    order: tuple[int, ...] | None = None
    viewed: tuple[int, ...] | None = None
    factor: float = 1.0
    computed: bool = False
    constant: bool = False
    reads: str = "identity"
    function: Function | None = None
    summed: bool = False
    weights: frozenset[fx.Node] = frozenset()
    attended: fx.Node | None = None
    score: tuple[Any, Any] | None = None
    softmax: bool = False
    statistic: bool = False
    labels: Any = None  # a tensor, or a list of them for what a split gives


def joined(node: fx.Node, states: Sequence[State]) -> State:
    """What is known of something made of several values without a weight."""
    if not states:
        return State()
    labelled = [state.labels for state in states if isinstance(state.labels, Tensor)]
    shape = shape_of(node)
    labels = next((own for own in labelled if shape is not None and tuple(own.shape) == shape), None)
    reads = {state.reads for state in states}
    return State(
        reads=reads.pop() if len(reads) == 1 else "identity",
        summed=any(state.summed for state in states),
        weights=frozenset().union(*(state.weights for state in states)),
        attended=next((state.attended for state in states if state.attended), None),
        score=next((state.score for state in states if state.score), None),
        softmax=any(state.softmax for state in states),
        statistic=all(state.statistic for state in states),
        labels=labels,
    )


def start_of(node: fx.Node) -> fx.Node:
    """The value that a value is a view or a part of."""
    while node.op == "call_function" and operation(node) in VIEWS | CASTS and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def after_weight(node: fx.Node, states: Mapping[fx.Node, State]) -> bool:
    """Whether a value is the result of a contraction with a weight, but for views: what is added to it is a bias."""
    start = start_of(node)
    return start in states[start].weights


def same_source(left: State, right: State) -> bool:
    """Whether two values are functions of one: of the same rows of the same weights."""
    if left.labels is not None and right.labels is not None:
        return left.labels.shape == right.labels.shape and torch.equal(left.labels, right.labels)
    return left.weights == right.weights
