"""Absorb: multiply a value inside a model by a known number, by changing the parameters that it comes from.

Copying or padding axes leaves some values multiplied by a factor that is known beforehand: the scores of heads that were
widened, what a tied table gives when it reads copies, whatever a constant like sqrt(width) multiplies. The factor is taken
out where it can be: the exported graph is walked upwards from the value, through all that is linear, to the parameters
that feed it. Whatever else looks at a value on the way would be changed, too, and so must not exist.

=============================  ====================================================================================
on the way                     what is done
=============================  ====================================================================================
views, casts, slices           passed, element by element: a part of a fused projection is a part
sums, concatenations           all their operands
products                       one operand: a parameter before anything else; queries and keys share theirs
relu, pooling, constants       passed: they keep positive factors
linear maps, convolutions      the weight's rows, and the bias
embeddings                     the table's columns
norms                          their gain and bias
a parameter, or 1 + parameter  the parameter: w becomes a w, or a w + (a - 1)
=============================  ====================================================================================
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.export.graph_signature import InputKind

from scionwood.anatomy.build import Model

__all__ = ["AbsorbError", "Absorber", "Correction", "base_name"]

Mask: TypeAlias = Tensor | None
"""Which elements of a value are meant; nothing stands for all of them."""


class AbsorbError(Exception):
    """Why a factor cannot be absorbed; the caller says where."""


@dataclasses.dataclass(frozen=True)
class Correction:
    """What becomes of a parameter: scale * w + shift, both spread over its shape."""

    scale: Tensor
    shift: Tensor

    def after(self, scale: Tensor, shift: Tensor | float = 0.0) -> Correction:
        """This correction, and then another."""
        return Correction(scale * self.scale, scale * self.shift + shift)

    @property
    def uniform(self) -> float | None:
        """The one number that the parameter is multiplied by; nothing, if there are several or it is shifted."""
        values = self.scale.unique()
        return float(values[0]) if len(values) == 1 and not bool(self.shift.any()) else None


@dataclasses.dataclass(frozen=True)
class _Take:
    """A parameter that takes a factor: along one dimension, or element by element; ``offset`` is what is added to it."""

    parameter: str
    use: fx.Node
    alpha: float
    place: int | None = None
    mask: Mask = None
    offset: float = 0.0


_SAME = frozenset(
    {
        "to", "_to_copy", "type_as", "float", "dropout", "feature_dropout", "alias", "detach", "clone", "contiguous", "lift_fresh_copy",
        "detach_", "_assert_tensor_metadata",
    }
)  # fmt: skip
_BIJECTIVE = frozenset({"view", "reshape", "_unsafe_view", "transpose", "permute", "t", "unsqueeze", "squeeze", "flatten", "unflatten", "numpy_T", "movedim", "swapaxes", "expand", "repeat", "roll", "flip", "expand_as"})  # fmt: skip
_PARTIAL = frozenset({"slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind", "getitem", "index"})
_SPLITS = frozenset({"split", "split_with_sizes", "chunk", "unbind"})
_HOMOGENEOUS = frozenset({"relu", "leaky_relu", "max_pool2d", "max_pool1d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "upsample_bilinear2d", "upsample_nearest2d", "mean", "sum", "cumsum", "pad", "constant_pad_nd", "neg", "tril", "triu"})  # fmt: skip
_MULTIPLY = frozenset({"mul", "mul_"})
_DIVIDE = frozenset({"div", "div_", "true_divide"})
_ADD = frozenset({"add", "add_", "sub", "sub_", "rsub"})
_JOIN = frozenset({"cat", "concat", "concatenate", "stack"})
_LINEAR = frozenset({"linear", "addmm", "mm", "matmul", "bmm"})
_CONVOLVE = frozenset({"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "convolution"})
_NORMS = frozenset({"layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm"})
_TRANSPOSE = frozenset({"t", "transpose", "permute", "numpy_T"})

LARGEST_MASK = 2**26
"""The most elements of a value that are followed one by one."""


class Absorber:
    """Absorbs factors into the parameters of one model, and remembers what became of them.

    Args:
        model: the model.
        ties: parameters that are one with another: name → the name that counts.
    """

    def __init__(self, model: Model, ties: Mapping[str, str]) -> None:
        self.model = model
        self.graph = model.program.graph
        self.corrections: dict[str, Correction] = {}
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
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and name in stored and _floating(node):
                self.parameter[node] = ties.get(name, name)
                self.shapes[self.parameter[node]] = _shape(node)
                kinds[node] = "parameter"
            elif spec.kind == InputKind.USER_INPUT:
                kinds[node] = "input"
            else:
                kinds[node] = "constant"
                value = model.constants.get(name, model.program.constants.get(name))
                if isinstance(value, Tensor):
                    self.constants[node] = value
        # What a value depends on: the model's input, or parameters, or neither.
        self.depends: dict[fx.Node, str] = {}
        for node in self.graph.nodes:
            found = {self.depends[given] for given in node.all_input_nodes}
            found.add(kinds.get(node, "constant"))
            self.depends[node] = next(word for word in ("input", "parameter", "constant") if word in found)
        self.uses: dict[str, set[fx.Node]] = {}
        for node, name in self.parameter.items():
            self.uses.setdefault(name, set()).update(self._used_by(node))

    def _used_by(self, node: fx.Node) -> Iterator[fx.Node]:
        """The nodes that use a parameter, past casts and transpositions of it."""
        for user in node.users:
            if base_name(user) in _SAME | _TRANSPOSE and self.depends[user] == "parameter":
                yield from self._used_by(user)
            elif user.op != "output":
                yield user

    def parameter_of(self, node: Any) -> tuple[str, tuple[int, ...]] | None:
        """The parameter that a node is a cast or a transposition of, and which of its dimensions each of the node's is."""
        if not isinstance(node, fx.Node):
            return None
        if node in self.parameter:
            return self.parameter[node], tuple(range(len(_shape(node))))
        name = base_name(node)
        if node.op != "call_function" or name not in _SAME | _TRANSPOSE:
            return None
        found = self.parameter_of(node.args[0])
        if found is None or name in _SAME:
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

    # Absorbing.

    def absorb(
        self, nodes: fx.Node | Collection[fx.Node], alpha: float, *, users: Collection[fx.Node] | None = None
    ) -> list[str]:
        """Multiply a value by a number, by changing parameters.

        Args:
            nodes: the value, or several: what one module computes each time it is used, or at each step of a recurrence.
            alpha: the number.
            users: those that are to see it multiplied; nobody else may look at it. All, unless given.

        Returns:
            The parameters that were changed.

        Raises:
            AbsorbError: it cannot be done, with the reason; nothing was changed.
        """
        reasons: list[str] = []
        roots = [nodes] if isinstance(nodes, fx.Node) else list(nodes)
        for sharing in ("both", "first", "second"):
            try:
                takes = self._takes(roots, alpha, users, sharing)
            except AbsorbError as error:
                if str(error) not in reasons:
                    reasons.append(str(error))
                continue
            for take in takes:
                self._apply(take)
            return list(dict.fromkeys(take.parameter for take in takes))
        raise AbsorbError(reasons[0])

    def scale_parameter(self, name: str, alpha: float, place: int | None = None, rows: Mask = None) -> None:
        """Multiply a parameter by a number, whole or in some rows of one dimension."""
        self._apply(_Take(name, next(iter(self.uses[name])), alpha, place, rows))

    def _takes(
        self, roots: Collection[fx.Node], alpha: float, users: Collection[fx.Node] | None, sharing: str
    ) -> list[_Take]:
        marked: dict[fx.Node, tuple[float, Mask]] = dict.fromkeys(roots, (alpha, None))
        edges: set[tuple[fx.Node, fx.Node]] = set()
        takes: list[_Take] = []
        waiting = [-self.number[root] for root in marked]
        heapq.heapify(waiting)
        by_number = {number: node for node, number in self.number.items()}
        while waiting:
            node = by_number[-heapq.heappop(waiting)]
            own, mask = marked[node]
            further, taken = self._step(node, own, mask, sharing)
            takes.extend(taken)
            for given, factor, part in further:
                edges.add((given, node))
                if given in marked:
                    before, seen = marked[given]
                    if not math.isclose(before, factor):
                        raise AbsorbError(f"{_told(given)} would take two factors at once")
                    marked[given] = (factor, None if seen is None or part is None else seen | part)
                else:
                    marked[given] = (factor, part)
                    heapq.heappush(waiting, -self.number[given])
        self._check_nobody_else(roots, users, marked, edges)
        self._check_other_uses(max(map(self.number.__getitem__, roots)), takes, marked)
        once: dict[tuple[str, int | None], _Take] = {}
        for take in takes:
            known = once.setdefault((take.parameter, take.place), take)
            same = known.mask is take.mask or (
                known.mask is not None and take.mask is not None and torch.equal(known.mask, take.mask)
            )
            if not same or not math.isclose(known.alpha, take.alpha):
                raise AbsorbError(f"{take.parameter} would take different factors where it is used")
        return list(once.values())

    def _check_nobody_else(
        self,
        roots: Collection[fx.Node],
        users: Collection[fx.Node] | None,
        marked: Mapping[fx.Node, tuple[float, Mask]],
        edges: Collection[tuple[fx.Node, fx.Node]],
    ) -> None:
        for node, (_, mask) in marked.items():
            if node in self.parameter or (node in roots and users is None):
                continue
            for user in node.users:
                if node in roots and users is not None:
                    if user not in users:
                        raise AbsorbError(f"{_told(node)} is also used by {_told(user)}")
                    continue
                if (node, user) in edges:
                    own = marked[user][1]
                    if mask is None and own is None:
                        continue
                    reached = self._forward(node, user, mask)
                    if reached is not None and torch.equal(reached, _full(user) if own is None else own):
                        continue
                elif mask is not None and self._untouched(node, user, mask):
                    continue
                raise AbsorbError(f"{_told(node)} is also used by {_told(user)}")

    def _untouched(self, node: fx.Node, user: fx.Node, mask: Tensor) -> bool:
        """Whether a view sees nothing of what is meant."""
        if base_name(user) not in _BIJECTIVE | _PARTIAL or base_name(user) in _SPLITS:
            return False
        reached = self._forward(node, user, mask)
        return reached is not None and not bool(reached.any())

    def _check_other_uses(
        self, now: int, takes: Collection[_Take], marked: Mapping[fx.Node, tuple[float, Mask]]
    ) -> None:
        meant: dict[str, set[fx.Node]] = {}
        for take in takes:
            meant.setdefault(take.parameter, set()).add(take.use)
        for name, uses in meant.items():
            inside = {use for use in self.uses[name] if use in uses or use in marked}
            for other in self.uses[name] - inside:
                if self.number[other] <= now:
                    raise AbsorbError(f"{name} is also used by {_told(other)}")

    def _apply(self, take: _Take) -> None:
        shape = self.shapes[take.parameter]
        if take.place is not None:
            scale = torch.ones(shape[take.place], dtype=torch.float64)
            scale[slice(None) if take.mask is None else take.mask] = take.alpha
            scale = scale.view([-1 if dim == take.place else 1 for dim in range(len(shape))])
        elif take.mask is None:
            scale = torch.full([1] * len(shape), take.alpha, dtype=torch.float64)
        else:
            scale = torch.where(take.mask.view(shape), take.alpha, 1.0).double()
        one = torch.ones([1] * len(shape), dtype=torch.float64)
        before = self.corrections.get(take.parameter, Correction(one, one * 0))
        self.corrections[take.parameter] = before.after(scale, (scale - 1) * take.offset)

    # One step upwards.

    def _step(
        self, node: fx.Node, alpha: float, mask: Mask, sharing: str
    ) -> tuple[list[tuple[fx.Node, float, Mask]], list[_Take]]:
        """What a node's factor asks of its operands and of parameters.

        Raises:
            AbsorbError: the operation is not linear in any operand that could take it.
        """
        if node in self.parameter:
            return [], [_Take(self.parameter[node], user, alpha, None, mask) for user in self._used_by(node)][:1]
        if self.depends[node] == "constant":
            raise AbsorbError(f"{_told(node)} is a constant")
        if node.op != "call_function":
            raise AbsorbError("it comes from the model's input")
        name = base_name(node)
        if name in _SAME:
            return [(node.args[0], alpha, mask)], []  # type: ignore[list-item]
        if name == "index" and self.parameter_of(node.args[0]):
            return [], [self._looked_up(node, node.args[0], alpha, mask)]
        if name in _BIJECTIVE or name in _PARTIAL:
            return self._view(node, alpha, mask), []
        if name in _HOMOGENEOUS:
            if mask is not None and name != "neg":
                raise AbsorbError(f"{_told(node)} mixes what is meant with what is not")
            if alpha < 0 and name != "neg":
                raise AbsorbError(f"{_told(node)} keeps positive factors only")
            return [(node.args[0], alpha, mask)], []  # type: ignore[list-item]
        if name in _MULTIPLY:
            return self._product(node, alpha, mask, sharing), []
        if name in _DIVIDE:
            return [(node.args[0], alpha, self._spread_back(node, node.args[0], mask))], []  # type: ignore[list-item]
        if name in _ADD:
            return self._sum(node, alpha, mask)
        if name in _JOIN:
            return self._joined(node, alpha, mask), []
        if name == "embedding":
            return [], [self._looked_up(node, node.args[0], alpha, mask)]
        if name in _LINEAR:
            return self._linear(node, name, alpha, mask, sharing)
        if name in _CONVOLVE:
            return [], self._convolved(node, alpha, mask)
        if name in _NORMS:
            return [], self._normalised(node, alpha, mask)
        if name == "scaled_dot_product_attention" and mask is None:
            return [(node.args[2], alpha, None)], []  # type: ignore[list-item]
        if name == "masked_fill" and node.args[2] == 0:
            return [(node.args[0], alpha, mask)], []  # type: ignore[list-item]
        raise AbsorbError(f"{_told(node)} is not linear")

    def can(self, node: Any) -> bool:
        """Whether a walk upwards from here ends in parameters; not whether somebody else looks at what is on the way."""
        if not isinstance(node, fx.Node):
            return False
        try:
            further, _ = self._step(node, 1.0, None, "first")
        except AbsorbError:
            return False
        return all(self.can(given) for given, _, _ in further)

    def _view(self, node: fx.Node, alpha: float, mask: Mask) -> list[tuple[fx.Node, float, Mask]]:
        given = node.args[0]
        assert isinstance(given, fx.Node)
        if mask is None and base_name(node) in _BIJECTIVE:
            return [(given, alpha, None)]
        if base_name(node) in _SPLITS:
            return [(given, alpha, mask)]  # its marks are those of what it splits
        if base_name(node) == "getitem":
            return [self._cut(node, given, alpha, mask)]
        index = self._indices(node, given)
        return [(given, alpha, _mark(index, mask, _shape(given)))]

    def _cut(self, node: fx.Node, pieces: fx.Node, alpha: float, mask: Mask) -> tuple[fx.Node, float, Mask]:
        """A piece of a split: the split itself stands between, and is passed by."""
        if pieces.op != "call_function" or base_name(pieces) not in _SPLITS:
            raise AbsorbError(f"{_told(node)} is a piece of something that is no view")
        given = pieces.args[0]
        assert isinstance(given, fx.Node)
        index = self._indices(pieces, given)[node.args[1]]
        return pieces, alpha, _mark(index, mask, _shape(given))

    def _indices(self, node: fx.Node, given: fx.Node) -> Any:
        """Which element of its operand each element of a view is."""
        shape = _shape(given)
        if math.prod(shape) > LARGEST_MASK:
            raise AbsorbError(f"{_told(given)} is too large to be followed element by element")
        numbers = torch.arange(math.prod(shape)).view(shape)
        return _called(node, given, numbers)

    def _forward(self, node: fx.Node, user: fx.Node, mask: Mask) -> Any:
        """Which elements of a user come from the elements meant; nothing, where that cannot be told."""
        own = _full(node) if mask is None else mask
        name = base_name(user)
        if name in _SAME or name == "neg":
            return own
        if base_name(node) in _SPLITS and name == "getitem":
            whole = node.args[0]
            assert isinstance(whole, fx.Node)
            return _called(node, whole, own.view(_shape(whole)))[user.args[1]]
        if name in _BIJECTIVE or name in _SPLITS | {"slice", "select", "narrow"}:
            pieces = _called(user, node, own)
            # A split passes its operand's marks on as they are: its pieces are looked at one by one.
            return own if isinstance(pieces, (list, tuple)) else pieces
        if name in _MULTIPLY | _DIVIDE | _ADD:
            return own.expand(_shape(user)) if own.dim() <= len(_shape(user)) else None
        if name in _JOIN:
            pieces = [own if piece is node else torch.zeros(_shape(piece), dtype=torch.bool) for piece in user.args[0]]  # type: ignore[union-attr]
            return user.target(pieces, *user.args[1:], **user.kwargs)  # type: ignore[operator]
        return None

    def _spread_back(self, node: fx.Node, given: Any, mask: Mask) -> Mask:
        """Which elements of an operand that was broadcast are meant."""
        if mask is None:
            return None
        shape = _shape(given)
        index = torch.arange(math.prod(shape)).view(shape).expand(_shape(node))
        return _mark(index, mask, shape)

    def _product(self, node: fx.Node, alpha: float, mask: Mask, sharing: str) -> list[tuple[fx.Node, float, Mask]]:
        operands = [arg for arg in node.args[:2] if isinstance(arg, fx.Node) and self.depends[arg] != "constant"]
        if len(operands) == 2 and operands[0] is operands[1]:
            raise AbsorbError(f"{_told(node)} is not linear")
        operands.sort(key=lambda arg: self.depends[arg] != "parameter")
        able = [arg for arg in operands if self.can(arg)]
        if len(able) > 1 and sharing == "second":
            able.reverse()
        if not able:
            raise AbsorbError(f"{_told(node)} has no operand that could take it")
        return [(able[0], alpha, self._spread_back(node, able[0], mask))]

    def _sum(self, node: fx.Node, alpha: float, mask: Mask) -> tuple[list[tuple[fx.Node, float, Mask]], list[_Take]]:
        further: list[tuple[fx.Node, float, Mask]] = []
        for place, arg in enumerate(node.args[:2]):
            if isinstance(arg, fx.Node) and self.depends[arg] != "constant":
                further.append((arg, alpha, self._spread_back(node, arg, mask)))
                continue
            value = arg if isinstance(arg, (int, float)) else self.value(arg)
            if value == 0:
                continue
            found = self.parameter_of(node.args[1 - place])
            if found is None or value is None or base_name(node) not in ("add", "add_"):
                raise AbsorbError(f"{_told(node)} adds a constant")
            own = _shape(node.args[1 - place])
            part = None if mask is None or tuple(mask.shape) != own else mask
            if mask is not None and part is None:
                raise AbsorbError(f"{_told(node)} adds a constant")
            return [], [_Take(found[0], node, alpha, None, part, float(value))]
        return further, []

    def _joined(self, node: fx.Node, alpha: float, mask: Mask) -> list[tuple[fx.Node, float, Mask]]:
        pieces = list(node.args[0])  # type: ignore[arg-type]
        if mask is None:
            return [(piece, alpha, None) for piece in pieces]
        found: list[tuple[fx.Node, float, Mask]] = []
        for place, piece in enumerate(pieces):
            numbers = [
                torch.arange(math.prod(_shape(other))).view(_shape(other))
                if count == place
                else torch.full(_shape(other), -1)
                for count, other in enumerate(pieces)
            ]
            index = node.target(numbers, *node.args[1:], **node.kwargs)  # type: ignore[operator]
            own = _mark(index[index >= 0], mask[index >= 0], _shape(piece))
            if own is None or bool(own.any()):
                found.append((piece, alpha, own))
        return found

    def _looked_up(self, node: fx.Node, table: Any, alpha: float, mask: Mask) -> _Take:
        found = self.parameter_of(table)
        if found is None:
            raise AbsorbError(f"{_told(node)} looks up what is no parameter")
        name, order = found
        columns = _along(mask, len(_shape(node)) - 1, node)
        return _Take(name, node, alpha, order[-1] if columns is not None else None, columns)

    def _linear(
        self, node: fx.Node, name: str, alpha: float, mask: Mask, sharing: str
    ) -> tuple[list[tuple[fx.Node, float, Mask]], list[_Take]]:
        bias, (left, right) = (node.args[0], node.args[1:3]) if name == "addmm" else (None, node.args[:2])
        if name == "linear":
            bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
        weight = self.parameter_of(right)
        if weight is None:
            if self.parameter_of(left) is not None or bias is not None or self.depends[right] != "input":  # type: ignore[index]
                raise AbsorbError(f"{_told(node)} is not linear in a weight of its own")
            if mask is not None:
                raise AbsorbError(f"{_told(node)} mixes what is meant with what is not")
            able = [arg for arg in (left, right) if self.can(arg)]
            if not able:
                raise AbsorbError(f"{_told(node)} has no operand that could take it")
            if len(able) == 2 and sharing == "both" and alpha > 0:
                return [(arg, math.sqrt(alpha), None) for arg in able], []  # type: ignore[misc]
            return [(able[-1 if sharing == "second" else 0], alpha, None)], []  # type: ignore[list-item]
        rows = _along(mask, len(_shape(node)) - 1, node)
        place = weight[1][0 if name == "linear" else -1]
        takes = [_Take(weight[0], node, alpha, place, rows)]
        takes.extend(self._bias(node, bias, alpha, rows))
        return [], takes

    def _convolved(self, node: fx.Node, alpha: float, mask: Mask) -> list[_Take]:
        weight = self.parameter_of(node.args[1])
        if weight is None:
            raise AbsorbError(f"{_told(node)} convolves with what is no parameter")
        channels = _along(mask, 1, node)
        transposed = "transpose" in base_name(node) or bool(len(node.args) > 6 and node.args[6] is True)
        if transposed and channels is not None:
            raise AbsorbError(f"{_told(node)} mixes what is meant with what is not")
        bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
        place = None if transposed else weight[1][0]
        return [_Take(weight[0], node, alpha, place, channels), *self._bias(node, bias, alpha, channels)]

    def _normalised(self, node: fx.Node, alpha: float, mask: Mask) -> list[_Take]:
        first = {"layer_norm": 2, "rms_norm": 2, "group_norm": 2}.get(base_name(node), 1)
        dim = len(_shape(node)) - 1 if first == 2 and base_name(node) != "group_norm" else 1
        along = _along(mask, dim, node)
        if len(node.args) <= first or not isinstance(node.args[first], fx.Node):
            raise AbsorbError(f"{_told(node)} has no gain")
        bias = None
        if base_name(node) != "rms_norm":
            bias = node.args[first + 1] if len(node.args) > first + 1 else None
        return [take for given in (node.args[first], bias) for take in self._bias(node, given, alpha, along)]

    def _bias(self, node: fx.Node, bias: Any, alpha: float, rows: Mask) -> Iterator[_Take]:
        if bias is None:
            return
        found = self.parameter_of(bias)
        if found is None:
            raise AbsorbError(f"{_told(node)} has a gain or a bias that is computed")
        yield _Take(found[0], node, alpha, 0 if rows is not None else None, rows)

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
        if base_name(node) in _SAME | _BIJECTIVE and node.args:
            return self.value(node.args[0])
        if base_name(node) in ("scalar_tensor", "full") and not isinstance(node.args[-1], (list, tuple)):
            return self.value(node.args[-1])
        return None


