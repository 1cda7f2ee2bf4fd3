"""The plan: which tensor is made of which, what that reads, writes and holds; from headers alone.

A plan is an immutable graph. A node is named by the hash of what makes it, with its options, and of the names of its
inputs, so that what is the same twice is one node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from scionwood.checkpoint import Checkpoint, format_bytes
from scionwood.checkpoint.collecting import collector_paused
from scionwood.checkpoint.workers import default_workers
from scionwood.engine.walk import Node, StepPlan, Walk
from scionwood.errors import RecipeError

__all__ = ["Plan"]

# What a thread holds of a tensor that it writes: a tile of the result.
WRITTEN_TILE = 2 << 20


@dataclass(frozen=True)
class Plan:
    """What making a checkpoint takes.

    Args:
        steps: what each step of the recipe costs, in the order in which they follow each other.
        bytes_read: what is read from files, in all passes.
        bytes_written: the size of what is written.
        working_bytes: for every tensor of the output, what a thread holds to make it; the largest first.
        tile_bytes: what a thread holds of any tensor, whatever its size.
        digest: a hash of the recipe, of every file that is read, and of what is written.

    >>> import torch
    >>> from scionwood.checkpoint import open
    >>> plan = Plan.of(open({"weight": torch.zeros(2, 3)}))
    >>> plan.bytes_written, plan.steps[0].operations
    (24, {'copied': 1})
    """

    steps: tuple[StepPlan, ...]
    bytes_read: int
    bytes_written: int
    working_bytes: tuple[int, ...]
    tile_bytes: int
    digest: str
    _walk: Walk = field(repr=False, compare=False)

    @staticmethod
    def of(checkpoint: Checkpoint, steps: Mapping[str, Checkpoint] | None = None) -> Plan:
        """Return the plan of a checkpoint; nothing but headers is read.

        Args:
            checkpoint: what is to be written.
            steps: the checkpoints of the steps that it is made by, by name; its own as the last.
        """
        with collector_paused():
            walk = Walk(checkpoint, steps or {"output": checkpoint})
            outputs = checkpoint.tensors.values()
            return Plan(
                steps=tuple(walk.steps()),
                bytes_read=walk.bytes_read(),
                bytes_written=sum(tensor.nbytes for tensor in outputs),
                working_bytes=tuple(sorted((tensor.working_bytes for tensor in outputs), reverse=True)),
                tile_bytes=WRITTEN_TILE + walk.tile_bytes(),
                digest=walk.digest(),
                _walk=walk,
            )

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """Name → node, inputs before what is made of them."""
        return self._walk.nodes()

    def check(self, expected: str) -> None:
        """See that this is the plan with that digest.

        Raises:
            RecipeError: it is another one.
        """
        if expected != self.digest:
            raise RecipeError(
                f"The plan is no longer the expected one: its digest is {self.digest}, not {expected}.",
                hint="The recipe, an option, or a file that is read has changed; `scionwood plan` shows the plan as it is now.",
            )

    def peak_bytes(self, workers: int | None = None) -> int:
        """Return what so many threads hold at once at most, files apart: these are mapped, and the system's own."""
        count = default_workers() if workers is None else workers
        return sum(self.working_bytes[:count]) + min(count, len(self.working_bytes)) * self.tile_bytes

    def lines(self, workers: int | None = None) -> list[str]:
        """Return the plan for people: a row for each step, what is held whole, and the totals."""
        rows = [("step", "what", "tensors", "passes", "reads", "makes")]
        rows += [
            (
                step.name,
                ", ".join(_counted(step.operations)) or "nothing",
                f"{step.tensors:,}",
                "-".join(dict.fromkeys(str(passes) for passes in step.passes)),
                format_bytes(step.bytes_read),
                format_bytes(step.bytes_made) + ("" if step.written else " in passing"),
            )
            for step in self.steps
        ]
        lines = list(_aligned(rows))
        if any(step.whole for step in self.steps):
            lines += ["", "held whole in memory"]
        for step in self.steps:
            lines += [
                f"  {step.name}: {whole.tensors:,} tensor{'s' * (whole.tensors != 1)}: {whole.reason}; "
                f"{whole.largest} takes most, {format_bytes(whole.working_bytes)}"
                for whole in step.whole
            ]
        count = default_workers() if workers is None else workers
        lines += [
            "",
            f"reads    {format_bytes(self.bytes_read)}",
            f"writes   {format_bytes(self.bytes_written)}",
            f"memory   {format_bytes(self.peak_bytes(count))} for tensors at most, with {count} worker{'s' * (count != 1)}",
            f"digest   {self.digest}",
        ]
        return lines

    def to_json(self, workers: int | None = None) -> dict[str, Any]:
        """Return the plan as plain data, without its nodes."""
        return {
            "digest": self.digest,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "peak_bytes": self.peak_bytes(workers),
            "steps": [
                {
                    **{key: value for key, value in vars(step).items() if key != "whole"},
                    "whole": [whole._asdict() for whole in step.whole],
                }
                for step in self.steps
            ],
        }


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if column in (2, 3) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _counted(operations: Mapping[str, int]) -> Iterator[str]:
    """Name the operations, with their numbers where there are several."""
    for operation, count in operations.items():
        yield operation if len(operations) == 1 else f"{count:,} {operation}"
