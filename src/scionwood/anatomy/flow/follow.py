"""Following: one pass over a graph that keeps, for every value, what it is made of since the weights before."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from scionwood.anatomy.build import Model
from scionwood.anatomy.flow.ancestry import Ancestry
from scionwood.anatomy.flow.attentions import Attentions
from scionwood.anatomy.flow.functions import UNKNOWN, is_elementwise
from scionwood.anatomy.flow.layers import Layers
from scionwood.anatomy.flow.parameters import derived, placeholders, viewed
from scionwood.anatomy.flow.readings import FILLED, PLAIN, STATISTICS, Readings, multiplied
from scionwood.anatomy.flow.records import Flow, Kind, Residual, Use
from scionwood.anatomy.flow.recurrent import cells, gives
from scionwood.anatomy.flow.state import State, after_weight, joined, same_source, start_of
from scionwood.anatomy.flow.views import moved, rows_taken
from scionwood.anatomy.nodes import (
    ACTIVATIONS,
    CASTS,
    NORMS,
    RECURRENT,
    VIEWS,
    arguments_of,
    module_path,
    operation,
    shape_of,
)

__all__ = ["Follower"]

_LARGEST_LABELS = 2**24
"""The most labels that are followed through views, in numbers: 128 MB."""


class Follower:
    """Follows one model; ``result`` is what was found."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graph = model.program.graph
        self.states: dict[fx.Node, State] = {}
        self.first: dict[str, tuple[Kind, fx.Node, dict[str, Any]]] = {}
        self.residuals: list[Residual] = []
        self.attentions = Attentions()
        self.weight_of: dict[fx.Node, str] = {}
        self.feeds: dict[fx.Node, str] = {}
        # A weight → the first contraction with it, and its rows in there.
        self.rows: dict[str, tuple[fx.Node, Tensor]] = {}
        self.idle: set[str] = set()
        self.ancestry = Ancestry(self.graph)
        self.layers = Layers(model.module, self.ancestry)
        self.readings = Readings(model, self.states)

    def result(self) -> Flow:
        """Follow the graph."""
        names = placeholders(self.model)
        for node in self.graph.nodes:
            self.ancestry.add(node)
            if node.op == "placeholder":
                self.states[node] = names.get(node.name, State(constant=True))
            elif node.op == "call_function":
                state = self.states[node] = self._call(node)
                if not state.constant and not state.parameter:
                    self.ancestry.add_value(node)
                self._write(node, state)
                self._forget(node.all_input_nodes)
            elif node.op == "get_attr":
                self.states[node] = State(constant=True)
        self._take_the_rest(names)
        self.residuals = self.layers.keep(self.residuals)
        return Flow(tuple(self._uses()), tuple(self.residuals))

    def _write(self, node: fx.Node, written: State) -> None:
        """What a tensor holds once something was written into a part of it: both."""
        if written.constant or written.parameter:
            return
        for part, view in self.ancestry.changed_by(node):
            state = self.states[view]
            if not state.parameter and any(user not in self.states for user in view.users):
                merged = joined(view, [written] if state.constant else [state, written])
                same = written.labels is not None and same_source(self.states[part], written)
                self.states[view] = dataclasses.replace(merged, labels=state.labels if same else None)

    def _forget(self, given: Sequence[fx.Node]) -> None:
        """Labels are as large as what they label, and are needed no longer than that."""
        for state, users in ((self.states[arg], arg.users) for arg in given):
            if (state.labels is not None or state.score is not None) and all(user in self.states for user in users):
                state.labels = state.score = None

    def _take_the_rest(self, names: Mapping[str, State]) -> None:
        """Parameters used in a way that no rule has in mind are used all the same; running statistics are no parameters."""
        parameters = dict(self.model.module.named_parameters())
        for node in self.graph.nodes:
            state = names.get(node.name) if node.op == "placeholder" else None
            if state is not None and state.parameter in parameters and node.users:
                self._use(state.parameter, "other", min(node.users, key=self.ancestry.number.__getitem__))

    # One operation.

    def _call(self, node: fx.Node) -> State:
        name = operation(node)
        given = [self.states[arg] for arg in node.all_input_nodes if arg in self.states]
        if all(state.constant for state in given):
            return State(constant=True)
        if name in _RULES:
            return _RULES[name](self, node)
        if name in NORMS:
            return self._normalise(node)
        if name in VIEWS | CASTS or node.target is operator.getitem:
            return self._move(node)
        live = [(arg, self.states[arg]) for arg in node.all_input_nodes if not self.states[arg].constant]
        parameters = [state.parameter for _, state in live if state.parameter]
        if len(parameters) == len(live) and len(set(parameters)) == 1:
            return derived(node, live[0][1], self.readings.given)
        if name in ("add", "sub", "rsub"):
            return self._add(node)
        if name in ("mul", "div"):
            return self._multiply(node)
        for state in (state for _, state in live if state.parameter):
            self._use(state.parameter, "other", node)
        active = [(arg, state) for arg, state in live if not state.parameter]
        if not active:
            return State()
        main = active[0][1]
        merged = joined(node, [state for _, state in active])
        if name in ACTIVATIONS:
            merged = dataclasses.replace(merged, reads=name, labels=main.labels)
        if name in ("softmax", "_softmax"):
            return dataclasses.replace(merged, softmax=True, reads="softmax", labels=None)
        merged = self.readings.computed(node, merged) if name not in ACTIVATIONS or is_elementwise(node) else merged
        if name in STATISTICS or (name == "pow" and node.args[1] in (-0.5, 0.5)):
            return dataclasses.replace(merged, statistic=True)
        return merged

    def _move(self, node: fx.Node) -> State:
        state = self.states[node.all_input_nodes[0]]
        if state.parameter:
            return viewed(node, state)
        merged = joined(node, [state])
        function = state.function
        # Two parts of one value are two values.
        if function is not None and operation(node) not in CASTS:
            function = dataclasses.replace(function, source=node)
        return dataclasses.replace(merged, labels=moved(node, state.labels), function=function)

    def _cat(self, node: fx.Node) -> State:
        """Parts laid end to end: a token or a table of the model's own may be one of them."""
        parts = [arg for arg in node.all_input_nodes if not self.states[arg].constant]
        for part in parts:
            if self.states[part].parameter:
                self._use(self.states[part].parameter, "table", node)
        active = [part for part in parts if not self.states[part].parameter]
        merged = joined(node, [self.states[part] for part in active])
        labels = [self.states[part].labels for part in active]
        if len(active) == len(node.all_input_nodes) and all(own is not None for own in labels):
            listed = [self.states[part].labels for part in node.args[0]]  # type: ignore[union-attr]
            dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            merged.labels = torch.cat(listed, dim) if node.target is torch.ops.aten.cat.default else merged.labels  # type: ignore[arg-type]
        return merged

    def _index(self, node: fx.Node) -> State:
        """Rows of a table, of relative positions say."""
        state = self.states[node.all_input_nodes[0]]
        if state.parameter:
            constant = all(self.states[arg].constant for arg in node.all_input_nodes[1:])
            return self._look_up(state.parameter, node, constant=constant)
        merged = joined(node, [self.states[arg] for arg in node.all_input_nodes if not self.states[arg].constant])
        if operation(node) == "index" and isinstance(state.labels, Tensor):
            places = [self._held(place) for place in node.args[1]]  # type: ignore[union-attr]
            if all(place is not None for place in places):
                merged.labels = state.labels[tuple(places)]
        return merged

    def _held(self, place: fx.Node | None) -> Tensor | slice | None:
        """What an index takes: all that is there, or the numbers that the graph holds; nothing, where it computes them."""
        if place is None:
            return slice(None)
        while place.op == "call_function" and operation(place) in CASTS | {"lift_fresh_copy"}:
            place = place.all_input_nodes[0]
        signature = self.model.program.graph_signature
        value = self.model.program.constants.get(signature.inputs_to_lifted_tensor_constants.get(place.name, ""))
        return value if isinstance(value, Tensor) and not isinstance(value, FakeTensor) else None

    def _embedding(self, node: fx.Node) -> State:
        table, index = self.states[node.args[0]], self.states[node.args[1]]  # type: ignore[index]
        if table.parameter is None:
            return State()
        padding = arguments_of(node).get("padding_idx")
        told = {} if padding is None or padding < 0 else {"padding": int(padding)}
        return self._look_up(table.parameter, node, constant=index.constant, **told)

    def _look_up(self, name: str, node: fx.Node, *, constant: bool, **facts: Any) -> State:
        self._use(name, "table" if constant else "embedding", node, **facts)
        self.ancestry.lookups.append(node)
        return State()

    # Sums and products.

    def _add(self, node: fx.Node) -> State:
        live = [arg for arg in node.all_input_nodes if not self.states[arg].constant]
        active = [arg for arg in live if not self.states[arg].parameter]
        for arg in live:
            name = self.states[arg].parameter
            if name:
                alone = len(active) == 1 and after_weight(active[0], self.states) and _rank_one(self.model, name)
                self._use(name, "bias" if alone else "table", node)
        states = [self.states[arg] for arg in active]
        merged = self.readings.computed(node, joined(node, states))
        if len(active) != 2:
            return merged
        left, right = active
        residual = self.ancestry.residual(node, left, right)
        if residual is not None:
            self.residuals.append(residual)
            return State(summed=True, weights=merged.weights)
        differ = merged.function is None and states[0].reads != states[1].reads
        if differ and states[0].weights and same_source(*states):  # a function with a weight in it
            merged.reads = f"{UNKNOWN} ({operation(node)})"
        return merged

    def _multiply(self, node: fx.Node) -> State:
        live = [arg for arg in node.all_input_nodes if not self.states[arg].constant]
        active = [arg for arg in live if not self.states[arg].parameter]
        for arg in live:
            name = self.states[arg].parameter
            if name:
                self._use(name, "gain" if _rank_one(self.model, name) else "other", node)
        states = [self.states[arg] for arg in active]
        merged = self.readings.computed(node, joined(node, states))
        if len(states) != 2 or merged.function is not None:
            return merged
        self.ancestry.multiply(node, *active)
        return multiplied(node, merged, states)

    # Norms.

    def _normalise(self, node: fx.Node) -> State:
        arguments = arguments_of(node)
        kinds: dict[str, Kind] = {"weight": "gain", "bias": "bias"}
        for key, kind in kinds.items():
            arg = arguments.get(key)
            if isinstance(arg, fx.Node):
                self._use(self.states[arg].parameter, kind, node, norm=True)
        main = self.states[node.all_input_nodes[0]]
        return dataclasses.replace(main, reads="identity", function=None, summed=False, order=None, parameter=None)

    # Weights.

    def _use(self, name: str | None, kind: Kind, node: fx.Node, **facts: Any) -> None:
        if name is None:
            return
        known = self.first.get(name)
        if known is None or (known[0] == "other" and kind != "other"):
            self.first[name] = (kind, node, facts)

    def _weigh(self, node: fx.Node, weight: fx.Node, given: fx.Node, kind: Kind, bias: Any, **facts: Any) -> State:
        name = self.states[weight].parameter
        source = self.states[given]
        assert name is not None
        if source.parameter:  # what begins as a table of the model's own: queries that are learned
            self._use(source.parameter, "table", node)
        self._use_weight(node, self.states[weight], kind, self._told(name, given), facts)
        self.weight_of[node] = name
        if source.reads not in PLAIN:
            self.feeds.update(dict.fromkeys(source.weights - self.feeds.keys(), source.reads))
        self.ancestry.weights.append(node)
        if isinstance(bias, fx.Node) and (beside := self.states[bias].parameter):
            self._use_weight(node, self.states[bias], "bias", self._told(beside, given), {})
        if source.attended is not None and source.labels is not None:
            self.attentions.read(source.attended, name, source.labels)
        return State(weights=frozenset({node}), labels=self._labelled(node, weight, facts))

    def _told(self, name: str, given: fx.Node) -> dict[str, Any]:
        """What a weight reads; that of a recurrence reads a constant first, and then its own results."""
        source = self.states[given]
        told = {"reads": source.reads, "reads_sum": source.summed}
        start = start_of(given)
        if source.constant or (start.op == "call_function" and operation(start) in FILLED):
            self.idle.add(name)
        elif name in self.idle:
            self.idle.remove(name)
            self.first[name][2].update(told)
        return told

    def _use_weight(
        self, node: fx.Node, state: State, kind: Kind, told: Mapping[str, Any], facts: Mapping[str, Any]
    ) -> None:
        if state.computed:
            self._use(state.parameter, "other", node, **told, computed=True)
        else:
            self._use(state.parameter, kind, node, **told, **facts, viewed=state.viewed, factor=state.factor)

    def _labelled(self, node: fx.Node, weight: fx.Node, facts: Mapping[str, Any]) -> Tensor | None:
        shape = shape_of(node)
        if shape is None or torch.Size(shape).numel() > _LARGEST_LABELS:
            return None
        place = facts.get("writes", -1) % len(shape)
        row = torch.arange(shape[place]) if operation(node) != "linear" else rows_taken(weight)
        first, other = self.rows.setdefault(self.weight_of[node], (node, row))
        if not torch.equal(row, other):
            self.ancestry.pieces[node] = first
        row = row + (self.ancestry.number[node] << 32)
        return row.view([-1 if dim == place else 1 for dim in range(len(shape))]).expand(shape)

    def _linear(self, node: fx.Node) -> State:
        given, weight = node.args[0], node.args[1]
        bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
        assert isinstance(given, fx.Node)
        assert isinstance(weight, fx.Node)
        if not self.states[weight].parameter:
            return self._contract(node, given, weight)
        order = self.states[weight].order
        transposed = order is not None and order[0] > order[-1]
        return self._weigh(node, weight, given, "linear", bias, transposed=transposed, stacked=_stacked(order))

    def _addmm(self, node: fx.Node) -> State:
        bias, given, weight = node.args[:3]
        assert isinstance(given, fx.Node)
        assert isinstance(weight, fx.Node)
        if not self.states[weight].parameter:
            return self._contract(node, given, weight)
        order = self.states[weight].order
        transposed = order is not None and order[0] < order[-1]
        return self._weigh(node, weight, given, "linear", bias, transposed=transposed, stacked=_stacked(order))

    def _matmul(self, node: fx.Node) -> State:
        left, right = node.args[0], node.args[1]
        assert isinstance(left, fx.Node)
        assert isinstance(right, fx.Node)
        if self.states[right].parameter and not self.states[left].parameter:
            order = self.states[right].order
            transposed = order is not None and order[-2:] == tuple(sorted(order[-2:]))
            return self._weigh(node, right, left, "linear", None, transposed=transposed, stacked=_stacked(order))
        if self.states[left].parameter and not self.states[right].parameter:
            order = self.states[left].order
            transposed = order is not None and order[-2:] != tuple(sorted(order[-2:]))
            return self._weigh(
                node, left, right, "linear", None, transposed=transposed, stacked=_stacked(order), writes=-2
            )
        return self._contract(node, left, right)

    def _grouped(self, node: fx.Node) -> State:
        given, weight = node.args[0], node.args[1]
        assert isinstance(given, fx.Node)
        assert isinstance(weight, fx.Node)
        if not self.states[weight].parameter:
            return joined(node, [self.states[given]])
        order = self.states[weight].order
        transposed = order is not None and order[-2:] == tuple(sorted(order[-2:]))
        return self._weigh(node, weight, given, "linear", None, transposed=transposed, stacked=True)

    def _einsum(self, node: fx.Node) -> State:
        operands = [arg for arg in node.all_input_nodes if not self.states[arg].constant]
        parameters = [arg for arg in operands if self.states[arg].parameter]
        active = [arg for arg in operands if arg not in parameters]
        if len(parameters) == 1 and len(active) == 1:
            left, _, out = str(node.args[0]).replace(" ", "").partition("->")
            letters = left.split(",")[list(node.args[1]).index(parameters[0])]  # type: ignore[arg-type]
            written = [letter in out for letter in letters]
            if written in ([True, False], [False, True]):
                return self._weigh(node, parameters[0], active[0], "linear", None, transposed=written == [False, True])
        for arg in parameters:
            self._use(self.states[arg].parameter, "other", node)
        merged = joined(node, [self.states[arg] for arg in active])
        terms, _, out = str(node.args[0]).partition("->")
        if len(active) == 2 and set(terms) - set(out) - {",", " "}:  # summed over
            merged.reads = "identity"
        return merged

    def _convolve(self, node: fx.Node) -> State:
        arguments = arguments_of(node)
        given, weight = arguments["input"], arguments["weight"]
        if not self.states[weight].parameter:
            return joined(node, [self.states[given]])
        transposed = "transpose" in operation(node) or bool(arguments.get("transposed"))
        groups = int(arguments.get("groups") or 1)
        return self._weigh(
            node, weight, given, "convolution", arguments.get("bias"), transposed=transposed, groups=groups, writes=1
        )

    def _recur(self, node: fx.Node) -> State:
        """A recurrent layer: cells read what is given or what cells below give, and their own results."""
        arguments = arguments_of(node)
        given = self.states[arguments["input" if "input" in arguments else "data"]]
        told, own = {"reads": given.reads, "reads_sum": given.summed}, {"reads": gives(node)}
        for cell in cells(node):
            self._use_weight(node, self.states[cell.from_input], "linear", own if cell.layer else told, {})
            for weight in (cell.from_state, cell.projection):
                if weight is not None:
                    self._use_weight(node, self.states[weight], "linear", own, {})
            for bias in cell.biases:
                self._use_weight(node, self.states[bias], "bias", own if cell.layer else told, {})
        for state in pytree.tree_leaves(arguments["hx"]):
            self._use(self.states[state].parameter, "table", node)
        self.ancestry.weights.append(node)
        return State(weights=frozenset({node}), reads=gives(node))

    # Attentions.

    def _attention(self, node: fx.Node) -> State:
        query, key, value = (self.states[side] for side in node.args[:3])  # type: ignore[index]
        return self._attend(node, query.labels, key.labels, value)

    def _baddbmm(self, node: fx.Node) -> State:
        _, left, right = node.args[:3]
        assert isinstance(left, fx.Node)
        assert isinstance(right, fx.Node)
        return self._contract(node, left, right)

    def _contract(self, node: fx.Node, left: fx.Node, right: fx.Node) -> State:
        """Two activations: the scores of an attention, or what it gives."""
        states = self.states[left], self.states[right]
        self.ancestry.multiply(node, left, right)
        if states[0].softmax and states[0].score is not None:
            return self._attend(node, *states[0].score, states[1])
        score = (states[0].labels, states[1].labels)
        return dataclasses.replace(joined(node, states), score=score, labels=None, reads="identity")

    def _attend(self, node: fx.Node, query: Any, key: Any, value: State) -> State:
        """Note an attention, by the labels of its queries and keys; the labels of what it gives are columns, head by head."""
        state, shape = State(weights=value.weights, attended=node), shape_of(node)
        labels = [query, key, value.labels]
        if shape is None or not all(isinstance(own, Tensor) for own in labels):
            return state
        owners = {self.ancestry.number[at] << 32: name for at, name in self.weight_of.items()}
        # Keys are as wide as queries; in a product of two matrices they stand upright.
        self.attentions.add(node, labels, (query.shape[-1], query.shape[-1], shape[-1]), owners)
        if query[..., 0].numel() == torch.Size(shape[:-1]).numel():
            heads = torch.unique(query[..., 0], return_inverse=True)[1].view(shape[:-1])
            state.labels = heads[..., None] * shape[-1] + torch.arange(shape[-1])
        return state

    # Putting it together.

    def _uses(self) -> Iterator[Use]:
        final = self.ancestry.final()
        attended = {
            node: [self.ancestry.nodes[number] for number in numbers]
            for node, numbers in self.attentions.sources.items()
        }
        branches = self.ancestry.branches(self.residuals, attended)
        projections = self.attentions.projections()
        ordered = sorted(self.first.items(), key=lambda item: self.ancestry.number[item[1][1]])
        layers = self.layers.numbered(name for name, _ in ordered)
        for order, (name, (kind, node, facts)) in enumerate(ordered):
            block = self.layers.block_of(name)
            layer, count = layers.get(block or "", (None, 0))
            yield Use(
                tensor=name,
                kind=kind,
                node=node,
                order=order,
                module=module_path(node),
                block=block,
                layer=layer,
                layers=count,
                **{key: value for key, value in facts.items() if key != "writes"},
                feeds=self.feeds.get(node, ""),
                head=node in final and node not in branches and operation(node) not in RECURRENT,
                branch=branches.get(node),
                projections=tuple(projections.get(name, ())) if kind == "linear" else (),
            )


