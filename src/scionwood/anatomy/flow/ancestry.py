"""Ancestry: what is computed from what, and so which sums are residual and which weights lie in their branches."""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Iterator, Mapping, Sequence

from torch import Tensor, fx
from torch.utils import _pytree as pytree

from scionwood.anatomy.flow.records import Branch, Residual
from scionwood.anatomy.flow.views import shares_memory, written_by
from scionwood.anatomy.nodes import CASTS, operation, shape_of

__all__ = ["Ancestry"]


class Ancestry:
    """What every value of a graph is computed from; nodes are added in the order of execution.

    Ancestors are bit masks: a graph has a few thousand nodes. What is written into a part of a tensor is in the whole of it:
    a later reader of any view reads what wrote last.
    """

    def __init__(self, graph: fx.Graph) -> None:
        self.nodes = list(graph.nodes)
        self.number = {node: count for count, node in enumerate(self.nodes)}
        self.weights: list[fx.Node] = []
        self.lookups: list[fx.Node] = []
        self.products: list[fx.Node] = []
        self.values = 0
        # Contractions with a part of a weight → the first with one of its parts.
        self.pieces: dict[fx.Node, fx.Node] = {}
        self._starts: dict[fx.Node, fx.Node] = {}  # residual sums → what both sides are computed from
        self._memory: dict[fx.Node, fx.Node] = {}  # the first value that lay where a value lies
        self._views: dict[fx.Node, list[fx.Node]] = {}  # all that lie there
        self._writer: dict[fx.Node, fx.Node] = {}  # what wrote there last
        self._read: dict[fx.Node, dict[fx.Node, fx.Node]] = {}  # what a node's arguments held then
        self._before: dict[fx.Node, int] = {}
        self._carried: dict[fx.Node, int] = {}  # the same, but that whole numbers carry nothing of what chose them

    def add(self, node: fx.Node) -> None:
        """Note what a node is computed from."""
        own = 1 << self.number[node]
        read = self._read[node] = {arg: self._writer.get(self._memory[arg], arg) for arg in node.all_input_nodes}
        given = read.values()
        self._before[node] = functools.reduce(operator.or_, map(self._before.__getitem__, given), own)
        carrying = given if _is_floating(node) else ()
        self._carried[node] = functools.reduce(operator.or_, map(self._carried.__getitem__, carrying), own)
        same = shares_memory(node)
        memory = self._memory[node] = node if same is None else self._memory[same]
        self._views.setdefault(memory, []).append(node)
        for arg in written_by(node):
            self._writer[self._memory[arg]] = node

    def changed_by(self, node: fx.Node) -> Iterator[tuple[fx.Node, fx.Node]]:
        """What a node writes into, with every other value that lies in the same memory: the whole, and its other views."""
        for arg in written_by(node):
            yield from ((arg, view) for view in self._views[self._memory[arg]] if view not in (arg, node))

    def add_value(self, node: fx.Node) -> None:
        """Note that a node is an activation: no constant, no index, and no function of parameters alone."""
        if _is_floating(node):
            self.values |= 1 << self.number[node]

    def is_before(self, early: fx.Node, late: fx.Node) -> bool:
        """Whether one value is computed from another, or is it."""
        return bool(self._before[late] >> self.number[early] & 1)

    def weights_between(self, start: fx.Node, end: fx.Node) -> list[fx.Node]:
        """The contractions with a weight on the ways from one value to another."""
        return [
            node
            for node in self.weights
            if node is not start and self.is_before(node, end) and self.is_before(start, node)
        ]

    def is_stream(self, early: fx.Node, late: fx.Node) -> bool:
        """Whether one value is passed on as another: with norms on the way perhaps, but no weights."""
        return self.is_before(early, late) and not self.weights_between(early, late)

    def residual(self, node: fx.Node, left: fx.Node, right: fx.Node) -> Residual | None:
        """What a sum is, if it is residual; of which block, is not known yet."""
        if shape_of(left) != shape_of(right):
            return None
        for stream, branch in ((left, right), (right, left)):
            start, end = self._uncast(node, stream), self._read[node][branch]
            # A parallel block may be added path by path: the second is computed from what the stream was before the first.
            starts = (start, self._starts[start]) if start in self._starts else (start,)
            for early in starts:
                if self._is_branch(early, end) and (early is start or not self._has_sum(early, end)):
                    self._starts[node] = early
                    return Residual(node, stream, branch, early, None, projected=False)
        shared = self._shared(*(self._read[node][side] for side in (left, right)))
        if shared is None:
            return None
        wholes = [self._memory[part] for part in written_by(shared)]  # what is written into a part is in the whole
        if shape_of(node) in map(shape_of, [shared, *wholes]):
            return None
        ways = [(len(self.weights_between(shared, self._read[node][side])), side) for side in (left, right)]
        (fewer, stream), (more, branch) = sorted(ways, key=operator.itemgetter(0))
        # Two towers that meet are no residual: a projected stream has one weight, or a pooling alone.
        if fewer > 1 or more <= fewer:
            return None
        return Residual(node, stream, branch, shared, None, projected=True)

    def _is_branch(self, start: fx.Node, end: fx.Node) -> bool:
        return bool(self._carried[end] >> self.number[start] & 1 and self.weights_between(start, end))

    def _has_sum(self, start: fx.Node, end: fx.Node) -> bool:
        """Whether a stream runs on between two values: what ends there is a tower of its own."""
        between = (own for own in self._starts if own is not start)
        return any(self.is_before(start, own) and self.is_before(own, end) for own in between)

    def _uncast(self, node: fx.Node, arg: fx.Node) -> fx.Node:
        """What a node reads in an argument, without casts and dropout."""
        value = self._read[node][arg]
        while value.op == "call_function" and operation(value) in CASTS and isinstance(value.args[0], fx.Node):
            value = self._read[value][value.args[0]]
        return value

    def _shared(self, left: fx.Node, right: fx.Node) -> fx.Node | None:
        """The last activation that both are computed from, other than by what it chose."""
        common = self._carried[left] & self._carried[right] & self.values
        return self.nodes[common.bit_length() - 1] if common else None

    def final(self) -> set[fx.Node]:
        """The weights after which no other weight comes, and the lookups whose sums are what the model gives."""
        before = 0
        for node in self.weights:
            before |= self._before[node] & ~(1 << self.number[node])
        found = {node for node in self.weights if not before >> self.number[node] & 1}
        for node in self.products:
            before |= self._before[node]
        return found | {node for node in self.lookups if not before >> self.number[node] & 1}

    def multiply(self, node: fx.Node, left: fx.Node, right: fx.Node) -> None:
        """Note a product: what is looked up for both of its sides is no summand of anything."""
        if all(any(self.is_before(lookup, side) for lookup in self.lookups) for side in (left, right)):
            self.products.append(node)

    def branches(
        self, residuals: Sequence[Residual], attended: Mapping[fx.Node, Collection[fx.Node]]
    ) -> dict[fx.Node, Branch]:
        """For every contraction with a weight, its place in the innermost branch around it.

        Args:
            residuals: the residual sums.
            attended: an attention → the contractions of its keys and values, which are in its branch wherever they read from.
        """
        paths = [(own.start, end) for own in residuals for end in self._paths(own.start, own.node, own.branch)]
        insides = [set(self.weights_between(start, end)) for start, end in paths]
        own = set().union(*insides)
        found: dict[fx.Node, tuple[int, Branch]] = {}
        for number, ((start, end), between) in enumerate(zip(paths, insides, strict=True)):
            across = [
                set(nodes) - own
                for attention, nodes in attended.items()
                if self.is_before(start, attention) and self.is_before(attention, end)
            ]
            inside = sorted(between.union(*across), key=self.number.__getitem__)
            count = len({self.pieces.get(node, node) for node in inside})
            place: dict[fx.Node, int] = {}
            for node in inside:
                place[node] = max((place[other] + 1 for other in place if self.is_before(other, node)), default=0)
            length = max(place.values(), default=-1) + 1
            for node in inside:
                last = not any(other is not node and self.is_before(node, other) for other in inside)
                branch = Branch(number, len(paths), place[node], length, count, last=last)
                if node not in found or found[node][0] > len(inside):
                    found[node] = (len(inside), branch)
        return {node: branch for node, (_, branch) in found.items()}

    def _paths(self, start: fx.Node, node: fx.Node, arg: fx.Node) -> list[fx.Node]:
        """The ends of the paths that are added up beside one stream: of a parallel block each is a branch."""
        end = self._uncast(node, arg)
        sides = [side for side in end.args[:2] if isinstance(side, fx.Node)] if operation(end) == "add" else []
        insides = [set(self.weights_between(start, self._read[end][side])) for side in sides]
        if len(insides) < 2 or not all(insides) or insides[0] & insides[1]:
            return [end]
        ends = (found for side in sides for found in self._paths(start, end, side))
        return sorted(ends, key=self.number.__getitem__)


def _is_floating(node: fx.Node) -> bool:
    """Whether any of a node's values is a tensor of floating or complex numbers."""
    values = pytree.tree_leaves(node.meta.get("val"))
    return any(isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()) for value in values)
