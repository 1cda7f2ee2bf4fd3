"""Units of choice: what a selection is asked about, one at a time.

A *run* is what lies side by side in a dimension between two part axes or the bounds of a concatenation: the axes that a rule on whole
dimensions sees as one. Where all the runs that share an axis are alike, the rule acts on the run (a student head may then be built from
two halves of teacher heads). Where they are not (grouped queries, a bias for each head, rotary halves among them), it goes axis by axis,
and the ledger says so.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from scionwood.anatomy import Anatomy
from scionwood.anatomy.anatomy import Dimension
from scionwood.anatomy.match import Match

__all__ = ["CHOSEN", "Run", "Units", "becoming", "noun", "run_of", "runs_of", "units_of"]

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
    def name(self) -> str:
        """The axes of the target, or those of the source where one index is left."""
        return " x ".join(mine or theirs for mine, theirs in zip(self.target, self.source, strict=True))


@dataclasses.dataclass(frozen=True)
class Units:
    """The runs of several axes in a match, and which of them a rule on whole dimensions may treat as one.

    Attributes:
        whole: the runs that may be, with the name of the choice: those that share an axis share it.
        reasons: the runs that must be chosen axis by axis, and why.
    """

    whole: dict[Run, str]
    reasons: dict[Run, str]


def runs_of(match: Match, tensor: str, place: int) -> list[Run] | None:
    """The runs that one dimension of a target tensor is a concatenation of, in the source's order.

    Part axes repeat what is inside them: a fused projection gives the run of each of its parts. Nothing, where a concatenation lies
    inside another axis (heads x (a + b)): such a dimension is chosen axis by axis.
    """
    old = match.source.tensors[match.tensors[tensor]].dims[place]
    becomes = becoming(match, tensor, place)
    pieces = list(_pieces(match.source, old))
    if any(match.source.axes[axis].parts is not None for piece in pieces for axis in piece):
        return None
    return [run_of(match, piece, becomes) for piece in pieces]


def becoming(match: Match, tensor: str, place: int) -> dict[str, str]:
    """For the axes of the source in one dimension of a target tensor: the axes of the target that they become there."""
    leaves = match.target.leaves(match.target.tensors[tensor].dims[place])
    return {match.axes[axis]: axis for axis in leaves if axis in match.axes}


def run_of(match: Match, axes: Dimension, becomes: Mapping[str, str]) -> Run:
    """The run of these axes of the source. A part keeps its size; another axis that becomes nothing has one index left."""
    old = [match.source.axes[axis] for axis in axes]
    target = tuple(becomes.get(axis) for axis in axes)
    new = tuple(
        match.target.axes[mine].size if mine else theirs.size if theirs.kind == "part" else 1
        for mine, theirs in zip(target, old, strict=True)
    )
    return Run(axes, target, tuple(axis.size for axis in old), new, tuple(axis.kind for axis in old))


def _pieces(anatomy: Anatomy, dim: Dimension) -> Iterator[Dimension]:
    """What a dimension is a concatenation of: parts by name, or repeated by an axis of parts."""
    head, rest = (anatomy.axes[dim[0]], dim[1:]) if dim else (None, dim)
    if head is not None and head.parts is not None:
        for part in head.parts:
            yield from _pieces(anatomy, (*part, *rest))
    elif head is not None and head.kind == "part":
        for _ in range(head.size):
            yield from _pieces(anatomy, rest)
    else:
        yield dim


def units_of(match: Match) -> Units:
    """Sort the runs of a match into units of choice."""
    runs: dict[Run, None] = {}
    inner: set[str] = set()
    for tensor in match.tensors:
        for place in range(len(match.target.tensors[tensor].dims)):
            found = runs_of(match, tensor, place)
            if found is None:
                inner.update(becoming(match, tensor, place))
                continue
            runs.update((run, None) for run in found if run.source)
    sharing: dict[tuple[str, str | None], list[Run]] = defaultdict(list)
    for run in runs:
        for pair in zip(run.source, run.target, strict=True):
            sharing[pair].append(run)
    whole: dict[Run, str] = {}
    reasons: dict[Run, str] = {}
    for run in runs:
        if run in whole or run in reasons or len(run.source) == 1:
            continue
        group = _connected(run, sharing)
        clash = _clash(group, inner)
        for member in group:
            if clash is None:
                whole[member] = run.name
            elif len(member.source) > 1:
                reasons[member] = _reason(member, *clash)
    return Units(whole, reasons)


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


def _clash(group: Sequence[Run], inner: Collection[str]) -> tuple[str, str] | None:
    """An axis that keeps runs that share axes from being treated as one each, and what it does; nothing, if they can be."""
    first = group[0]
    for run in group:
        pinned = [(axis, kind) for axis, kind in zip(run.source, run.kinds, strict=True) if kind not in CHOSEN]
        for axis, kind in sorted(pinned, key=lambda pair: pair[1] == "part"):
            return axis, f"is {kind}"
        for axis in run.source:
            if axis in inner:
                return axis, "occurs around parts"
        shared = [axis for axis in run.source if axis in first.source]
        if (run.old, run.new) != (first.old, first.new):
            return (shared or first.source)[0], "also occurs beside other axes"
        for axis in shared:
            if run.source.index(axis) != first.source.index(axis):
                return axis, "also occurs in another order"
    return None


def _reason(run: Run, axis: str, does: str) -> str:
    if axis in run.source:
        return f"axis by axis: {noun(axis)} {does}"
    # It is another dimension's axis; the last of this one's is its own, those before it are shared.
    return (
        f"axis by axis: it shares {' and '.join(map(noun, run.source[:-1]))} with a dimension whose {noun(axis)} {does}"
    )


def noun(axis: str) -> str:
    """What an axis is, without where it belongs.

    >>> noun("layers.3.self_attn.kv_heads"), noun("mlp.experts_2")
    ('kv_heads', 'experts')
    """
    return re.sub(r"_\d+$", "", axis.rpartition(".")[2])
