"""The anatomy as a table for people: one row a tensor, repeated blocks folded into one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from scionwood.anatomy.anatomy import Anatomy, Dimension
from scionwood.anatomy.depth import indices_in, template

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["table"]


def table(anatomy: Anatomy) -> RenderableType:
    """Return a table of every tensor with its axes, then one of every axis with its kind.

    Blocks that differ in nothing but their index share a row: ``layers.{0-31}``. In the second
    table an axis of such a block is written with ``*`` for the index.
    """
    from rich.console import Group
    from rich.table import Table

    tensors = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("tensor", "shape", "axes of each dimension, outermost first", "roles"):
        tensors.add_column(heading, overflow="fold")
    folded: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, tensor in anatomy.tensors.items():
        row = (
            template(name, anatomy.depth),
            " x ".join(map(str, tensor.shape)) or "scalar",
            " | ".join(_dimension(anatomy, dim) for dim in tensor.dims),
            ", ".join(tensor.roles),
        )
        folded[row].append(name)
    for (_, shape, dims, roles), names in folded.items():
        tensors.add_row(_together(anatomy, names), shape, dims, roles)
    axes = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("axis", "size", "kind", ""):
        axes.add_column(heading, overflow="fold", justify="right" if heading == "size" else "left")
    for name, size, kind, note in _axes(anatomy):
        axes.add_row(name, str(size), kind, note)
    return Group(tensors, "", axes, "", _verdict(anatomy))


def _dimension(anatomy: Anatomy, dim: Dimension) -> str:
    return " · ".join(_axis(anatomy, axis) for axis in dim) or "1"


def _axis(anatomy: Anatomy, name: str) -> str:
    axis = anatomy.axes[name]
    if axis.parts is None:
        # The path is the tensor's own, or it is in the list of axes below.
        return f"{name.rpartition('.')[2]} {axis.size}"
    return "(" + " + ".join(_dimension(anatomy, part) for part in axis.parts) + ")"


def _short(anatomy: Anatomy, name: str) -> str:
    """An axis of a block, whatever the block's index."""
    trunks = {path: path for path in anatomy.depth}
    for path in anatomy.depth:
        # Names of axes leave out the trunk (``model.layers`` is called ``layers``).
        for start in range(path.count(".") + 1):
            trunks[".".join(path.split(".")[start:])] = path
    return template(name, dict.fromkeys(trunks, 0))


def _together(anatomy: Anatomy, names: list[str]) -> str:
    """One name for tensors that differ in their block indices alone."""
    if len(names) == 1:
        return names[0]
    columns = [[index for _, index in indices_in(name, anatomy.depth)] for name in names]
    pattern = template(names[0], anatomy.depth)
    for numbers in zip(*columns, strict=True):
        pattern = pattern.replace("*", _ranges(numbers), 1)
    return pattern


def _ranges(numbers: Iterable[int]) -> str:
    ordered = sorted(set(numbers))
    if len(ordered) == 1:
        return str(ordered[0])
    runs: list[list[int]] = []
    for number in ordered:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "{" + ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) + "}"


def _axes(anatomy: Anatomy) -> list[tuple[str, int, str, str]]:
    counted: dict[tuple[str, int, str], int] = defaultdict(int)
    occurring = {leaf for tensor in anatomy.tensors.values() for dim in tensor.dims for leaf in anatomy.leaves(dim)}
    for name, axis in anatomy.axes.items():
        if name in occurring:
            counted[_short(anatomy, name), axis.size, axis.kind] += 1
    return [
        (name, size, kind, f"in {count} blocks" if count > 1 else "") for (name, size, kind), count in counted.items()
    ]


def _verdict(anatomy: Anatomy) -> str:
    lines = [
        f"{anatomy.num_parameters:,} numbers in {len(anatomy.tensors)} tensors; {anatomy.coarse_share:.2%} on coarse axes"
    ]
    if anatomy.ties:
        lines.append("tied: " + ", ".join(f"{alias} = {kept}" for alias, kept in anatomy.ties.items()))
    if anatomy.unused:
        lines.append("not used by the graph: " + ", ".join(sorted(anatomy.unused)))
    if anatomy.unknown_ops:
        lines.append(
            "operations without a rule: " + ", ".join(f"{op} ({count}x)" for op, count in anatomy.unknown_ops.items())
        )
    return "\n".join(lines)
