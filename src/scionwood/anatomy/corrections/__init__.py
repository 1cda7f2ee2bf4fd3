"""Corrections: what growing axes does to a function beyond the axes, found by laying the two graphs side by side.

Every operation of the target is paired with the source's by the module it is in (through the depth map), what it is, and
which of its kind it is there; where the two compute something else (:mod:`scionwood.anatomy.corrections.alike`), the function
changes. Once every axis has its map, an operation gives the source's value, spread along the new
axes, unless

- a constant differs that was computed from a width (sqrt(hidden), the scale of an attention);
- a constant that varies (a rotary table, slopes) holds other numbers, which nothing can take;
- it contracts two activations along an axis that was copied: queries with keys give k times the score;
- it reads a tied table, which is copied and not divided since others look rows up in it;
- it chooses among experts that were copied;
- it is a norm along an axis that was padded: new zeros count in its mean square;
- it belongs to a block that must do nothing yet: what its branches add to the stream must be zero.

Each is a factor, known here, and absorbed where it arises, in the order of execution, so that everything before is right
already. What cannot be absorbed is a reason why the function is not preserved; and so is every operation along a grown axis
that is not known (:mod:`scionwood.anatomy.corrections.closed`), and every weight that is divided more or less than once
(:mod:`scionwood.anatomy.corrections.divided`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import fx

from scionwood.anatomy.absorb import Absorber, AbsorbError, Correction
from scionwood.anatomy.build import Model
from scionwood.anatomy.corrections.divided import Divided
from scionwood.anatomy.corrections.idle import Idle
from scionwood.anatomy.corrections.norms import Norms
from scionwood.anatomy.corrections.routing import Routing
from scionwood.anatomy.corrections.sites import (
    ALONG,
    CONTRACTIONS,
    PASSES,
    SCALES,
    STATISTICS,
    reduced,
    scale_of,
    size_of,
)
from scionwood.anatomy.match import Match
from scionwood.anatomy.nodes import module_path, operation

__all__ = ["Corrections", "correct", "normalised"]


@dataclasses.dataclass(frozen=True)
class Corrections:
    """What was found and done.

    Attributes:
        parameters: for every parameter of the target that is corrected, what becomes of it.
        told: what was corrected, for the ledger: the parameters, and why.
        failures: why the function is not preserved; empty, where it is.
        eps: by how much the eps of norms along padded axes weighs more than before; nothing, where there are none.
    """

    parameters: Mapping[str, Correction]
    told: Mapping[str, Sequence[str]]
    failures: tuple[str, ...]
    eps: float | None = None


def normalised(model: Model, ties: Mapping[str, str]) -> frozenset[str]:
    """The parameters and statistics that belong to norms: their gains, biases and running values."""
    return _normalised(Absorber(model, ties))


def _normalised(absorber: Absorber) -> frozenset[str]:
    found: set[str] = set()
    for node in absorber.graph.nodes:
        if node.op != "call_function":
            continue
        if operation(node) in STATISTICS | {"batch_norm"}:
            parameters = [absorber.parameter_of(arg) for arg in node.args[1:]]
            found.update(each[0] for each in parameters if each is not None)
        elif operation(node) == "rsqrt":
            found.update(_gains(absorber, node))
    return frozenset(found)


def _gains(absorber: Absorber, rsqrt: fx.Node) -> Iterator[str]:
    """The parameters that multiply what was divided by a root mean square."""
    for product in rsqrt.users:
        waiting = [product]
        while waiting:
            node = waiting.pop()
            for user in node.users:
                if operation(user) in PASSES:
                    waiting.append(user)
                elif operation(user) in SCALES:
                    for arg in user.args[:2]:
                        if isinstance(arg, fx.Node) and absorber.depends[arg] == "parameter":
                            yield from (absorber.parameter[n] for n in _above(arg) if n in absorber.parameter)


def _above(node: fx.Node) -> Iterator[fx.Node]:
    yield node
    for given in node.all_input_nodes:
        yield from _above(given)


def correct(
    source: Model,
    target: Model,
    match: Match,
    *,
    copies: Mapping[str, int | None],
    pads: Collection[str],
    means: Collection[str] = (),
    rescales: bool,
    idle: Collection[str],
) -> Corrections:
    """Find and absorb every factor.

    Args:
        source: the smaller model.
        target: the larger one, of which parameters are corrected.
        match: their axes side by side.
        copies: for every axis of the target that is copied, how often each index; nothing, where unequally often.
        pads: the axes of the target that have new indices.
        means: those of them whose new indices hold the mean of the others.
        rescales: norms along padded axes are made up for.
        idle: the blocks of the target that must do nothing yet, by path.
    """
    found = _Corrector(source, target, match, copies, pads, means, rescales=rescales)
    found.run()
    if idle:
        found.silence(idle)
    return Corrections(found.absorber.corrections, found.told, tuple(dict.fromkeys(found.failures)), found.eps)


class _Corrector(Norms, Routing, Idle, Divided):
    """Every kind of factor, in the order of execution."""

    def run(self) -> None:
        self.normed, self.zeros = self._along_norms(), {}
        self.divide()
        for node, theirs in self.pairs.items():
            if node in self.done:
                continue
            name = operation(node)
            if self.route(node, theirs):
                continue
            if name in SCALES:
                self._constant(node, theirs)
            elif name in STATISTICS:
                self.grouped(node, theirs) if name == "group_norm" else self.norm(node, theirs)
            elif name == "mean":
                self.mean(node, theirs)
            elif name in CONTRACTIONS and not self.weights(node):
                self._contraction(node, theirs)
            elif name in ALONG:
                self._along(node, theirs)
            if self.weights(node):
                self._tied(node, theirs)
            if self.means:
                self.averaged(node, theirs)
        self.seen()
        self.closed()

    def _along_norms(self) -> frozenset[str]:
        """The axes that norms are along."""
        tensors = self.match.target.tensors
        named = [tensors[name] for name in _normalised(self.absorber) if name in tensors]
        return frozenset(axis for each in named for dim in each.dims for axis in self.match.target.leaves(dim))

    def _constant(self, node: fx.Node, theirs: fx.Node) -> None:
        if self.absorber.depends[node] == "constant":
            return  # whatever it is multiplied with is looked at instead
        values = []
        for absorber, own in ((self.absorber, node), (self.other, theirs)):
            numbers = [
                (place, absorber.value(arg))
                for place, arg in enumerate(own.args[:2])
                if not self._active(absorber, arg)
            ]
            values.append([(place, number) for place, number in numbers if number is not None])
        if len(values[0]) != 1 or len(values[1]) != 1 or values[0][0][0] != values[1][0][0]:
            return
        (place, mine), (_, old) = values[0][0], values[1][0]
        if mine == old or not mine or not old:
            return
        divides = operation(node) != "mul" and place == 1
        self.absorb(node, mine / old if not divides else old / mine, f"a constant is {mine:.4g}, not {old:.4g}")

    def _active(self, absorber: Absorber, arg: Any) -> bool:
        return isinstance(arg, fx.Node) and absorber.depends[arg] != "constant"

    def _contraction(self, node: fx.Node, theirs: fx.Node) -> None:
        if operation(node) == "scaled_dot_product_attention":
            (mine, old) = (size_of(own.args[0], -1) for own in (node, theirs))
            scales = [scale_of(own) for own in (node, theirs)]
            factor = scales[0] / scales[1]
            factor *= self._summed(node, mine, old, *node.args[:2])
            if not math.isclose(factor, 1, rel_tol=1e-9):
                self._share(node, factor, f"the attention's scores grow by {factor:.4g}")
            return
        if operation(node) == "baddbmm":
            if not all(self._moves(arg) for arg in node.args[1:3]):
                return
            mine, old = size_of(node.args[1], -1), size_of(theirs.args[1], -1)
            alphas = [float(own.kwargs.get("alpha") or 1.0) for own in (node, theirs)]  # type: ignore[arg-type]
            factor = alphas[0] / alphas[1] * self._summed(node, mine, old, *node.args[1:3])
            if not math.isclose(factor, 1, rel_tol=1e-9):
                self._share(node, factor, f"the attention's scores grow by {factor:.4g}", first=1)
            return
        if operation(node) == "einsum":
            self._einsum(node, theirs)
            return
        if not all(self._moves(arg) for arg in node.args[:2]):
            return
        mine, old = size_of(node.args[0], -1), size_of(theirs.args[0], -1)
        factor = self._summed(node, mine, old, *node.args[:2])
        if factor != 1:
            self.absorb(node, factor, f"{factor:.4g} copies of every product are summed")

    def _einsum(self, node: fx.Node, theirs: fx.Node) -> None:
        """Letters that are summed over, and are in both of two operands."""
        (left, _, out), operands = str(node.args[0]).replace(" ", "").partition("->"), node.args[1]
        terms = left.split(",")
        if not isinstance(operands, (list, tuple)) or len(operands) != 2 or "." in left or len(terms) != 2:
            return
        if not all(map(self._moves, operands)):
            return
        factor = 1.0
        others: Any = theirs.args[1]
        for letter in sorted(set(terms[0]) & set(terms[1]) - set(out)):
            place = terms[0].index(letter)
            factor *= self._summed(node, size_of(operands[0], place), size_of(others[0], place), *operands)
        if factor != 1:
            self.absorb(node, factor, f"{factor:.4g} copies of every product are summed")

    def _moves(self, arg: Any) -> bool:
        """Whether an operand is an activation: a weight, computed or looked up, is divided where it reads."""
        return isinstance(arg, fx.Node) and self.absorber.depends[arg] == "input" and not self.divisions.get(arg)

    def _summed(self, node: fx.Node, mine: int, old: int, *operands: Any) -> float:
        """How many times a sum over an axis counts what it counted before."""
        if mine == old:
            return 1.0
        if self.pads and not any(map(self.empty, operands)):
            self.failures.append(
                f"{module_path(node)}: {operation(node)} sums over an axis padded from {old} to {mine}, "
                "and what is new in it is not zero"
            )
            return 1.0
        if self.pads and not self.copies:
            return 1.0
        if self.in_parts(operands):
            self.failures.append(
                f"{module_path(node)}: {operation(node)} sums over an axis of {old} that was joined of parts, "
                "and the parts grow by different factors"
            )
            return 1.0
        if not self.copies:
            self.failures.append(
                f"{module_path(node)}: a sum is over heads that were shared, {mine} of them, not {old}"
            )
            return 1.0
        if mine % old or None in self.copies.values():
            self.failures.append(
                f"{module_path(node)}: an axis of {old} is contracted with itself, and is copied unequally"
            )
            return 1.0
        return mine / old

    def _share(self, node: fx.Node, factor: float, why: str, *, first: int = 0) -> None:
        """Queries and keys take half of a factor each; where one cannot, the other takes all of it."""
        half = 1 / math.sqrt(factor)
        likes = self.likes(node)
        self.done.update(likes)
        queries, keys = ([other.args[place] for other in likes] for place in (first, first + 1))
        before = dict(self.absorber.corrections)
        changed: list[str] = []
        reasons: list[str] = []
        for parts in (((queries, half), (keys, half)), ((queries, 1 / factor),), ((keys, 1 / factor),)):
            try:
                changed = [
                    name
                    for given, alpha in parts
                    for name in self.absorber.absorb(given, alpha, users=likes)  # type: ignore[arg-type]
                ]
            except AbsorbError as error:
                self.absorber.corrections = dict(before)
                reasons.append(str(error))
                continue
            self.tell(changed, 1 / factor, why)
            return
        self.failed(node, factor, why, reasons[0])

    def _tied(self, node: fx.Node, theirs: fx.Node) -> None:
        """A weight that others look up in is copied without division, and may have been corrected for their sake."""
        name = self.weights(node)
        assert name is not None
        anatomy = self.match.target.tensors.get(name)
        if anatomy is None or name not in self.match.tensors:
            return
        read = [place for place, role in enumerate(anatomy.roles) if "reads" in role and "writes" in role]
        new = [axis for place in read for axis in self.match.target.leaves(anatomy.dims[place]) if axis in self.pads]
        if new and not self.means and not self.written_zero(name):
            self.failures.append(f"{name} is tied, and what is new of {new[0]} is no zero where it reads")
        factor = 1.0
        for place in read:
            for axis in self.match.target.leaves(anatomy.dims[place]):
                if axis in self.copies:
                    times = self.copies[axis]
                    if times is None:
                        self.failures.append(f"{name} is tied, and {axis} is copied unequally")
                    factor *= times or 1
        if len({module_path(use) for use in self.absorber.uses[name]}) > 1:
            correction = self.absorber.corrections.get(name)
            already = 1.0 if correction is None else correction.uniform
            if already is None:
                self.failures.append(f"{name} is used in several places, which ask for different corrections")
                return
            # A block's own weight that was corrected for this very use is right already.
            if not self._before(name, node):
                already = 1.0
            factor *= already
        if math.isclose(factor, 1, rel_tol=1e-9):
            return
        given = node.args[1] if operation(node) == "addmm" else node.args[0]
        assert isinstance(given, fx.Node)
        self.absorb(given, factor, f"{name} is tied: reading it counts {factor:.4g} times", users={node})

    def _before(self, name: str, node: fx.Node) -> bool:
        return any(self.absorber.number[use] < self.absorber.number[node] for use in self.absorber.uses[name])

    def _along(self, node: fx.Node, theirs: fx.Node) -> None:
        mine, old = reduced(node), reduced(theirs)
        if mine == old:
            return
        if operation(node) == "sum":
            factor = self._summed(node, mine, old)
            if factor != 1:
                self.absorb(node, factor, f"{factor:.4g} copies are summed")
            return
        self.reduces(node, mine, old)
