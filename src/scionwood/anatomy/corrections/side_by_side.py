"""Two graphs side by side, and what is done and said about the factors found there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import fx

from scionwood.anatomy.absorb import Absorber, AbsorbError
from scionwood.anatomy.build import Model
from scionwood.anatomy.corrections.alike import differences
from scionwood.anatomy.corrections.sites import CONTRACTIONS, CONVOLUTIONS, SCALES, bare, by_place, site_of
from scionwood.anatomy.depth import through
from scionwood.anatomy.match import Match
from scionwood.anatomy.nodes import module_path, operation

__all__ = ["SideBySide"]


class SideBySide:
    """The operations of a target's graph, each with the source's that it answers to.

    Args:
        source: the smaller model.
        target: the larger one, of which parameters are corrected.
        match: their axes side by side.
        copies: for every axis of the target that is copied, how often each index; nothing, where unequally often.
        pads: the axes of the target that have new indices.
        means: those of them whose new indices hold the mean of the others.
        rescales: norms along padded axes are made up for.
    """

    def __init__(
        self,
        source: Model,
        target: Model,
        match: Match,
        copies: Mapping[str, int | None],
        pads: Collection[str],
        means: Collection[str],
        *,
        rescales: bool,
    ) -> None:
        self.target = target
        self.match = match
        self.copies = copies
        self.pads = pads
        self.means = means
        self.rescales = rescales
        self.absorber = Absorber(target, match.target.ties)
        self.other = Absorber(source, match.source.ties)
        self.told: dict[str, list[str]] = {}
        self.failures: list[str] = differences(self.absorber, self.other, match)
        self.pairs = self._paired()
        self.done: set[fx.Node] = set()
        self.eps: float | None = None
        self.shares: dict[fx.Node, float] = {}

    def _paired(self) -> dict[fx.Node, fx.Node]:
        theirs = by_place(self.other.graph)
        pairs: dict[fx.Node, fx.Node] = {}
        for (path, name), nodes in by_place(self.absorber.graph).items():
            others = theirs.get((through(f"{path}.", self.match.depth).removesuffix("."), name), [])
            if len(others) == len(nodes):
                pairs.update(zip(nodes, others, strict=True))
        order = self.absorber.number
        return dict(sorted(pairs.items(), key=lambda pair: order[pair[0]]))

    def weights(self, node: fx.Node) -> str | None:
        """The parameter that a contraction reads with, if it does."""
        if operation(node) not in CONTRACTIONS | {"linear", "addmm"}:
            return None
        args = node.args[1:3] if operation(node) in ("addmm", "baddbmm") else node.args[:2]
        for arg in args:
            found = self.absorber.parameter_of(arg)
            if found is not None:
                return found[0]
        return None

    def convolved(self, node: fx.Node) -> str | None:
        found = self.absorber.parameter_of(node.args[1]) if operation(node) in CONVOLUTIONS else None
        return found[0] if found is not None else None

    def absorb(self, node: fx.Node, factor: float, why: str, *, users: Collection[fx.Node] | None = None) -> None:
        # A recurrence has one for each step, and a module that is used again one for each use: all or none.
        likes = self.likes(node) if users is None else [node]
        self.done.update(likes)
        try:
            changed = self.absorber.absorb(likes, 1 / factor, users=users)
        except AbsorbError as error:
            self.failed(node, factor, why, str(error))
            return
        self.tell(changed, 1 / factor, why)

    def likes(self, node: fx.Node) -> list[fx.Node]:
        """All that one line of one module computes, at every step and at every use, and all that scales lookups of one table alike."""
        site, table = site_of(node), self._looked_up(node)
        return [
            other
            for other in self.pairs
            if other is node
            or (site[0] and site_of(other) == site)
            or (table is not None and self._looked_up(other) == table)
        ]

    def _looked_up(self, node: fx.Node) -> tuple[Any, ...] | None:
        """The table of which lookups are scaled, and by what in both models; nothing, if it is something else."""
        if operation(node) not in SCALES or operation(bare(node.args[0])) != "embedding":  # type: ignore[arg-type]
            return None
        values = self.absorber.value(node.args[1]), self.other.value(self.pairs[node].args[1])
        table = self.absorber.parameter_of(bare(node.args[0]).args[0])  # type: ignore[arg-type]
        return None if None in values or table is None else (operation(node), table[0], *values)

    def tell(self, changed: Sequence[str], factor: float, why: str) -> None:
        for name in changed:
            said = self.told.setdefault(name, [])
            text = f"times {factor:.4g}: {why}"
            if text not in said:
                said.append(text)

    def failed(self, node: fx.Node, factor: float, why: str, reason: str) -> None:
        self.failures.append(f"{module_path(node) or 'the model'}: {why}, and the factor {factor:.4g} stays: {reason}")
