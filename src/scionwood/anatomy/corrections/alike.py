"""Alike: whether two graphs compute the same but for sizes, or where they do not.

Two models of one family differ in sizes; settings may make them differ in more: another activation function, another eps, an
operation less, the same operations in another order. Operation by operation, those that stand at one place (the module, through
the depth map, and which of its kind it is there) must be as many, be given the same numbers, read with the parameters that answer
to each other, and take what they take from operations that answer to each other. Factors are no concern of it: what multiplies
and divides is compared where it can be absorbed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from scionwood.anatomy.absorb import Absorber
from scionwood.anatomy.constants import among
from scionwood.anatomy.corrections.sites import SCALES, by_place
from scionwood.anatomy.depth import block_of, template, through
from scionwood.anatomy.match import Match
from scionwood.anatomy.nodes import CASTS, VIEWS, module_path, operation

__all__ = ["differences"]

_PLUMBING = (
    VIEWS - {"roll", "flip"}
    | CASTS
    | {"getitem", "sym_size", "_assert_tensor_metadata", "_assert_async", "_assert_scalar", "to_dense"}
)
"""What only lays numbers out: sizes decide how often it is needed."""
_PICKS = frozenset({"index", "index_select"})
_COMMUTES = frozenset({"add", "mul"})
_ELSEWHERE = frozenset({("scaled_dot_product_attention", "scale"), ("baddbmm", "alpha")})
"""Factors, which are absorbed."""
_FREE = frozenset({"enable_gqa", "cudnn_enabled", "training", "train", "dtype", "layout", "device", "pin_memory", "inplace", "keepdim", "dropout_p", "p", "implicit", "use_input_stats"})  # fmt: skip
_STEPS = frozenset({"stride", "padding", "dilation", "kernel_size", "output_padding", "shifts", "diagonal"})
"""Whole numbers that are no sizes of a model."""
_ORDER = frozenset({"topk", "sort", "argsort", "argmax", "argmin"})


def differences(mine: Absorber, other: Absorber, match: Match) -> list[str]:
    """Return in how far a target's graph computes something else than its source's, in words.

    Args:
        mine: the target.
        other: the source.
        match: their anatomies side by side.
    """
    return list(_folded(_Compared(mine, other, match).found(), match.target.depth))


class _Compared:
    def __init__(self, mine: Absorber, other: Absorber, match: Match) -> None:
        self.mine = mine
        self.other = other
        self.match = match
        self.pairs: dict[fx.Node, fx.Node] = {}
        self.answered: set[fx.Node] = set()
        self.deeper = any(list(chosen) != list(range(len(chosen))) for chosen in match.depth.values())
        self.numbers = _numbers_of_experts(mine.graph)

    def found(self) -> Iterator[tuple[str, str]]:
        """The paths, and what is another there."""
        yield from self._unlike()
        for node, theirs in self.pairs.items():
            for said in self._given(node, theirs):
                yield module_path(node), said
        for node, theirs in zip(_results(self.mine.graph), _results(self.other.graph), strict=False):
            if not self._answers(node, theirs, "", ""):
                yield module_path(node), "the model's output comes from elsewhere"

    def _unlike(self) -> Iterator[tuple[str, str]]:
        """Places where not the same is computed; the others are paired."""
        theirs = _computed(self.other)
        own: dict[str, dict[str, list[fx.Node]]] = _computed(self.mine)
        reached = {path: self._origin(path) for path in own}
        for path, kinds in own.items():
            others = theirs.get(reached[path], {})
            more: list[tuple[str, int]] = []
            fewer: list[tuple[str, int]] = []
            for name in dict.fromkeys([*kinds, *others]):
                few, many = others.get(name, []), kinds.get(name, [])
                if len(few) == len(many):
                    self.pairs.update(zip(many, few, strict=True))
                    continue
                picked = [_picks(self.mine, node) for node in many] + [_picks(self.other, node) for node in few]
                if not all(picked):
                    more.append((name, len(many)))
                    fewer.append((name, len(few)))
            if more:
                yield path, f"it computes {_told(more)}, the source's {_told(fewer)}"
        for path in theirs.keys() - set(reached.values()):
            if block_of(path, self.match.source.depth) is None or not self.deeper:
                yield path, f"it computes {_told([])}, the source's {_told(_counted(theirs[path]))}"
        self.answered = set(self.pairs.values())

    def _origin(self, path: str) -> str:
        return through(f"{path}.", self.match.depth).removesuffix(".")

    def _given(self, node: fx.Node, theirs: fx.Node) -> Iterator[str]:
        """What of an operation's arguments is another than the source's."""
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            return
        name = operation(node)
        flows: list[tuple[fx.Node, fx.Node]] = []
        for argument in schema.arguments:
            if argument.name in _FREE or (name, argument.name) in _ELSEWHERE:
                continue
            mine, old = (_argument(own, schema, argument) for own in (node, theirs))
            for one, another in _side_by_side(mine, old):
                if isinstance(one, fx.Node) and isinstance(another, fx.Node):
                    if self._flows(one, another):
                        flows.append((one, another))
                    else:
                        yield from self._held(name, argument.name, node, one, another)
                elif not self._same(name, argument, node, one, another):
                    yield f"{_named(name, argument.name)} {_value(self.mine, one)}, the source's {_value(self.other, another)}"
        yield from self._come_from(node, theirs, flows)

    def _flows(self, mine: fx.Node, old: fx.Node) -> bool:
        return "input" in (self.mine.depends[mine], self.other.depends[old])

    def _held(self, name: str, argument: str, node: fx.Node, mine: fx.Node, old: fx.Node) -> Iterator[str]:
        """Parameters must answer to each other; constants must hold the same."""
        parameters = self.mine.parameter_of(mine), self.other.parameter_of(old)
        if parameters[0] is not None and parameters[1] is not None:
            origin = self.match.tensors.get(parameters[0][0])
            ties = self.match.source.ties
            if origin is not None and ties.get(origin, origin) != parameters[1][0]:
                yield f"{name} reads {parameters[0][0]}, where the source reads {parameters[1][0]}"
            return
        depends = self.mine.depends[mine], self.other.depends[old]
        if depends != ("constant", "constant"):
            return
        numbers = self.mine.value(mine), self.other.value(old)
        if None not in numbers:
            same = bool(numbers[0]) == bool(numbers[1]) if name in SCALES else _close(*numbers)
            if node not in self.numbers and not same:
                yield f"{_named(name, argument)} {numbers[0]:.4g}, the source's {numbers[1]:.4g}"
            return
        tables = self.mine.tensor(mine), self.other.tensor(old)
        if tables[0] is None or tables[1] is None or node in self.numbers:
            return
        if not _holds(tables[1], tables[0]):
            yield f"a constant that goes into {name} is another in the target, and no parameter can take that"

    def _same(self, name: str, argument: Any, node: fx.Node, mine: Any, old: Any) -> bool:
        """Whether two arguments that are no two nodes say the same, but for sizes."""
        if isinstance(mine, fx.Node) or isinstance(old, fx.Node) or mine is None or old is None:
            if mine is None and old is None:
                return True
            values = self.mine.value(mine), self.other.value(old)
            return None not in values and (name in SCALES or _close(*values))
        if name in SCALES and not isinstance(mine, str):
            return bool(mine) == bool(old)  # a factor of nothing cannot be taken out
        if isinstance(mine, (bool, str)) or isinstance(old, (bool, str)):
            return mine == old
        if not isinstance(mine, (int, float)) or not isinstance(old, (int, float)):
            return True
        if "int" in str(argument.type).lower() and argument.name not in _STEPS:
            return True  # a size
        return node in self.numbers or _close(mine, old)

    def _come_from(self, node: fx.Node, theirs: fx.Node, flows: list[tuple[fx.Node, fx.Node]]) -> Iterator[str]:
        """Each operand must come from what answers to the source's; of a sum, in any order."""
        places = module_path(node), module_path(theirs)
        if all(self._answers(*pair, *places) for pair in flows):
            return
        mine, old = (list(each) for each in zip(*flows, strict=True))
        if (
            operation(node) in _COMMUTES
            and len(flows) == 2
            and all(map(self._answers, mine, old[::-1], places[:1] * 2, places[1:] * 2))
        ):
            return
        yield f"{operation(node)} takes what other operations give than in the source"

    def _answers(self, mine: fx.Node, old: fx.Node, place: str, origin: str) -> bool:
        """Whether a value is computed by what answers to what computes another; blocks that were put between are passed by."""
        one, another = _root(self.mine, mine), _root(self.other, old)
        if one.op != "call_function" or another.op != "call_function":
            if one.op != another.op:
                return self.deeper
            return one.name == another.name or self.mine.depends[one] != "input"
        if self.pairs.get(one, another) is another or another not in self.answered:
            return True  # or it was said already
        if not self.deeper:
            return False
        blocks = [
            block_of(path, lists)
            for path, lists in ((place, self.match.target.depth), (origin, self.match.source.depth))
        ]
        inside = [
            block is not None and f"{module_path(each)}.".startswith(f"{block}.")
            for each, block in zip((one, another), blocks, strict=True)
        ]
        return not any(inside)


