"""Divided: a weight that reads copies is divided by how many there are, once, wherever its numbers go before they are contracted.

What is computed of a weight (a view, a multiple, a product with a gain) is divided as often as the weight is, or nothing can be
said of it: the square of a half is no half. A contraction must meet one division along each copied axis that it sums over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx

from scionwood.anatomy.absorb.nodes import ADD, BIJECTIVE, CONVOLVE, JOIN, PARTIAL, PICKS, SAME
from scionwood.anatomy.corrections.side_by_side import SideBySide
from scionwood.anatomy.corrections.sites import CONTRACTIONS, LINEAR, reduced, shapes_of, size_of
from scionwood.anatomy.nodes import VIEWS, module_path, operation
from scionwood.anatomy.rules import views

__all__ = ["Divided"]

_SUMS = frozenset({"matmul", "bmm", "mm", "linear", "baddbmm", "addmm"})
_SEVERAL = frozenset({"bilinear", "lstm", "gru", "rnn_tanh", "rnn_relu"})
"""What has several contractions in it, each with its own weight."""
_READS = CONTRACTIONS | LINEAR | CONVOLVE | {"mv", "dot", "vdot"} | _SEVERAL
_MOVES = frozenset(views.RULES) | VIEWS | SAME | BIJECTIVE | PARTIAL | PICKS | {"embedding", "neg", "tril", "triu"}
_KEEPS_ZERO = _MOVES | JOIN | ADD | {"mul", "div", "true_divide", "pow", "square", "abs", "tanh", "relu", "sqrt"}


class Divided(SideBySide):
    """How often each value is divided because of copies that will be summed.

    Attributes:
        divisions: for every value that is divided, the axes along which it is, and how often.
        mixed: what is computed of weights with new indices that may be no zeros any more.
    """

    divisions: dict[fx.Node, Counter[str]]
    mixed: set[fx.Node]

    def divide(self) -> None:
        """Follow every division to where it is summed away."""
        self.divisions, self.mixed = {}, set()
        for node in self.absorber.graph.nodes:
            if node in self.absorber.parameter:
                self.divisions[node] = self._read(self.absorber.parameter[node])
            elif node.op == "call_function" and (operation(node) in _READS or self._held(node)):
                self._pass(node)
            if self.absorber.depends[node] == "parameter" and self._mixed(node):
                self.mixed.add(node)

    def _held(self, node: fx.Node) -> bool:
        return any(self.divisions.get(given) for given in node.all_input_nodes)

    def _read(self, name: str) -> Counter[str]:
        """The copied axes that a parameter is divided along: what reads, and writes nowhere."""
        anatomy = self.match.target.tensors.get(name)
        if anatomy is None:
            return Counter()
        read = [dim for dim, role in zip(anatomy.dims, anatomy.roles, strict=True) if role == "reads"]
        return Counter({axis for dim in read for axis in self.match.target.leaves(dim) if axis in self.copies})

    def _pass(self, node: fx.Node) -> None:
        name = operation(node)
        if name in _READS:
            self._summed_away(node)
            return
        found = self._after(node)
        if found is None:
            self.failures.append(
                f"{module_path(node) or 'the model'}: {name} stands between a weight and what the weight reads: "
                "divided by the number of copies it gives another number"
            )
        elif found:
            self.divisions[node] = found

    def _after(self, node: fx.Node) -> Counter[str] | None:
        """How often an operation's result is divided; nothing, where that cannot be told."""
        name = operation(node)
        first = self._of(node.args[0]) if node.args else Counter()
        if name in JOIN:
            pieces: Any = node.args[0]
            return _alike(list(map(self._of, pieces)))
        if name in _MOVES:
            return first
        if name in ADD:
            return _alike([self._of(arg) for arg in node.args[:2]])
        if name == "mul":
            return self._of(node.args[0]) + self._of(node.args[1])
        if name in ("div", "true_divide"):
            divisor = self._of(node.args[1])
            return None if divisor - first else first - divisor
        if name in ("sum", "mean") and node in self.pairs:
            same = reduced(node) == reduced(self.pairs[node])
            return first if same or name == "mean" else None
        return None

    def _of(self, arg: Any) -> Counter[str]:
        return self.divisions.get(arg, Counter()) if isinstance(arg, fx.Node) else Counter()

    def _summed_away(self, node: fx.Node) -> None:
        """A contraction: each axis is divided once, and where it was copied, a weight that was computed is."""
        total = sum((self._of(arg) for arg in node.all_input_nodes), Counter())
        where = module_path(node) or "the model"
        if operation(node) not in _SEVERAL and any(count > 1 for count in total.values()):
            self.failures.append(
                f"{where}: {operation(node)} sums what is divided twice: both of its operands are weights"
            )
        given = node.args[1:3] if operation(node) in ("addmm", "baddbmm") else node.args[:2]
        for arg in given:
            if not isinstance(arg, fx.Node) or self.absorber.depends[arg] != "parameter":
                continue
            if self.absorber.parameter_of(arg) is None and self._undivided(node, given, total):
                self.failures.append(
                    f"{where}: {operation(node)} sums over copies with a weight that is not divided by them"
                )
            if arg in self.mixed:
                self.failures.append(
                    f"{where}: {operation(node)} reads with a weight in which new indices are no zeros"
                )

    def _undivided(self, node: fx.Node, given: Sequence[Any], total: Mapping[str, int]) -> bool:
        if total or node not in self.pairs or operation(node) not in _SUMS or not self.copies:
            return False
        place = list(node.args).index(given[0])
        return size_of(given[0], -1) != size_of(self.pairs[node].args[place], -1)

    def _mixed(self, node: fx.Node) -> bool:
        """Whether what padding adds to a weight is mixed with the rest, or no longer the zeros that it was."""
        if not self.pads or node.op != "call_function":
            return False
        if any(given in self.mixed for given in node.all_input_nodes):
            return True
        theirs = self.pairs.get(node)
        grown = theirs is None or shapes_of(node) != shapes_of(theirs)
        return grown and operation(node) not in _KEEPS_ZERO


def _alike(given: Sequence[Counter[str]]) -> Counter[str] | None:
    """What all terms of a sum are divided by; nothing, where they differ."""
    return given[0] if all(each == given[0] for each in given) else None
