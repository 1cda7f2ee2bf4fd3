"""Steps: what a factor of one operation's result asks of its operands and of parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx

from scionwood.anatomy.absorb.nodes import (
    ADD,
    BIJECTIVE,
    CONVOLVE,
    DIVIDE,
    HOMOGENEOUS,
    JOIN,
    LARGEST_MASK,
    LINEAR,
    MULTIPLY,
    NORMS,
    PARTIAL,
    PICKS,
    SAME,
    SPLITS,
    AbsorbError,
    Mask,
    along_dim,
    called,
    full,
    mark,
    shape_of,
    told,
)
from scionwood.anatomy.absorb.parameters import Parameters
from scionwood.anatomy.build import Model
from scionwood.anatomy.nodes import operation

__all__ = ["Steps", "Take"]


@dataclasses.dataclass(frozen=True)
class Take:
    """A parameter that takes a factor: along one dimension, or element by element; ``offset`` is what is added to it."""

    parameter: str
    use: fx.Node
    alpha: float
    place: int | None = None
    mask: Mask = None
    offset: float = 0.0


class Steps(Parameters):
    """One step upwards from a value: through what is linear, to the parameters that feed it."""

    def __init__(self, model: Model, ties: Mapping[str, str]) -> None:
        super().__init__(model, ties)
        self._able: dict[fx.Node, bool] = {}

    def step(
        self, node: fx.Node, alpha: float, mask: Mask, sharing: str
    ) -> tuple[list[tuple[fx.Node, float, Mask]], list[Take]]:
        """What a node's factor asks of its operands and of parameters.

        Raises:
            AbsorbError: the operation is not linear in any operand that could take it.
        """
        if node in self.parameter:
            return [], [Take(self.parameter[node], user, alpha, None, mask) for user in self.used_by(node)][:1]
        if self.depends[node] == "constant":
            raise AbsorbError(f"{told(node)} is a constant")
        if node.op != "call_function":
            raise AbsorbError("it comes from the model's input")
        name = operation(node)
        if name in SAME:
            return [(node.args[0], alpha, mask)], []  # type: ignore[list-item]
        if name == "index" and self.parameter_of(node.args[0]):
            return [], [self._looked_up(node, node.args[0], alpha, mask)]
        if name in PICKS and mask is None:
            return [(node.args[0], alpha, None)], []  # type: ignore[list-item]  # rows in another order, as experts see them
        if name in BIJECTIVE or name in PARTIAL:
            return self._view(node, alpha, mask), []
        if name in HOMOGENEOUS:
            if mask is not None and name != "neg":
                raise AbsorbError(f"{told(node)} mixes what is meant with what is not")
            if alpha < 0 and name != "neg":
                raise AbsorbError(f"{told(node)} keeps positive factors only")
            return [(node.args[0], alpha, mask)], []  # type: ignore[list-item]
        if name in MULTIPLY:
            return self._product(node, alpha, mask, sharing), []
        if name in DIVIDE:
            return [(node.args[0], alpha, self._spread_back(node, node.args[0], mask))], []  # type: ignore[list-item]
        if name in ADD:
            return self._sum(node, alpha, mask)
        if name in JOIN:
            return self._joined(node, alpha, mask), []
        if name == "embedding":
            return [], [self._looked_up(node, node.args[0], alpha, mask)]
        if name in LINEAR:
            return self._linear(node, name, alpha, mask, sharing)
        if name == "einsum" and mask is None:
            return self._einsum(node, alpha, sharing)
        if name in CONVOLVE:
            return [], self._convolved(node, alpha, mask)
        if name in NORMS:
            return [], self._normalised(node, alpha, mask)
        if name == "scaled_dot_product_attention" and mask is None:
            return [(node.args[2], alpha, None)], []  # type: ignore[list-item]
        if name == "masked_fill" and node.args[2] == 0:
            return [(node.args[0], alpha, mask)], []  # type: ignore[list-item]
        raise AbsorbError(f"{told(node)} is not linear")

    def can(self, node: Any) -> bool:
        """Whether a walk upwards from here ends in parameters; not whether somebody else looks at what is on the way."""
        if not isinstance(node, fx.Node):
            return False
        if node not in self._able:
            self._able[node] = self._can(node)
        return self._able[node]

    def _can(self, node: fx.Node) -> bool:
        try:
            further, _ = self.step(node, 1.0, None, "first")
        except AbsorbError:
            return False
        return all(self.can(given) for given, _, _ in further)

    def _view(self, node: fx.Node, alpha: float, mask: Mask) -> list[tuple[fx.Node, float, Mask]]:
        given = node.args[0]
        assert isinstance(given, fx.Node)
        if mask is None and operation(node) in BIJECTIVE:
            return [(given, alpha, None)]
        if operation(node) in SPLITS:
            return [(given, alpha, mask)]  # its marks are those of what it splits
        if operation(node) == "getitem":
            return [self._cut(node, given, alpha, mask)]
        index = self._indices(node, given)
        return [(given, alpha, mark(index, mask, shape_of(given)))]

    def _cut(self, node: fx.Node, pieces: fx.Node, alpha: float, mask: Mask) -> tuple[fx.Node, float, Mask]:
        """A piece of a split: the split itself stands between, and is passed by."""
        if pieces.op != "call_function" or operation(pieces) not in SPLITS:
            raise AbsorbError(f"{told(node)} is a piece of something that is no view")
        given = pieces.args[0]
        assert isinstance(given, fx.Node)
        index = self._indices(pieces, given)[node.args[1]]
        return pieces, alpha, mark(index, mask, shape_of(given))

    def _indices(self, node: fx.Node, given: fx.Node) -> Any:
        """Which element of its operand each element of a view is."""
        shape = shape_of(given)
        if math.prod(shape) > LARGEST_MASK:
            raise AbsorbError(f"{told(given)} is too large to be followed element by element")
        numbers = torch.arange(math.prod(shape)).view(shape)
        return called(node, given, numbers)

    def forward(self, node: fx.Node, user: fx.Node, mask: Mask) -> Any:
        """Which elements of a user come from the elements meant; nothing, where that cannot be told."""
        own = full(node) if mask is None else mask
        name = operation(user)
        if name in SAME or name == "neg":
            return own
        if operation(node) in SPLITS and name == "getitem":
            whole = node.args[0]
            assert isinstance(whole, fx.Node)
            return called(node, whole, own.view(shape_of(whole)))[user.args[1]]
        if name in BIJECTIVE or name in SPLITS | {"slice", "select", "narrow"}:
            pieces = called(user, node, own)
            # A split passes its operand's marks on as they are: its pieces are looked at one by one.
            return own if isinstance(pieces, (list, tuple)) else pieces
        if name in MULTIPLY | DIVIDE | ADD:
            return own.expand(shape_of(user)) if own.dim() <= len(shape_of(user)) else None
        if name in JOIN:
            joined: Any = user.args[0]
            pieces = [own if piece is node else torch.zeros(shape_of(piece), dtype=torch.bool) for piece in joined]
            return user.target(pieces, *user.args[1:], **user.kwargs)  # type: ignore[operator]
        return None

    def _spread_back(self, node: fx.Node, given: Any, mask: Mask) -> Mask:
        """Which elements of an operand that was broadcast are meant."""
        if mask is None:
            return None
        shape = shape_of(given)
        index = torch.arange(math.prod(shape)).view(shape).expand(shape_of(node))
        return mark(index, mask, shape)

    def _product(self, node: fx.Node, alpha: float, mask: Mask, sharing: str) -> list[tuple[fx.Node, float, Mask]]:
        operands = [arg for arg in node.args[:2] if isinstance(arg, fx.Node) and self.depends[arg] != "constant"]
        if len(operands) == 2 and operands[0] is operands[1]:
            raise AbsorbError(f"{told(node)} is not linear")
        operands.sort(key=lambda arg: self.depends[arg] != "parameter")
        able = [arg for arg in operands if self.can(arg)]
        if len(able) > 1 and sharing == "second":
            able.reverse()
        if not able:
            raise AbsorbError(f"{told(node)} has no operand that could take it")
        return [(able[0], alpha, self._spread_back(node, able[0], mask))]

    def _sum(self, node: fx.Node, alpha: float, mask: Mask) -> tuple[list[tuple[fx.Node, float, Mask]], list[Take]]:
        further: list[tuple[fx.Node, float, Mask]] = []
        for place, arg in enumerate(node.args[:2]):
            if isinstance(arg, fx.Node) and self.depends[arg] != "constant":
                further.append((arg, alpha, self._spread_back(node, arg, mask)))
                continue
            value = arg if isinstance(arg, (int, float)) else self.value(arg)
            if value == 0:
                continue
            found = self.parameter_of(node.args[1 - place])
            if found is None or value is None or operation(node) != "add":
                raise AbsorbError(f"{told(node)} adds a constant")
            own = shape_of(node.args[1 - place])
            part = None if mask is None or tuple(mask.shape) != own else mask
            if mask is not None and part is None:
                raise AbsorbError(f"{told(node)} adds a constant")
            return [], [Take(found[0], node, alpha, None, part, float(value))]
        return further, []

    def _joined(self, node: fx.Node, alpha: float, mask: Mask) -> list[tuple[fx.Node, float, Mask]]:
        pieces = list(node.args[0])  # type: ignore[arg-type]
        if mask is None:
            return [(piece, alpha, None) for piece in pieces]
        found: list[tuple[fx.Node, float, Mask]] = []
        for place, piece in enumerate(pieces):
            numbers = [
                torch.arange(math.prod(shape_of(other))).view(shape_of(other))
                if count == place
                else torch.full(shape_of(other), -1)
                for count, other in enumerate(pieces)
            ]
            index = node.target(numbers, *node.args[1:], **node.kwargs)  # type: ignore[operator]
            own = mark(index[index >= 0], mask[index >= 0], shape_of(piece))
            if own is None or bool(own.any()):
                found.append((piece, alpha, own))
        return found

    def _looked_up(self, node: fx.Node, table: Any, alpha: float, mask: Mask) -> Take:
        found = self.parameter_of(table)
        if found is None:
            raise AbsorbError(f"{told(node)} looks up what is no parameter")
        name, order = found
        columns = along_dim(mask, len(shape_of(node)) - 1, node)
        return Take(name, node, alpha, order[-1] if columns is not None else None, columns)

    def _linear(
        self, node: fx.Node, name: str, alpha: float, mask: Mask, sharing: str
    ) -> tuple[list[tuple[fx.Node, float, Mask]], list[Take]]:
        bias, (left, right) = (node.args[0], node.args[1:3]) if name == "addmm" else (None, node.args[:2])
        if name == "linear":
            bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
        weight = self.parameter_of(right)
        if weight is None:
            if self.parameter_of(left) is not None or bias is not None or self.depends[right] != "input":  # type: ignore[index]
                raise AbsorbError(f"{told(node)} is not linear in a weight of its own")
            if mask is not None:
                raise AbsorbError(f"{told(node)} mixes what is meant with what is not")
            able = [arg for arg in (left, right) if self.can(arg)]
            if not able:
                raise AbsorbError(f"{told(node)} has no operand that could take it")
            if len(able) == 2 and sharing == "both" and alpha > 0:
                return [(arg, math.sqrt(alpha), None) for arg in able], []  # type: ignore[misc]
            return [(able[-1 if sharing == "second" else 0], alpha, None)], []  # type: ignore[list-item]
        rows = along_dim(mask, len(shape_of(node)) - 1, node)
        place = weight[1][0 if name == "linear" else -1]
        takes = [Take(weight[0], node, alpha, place, rows)]
        takes.extend(self._bias(node, bias, alpha, rows))
        return [], takes

    def _einsum(
        self, node: fx.Node, alpha: float, sharing: str
    ) -> tuple[list[tuple[fx.Node, float, Mask]], list[Take]]:
        operands: Any = node.args[1]
        parameters = [found[0] for arg in operands if (found := self.parameter_of(arg)) is not None]
        if parameters:
            return [], [Take(parameters[0], node, alpha)]
        able = [arg for arg in operands if self.can(arg)]
        if not able:
            raise AbsorbError(f"{told(node)} has no operand that could take it")
        if len(able) == 2 and sharing == "both" and alpha > 0:
            return [(arg, math.sqrt(alpha), None) for arg in able], []
        return [(able[-1 if sharing == "second" else 0], alpha, None)], []

    def _convolved(self, node: fx.Node, alpha: float, mask: Mask) -> list[Take]:
        weight = self.parameter_of(node.args[1])
        if weight is None:
            raise AbsorbError(f"{told(node)} convolves with what is no parameter")
        channels = along_dim(mask, 1, node)
        transposed = "transpose" in operation(node) or bool(len(node.args) > 6 and node.args[6] is True)
        if transposed and channels is not None:
            raise AbsorbError(f"{told(node)} mixes what is meant with what is not")
        bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
        place = None if transposed else weight[1][0]
        return [Take(weight[0], node, alpha, place, channels), *self._bias(node, bias, alpha, channels)]

    def _normalised(self, node: fx.Node, alpha: float, mask: Mask) -> list[Take]:
        first = {"layer_norm": 2, "rms_norm": 2, "group_norm": 2}.get(operation(node), 1)
        dim = len(shape_of(node)) - 1 if first == 2 and operation(node) != "group_norm" else 1
        along = along_dim(mask, dim, node)
        if len(node.args) <= first or not isinstance(node.args[first], fx.Node):
            raise AbsorbError(f"{told(node)} has no gain")
        bias = None
        if operation(node) != "rms_norm":
            bias = node.args[first + 1] if len(node.args) > first + 1 else None
        return [take for given in (node.args[first], bias) for take in self._bias(node, given, alpha, along)]

    def _bias(self, node: fx.Node, bias: Any, alpha: float, rows: Mask) -> Iterator[Take]:
        if bias is None:
            return
        found = self.parameter_of(bias)
        if found is None:
            raise AbsorbError(f"{told(node)} has a gain or a bias that is computed")
        yield Take(found[0], node, alpha, 0 if rows is not None else None, rows)
