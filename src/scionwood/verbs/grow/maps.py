"""Maps: how every dimension of every target tensor grows, put together from what a method says of each axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from scionwood.anatomy import AxisMap
from scionwood.anatomy.anatomy import Axis, Dimension
from scionwood.anatomy.constants import standing
from scionwood.anatomy.depth import block_of, indices_in, through
from scionwood.anatomy.layout import Slot
from scionwood.anatomy.match import Match
from scionwood.errors import MatchError, MethodError
from scionwood.methods.grow.growth import Fill, Growth, Place, grow
from scionwood.methods.record import Record
from scionwood.verbs.fresh import generator_for
from scionwood.verbs.grow.along import Along, concatenated, identity, product

__all__ = ["DRAWN", "MEAN", "ZERO", "Growths", "alike"]

DRAWN, MEAN, ZERO = 1, 2, 3
_CODES: Mapping[Fill, int] = {"drawn": DRAWN, "mean": MEAN, "zero": ZERO}


class Growths:
    """What a method says of every axis that grows, and of the dimensions made of them.

    Args:
        match: the two anatomies side by side.
        method: a method of the family grow.
        options: its options, resolved.
        seed: of everything random.
        norms: the parameters and statistics of norms, by name.
        statistics: those of them that are measured, not learned.
    """

    def __init__(
        self,
        match: Match,
        method: Callable[..., Any],
        options: Mapping[str, Any],
        seed: int,
        norms: Collection[str],
        statistics: Collection[str],
    ) -> None:
        self.match = match
        self.method = method
        self.options = options
        self.seed = seed
        self.norms = norms
        self.statistics = statistics
        self.record = Record.of(method)
        self._axes: dict[str, Growth | None] = {}
        self._made: dict[tuple[Any, ...], Along] = {}
        self._places = self._occurrences()

    # Axes.

    @property
    def grown(self) -> dict[str, Growth]:
        """Every axis of the target that grows, with how."""
        leaves = [name for name, axis in self.match.target.axes.items() if axis.parts is None]
        known = [name for name in leaves if name in self.match.axes or name in self.match.sprouted]
        found = {name: self.axis(name) for name in known}
        return {name: growth for name, growth in found.items() if growth is not None}

    @property
    def shared(self) -> dict[str, int | None]:
        """Norms along heads of keys that groups of queries shared, and now have copies of, with how many."""
        where = {
            name: self.match.spread.get((self.match.tensors[name], 0))
            for name in self.norms
            if name in self.match.tensors
        }
        return {name: Growth(index).copies for name, index in sorted(where.items()) if index is not None}

    def check(self) -> None:
        """Ask for every axis.

        Raises:
            MethodError: the method, or what an axis is, refuses some sizes; names every axis once for all blocks.
        """
        problems: dict[str, list[str]] = {}
        hints: dict[str, None] = {}
        for name in [*self.match.axes, *self.match.sprouted]:
            try:
                self.axis(name)
            except MethodError as error:
                like = ".".join("*" if part.isdigit() else part for part in name.split("."))
                problems.setdefault(f"{like}: {error.message}", []).append(name)
                if error.hint:
                    hints[error.hint] = None
        if problems:
            raise MethodError(
                f"{self.record.name} cannot make {self.match.target.source} from {self.match.source.source}",
                problems=[
                    text.replace("*", next((part for part in names[0].split(".") if part.isdigit()), "*"), 1)
                    + (
                        f" (and in {len(names) - 1} more block{'s' if len(names) > 2 else ''})"
                        if len(names) > 1
                        else ""
                    )
                    for text, names in problems.items()
                ],
                hint="; ".join(hints) or None,
            )

    def axis(self, name: str) -> Growth | None:
        """How an axis of the target grows; nothing, if it stays as it is.

        Raises:
            MethodError: the method refuses the sizes, or the axis cannot change without changing what its indices mean.
        """
        if name not in self._axes:
            self._axes[name] = self._asked(name)
        return self._axes[name]

    def counts(self, name: str) -> bool:
        """Whether new indices of an axis could change the function: not new positions, nor what the graph never looks at."""
        axis = self.match.target.axes[name]
        if axis.tags & {"positions", "table"} and not axis.profiles:
            return False
        where = self._places.get(name, ())
        return not where or any(tensor not in self.match.target.unused for tensor in where)

    def place(self, name: str) -> Place:
        """Where an axis of the target is."""
        axis = self.match.target.axes[name]
        if axis.paired or "score" in axis.tags:
            return "score"
        tensors = self._places.get(name, ())
        blocks = {block_of(tensor, self.match.target.depth) for tensor in tensors}
        if any(tensor in self.norms for tensor in tensors):
            return "stream"
        if "heads" in axis.tags:
            return "heads"  # constants of heads that all blocks share make one axis of them
        return "stream" if len(blocks) > 1 else "inner"

    def _occurrences(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, tensor in self.match.target.tensors.items():
            for dim in tensor.dims:
                for leaf in self.match.target.leaves(dim):
                    found.setdefault(leaf, []).append(name)
        return found

    def _asked(self, name: str) -> Growth | None:
        axis = self.match.target.axes[name]
        theirs = self.match.axes.get(name)
        if theirs is None and axis.kind == "part":
            return None  # parts side by side in the source are as many as here
        source = self.match.source.axes[theirs].size if theirs is not None else 1
        if source == axis.size:
            return None
        if not self.counts(name):
            index = torch.cat([torch.arange(source), torch.full((axis.size - source,), -1)])
            return Growth(index, writing="drawn", reading="drawn")  # the old keep their meaning, the new begin
        where = None
        if axis.kind not in ("free", "output"):
            old = self.match.source.axes[theirs] if theirs is not None else None
            where = None if old is None else standing(old.profiles, axis.profiles)
            if where is None:
                raise MethodError(
                    f"{source} to {axis.size}: it is {axis.kind}, and cannot grow", hint=_why_not(old, axis)
                )
        given = grow(
            self.method,
            source,
            axis.size,
            options=self.options,
            generator=generator_for(self.seed, self.record.name, name),
            kind=axis.kind,
            place=self.place(name),
        )
        return given if where is None else given.standing(where)

    # Dimensions.

    def of(self, tensor: str, place: int) -> AxisMap:
        """The map of one dimension of a target tensor."""
        return self.along(tensor, place).map

    def notes_on(self, tensor: str, place: int) -> list[str]:
        """What is to be said about a dimension of a target tensor."""
        return []

    def along(self, tensor: str, place: int) -> Along:
        """How one dimension of a target tensor grows.

        Raises:
            MatchError: the dimension is put together in another way than the source's.
        """
        key = (tensor, place)
        if key not in self._made:
            anatomy = self.match.target.tensors[tensor]
            role = anatomy.roles[place]
            found = self._dimension(anatomy.dims[place], role, tensor)
            shape = self.match.source.tensors[self.match.tensors[tensor]].shape[place]
            if (found.map.source, found.map.target) != (shape, anatomy.shape[place]):
                raise MatchError(
                    f"{tensor}, dimension {place}: {found.map.source} to {found.map.target} by its axes, "
                    f"{shape} to {anatomy.shape[place]} by its shapes: the models put it together differently"
                )
            self._made[key] = self._stored(found, tensor, place)
        return self._made[key]

    def alongs(self, slot: Slot) -> list[Along]:
        """How every dimension of a stored tensor of the target grows: of the part of the module's tensor that it holds."""
        if slot.tensor not in self.match.tensors:
            return [identity(size) for size in slot.size]
        return [
            self.along(slot.tensor, place).part(start, size)
            for place, (start, size) in enumerate(zip(slot.start, slot.size, strict=True))
        ]

    def _stored(self, along: Along, tensor: str, place: int) -> Along:
        """From what is stored, where the source is seen with more heads of keys than it has."""
        spread = self.match.spread.get((self.match.tensors[tensor], place))
        if spread is None:
            return along
        assert along.map.index is not None
        stored = int(spread.max()) + 1
        index = AxisMap(stored, along.map.target, spread[along.map.index], along.map.divisor)
        return dataclasses.replace(along, map=index)

    def _dimension(self, dim: Dimension, role: str, tensor: str) -> Along:
        result = identity(1)
        for name in dim:
            axis = self.match.target.axes[name]
            if axis.parts is not None:
                inner = concatenated([self._dimension(part, role, tensor) for part in axis.parts])
            else:
                growth = self.axis(name)
                inner = identity(axis.size) if growth is None else self._along(name, growth, role, tensor)
            result = product(result, inner)
        return result

    def _along(self, name: str, growth: Growth, role: str, tensor: str) -> Along:
        theirs = self.match.axes.get(name)
        source = self.match.source.axes[theirs].size if theirs is not None else 1
        new = growth.index < 0
        index = growth.index.clamp(min=0)
        reads = role == "reads"
        divisor = None
        if reads and growth.divide:
            copies = torch.bincount(growth.index[~new], minlength=source)[index]
            divisor = copies.double()
        fill, std = growth.reading if reads else growth.writing, growth.std
        if role == "scales":
            if tensor in self.norms:
                # The mean of the old channels, normalised, would be another number: it is kept out of what is read.
                fill = "zero" if growth.writing == "mean" and tensor not in self.statistics else "drawn"
            std = None  # gains and biases begin as their class begins them
        code = torch.where(new, _CODES[fill], 0) if bool(new.any()) else None
        following = growth.following
        if following is not None and (reads or tensor in self.norms):
            following = None
        snr_db = growth.snr_db if reads and not self.is_head(tensor) else None
        member = None if growth.second is None else growth.second.long()
        return Along(AxisMap(source, len(index), index, divisor), code, following, std, snr_db, member)

    def is_head(self, tensor: str) -> bool:
        """Whether a tensor writes outputs that stay as many as they were: HyperCloning leaves heads without noise."""
        anatomy = self.match.target.tensors[tensor]
        written = [dim for dim, role in zip(anatomy.dims, anatomy.roles, strict=True) if "writes" in role]
        leaves = [axis for dim in written for axis in self.match.target.leaves(dim)]
        return bool(leaves) and all(
            self.match.target.axes[axis].kind == "output" and self.axis(axis) is None for axis in leaves
        )


