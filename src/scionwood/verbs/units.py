"""Units of choice: what a selection is asked about, one at a time.

A *run* is what lies side by side in a dimension between two part axes or the bounds of a concatenation: the axes that a rule on whole
dimensions sees as one. Where all the runs that share an axis are alike, the rule acts on the run (a student head may then be built from
two halves of teacher heads). Where they are not (grouped queries, a bias for each head, rotary halves among them), it goes axis by axis,
and the ledger says so.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator

from scionwood.anatomy import Anatomy
from scionwood.anatomy.anatomy import Dimension
from scionwood.anatomy.match import Match

__all__ = ["Run", "Units", "runs_of", "units_of"]

CHOSEN = frozenset({"free", "output"})
"""The kinds of axes whose indices a method may choose."""


@dataclasses.dataclass(frozen=True)
class Run:
    """Axes of the source that lie side by side in a dimension, outermost first, with what they become.

    Attributes:
        source: the axes of the source.
        target: the axis of the target that each becomes, or nothing where one index is left.
        old: their sizes in the source.
        new: their sizes in the target.
        kinds: their kinds in the source.
    """

    source: tuple[str, ...]
    target: tuple[str | None, ...]
    old: tuple[int, ...]
    new: tuple[int, ...]
    kinds: tuple[str, ...]

    def axes(self) -> Iterator[Run]:
        """Every axis as a run of its own."""
        for place in range(len(self.source)):
            cut = slice(place, place + 1)
            yield Run(self.source[cut], self.target[cut], self.old[cut], self.new[cut], self.kinds[cut])

    @property
    def changes(self) -> bool:
        """Whether any axis changes its size."""
        return self.old != self.new


@dataclasses.dataclass(frozen=True)
class Units:
    """The runs of a match, and which of them a rule on whole dimensions may treat as one.

    Attributes:
        key: for every run and every axis of one, the name of the unit it is chosen with: alike runs that share an axis share a choice.
        reasons: for the runs of several axes that must be chosen axis by axis, why.
    """

    key: dict[Run, str]
    reasons: dict[Run, str]

    def whole(self, run: Run) -> bool:
        """Whether a rule on whole dimensions may treat the run as one."""
        return run not in self.reasons


def runs_of(match: Match, tensor: str, place: int) -> list[tuple[Run, int]] | None:
    """The runs of one dimension of a target tensor in order, each with its offset in the source's dimension.

    Part axes repeat what is inside them: a fused projection gives the run of each of its parts. Nothing, where a concatenation lies
    inside another axis (heads x (a + b)): such a dimension is chosen axis by axis.
    """
    theirs = list(_pieces(match.source, match.source.tensors[match.tensors[tensor]].dims[place]))
    mine = list(_pieces(match.target, match.target.tensors[tensor].dims[place]))
    if any(match.source.axes[axis].parts is not None for piece, _ in theirs for axis in piece):
        return None
    return [(run_of(match, a, b), offset) for (a, _), (b, offset) in zip(mine, theirs, strict=True)]


def run_of(match: Match, new: Dimension, old: Dimension) -> Run:
    """The run of these axes."""
    becomes = {match.axes[axis]: axis for axis in new}
    target = tuple(becomes.get(axis) for axis in old)
    return Run(
        old,
        target,
        tuple(match.source.axes[axis].size for axis in old),
        tuple(match.target.axes[axis].size if axis else 1 for axis in target),
        tuple(match.source.axes[axis].kind for axis in old),
    )


def _pieces(anatomy: Anatomy, dim: Dimension, offset: int = 0) -> Iterator[tuple[Dimension, int]]:
    if not dim:
        yield dim, offset
        return
    head, rest = anatomy.axes[dim[0]], dim[1:]
    inner = math.prod(anatomy.axes[axis].size for axis in rest)
    if head.parts is not None:
        for part in head.parts:
            yield from _pieces(anatomy, (*part, *rest), offset)
            offset += math.prod(anatomy.axes[axis].size for axis in part) * inner
    elif head.kind == "part":
        for number in range(head.size):
            yield from _pieces(anatomy, rest, offset + number * inner)
    else:
        yield dim, offset


def units_of(match: Match) -> Units:
    """Sort the runs of a match into units of choice."""
    runs: dict[Run, None] = {}
    inner: set[str] = set()
    for tensor in match.tensors:
        for place, dim in enumerate(match.target.tensors[tensor].dims):
            found = runs_of(match, tensor, place)
            if found is None:
                inner.update(match.axes[axis] for axis in match.target.leaves(dim) if axis in match.axes)
                continue
            runs.update((run, None) for run, _ in found if run.source)
    sharing: dict[tuple[str, str | None], list[Run]] = defaultdict(list)
    for run in runs:
        for pair in zip(run.source, run.target, strict=True):
            sharing[pair].append(run)
    key: dict[Run, str] = {}
    reasons: dict[Run, str] = {}
    for run in runs:
        if run in key:
            continue
        group = _connected(run, sharing)
        name = " x ".join(mine or theirs for mine, theirs in zip(run.target, run.source, strict=True))
        reason = _reason(group, inner)
        for member in group:
            key[member] = name
            if reason and len(member.source) > 1:
                reasons[member] = reason
    for run in list(runs):
        for single in run.axes():
            key.setdefault(single, single.target[0] or single.source[0])
    return Units(key, reasons)


def _connected(start: Run, sharing: dict[tuple[str, str | None], list[Run]]) -> list[Run]:
    found, waiting = {start: None}, [start]
    while waiting:
        run = waiting.pop()
        for pair in zip(run.source, run.target, strict=True):
            for other in sharing[pair]:
                if other not in found:
                    found[other] = None
                    waiting.append(other)
    return list(found)


def _reason(group: list[Run], inner: set[str]) -> str | None:
    """Why runs that share axes cannot each be treated as one; nothing, if they can."""
    for run in group:
        for axis, kind in zip(run.source, run.kinds, strict=True):
            if kind not in CHOSEN:
                return f"{axis} is {kind}"
            if axis in inner:
                return f"{axis} also lies around a concatenation"
    first = group[0]
    for run in group[1:]:
        if (run.old, run.new) != (first.old, first.new):
            shared = next((a for r in group for a in r.source if a in first.source and r is not first), first.source[0])
            return f"{shared} also occurs beside other axes"
        for axis in set(run.source) & set(first.source):
            if run.source.index(axis) != first.source.index(axis):
                return f"{axis} occurs in another order"
    return None
