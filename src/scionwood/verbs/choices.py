"""Choices: the index, and the reading gain, of every dimension of every target tensor, as a method makes them unit by unit."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor

from scionwood.anatomy import AxisMap
from scionwood.anatomy.anatomy import Dimension
from scionwood.anatomy.constants import standing
from scionwood.anatomy.match import Match
from scionwood.errors import MatchError, MethodError
from scionwood.methods.record import Record
from scionwood.methods.select.choice import Choice, choose
from scionwood.methods.select.subcloning import reading_gain
from scionwood.verbs.fresh import generator_for
from scionwood.verbs.units import CHOSEN, Run, becoming, noun, run_of, runs_of, units_of

__all__ = ["Choices"]

Once: TypeAlias = tuple[Any, ...]
"""Where a choice stands, for methods that make another one everywhere; empty for the others."""


@dataclasses.dataclass
class Choices:
    """What a method chose, remembered by unit.

    Args:
        match: the two anatomies side by side.
        method: a method of the family select.
        options: its options, resolved.
        seed: of everything random.
        scores: gives the importance per index by axis of the source, for the kind that the method ranks by; asked once, when needed.
        rescale: multiply what reads a cut axis by sqrt(old / new), for every method.
    """

    match: Match
    method: Callable[..., Any]
    options: Mapping[str, Any]
    seed: int
    scores: Callable[[str], Mapping[str, Tensor]]
    rescale: bool = False

    def __post_init__(self) -> None:
        self.record = Record.of(self.method)
        self.units = units_of(self.match)
        self._notes: dict[Run, dict[str, None]] = {}
        self._maps: dict[tuple[Any, ...], AxisMap] = {}
        self._made: dict[tuple[Any, ...], Choice] = {}
        self._scores: Mapping[str, Tensor] | None = None

    def of(self, tensor: str, place: int) -> AxisMap:
        """The map of one dimension of a target tensor, from the source's dimension to the target's.

        Raises:
            MethodError: the method cannot serve these sizes; it names the tensor and the axes.
            MatchError: an axis that is not free changes its size in a way that would not keep its meaning.
        """
        runs = runs_of(self.match, tensor, place)
        key = tuple(runs) if runs is not None and self.record.consistent else (tensor, place)
        if key not in self._maps:
            once = () if self.record.consistent else key
            try:
                self._maps[key] = self._inside(tensor, place, once) if runs is None else self._joined(runs, once)
            except (MatchError, MethodError) as error:
                dim = self.match.source.tensors[self.match.tensors[tensor]].dims[place]
                raise type(error)(
                    f"{tensor}, dimension {place} ({' x '.join(dim)}): {error.message}",
                    problems=error.problems,
                    hint=error.hint,
                ) from None
        found = self._maps[key]
        if found.target != self.match.target.tensors[tensor].shape[place]:
            raise MatchError(
                f"{tensor}, dimension {place}: the target has other parts than the source: {found.target} of "
                f"{found.source} indices answer to its {self.match.target.tensors[tensor].shape[place]}"
            )
        return found

    def notes_on(self, tensor: str, place: int) -> list[str]:
        """What is to be said about the choice of a dimension of a target tensor."""
        runs = runs_of(self.match, tensor, place)
        if runs is None:
            leaves = self.match.source.leaves(self.match.source.tensors[self.match.tensors[tensor]].dims[place])
            runs = [run_of(self.match, (axis,), becoming(self.match, tensor, place)) for axis in leaves]
        told = [note for run in runs for part in (run, *run.axes()) for note in self._notes.get(part, ())]
        return list(dict.fromkeys(told))

    def _note(self, run: Run, text: str) -> None:
        self._notes.setdefault(run, {})[text] = None

    def _joined(self, runs: Sequence[Run], once: Once) -> AxisMap:
        """A dimension that is a concatenation of runs."""
        return AxisMap.concatenate([self._run(run, (*once, number)) for number, run in enumerate(runs)])

    def _inside(self, tensor: str, place: int, once: Once) -> AxisMap:
        """A dimension with a concatenation inside other axes: axis by axis, then put together as the source lays it out."""
        becomes = becoming(self.match, tensor, place)
        axes = self.match.source.axes

        def put_together(dim: Dimension) -> AxisMap:
            return AxisMap.product(*map(of_axis, dim))

        def of_axis(axis: str) -> AxisMap:
            parts = axes[axis].parts
            if parts is not None:
                return AxisMap.concatenate([put_together(part) for part in parts])
            run = run_of(self.match, (axis,), becomes)
            if run.old != run.new and self.record.unit == "dimension":
                self._note(run, f"axis by axis: {noun(axis)} occurs around parts")
            return self._axis(run, once)

        return put_together(self.match.source.tensors[self.match.tensors[tensor]].dims[place])

    def _run(self, run: Run, once: Once) -> AxisMap:
        if run in self.units.whole and self.record.unit == "dimension" and self.record.scores is None:
            return self._chosen(run, self.units.whole[run], once)
        if run in self.units.reasons and self.record.unit == "dimension" and run.old != run.new:
            self._note(run, self.units.reasons[run])
        return AxisMap.product(*(self._axis(single, once) for single in run.axes()))

    def _axis(self, run: Run, once: Once) -> AxisMap:
        (n,), (m,), (kind,) = run.old, run.new, run.kinds
        if n == m:
            return AxisMap.identity(n)
        if m > n:
            raise MatchError(
                f"{run.name} has {m} indices in the target, {n} in the source, and must be chosen by itself",
                hint="uniform, consecutive and random choose heads and their width together, where nothing tells them "
                "apart; making an axis larger is otherwise growing, another verb",
            )
        if kind in CHOSEN or kind in self.record.resizes or kind == "coarse":
            if kind == "coarse":
                self._note(run, f"{noun(run.name)} is coarse: chosen by itself, as nothing says what it belongs to")
            return self._chosen(run, run.name, once)
        return AxisMap.select(self._kept_meaning(run), n)

    def _chosen(self, run: Run, unit: str, once: Once) -> AxisMap:
        if run.old == run.new:
            return AxisMap.identity(math.prod(run.old))
        key = (unit, run.old, run.new, *once) if not self.record.consistent else (unit, run.old, run.new)
        if key not in self._made:
            self._made[key] = self._choose(run, unit, key[3:])
        made = self._made[key]
        return AxisMap.select(made.index, math.prod(run.old), gain=made.gain)

    def _choose(self, run: Run, unit: str, once: Once) -> Choice:
        options = dict(self.options)
        scores = None
        if self.record.scores is not None:
            scores = self._scores_of(self.record.scores, run)
            options = self._without_scores(run, options) if scores is None else options
        made = choose(
            self.method,
            run.old,
            run.new,
            options=options,
            generator=generator_for(self.seed, self.record.name, unit, *once),
            scores=scores,
            kind="kernel" if run.kinds == ("kernel",) else "free",
        )
        gain = reading_gain(math.prod(run.old), math.prod(run.new)) if self.rescale else made.gain
        return Choice(made.index, gain)

    def _scores_of(self, kind: str, run: Run) -> Tensor | None:
        if self._scores is None:
            self._scores = self.scores(kind)
        return self._scores.get(run.source[0])

    def _without_scores(self, run: Run, options: dict[str, Any]) -> dict[str, Any]:
        """What a method that ranks does with an axis that has no scores: its rule without scores, or it is an error."""
        if "scores" in self.record.needs:
            self._refuse_without_scores()
        if options.get("rule") == "variance":
            self._note(
                run,
                f"{noun(run.source[0])} is not the width of an embedding table: every {_ordinal(run.old[0] // run.new[0])}",
            )
            return {**options, "rule": "uniform"}
        return options

    def _refuse_without_scores(self) -> NoReturn:
        """Name every axis that needs scores and has none, like axes of repeated blocks once."""
        shrinking = {
            theirs
            for theirs, (old, new) in zip(self.match.axes.values(), self.match.sizes.values(), strict=True)
            if new < old
        }
        missing: dict[str, list[str]] = {}
        for axis, found in self.match.source.axes.items():
            chosen = found.kind in CHOSEN or found.kind in self.record.resizes
            if chosen and axis in (shrinking | self.match.shrunk) and axis not in (self._scores or {}):
                missing.setdefault(re.sub(r"\.\d+\.", ".*.", axis), []).append(axis)
        raise MethodError(
            f"{self.record.name} ranks by {self.record.scores}, and some axes have no scores",
            problems=[
                f"{axes[0]}: {self.match.source.axes[axes[0]].size} numbers"
                + (f" (and {len(axes) - 1} more axes: {shape})" if len(axes) > 1 else "")
                for shape, axes in missing.items()
            ],
            hint="give scores={axis: one number for each of its indices, …}; scionwood anatomy lists the axes",
        )

    def _kept_meaning(self, run: Run) -> Tensor:
        """Cut an axis that is not free without changing what its indices mean, or refuse."""
        (n,), (m,), (kind,), (axis,), (becomes,) = run.old, run.new, run.kinds, run.source, run.target
        source = self.match.source.axes[axis]
        if source.tags & {"positions", "table"}:
            self._note(run, "the first: each keeps its meaning")
            return torch.arange(m)
        if kind == "positional" and becomes is not None:
            found = standing(self.match.target.axes[becomes].profiles, source.profiles)
            if found is not None:
                step = n // m if n % m == 0 and torch.equal(found, torch.arange(m) * (n // m)) else None
                which = f"every {_ordinal(step)} index" if step else f"indices {found.tolist()[:8]}"
                self._note(run, f"{noun(axis)} keeps its constants: {which}")
                return found
        raise MatchError(
            f"{axis} is {kind} and cannot go from {n} to {m} indices",
            problems=_why_not(kind, n, m, has_constants=bool(source.profiles)),
            hint=None if kind != "kernel" else "the method bignas takes the centre of a larger kernel",
        )


def _why_not(kind: str, n: int, m: int, *, has_constants: bool) -> list[str]:
    if kind == "positional" and m == 1:
        return ["nothing says which of its positions the one that is left is"]
    if kind == "positional" and has_constants:
        divides = (
            f"{m} does not divide {n}"
            if n % m
            else f"the target's constants are not every {_ordinal(n // m)} of the source's"
        )
        return [f"a constant (rotary frequencies, slopes) varies along it, and {divides}"]
    if kind == "positional":
        return ["what a position means depends on how many there are: give the target the source's size"]
    return ["its size must be the source's" + (": the models take different inputs" if kind == "input" else "")]


def _ordinal(number: int) -> str:
    """A number as a place in a row.

    >>> [_ordinal(number) for number in (2, 3, 4, 11, 22)]
    ['2nd', '3rd', '4th', '11th', '22nd']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
