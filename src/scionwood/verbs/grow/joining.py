"""Joining: one model out of two of half its width, side by side, and mixtures of their layers between them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from scionwood.anatomy import AxisMap
from scionwood.anatomy.anatomy import TensorAnatomy
from scionwood.anatomy.layout import Layout, Slot
from scionwood.checkpoint import Checkpoint, ComputedTensor, Entry, LazyTensor, Ledger, Source
from scionwood.checkpoint import open as open_checkpoint
from scionwood.errors import MatchError, MethodError
from scionwood.methods.grow.mixture_growth import joining_coefficients
from scionwood.verbs.fresh import generator_for
from scionwood.verbs.grow.along import Along
from scionwood.verbs.grow.maps import Growths, alike
from scionwood.verbs.making import Maker
from scionwood.verbs.taking import Taking
from scionwood.verbs.tokenizer.vocabulary import read_vocabulary

__all__ = ["Joiner", "check_members", "second_member"]

Mixture: TypeAlias = Sequence[tuple[float, Taking]]
"""Templates with their coefficients."""


def second_member(method: str, second: Source | nn.Module | None, *, joins: bool) -> Checkpoint | None:
    """Open the other member, where the method joins two.

    Raises:
        MethodError: it joins and there is none, or does not and there is one.
        SourceError: it cannot be read.
    """
    if joins and second is None:
        raise MethodError(
            f"{method} joins two models of half the target's width, and has one.",
            hint="give --second OTHER (second=…), a model of the source's config that was trained apart from it",
        )
    if second is not None and not joins:
        raise MethodError(f"{method} grows one model.", hint="leave --second out, or take --method mixture_growth")
    return None if second is None else open_checkpoint(second)


def check_members(first: Checkpoint, second: Checkpoint) -> None:
    """Refuse two models that do not stand side by side.

    Raises:
        MatchError: they are of different families, sizes or vocabularies; names all tensors that differ.
    """
    problems: list[str] = []
    kinds = [None if each.config is None else each.config.get("model_type") for each in (first, second)]
    if kinds[0] != kinds[1]:
        problems.append(f"{first.source} is a {kinds[0]}, {second.source} a {kinds[1]}")
    else:
        for name in dict.fromkeys([*first.tensors, *second.tensors]):
            shapes = [each.tensors[name].shape if name in each.tensors else None for each in (first, second)]
            if shapes[0] != shapes[1]:
                told = ("missing" if shape is None else str(tuple(shape)) for shape in shapes)
                problems.append(f"{name}: {' in the first, '.join(told)} in the second")
        own, other = (None if each.config is None else read_vocabulary(each, 2**31) for each in (first, second))
        if own is not None and other is not None and own.ids != other.ids:
            problems.append("their tokenizers number tokens differently")
    if problems:
        raise MatchError(
            f"{first.source} and {second.source} are no two members of one shape",
            problems=problems,
            hint="both are trained from the same config, with the same tokenizer",
        )


@dataclasses.dataclass(frozen=True)
class Joiner(Maker):
    """Makes every tensor that a target of two members stores, and its line in the ledger.

    Args:
        second: the other member's weights.
        beside: where on disk its tensors lie.
        options: of the method.
        seed: of everything random.
    """

    second: Checkpoint
    beside: Layout
    options: Mapping[str, Any]
    seed: int

    def make(self) -> tuple[dict[str, LazyTensor], Ledger]:
        heads = [name for name in self.match.tensors if self._halved(name)]
        if self.options["average"] and not heads:
            raise MethodError(
                "no head can be halved, so that logits are the sum of the members': it is tied to the embedding, or there is none",
                hint="leave average out, or give a target with a head of its own (--set tie_word_embeddings=false)",
            )
        return super().make()

    @property
    def told(self) -> str:
        """What the function becomes, for the ledger."""
        logits = "averaged" if self.options["average"] else "added up"
        between = "nothing" if self.options["coefficients"] == "zero" else f"{self.options['coefficients']} mixtures"
        return f"two members side by side, their logits {logits}, with {between} between them"

    def _taken(self, slot: Slot, boxes: Sequence[Slot], maps: Sequence[AxisMap]) -> tuple[LazyTensor, Entry]:
        if slot.tensor not in self.match.tensors:
            return super()._taken(slot, boxes, maps)
        assert isinstance(self.choices, Growths)
        origin, alongs = self.match.tensors[slot.tensor], self.choices.alongs(slot)
        places = _places(alongs, self.match.target.tensors[slot.tensor].roles)
        above, below, told = self._between(slot, alongs, places)
        scale = 0.5 if self.options["average"] and self._halved(slot.tensor) else 1.0
        if places is None:
            summed = self._added(slot.tensor)
            told = f"the {'sum' if summed and scale == 1.0 else 'mean'} of both members'"
            scale = scale if summed else 0.5
        elif scale != 1.0:
            told += ", halved"
        members = [self._part(slot, origin, member, alongs) for member in (0, 1)]
        dtype = self.checkpoint.tensors[self.read[origin][0].name].dtype
        function = _Joining(slot, places, members, (above, below), scale, dtype, self._new(slot, alongs))
        sources = list({id(stored): stored for part in function.parts for stored in part.stored}.values())
        whole = len(self.read[origin]) > 1 or function.new is not None
        tensor = ComputedTensor(slot.name, slot.shape, dtype, function, whole=whole, sources=sources)
        source = ", ".join(box.name for box in self.read[origin])
        return tensor, Entry(slot.name, "grown", source, told, math.prod(slot.shape))

    def _new(self, slot: Slot, alongs: Sequence[Along]) -> Callable[[], tuple[Tensor, Tensor]] | None:
        """Where a table has places that neither member has, and what they begin as: what the target's class makes them."""
        coded = [(dim, along.code > 0) for dim, along in enumerate(alongs) if along.code is not None]
        if not coded:
            return None
        box = tuple(slice(start, start + size) for start, size in zip(slot.start, slot.size, strict=True))
        where = torch.zeros([1] * len(alongs), dtype=torch.bool)
        for dim, new in coded:
            where = where | new.view([-1 if place == dim else 1 for place in range(len(alongs))])
        return lambda: (slot.fold(where.expand(slot.size)), slot.fold(self.fresh.tensor(slot.tensor)[box]))

    def _part(self, slot: Slot, name: str, member: int, alongs: Sequence[Along]) -> Taking:
        checkpoint, layout = ((self.checkpoint, self.read), (self.second, self.beside))[member]
        boxes = layout[name]
        stored = [checkpoint.tensors[box.name] for box in boxes]
        wide = [tensor.cast(torch.promote_types(tensor.dtype, torch.float32)) for tensor in stored]
        return Taking(slot, boxes, wide, [along.map for along in alongs])

    def _between(self, slot: Slot, alongs: Sequence[Along], places: Tensor | None) -> tuple[Mixture, Mixture, str]:
        """The mixtures of the block above the diagonal and of the one below; and what to tell."""
        how, scale = self.options["coefficients"], self.options["scale"]
        if places is None or int(places.max()) < 2:
            return (), (), "both members' side by side"
        if how == "zero":
            return (), (), "both members' on the diagonal, zeros beside it"
        own, names = 0, [self.match.tensors[slot.tensor]]
        if self.options["templates"] == "layers":
            shapes = {name: each.shape for name, each in self.match.source.tensors.items() if name in self.read}
            own, names = alike(self.match, slot.tensor, names[0], shapes)
        rows = torch.eye(len(names))[[own, own]]
        generator = generator_for(self.seed, "grow.mixture_growth", slot.tensor)
        found: list[Mixture] = []
        for member in (1, 0) if self.options["crossed"] else (0, 1):
            new = joining_coefficients(how, rows, member, scale, generator)
            if how == "orthogonal":
                rows = torch.cat([rows, new[None]])
            kept = [(float(weight), name) for weight, name in zip(new, names, strict=True) if float(weight)]
            found.append([(weight, self._part(slot, name, member, alongs)) for weight, name in kept])
        of = f"of {len(names)} layers" if len(names) > 1 else "of its own weight"
        return found[0], found[1], f"both members' on the diagonal, {how} mixtures {of} beside it"

    def _halved(self, tensor: str) -> bool:
        """Whether it is a head, which makes logits of what both members give, or the bias of one."""
        assert isinstance(self.choices, Growths)
        anatomy = self.match.target.tensors[tensor]
        if self.choices.is_head(tensor):
            return any(self.choices.along(tensor, place).member is not None for place in range(len(anatomy.dims)))
        return self._added(tensor) and all(
            self.match.target.axes[axis].kind == "output" for axis in self.match.target.leaves(anatomy.dims[0])
        )

    def _added(self, tensor: str) -> bool:
        """Whether it is the bias of what reads both members and writes nothing that grows: such are added up."""
        assert isinstance(self.choices, Growths)
        anatomy, growths = self.match.target.tensors[tensor], self.choices
        if len(anatomy.dims) != 1 or tensor in growths.norms or growths.along(tensor, 0).member is not None:
            return False
        return any(
            anatomy.dims[0] in other.dims
            and other.roles[other.dims.index(anatomy.dims[0])] == "writes"
            and any(growths.axis(axis) is not None for axis in self._read_by(other))
            for other in self.match.target.tensors.values()
        )

    def _read_by(self, tensor: TensorAnatomy) -> list[str]:
        dims = [dim for dim, role in zip(tensor.dims, tensor.roles, strict=True) if role == "reads"]
        return [axis for dim in dims for axis in self.match.target.leaves(dim)]