_RULES: dict[str, Callable[[Follower, fx.Node], State]] = {
    **dict.fromkeys(("cat", "stack"), Follower._cat),
    **dict.fromkeys(("embedding", "embedding_bag"), Follower._embedding),
    "linear": Follower._linear,
    "addmm": Follower._addmm,
    **dict.fromkeys(("matmul", "mm", "bmm"), Follower._matmul),
    **dict.fromkeys(("grouped_mm", "_grouped_mm", "grouped_mm_fallback"), Follower._grouped),
    "einsum": Follower._einsum,
    **dict.fromkeys(("index", "index_select", "gather"), Follower._index),
    **dict.fromkeys(
        (*(f"conv{rank}d" for rank in (1, 2, 3)), *(f"conv_transpose{rank}d" for rank in (1, 2, 3)), "convolution"),
        Follower._convolve,
    ),
    "scaled_dot_product_attention": Follower._attention,
    "baddbmm": Follower._baddbmm,
    **dict.fromkeys(RECURRENT, Follower._recur),
}


def _stacked(order: tuple[int, ...] | None) -> bool:
    """Whether a map is one of several that a tensor packs, or is all of them."""
    return order is not None and (len(order) == 3 or (len(order) == 2 and 0 not in order))


def _rank_one(model: Model, name: str) -> bool:
    return sum(size > 1 for size in model.module.state_dict(keep_vars=True)[name].shape) <= 1
