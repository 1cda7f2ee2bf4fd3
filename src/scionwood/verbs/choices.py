"""Choices: the index, and the reading gain, of every dimension of every target tensor, as a method makes them unit by unit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from scionwood.anatomy import AxisMap, flat_index
from scionwood.anatomy.match import Match
from scionwood.errors import MatchError, MethodError
from scionwood.methods.record import Record
from scionwood.methods.select.choice import Choice, choose
from scionwood.verbs.fresh import generator_for
from scionwood.verbs.units import CHOSEN, Run, Units, run_of, runs_of, units_of

__all__ = ["Choices"]


@dataclasses.dataclass
class Choices:
    """What a method chose, remembered by unit.

    Args:
        match: the two anatomies side by side.
        method: a method of the family select.
        options: its options, resolved.
        seed: of everything random.
        scores: importance per index, by axis of the source; asked for once, when the method needs it.
        rescale: multiply what reads a cut axis by sqrt(old / new), for every method.
    """

    match: Match
    method: Callable[..., Any]
    options: Mapping[str, Any]
    seed: int
    scores: Callable[[], Mapping[str, Tensor]]
    rescale: bool = False

    def __post_init__(self) -> None:
        self.record = Record.of(self.method)
        self.units: Units = units_of(self.match)
        self.notes: dict[str, str] = {}
        self._made: dict[tuple[str, tuple[int, ...], tuple[int, ...]], Choice] = {}
        self._scores: Mapping[str, Tensor] | None = None

    def of(self, tensor: str, place: int) -> AxisMap:
        """The map of one dimension of a target tensor, from the source's dimension to the target's.

        Raises:
            MethodError: the method cannot serve these sizes; it names the tensor and the axes.
            MatchError: an axis that is not free changes its size in a way that would not keep its meaning.
        """
        source = self.match.source.tensors[self.match.tensors[tensor]]
        found = runs_of(self.match, tensor, place)
        once = "" if self.record.consistent else f"{tensor}:{place}"
        try:
            if found is None:
                return self._inside(tensor, place, once)
            maps = [self._run(run, f"{once}:{number}" if once else "") for number, (run, _) in enumerate(found)]
        except MethodError as error:
            raise MethodError(
                f"{tensor}, dimension {place}: {error.message}", problems=error.problems, hint=error.hint
            ) from None
        indices, divisors = [], []
        for axis_map, (_, offset) in zip(maps, found, strict=True):
            assert axis_map.index is not None
            indices.append(axis_map.index + offset)
            divisors.append(
                axis_map.divisor if axis_map.divisor is not None else torch.ones(axis_map.target, dtype=torch.float64)
            )
        scaled = any(axis_map.divisor is not None for axis_map in maps)
        return AxisMap(
            source.shape[place],
            sum(m.target for m in maps),
            torch.cat(indices),
            torch.cat(divisors) if scaled else None,
        )

    def _inside(self, tensor: str, place: int, once: str) -> AxisMap:
        """A concatenation inside other axes: axis by axis, then put together as the source lays it out."""
        mine = self.match.target.tensors[tensor].dims[place]
        theirs = self.match.source.tensors[self.match.tensors[tensor]].dims[place]
        becomes = {self.match.axes[axis]: axis for axis in self.match.target.leaves(mine) if axis in self.match.axes}

        def index(axis: str) -> Tensor:
            if self.match.source.axes[axis].kind == "part":
                return torch.arange(self.match.source.axes[axis].size)
            run = run_of(self.match, (becomes[axis],) if axis in becomes else (), (axis,))
            chosen = self._axis(run, once).index
            assert chosen is not None
            return chosen

        flat = flat_index(self.match.source, theirs, index)
        size = math.prod(self.match.source.axes[axis].size for axis in theirs)
        return AxisMap.select(flat, size)

    def _run(self, run: Run, once: str) -> AxisMap:
        if not run.source:
            return AxisMap.identity(1)
        if self.record.unit == "dimension" and self.units.whole(run) and len(run.source) > 1:
            if not run.changes:
                return AxisMap.identity(math.prod(run.old))
            if set(run.kinds) <= CHOSEN:
                return self._chosen(run, once)
        if len(run.source) > 1 and run.changes and self.record.unit == "dimension" and run in self.units.reasons:
            self.notes[self.units.key[run]] = f"axis by axis: {self.units.reasons[run]}"
        return AxisMap.product(*(self._axis(single, once) for single in run.axes()))

    def _axis(self, run: Run, once: str) -> AxisMap:
        (n,), (m,), (kind,), (axis,) = run.old, run.new, run.kinds, run.source
        if n == m:
            return AxisMap.identity(n)
        if kind in CHOSEN or kind in self.record.resizes:
            return self._chosen(run, once)
        if kind == "coarse":
            self.notes[axis] = f"{axis} is coarse: chosen by itself, as nothing says what it belongs to"
            return self._chosen(run, once)
        return AxisMap.select(self._kept_meaning(run), n)

    def _chosen(self, run: Run, once: str) -> AxisMap:
        name = once or self.units.key.get(run, run.target[0] or run.source[0])
        memory = (name, run.old, run.new)
        if memory not in self._made:
            scores = self._scores_of(run) if self.record.scores else None
            options = dict(self.options)
            if self.record.scores == "variance" and scores is None and options.get("rule") == "variance":
                options["rule"] = "uniform"
                self.notes[run.source[0]] = f"{run.source[0]} is not the width of an embedding table: rule uniform"
            kind = "kernel" if run.kinds == ("kernel",) else "free"
            generator = generator_for(self.seed, self.record.name, name)
            made = choose(self.method, run.old, run.new, options=options, generator=generator, scores=scores, kind=kind)
            gain = math.sqrt(math.prod(run.old) / math.prod(run.new)) if self.rescale else made.gain
            self._made[memory] = Choice(made.index, gain)
        made = self._made[memory]
        return AxisMap.select(made.index, math.prod(run.old), gain=made.gain)

    def _scores_of(self, run: Run) -> Tensor | None:
        if self._scores is None:
            self._scores = self.scores()
        return self._scores.get(run.source[0])

    def _kept_meaning(self, run: Run) -> Tensor:
        """Cut an axis that is not free without changing what its indices mean, or refuse."""
        (n,), (m,), (kind,), (axis,), (becomes,) = run.old, run.new, run.kinds, run.source, run.target
        source = self.match.source.axes[axis]
        if source.tags & {"positions", "table"}:
            self.notes[axis] = f"the first {m} of {n} {axis}: each keeps its meaning"
            return torch.arange(m)
        if kind == "positional" and becomes is not None:
            found = _same_constants(source.profiles, self.match.target.axes[becomes].profiles)
            if found is not None:
                step = n // m if n % m == 0 and torch.equal(found, torch.arange(m) * (n // m)) else None
                self.notes[axis] = f"{axis} keeps its constants: " + (
                    f"every {step}th index" if step else f"indices {found.tolist()[:8]}"
                )
                return found
        where = next(iter(self.match.source.occurrences(axis)))[0]
        raise MatchError(
            f"{where}: {axis} is {kind} and cannot go from {n} to {m} indices",
            problems=_why_not(kind, n, m, has_constants=bool(source.profiles)),
            hint=None if kind != "kernel" else "the method bignas takes the centre of a larger kernel",
        )


def _same_constants(source: tuple[Tensor, ...], target: tuple[Tensor, ...]) -> Tensor | None:
    """For every target index, the source index along which all constants are the same; nothing, if one has none."""
    pairs = [(a, b) for a, b in zip(source, target, strict=False) if a.shape[1] == b.shape[1]]
    if not pairs or len(source) != len(target):
        return None
    mine = torch.cat([b for _, b in pairs], dim=1)
    theirs = torch.cat([a for a, _ in pairs], dim=1)
    distance = torch.cdist(mine, theirs, p=float("inf"), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.argmin(dim=1)
    tolerance = 1e-5 * max(1.0, float(theirs.abs().max()))
    exact = bool((distance.gather(1, nearest[:, None]) <= tolerance).all()) and bool((nearest.diff() > 0).all())
    return nearest if exact else None


def _why_not(kind: str, n: int, m: int, *, has_constants: bool) -> list[str]:
    if kind == "positional" and has_constants:
        divides = (
            f"{m} does not divide {n}" if n % m else f"the target's constants are not every {n // m}th of the source's"
        )
        return [f"a constant (rotary frequencies, slopes) varies along it, and {divides}"]
    if kind == "positional":
        return ["what a position means depends on how many there are: give the target the source's size"]
    return ["its size must be the source's"]