def base_name(node: fx.Node) -> str:
    """What an operation is called, without its overload."""
    name = getattr(node.target, "__name__", str(node.target))
    return name.split(".")[0]


def _told(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = next((path for path, _ in reversed(list(stack.values())) if path), "")
    return f"{base_name(node) if node.op == 'call_function' else node.name}{f' in {path}' if path else ''}"


def _floating(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _shape(node: Any) -> tuple[int, ...]:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    if not isinstance(value, Tensor):
        raise AbsorbError(f"{_told(node) if isinstance(node, fx.Node) else node} is no tensor")
    return tuple(int(size) for size in value.shape)


def _full(node: fx.Node) -> Tensor:
    value = node.meta.get("val")
    if isinstance(value, (list, tuple)):
        given = node.args[0]
        assert isinstance(given, fx.Node)
        return torch.ones(_shape(given), dtype=torch.bool)
    return torch.ones(_shape(node), dtype=torch.bool)


def _called(node: fx.Node, given: fx.Node, value: Tensor) -> Any:
    """A view, done to another tensor of its operand's shape."""
    args = [value if arg is given else arg for arg in node.args]
    if any(isinstance(arg, fx.Node) for arg in args):
        raise AbsorbError(f"{_told(node)} depends on more than one value")
    return node.target(*args, **node.kwargs)  # type: ignore[operator]


def _mark(index: Tensor, mask: Mask, shape: tuple[int, ...]) -> Mask:
    """The elements that an index takes where it is meant; nothing, if they are all."""
    marked = torch.zeros(math.prod(shape), dtype=torch.bool)
    marked[(index if mask is None else index[mask.expand(index.shape)]).reshape(-1)] = True
    return None if bool(marked.all()) else marked.view(shape)


def _along(mask: Mask, dim: int, node: fx.Node) -> Mask:
    """The indices of one dimension that are meant, whatever the others are."""
    if mask is None:
        return None
    rows = mask.movedim(dim, 0).reshape(mask.shape[dim], -1)
    some = rows.any(1)
    if not torch.equal(some, rows.all(1)):
        raise AbsorbError(f"only some places of {_told(node)} are meant")
    return None if bool(some.all()) else some
