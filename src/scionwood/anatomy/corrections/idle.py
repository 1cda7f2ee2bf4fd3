"""Idle blocks: what their branches add to the stream is set to zero, where the stream passes on unchanged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from scionwood.anatomy.absorb import AbsorbError
from scionwood.anatomy.corrections.side_by_side import SideBySide
from scionwood.anatomy.corrections.sites import PASSES, RECTIFIED, bare, within
from scionwood.anatomy.flow import flow
from scionwood.anatomy.nodes import operation

__all__ = ["Idle"]


class Idle(SideBySide):
    """Blocks that must do nothing yet."""

    def silence(self, idle: Collection[str]) -> None:
        """Set to zero what the branches of these blocks add to the stream."""
        residuals = flow(self.target).residuals
        for block in idle:
            inside = [r for r in residuals if r.block == block or (r.block or "").startswith(f"{block}.")]
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