class _Joining:
    """Computes rows of a joined tensor."""

    def __init__(
        self,
        slot: Slot,
        places: Tensor | None,
        members: Sequence[Taking],
        between: tuple[Mixture, Mixture],
        scale: float,
        dtype: torch.dtype,
        new: Callable[[], tuple[Tensor, Tensor]] | None,
    ) -> None:
        self.slot = slot
        self.places = places
        self.members = members
        self.between = between
        self.scale = scale
        self.dtype = dtype
        self.new = new

    @property
    def parts(self) -> list[Taking]:
        """All that is read."""
        return [*self.members, *(part for mixture in self.between for _, part in mixture)]

    def __call__(self, start: int, stop: int) -> Tensor:
        first, second = (part(start, stop) for part in self.members)
        if self.places is None:
            joined = first + second
        else:
            # Places have the shape of the module's box, and are cut as the stored tensor is.
            where = self.slot.fold(self.places.expand(self.slot.size))[start:stop]
            joined = torch.where(where == 0, first, second)
            for place, mixture in zip((2, 3), self.between, strict=True):
                mixed = torch.zeros_like(joined)
                for weight, part in mixture:
                    mixed += weight * part(start, stop)
                joined = torch.where(where == place, mixed, joined)
        joined = joined * self.scale
        if self.new is not None:
            where, begun = self.new()
            joined = torch.where(where[start:stop], begun[start:stop].to(joined.dtype), joined)
        return joined.to(self.dtype).contiguous()


def _places(alongs: Sequence[Along], roles: Sequence[str]) -> Tensor | None:
    """Whose every number is, to be broadcast over the box: member 0's or 1's, or of the block above (2) or below (3) the diagonal.

    Above is what the first member makes of the second's channels.
    """
    found: Tensor | None = None
    for dim in sorted(range(len(alongs)), key=lambda dim: "writes" not in roles[dim]):
        if (member := alongs[dim].member) is None:
            continue
        member = member.view([-1 if place == dim else 1 for place in range(len(alongs))])
        if found is None:
            found = member
        else:
            apart = torch.where(found == 0, 2, 3)
            found = torch.where((found == member) | (found > 1), found, apart)
    return found
