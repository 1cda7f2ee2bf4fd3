"""The walk: one pass over a model's graph that gives every value its dimensions.

Each value of the graph carries one :data:`~scionwood.anatomy.atoms.Dim` per dimension. A rule (``rules/``) says for one operation which
dimensions of its inputs are one and the same, how its outputs' dimensions come out of them, and which are pinned. An operation without a
rule is taken apart into simpler ones where PyTorch can do that; otherwise its dimensions are pinned ``coarse`` and it is listed.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._decomp import decomposition_table
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from scionwood.anatomy import atoms, known, sizes
from scionwood.anatomy.atoms import UNIT, Atom, Dim, UnrefinableError, expand, pin, size_of, tag

__all__ = ["Call", "Value", "Walk"]


@dataclasses.dataclass(slots=True)
class Value:
    """A tensor of the graph, as the walk sees it.

    Attributes:
        dims: its dimensions, outermost first.
        origin: the parameter or buffer it is a view or a cast of, if it is one.
        constant: it depends neither on the inputs nor on the weights.
        data: a constant's numbers, where they are known; its dimensions are then read off them each time it meets something else.
        labels: its integers are indices into this dimension (the experts a router chose); permuting the dimension renames them.
        counts: its entries count labels, index by index, so that a running sum over them is a list of segment ends.
        tokens: it is a model input, looked at only through views: what indexes a vocabulary.
        weights: it came out of a softmax: what weighs the values of an attention.
        repeated: those of its dimensions along which it is one value repeated.
        dtype: of what the graph says it is.
    """

    dims: list[Dim]
    origin: str | None = None
    constant: bool = False
    data: Tensor | None = None
    labels: Dim | None = None
    counts: bool = False
    tokens: bool = False
    weights: bool = False
    repeated: tuple[Dim, ...] = ()
    dtype: torch.dtype | None = None

    def like(self, dims: Sequence[Dim]) -> Value:
        """The same numbers in other dimensions: a view."""
        return dataclasses.replace(self, dims=list(dims))


class Call(Mapping[str, Any]):
    """One operation of the graph with its arguments by their names in the schema, and the shapes of its results."""

    def __init__(self, walk: Walk, operation: Any, arguments: dict[str, Any], result: Any) -> None:
        self.walk = walk
        self.operation = operation
        self.arguments = arguments
        self.result = result

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arguments)

    def __len__(self) -> int:
        return len(self.arguments)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the only result."""
        return tuple(self.result.shape)

    def values(self) -> list[Value]:  # type: ignore[override]
        """Every tensor among the arguments, lists included."""
        return list(_values_in(self.arguments.values()))

    def dim(self, name: str = "dim", of: str = "self") -> int:
        """A dimension argument, counted from the outside."""
        rank = len(self[of].dims)
        return int(self[name]) % rank if rank else 0


def _values_in(items: Iterable[Any]) -> Iterator[Value]:
    for item in items:
        if isinstance(item, Value):
            yield item
        elif isinstance(item, (list, tuple)):
            yield from _values_in(item)


Rule = Callable[[Call], Any]

