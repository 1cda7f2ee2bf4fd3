"""Routing: what a router makes of experts that are there several times, from its scores to the sum over the chosen.

    softmax over c copies        every share is 1/c of what it was; a sigmoid's stays
    the best c K of c E          all copies of the K that were chosen before
    their sum                    c times what a share is
    a share over that sum        1/c
    the sum of share * expert    c * 1/c: what it was

So c copies of each expert leave the function as it is where the router takes c times as many (or takes one, and divides by its
share). Where it takes as many as before, copies of the best experts fill the others' places, and the function changes.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, fx

from scionwood.anatomy.absorb.nodes import BIJECTIVE, PICKS, SAME
from scionwood.anatomy.corrections.side_by_side import SideBySide
from scionwood.anatomy.corrections.sites import reduced
from scionwood.anatomy.nodes import module_path, operation

__all__ = ["Routing"]

_SOFTMAX = frozenset({"softmax", "_softmax"})
_ORDER = frozenset({"sort", "cumsum"})
_KEEPS = SAME | BIJECTIVE | PICKS | {"getitem"}


class Routing(SideBySide):
    """Shares of experts: by how much each differs from the source's."""

    def route(self, node: fx.Node, theirs: fx.Node) -> bool:
        """Follow the shares of experts through an operation; whether nothing else is to be looked at there."""
        name = operation(node)
        if name in _SOFTMAX and (node.args[0] in self.shares or reduced(node) != reduced(theirs)):
            return self._softmax(node, theirs)
        if name == "topk" and (node.args[0] in self.shares or _taken(node) != _taken(theirs)):
            return self._chosen(node, theirs)
        if name in _ORDER and self.shares and not (_floats(node) and _floats(node.args[0])):
            return True  # the chosen experts' numbers, and how often each was chosen: in any order
        held = {given: self.shares[given] for given in node.all_input_nodes if given in self.shares}
        if not held or not _floats(node):
            return False
        share = self._carried(node, theirs, held)
        if share is None:
            told = f"{next(iter(held.values())):.4g} of what they were, "
            self.failures.append(f"{module_path(node)}: the shares of copied experts, {told}go through {name}")
        elif name != "sum" or not math.isclose(share, 1):
            self.shares[node] = share
        return name == "sum"

    def seen(self) -> None:
        """Nobody may look at shares whom the source does not know, nor the outputs."""
        for node in self.shares:
            for user in node.users:
                if user not in self.pairs and operation(user) != "_assert_tensor_metadata":
                    self.failures.append(f"{module_path(node)}: the shares of copied experts are seen by {user.name}")

    def _softmax(self, node: fx.Node, theirs: fx.Node) -> bool:
        """Over all experts, or over those that were chosen: every number is there as often as its copies."""
        mine, old = reduced(node), reduced(theirs)
        share = self.shares.get(node.args[0])  # type: ignore[arg-type]
        reason = self._uncopied(mine, old) if share is None else None
        if share is not None and not math.isclose(share, 1):
            reason = f"a softmax is taken of shares that are {share:.4g} of what they were"
        if reason is not None:
            self.failures.append(f"{module_path(node)}: {reason}")
        self.shares[node] = old / mine
        return True

    def _chosen(self, node: fx.Node, theirs: fx.Node) -> bool:
        """The best of all experts, each with its copies."""
        (takes, mine), (took, old) = _taken(node), _taken(theirs)
        share = self.shares.get(node.args[0], 1.0)  # type: ignore[arg-type]
        if mine == old:
            reason = f"the router takes {takes} of {mine} experts, where it took {took}"
        else:
            reason = self._uncopied(mine, old)
        if reason is None and takes * old != took * mine and not takes == took == 1:
            reason = (
                f"the router takes {takes} of {mine} experts, copies among them, where it took {took} of {old}: "
                f"it must take {took * mine // old} (num_experts_per_tok)"
            )
        if reason is not None:
            self.failures.append(f"{module_path(node)}: {reason}")
            share = took / takes  # said once
        self.shares[node] = share
        return True

    def _uncopied(self, mine: int, old: int) -> str | None:
        """Why an axis does not hold every expert equally often; nothing, if it does."""
        grown = [name for name in {*self.copies, *self.pads} if name in self.match.target.axes]
        axes = [name for name in grown if self.match.target.axes[name].size == mine]
        if not axes or any("experts" not in self.match.target.axes[name].tags for name in axes):
            return f"scores are taken along an axis that goes from {old} to {mine}"
        if any(name in self.pads for name in axes):
            return f"experts go from {old} to {mine}, and nothing keeps the router from choosing new ones"
        if any(self.copies[name] is None or mine % old for name in axes):
            return f"experts are copied unequally, from {old} to {mine}: each must be there as often as the others"
        return None

    def _carried(self, node: fx.Node, theirs: fx.Node, held: dict[fx.Node, float]) -> float | None:
        """The share of what an operation gives; nothing, where it cannot be told."""
        name = operation(node)
        first: Any = node.args[0]
        if name in _KEEPS:
            return held.get(first)
        if name == "sum":
            return held[first] * reduced(node) / reduced(theirs)
        if name == "mul":
            return (
                math.prod(held.values())
                if len(held) == 1 and list(node.args[:2]).count(next(iter(held))) == 1
                else None
            )
        if name in ("div", "true_divide"):
            return held.get(first, 1.0) / held.get(node.args[1], 1.0)  # type: ignore[arg-type]
        return None


def _taken(node: fx.Node) -> tuple[int, int]:
    """How many a choice takes, and of how many."""
    return int(node.args[1]), reduced(node)  # type: ignore[arg-type]


def _floats(node: Any) -> bool:
    """Whether a node gives numbers, and not places or counts."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    values = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(each, Tensor) and each.is_floating_point() for each in values)