def _computed(model: Absorber) -> dict[str, dict[str, list[fx.Node]]]:
    """The operations that compute something of the input or of parameters, by their modules and kinds."""
    found: dict[str, dict[str, list[fx.Node]]] = defaultdict(dict)
    for (path, name), nodes in by_place(model.graph).items():
        kept = [node for node in nodes if model.depends[node] != "constant"]
        if kept and name not in _PLUMBING:
            found[path][name] = kept
    return found


def _root(model: Absorber, node: fx.Node) -> fx.Node:
    """What computed a value, before it was laid out."""
    while node.op == "call_function" and (operation(node) in _PLUMBING or _picks(model, node)):
        given = node.args[0]
        if not isinstance(given, fx.Node):
            break
        node = given
    return node


def _picks(model: Absorber, node: fx.Node) -> bool:
    """Whether rows are picked by numbers that are known beforehand, as a slice would."""
    return operation(node) in _PICKS and all(model.depends[given] == "constant" for given in node.all_input_nodes[1:])


def _results(graph: fx.Graph) -> list[fx.Node]:
    (output,) = (node for node in graph.nodes if node.op == "output")
    return list(output.all_input_nodes)


def _numbers_of_experts(graph: fx.Graph) -> set[fx.Node]:
    """What counts and sorts the places of the best: how many there are is a size."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        value = node.meta.get("val")
        numbers = isinstance(value, Tensor) and not value.is_floating_point()
        if node.op == "call_function" and (
            operation(node) in _ORDER
            or (
                any(given in found for given in node.all_input_nodes)
                and (numbers or operation(node) in CASTS | {"histc"})
            )
        ):
            found.add(node)
    return found


def _argument(node: fx.Node, schema: Any, argument: Any) -> Any:
    place = [each.name for each in schema.arguments].index(argument.name)
    if place < len(node.args):
        return node.args[place]
    return node.kwargs.get(argument.name, argument.default_value if argument.has_default_value() else None)


def _side_by_side(mine: Any, old: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(mine, (list, tuple)) and isinstance(old, (list, tuple)):
        yield from zip(mine, old, strict=False)
    else:
        yield mine, old


def _close(mine: Any, old: Any) -> bool:
    return mine == old or math.isclose(mine, old, rel_tol=1e-9)


def _holds(old: Tensor, new: Tensor) -> bool:
    """Whether a constant holds what another does."""
    if old.is_floating_point():
        return among(old, new)
    return old.shape != new.shape or bool(torch.equal(old, new))


def _named(name: str, argument: str) -> str:
    return f"{argument} of {name} is" if argument not in ("other", "self", "input") else f"{name} takes the constant"


def _value(model: Absorber, given: Any) -> str:
    if given is None:
        return "nothing"
    number = model.value(given)
    if number is not None and not isinstance(given, bool):
        return f"{number:.4g}"
    return "a tensor" if isinstance(given, fx.Node) else str(given)


def _counted(kinds: Mapping[str, Sequence[fx.Node]]) -> list[tuple[str, int]]:
    return [(name, len(nodes)) for name, nodes in kinds.items()]


def _told(counts: Iterable[tuple[str, int]]) -> str:
    return (
        ", ".join(f"{name} {count} times" if count > 1 else name for name, count in counts if count) or "nothing there"
    )


def _folded(found: Iterator[tuple[str, str]], lists: Mapping[str, int]) -> Iterator[str]:
    """What is said of many blocks alike is said once."""
    said: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for path, text in found:
        said[template(path, lists), text][path] = None
    for (_, text), paths in said.items():
        more = f" (and in {len(paths) - 1} more block{'s' if len(paths) > 2 else ''})" if len(paths) > 1 else ""
        yield f"{next(iter(paths)) or 'the model'}: {text}{more}"