_FAILURES = (
    UnrefinableError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a rule may raise on a call that nobody had in mind when it was written; the call then counts as unknown."""


class Walk:
    """The state of one pass: what is bound to each node, the roles seen, and the operations that no rule knows."""

    def __init__(self, rules: Mapping[str, Rule], label_rules: frozenset[str]) -> None:
        self.rules = rules
        self.label_rules = label_rules
        self.roles: list[tuple[str, Dim, str]] = []
        self.paired: list[Dim] = []
        self.unknown: dict[str, int] = {}

    # What rules use.

    def fresh(self, size: int, *pins: str) -> Dim:
        """A new dimension of one atom."""
        return expand((Atom(size, *pins),))

    def unify(self, left: Dim, right: Dim) -> None:
        """Say that two dimensions are one; if they cannot be refined to fit, pin both coarse."""
        try:
            atoms.unify(left, right)
        except UnrefinableError:
            self.pin(left, "coarse")
            self.pin(right, "coarse")

    def pin(self, dim: Dim, reason: str) -> None:
        """Say that a dimension is not free. What is pinned already for a better known reason does not become coarse."""
        if reason == "coarse" and all(leaf.pins for leaf in atoms.leaves(dim)):
            return
        pin(dim, reason)

    def forget_labels(self, value: Value) -> None:
        """Pin what a value's integers are indices of: an operation reads them as numbers."""
        if value.labels is not None:
            self.pin(value.labels, "positional")
            value.labels = None

    def cut(self, dim: Dim, start: int, stop: int) -> Dim:
        """The part [start, stop) of a dimension."""
        if stop - start == size_of(dim):
            return dim
        try:
            taken = atoms.cut(dim, start, stop)
        except UnrefinableError:
            self.pin(dim, "coarse")
            return self.fresh(stop - start, "coarse")
        tag(taken, "taken")
        return taken

    def regroup(self, dims: Sequence[Dim], shape: Sequence[int]) -> list[Dim]:
        """The dimensions of a view: equal runs are matched from the outside, what differs is refined from the inside."""
        result: list[Dim] = []
        taken = 0
        sizes = [size_of(dim) for dim in dims]
        position = 0
        while position < len(shape):
            if shape[position] == 1:
                result.append(UNIT)
                position += 1
                continue
            while sizes[taken] == 1:
                taken += 1
            end, last = position + 1, taken + 1
            outside, inside = shape[position], sizes[taken]
            while outside != inside:
                if outside < inside:
                    outside, end = outside * shape[end], end + 1
                else:
                    inside, last = inside * sizes[last], last + 1
            flat = tuple(atom for dim in dims[taken:last] for atom in dim)
            try:
                result.extend(atoms.regroup(flat, shape[position:end]))
            except UnrefinableError:
                self.pin(flat, "coarse")
                result.extend(self.fresh(size, "coarse") for size in shape[position:end])
            position, taken = end, last
        return result

    def align(self, values: Sequence[Value], rank: int) -> list[Dim]:
        """Align dimensions from the right, as broadcasting does, make them one, and return those of the result."""
        result: list[Dim] = []
        for position in range(-rank, 0):
            here = [v.dims[position] for v in values if len(v.dims) >= -position and size_of(v.dims[position]) != 1]
            for other in here[1:]:
                self.unify(here[0], other)
            result.append(here[0] if here else UNIT)
        return result

    def contract(self, value: Value, dim: Dim) -> None:
        """Note that a parameter's dimension is summed over: it reads; the others write."""
        if value.origin is not None:
            self.roles.append((value.origin, dim, "reads"))
            self.write(value, *(other for other in value.dims if other is not dim))

    def write(self, value: Value, *dims: Dim) -> None:
        """Note that dimensions of a parameter appear in the result of a contraction."""
        if value.origin is not None:
            self.roles.extend((value.origin, dim, "writes") for dim in dims)

    def pair(self, left: Value, right: Value, dim: Dim, name: str | None = None) -> None:
        """Note a contraction between two activations: free under permutation, but duplicating it changes the scale."""
        if left.origin is None and right.origin is None:
            self.paired.append(dim)
            if name:
                tag(dim, name)

    # Running.

    def run(self, graph: fx.Graph, bound: Mapping[str, Any], module: torch.nn.Module) -> Any:
        """Walk one graph; return what it outputs, values in place of tensors."""
        env: dict[fx.Node, Any] = {}
        for node in graph.nodes:
            if node.op == "placeholder":
                env[node] = bound[node.name]
            elif node.op == "get_attr":
                env[node] = self._attribute(module, node)
            elif node.op == "call_function":
                args, kwargs = map_arg(node.args, env.__getitem__), map_arg(node.kwargs, env.__getitem__)
                env[node] = self._call(node.target, args, kwargs, sizes.settled(node.meta.get("val")))
            elif node.op == "output":
                return map_arg(node.args[0], env.__getitem__)
        return None

    def _attribute(self, module: torch.nn.Module, node: fx.Node) -> Any:
        found: Any = module
        for part in str(node.target).split("."):
            found = getattr(found, part)
        return self.constant(found) if isinstance(found, Tensor) else found

    def constant(self, tensor: Tensor) -> Value:
        """A tensor that belongs to the model but not to its weights: it pins every dimension along which it varies."""
        if tensor.is_meta or tensor.is_sparse or type(tensor).__name__ == "FakeTensor":
            return Value([self.fresh(size, "positional") for size in tensor.shape], constant=True, dtype=tensor.dtype)
        return Value(known.dims_of(tensor), constant=True, data=tensor, dtype=tensor.dtype)

    def _call(self, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Any:
        if isinstance(operation, torch._ops.HigherOrderOperator):
            return self._subgraph(operation, args, kwargs, result)
        if not isinstance(operation, torch._ops.OpOverload):
            if operation.__name__ == "getitem" or not any(True for _ in _values_in([args])):
                return operation(*args, **kwargs)
            return self.give_up(operation.__name__, _values_in([args]), result)
        return self.apply(operation, _bind(operation, args, kwargs), result)

    def _subgraph(self, operation: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Any:
        """A block under ``no_grad`` or ``autocast`` is a graph of its own, a branch has two: walk into them."""
        graphs = [(place, arg) for place, arg in enumerate(args) if isinstance(arg, fx.GraphModule)]
        name = operation.name()
        if not graphs or (len(graphs) > 1 and name != "cond") or name in ("map_impl", "scan", "while_loop"):
            return self.give_up(name, list(_values_in([args, kwargs.values()])), result)
        given = args[-1] if name == "cond" else args[graphs[-1][0] + 1 :]
        outcomes = []
        for _, inner in graphs:
            inputs = [n.name for n in inner.graph.nodes if n.op == "placeholder"]
            outcomes.append(self.run(inner.graph, dict(zip(inputs, given, strict=False)), inner))
        for other in outcomes[1:]:
            for left, right in zip(_values_in([outcomes[0]]), _values_in([other]), strict=True):
                self.align([left, right], len(left.dims))
        return outcomes[0]

    def apply(self, operation: torch._ops.OpOverload, arguments: dict[str, Any], result: Any) -> Any:
        """Give one operation's results their dimensions."""
        if result is None or not _tensors_in(result):
            return result
        call = Call(self, operation, arguments, result)
        values = call.values()
        counted = operation._schema.name == "aten::arange"
        # One number made out of nothing (the base of a power) is known too; larger tensors may be written into later.
        lone = operation._schema.name in ("aten::full", "aten::scalar_tensor") and result.ndim == 0
        numbers = known.compute(operation, arguments) if values or counted or lone else None
        if numbers is not None and not counted and not any(value.labels for value in values):
            return pytree.tree_map_only(Tensor, self.constant, numbers)
        for value in values:
            if value.data is not None and value.labels is None:
                value.dims = known.dims_of(value.data)
        namespace, name = operation._schema.name.split("::")
        base = name.rstrip("_") if namespace == "aten" and not name.endswith("__") else name
        rule = self.rules.get(base)
        if rule is None and torch.Tag.pointwise in operation.tags:
            rule = self.rules["pointwise"]
        if base not in self.label_rules:
            for value in call.values():
                self.forget_labels(value)
        if rule is None:
            return self._take_apart(operation, arguments, result)
        try:
            outcome = rule(call)
        except _FAILURES:
            return self.give_up(operation._schema.name, values, result)
        self._check(operation._schema.name, call, outcome, result)
        if isinstance(numbers, Tensor) and isinstance(outcome, Value):
            outcome.data = numbers
        elif isinstance(outcome, Value):
            outcome.data = None
        return outcome

    def _check(self, name: str, call: Call, outcome: Any, result: Any) -> None:
        """A rule whose sizes do not come out as the graph says is wrong for this call: coarse, and listed."""
        pairs = [(outcome, result)] if isinstance(result, Tensor) else list(zip(outcome, result, strict=False))
        for value, tensor in pairs:
            if not isinstance(tensor, Tensor):
                continue
            value.dtype = tensor.dtype
            if tuple(size_of(dim) for dim in value.dims) != tuple(tensor.shape):
                given = self.give_up(name, call.values(), tensor)
                value.dims = given.dims

    def _take_apart(self, operation: torch._ops.OpOverload, arguments: dict[str, Any], result: Any) -> Any:
        from torch.fx.experimental.proxy_tensor import make_fx

        values = list(_values_in(arguments.values()))
        decomposition = decomposition_table.get(operation)
        function = decomposition or (operation.decompose if operation._can_decompose() else None)
        if function is not None and values:
            with contextlib.suppress(Exception):
                return self._walk_into(function, make_fx, operation, arguments, values)
        return self.give_up(operation._schema.name, values, result)

    def _walk_into(
        self, function: Any, make_fx: Any, operation: Any, arguments: dict[str, Any], values: list[Value]
    ) -> Any:
        tensors = [
            torch.empty([size_of(d) for d in v.dims], device="meta", dtype=torch.long if v.labels else None)
            for v in values
        ]

        def call(*given: Tensor) -> Any:
            supply = iter(given)

            def fill(item: Any) -> Any:
                if isinstance(item, Value):
                    return next(supply)
                return type(item)(map(fill, item)) if isinstance(item, (list, tuple)) else item

            filled = {name: fill(item) for name, item in arguments.items()}
            keyword_only = {a.name for a in operation._schema.arguments if a.kwarg_only}
            positional = [filled[n] for n in filled if n not in keyword_only]
            return function(
                *positional, **{n: filled[n] for n in filled if n in keyword_only and filled[n] is not None}
            )

        traced = make_fx(call, tracing_mode="real")(*tensors)
        names = [n.name for n in traced.graph.nodes if n.op == "placeholder"]
        return self.run(traced.graph, dict(zip(names, values, strict=True)), traced)

    def give_up(self, name: str, values: Iterable[Value], result: Any) -> Any:
        """The last resort: everything that touches an unknown operation is coarse."""
        self.unknown[name] = self.unknown.get(name, 0) + 1
        for value in values:
            for dim in value.dims:
                self.pin(dim, "coarse")

        def coarse(item: Any) -> Any:
            if isinstance(item, Tensor):
                return Value([self.fresh(size, "coarse") for size in item.shape])
            return type(item)(map(coarse, item)) if isinstance(item, (list, tuple)) else item

        return coarse(result)


def _tensors_in(result: Any) -> bool:
    return isinstance(result, Tensor) or (
        isinstance(result, (list, tuple)) and any(isinstance(item, Tensor) for item in result)
    )


def _bind(operation: torch._ops.OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    bound: dict[str, Any] = {}
    positional = iter(args)
    for argument in operation._schema.arguments:
        if not argument.kwarg_only:
            try:
                bound[argument.name] = next(positional)
                continue
            except StopIteration:
                pass
        bound[argument.name] = kwargs.get(
            argument.name, argument.default_value if argument.has_default_value() else None
        )
    return bound