def alike(match: Match, name: str, origin: str, shapes: Mapping[str, Sequence[int]]) -> tuple[int, list[str]]:
    """The tensors that a tensor has in the blocks of the source, of the outermost list with several; and which is its own.

    Args:
        match: the two anatomies side by side.
        name: a tensor of the target.
        origin: the source's tensor that it is from.
        shapes: of the source's tensors that there are: only those of one shape are alike.
    """
    for path, block in indices_in(name, match.target.depth):
        chosen = match.depth.get(path)
        place = len(path.split(".")) if path else 0
        segments = origin.split(".")
        if chosen is None or segments[place] != str(chosen[block]):
            continue
        known = range(match.source.depth[through(path, match.depth)])
        others = [".".join([*segments[:place], str(other), *segments[place + 1 :]]) for other in known]
        found = [each for each in others if each in shapes and shapes[each] == shapes[origin]]
        if len(found) > 1:
            return found.index(origin), found
    return 0, [origin]


def _why_not(source: Axis | None, target: Axis) -> str:
    """Why an axis that is not free cannot grow, and what can instead."""
    if target.kind == "positional" and source is not None and source.profiles and target.profiles:
        heads = "heads" in target.tags
        constants = "slopes of its heads" if heads else "rotary frequencies"
        instead = (
            "give the target as many heads, and wider ones, or a number of heads whose slopes include the source's (twice as many)"
            if heads
            else "keep the width of a head and give the target more heads instead (num_attention_heads, num_key_value_heads), "
            "or a head whose frequencies include the source's (twice as wide, of the same base and scaling)"
        )
        return f"a constant varies along it ({constants}), and not all of the source's occur in the target: {instead}"
    if target.kind == "coarse":
        return "nothing is known of its indices: give the target the source's size"
    return "what its indices mean depends on how many there are: give the target the source's size"
