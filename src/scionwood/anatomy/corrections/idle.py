"""Idle blocks: what their branches add to the stream is set to zero, where the stream passes on unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from torch import fx

from scionwood.anatomy.absorb import AbsorbError
from scionwood.anatomy.corrections.side_by_side import SideBySide
from scionwood.anatomy.corrections.sites import PASSES, RECTIFIED, bare, onward, within
from scionwood.anatomy.flow import Residual, flow
from scionwood.anatomy.nodes import operation

__all__ = ["Idle"]


class Idle(SideBySide):
    """Blocks that must do nothing yet."""

    def silence(self, idle: Collection[str]) -> None:
        """Set to zero what the branches of these blocks add to the stream."""
        residuals = flow(self.target).residuals
        for block in idle:
            inside = [r for r in residuals if r.block == block or (r.block or "").startswith(f"{block}.")]
            inside = self._parallel(block, inside)
            if not inside:
                self.failures.append(f"{block}: no sum of a stream and a branch is in it, so that it cannot do nothing")
                continue
            reason = self._changes_stream(block, inside)
            if reason is not None:
                self.failures.append(f"{block}: {reason}")
                continue
            for residual in inside:
                try:
                    changed = self.absorber.absorb(residual.branch, 0.0, users={residual.node})
                except AbsorbError as error:
                    self.failures.append(f"{block}: what it adds to the stream cannot be zeroed: {error}")
                    continue
                self.tell(changed, 0.0, "the block does nothing yet")

    def _parallel(self, block: str, inside: Sequence[Residual]) -> list[Residual]:
        """The sums of a block, and those that add another branch of it to one of them: branches side by side are sums in any order."""
        found = list(inside)
        sums = {residual.node for residual in found}
        for residual in found:  # which grows
            for user in onward(residual.node):
                if user in sums or operation(user) != "add" or not within(user, block):
                    continue
                others = [arg for arg in user.args[:2] if isinstance(arg, fx.Node) and bare(arg) is not residual.node]
                if len(others) == 1 and within(bare(others[0]), block) and bare(others[0]) not in sums:
                    sums.add(user)
                    found.append(dataclasses.replace(residual, node=user, stream=residual.node, branch=others[0]))
        return found

    def _changes_stream(self, block: str, inside: Sequence[Any]) -> str | None:
        """Why a block with idle branches would still change what passes through it; nothing, if it would not."""
        if any(residual.projected for residual in inside):
            return "its stream is projected"
        sums = {residual.node for residual in inside}
        for residual in inside:
            if bare(residual.stream) not in sums and within(bare(residual.stream), block):
                return f"the stream passes {operation(bare(residual.stream))} inside the block"
        first = min(inside, key=lambda residual: self.absorber.number[residual.node])
        # What was rectified before is not changed by being rectified again.
        harmless = {"relu"} if operation(bare(first.stream)) in RECTIFIED else set()
        last = max(sums, key=self.absorber.number.__getitem__)
        waiting, seen = [last], set()
        while waiting:
            node = waiting.pop()
            for user in node.users:
                if user in sums or user in seen:
                    continue
                seen.add(user)
                if not within(user, block):
                    continue
                if operation(user) in PASSES or operation(user) in harmless:
                    waiting.append(user)
                    continue
                return f"the stream passes {operation(user)} inside the block"
        return None
