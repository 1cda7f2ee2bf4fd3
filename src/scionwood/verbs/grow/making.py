"""Making: the tensors of a grown model, computed when they are written, and the ledger's line for each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scionwood.anatomy.absorb import Correction
from scionwood.anatomy.depth import indices_in, through
from scionwood.anatomy.layout import Slot
from scionwood.checkpoint import ComputedTensor, Entry, LazyTensor
from scionwood.errors import MatchError
from scionwood.methods.grow.learngene import expanded
from scionwood.verbs.fresh import generator_for
from scionwood.verbs.grow.along import Along
from scionwood.verbs.grow.maps import DRAWN, MEAN, ZERO, Growths
from scionwood.verbs.making import Maker
from scionwood.verbs.taking import Taking

__all__ = ["Grower"]


@dataclasses.dataclass(frozen=True)
class Grower(Maker):
    """Makes every tensor that a grown target stores, and its line in the ledger.

    Args:
        corrections: what becomes of parameters beyond the maps.
        told: why, for the ledger.
        expanded: the lists of blocks that are expanded from two.
    """

    corrections: Mapping[str, Correction] = dataclasses.field(default_factory=dict)
    told: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    expanded: Sequence[str] = ()
    seed: int = 0

    def _taken(self, slot: Slot, boxes: Sequence[Slot], maps: Sequence[Any]) -> tuple[LazyTensor, Entry]:
        correction = self.corrections.get(slot.tensor)
        assert isinstance(self.choices, Growths)
        alongs = self.choices.alongs(slot)
        place = self._place(slot)
        plain = correction is None and (place is None or place[0] == 0)
        if plain and all(along.map.is_identity and along.code is None for along in alongs):
            return super()._taken(slot, boxes, maps)
        stored = [self.checkpoint.tensors[box.name] for box in boxes]
        wide = [tensor.cast(_wide(tensor.dtype)) for tensor in stored]
        told, slopes = self._told_of(slot, alongs), []
        if place is not None and place[0] > 0:
            slopes = [self.checkpoint.tensors[name] for name in self._slopes(slot, boxes)]
            wide = [_expanded(*each, *place) for each in zip(wide, slopes, strict=True)]
            told = "; ".join([f"B + {place[0]}/{place[1]} A, of {slopes[0].name}", *([told] if told else [])])
        source, size = ", ".join(box.name for box in boxes), math.prod(slot.shape)
        following = None if place is not None else self._following(slot, alongs)
        function = Growing(self, slot, boxes, wide, alongs, correction, following, stored[0].dtype)
        sources = [*stored, *slopes, *(() if following is None else following[1])]
        tensor = ComputedTensor(slot.name, slot.shape, stored[0].dtype, function, whole=function.whole, sources=sources)
        return tensor, Entry(slot.name, "grown", source, told, size)

    def _place(self, slot: Slot) -> tuple[int, int] | None:
        """The number of the block that a tensor lies in, and how many there are, where the list is expanded from two."""
        if slot.tensor not in self.match.tensors:
            return None
        inside = indices_in(slot.tensor, self.match.target.depth)
        return next(((block, self.match.target.depth[path]) for path, block in inside if path in self.expanded), None)

    def _slopes(self, slot: Slot, boxes: Sequence[Slot]) -> list[str]:
        """The stored tensors of block 1 that answer to those of block 0.

        Raises:
            MatchError: block 1 has other tensors.
        """
        path = next(path for path, _ in indices_in(slot.tensor, self.match.target.depth) if path in self.expanded)
        theirs = through(path, self.match.depth)
        start = f"{theirs}." if theirs else ""
        origin = self.match.tensors[slot.tensor].removeprefix(f"{start}0.")
        slopes = {(box.start, box.size): box for box in self.read.get(f"{start}1.{origin}", ())}
        found = [slopes.get((box.start, box.size)) for box in boxes]
        if any(slope is None or slope.order != box.order for slope, box in zip(found, boxes, strict=True)):
            raise MatchError(
                f"{theirs or 'the model'} is no learngene of linear expansion: {start}0.{origin} has no counterpart of its shape "
                "in block 1",
                hint="both blocks, B and A, have the same tensors: see scionwood.train.growth.learngene.LinearExpansion",
            )
        return [slope.name for slope in found if slope is not None]

    def _dropped(self, used: dict[str, str]) -> list[Entry]:
        slopes = {
            slope: slot.tensor
            for slot in self.write.slots
            if self._place(slot) is not None and self.match.tensors[slot.tensor] in self.read
            for slope in self._slopes(slot, self.read[self.match.tensors[slot.tensor]])
        }
        return super()._dropped({**slopes, **used})

    def _following(self, slot: Slot, alongs: Sequence[Along]) -> tuple[list[Slot], list[LazyTensor]] | None:
        """The same tensor of the source's next block, where some rows are to come from it."""
        if all(along.following is None for along in alongs):
            return None
        origin = self.match.tensors[slot.tensor]
        inside = list(indices_in(origin, self.match.source.depth))
        if not inside:
            return None
        path, index = inside[-1]
        start = f"{path}.{index}." if path else f"{index}."
        after = f"{path}.{index + 1}." if path else f"{index + 1}."
        name = after + origin.removeprefix(start)
        known = self.match.source.tensors
        if name not in known or name not in self.read or known[name].shape != known[origin].shape:
            return None
        boxes = list(self.read[name])
        return boxes, [self.checkpoint.tensors[box.name] for box in boxes]

    def _told_of(self, slot: Slot, alongs: Sequence[Along]) -> str:
        parts = []
        for along in alongs:
            if along.map.is_identity and along.code is None:
                continue
            new = 0 if along.code is None else int((along.code > 0).sum())
            scaled = f" times {1 / float(along.map.divisor.max()):.4g}" if along.map.divisor is not None else ""
            what = f", {new} new" if new else ""
            parts.append(f"{along.map.target} from {along.map.source}{what}{scaled}")
        return "; ".join([", ".join(parts)] * bool(parts) + list(self.told.get(slot.tensor, ())))


class Growing:
    """Computes rows of a grown tensor."""

    def __init__(
        self,
        maker: Grower,
        slot: Slot,
        boxes: Sequence[Slot],
        stored: Sequence[LazyTensor],
        alongs: Sequence[Along],
        correction: Correction | None,
        following: tuple[list[Slot], list[LazyTensor]] | None,
        dtype: torch.dtype,
    ) -> None:
        self.maker = maker
        self.slot = slot
        self.alongs = list(alongs)
        self.correction = correction
        self.dtype = dtype
        maps = [along.map for along in alongs]
        self.taking = Taking(slot, boxes, stored, maps)
        self.following = (
            Taking(slot, following[0], [tensor.cast(_wide(dtype)) for tensor in following[1]], maps)
            if following
            else None
        )
        codes = [along.code for along in alongs if along.code is not None]
        drawn = any(bool(((code == DRAWN) | (code == MEAN)).any()) for code in codes)
        self.noisy = len(slot.size) > 1 and any(along.snr_db is not None for along in alongs)
        self.whole = drawn or self.noisy or self.following is not None or len(boxes) > 1

    def __call__(self, start: int, stop: int) -> Tensor:
        taken = self.taking(start, stop)
        if self.following is not None:
            taken = self._with_following(taken)
        box = self.slot.unfold(taken) if self.slot.shape else taken.reshape([1] * len(self.slot.size))
        lead = next(iter(self.slot.order), None)
        rows = {dim: (start, stop) if dim == lead else (0, size) for dim, size in enumerate(self.slot.size)}
        if self.noisy:
            box = self._with_noise(box)
        if any(along.code is not None for along in self.alongs):
            box = self._filled(box.clone(), rows)
        if self.correction is not None:
            box = self._corrected(box, rows)
        return self.slot.fold(box).reshape(taken.shape).to(self.dtype).contiguous()

    def _with_following(self, taken: Tensor) -> Tensor:
        assert self.following is not None
        other = self.slot.unfold(self.following(0, self.slot.shape[0]))
        box = self.slot.unfold(taken).clone()
        for dim, along in enumerate(self.alongs):
            if along.following is not None and bool(along.following.any()):
                chosen = along.following.nonzero().flatten()
                box.index_copy_(dim, chosen, other.index_select(dim, chosen))
        return self.slot.fold(box)

    def _with_noise(self, box: Tensor) -> Tensor:
        """Add noise to one copy of what is read and take it off the next: copies that are equal cancel it."""
        box = box.clone()
        for dim, along in enumerate(self.alongs):
            if along.snr_db is None or along.map.divisor is None:
                continue
            generator = generator_for(self.maker.seed, "noise", self.slot.name, dim)
            power = float(box.double().square().mean()) / 10 ** (along.snr_db / 10)
            first, second = _pairs(along.map.index, along.map.divisor)
            shape = list(box.shape)
            shape[dim] = len(first)
            noise = torch.randn(shape, generator=generator, dtype=torch.float32).to(box.dtype)
            noise *= math.sqrt(power / max(float(noise.double().square().mean()), 1e-30))
            box.index_add_(dim, first, noise)
            box.index_add_(dim, second, -noise)
        return box

    def _filled(self, box: Tensor, rows: Mapping[int, tuple[int, int]]) -> Tensor:
        codes = [None if along.code is None else along.code[slice(*rows[dim])] for dim, along in enumerate(self.alongs)]
        drawn = _anywhere(codes, DRAWN, box.shape)
        if drawn is not None:
            box = torch.where(drawn, self._drawn().to(box.dtype), box)
        for dim, code in enumerate(codes):
            # Zero in what reads, before the mean of what writes, which may have zeros, too.
            if code is not None and "reads" in self._role(dim):
                box = torch.where(_marked(code == ZERO, dim, box.dim()), torch.zeros((), dtype=box.dtype), box)
        for dim, code in enumerate(codes):
            if code is None:
                continue
            if bool((code == MEAN).any()):
                mean = box.index_select(dim, (code == 0).nonzero().flatten()).double().mean(dim, keepdim=True)
                box = torch.where(_marked(code == MEAN, dim, box.dim()), mean.to(box.dtype), box)
            box = torch.where(_marked(code == ZERO, dim, box.dim()), torch.zeros((), dtype=box.dtype), box)
        return box

    def _role(self, dim: int) -> str:
        return self.maker.match.target.tensors[self.slot.tensor].roles[dim]

    def _drawn(self) -> Tensor:
        std = next((along.std for along in self.alongs if along.std is not None), None)
        cut = tuple(slice(s, s + n) for s, n in zip(self.slot.start, self.slot.size, strict=True))
        if std is None or len(self.slot.size) < 2:
            return self.maker.fresh.tensor(self.slot.tensor)[cut]
        generator = generator_for(self.maker.seed, "grown", self.slot.name)
        return torch.randn(self.slot.size, generator=generator) * std

    def _corrected(self, box: Tensor, rows: Mapping[int, tuple[int, int]]) -> Tensor:
        assert self.correction is not None
        cut = tuple(slice(s + rows[dim][0], s + rows[dim][1]) for dim, s in enumerate(self.slot.start))
        scale, shift = (
            each[tuple(c if each.shape[dim] > 1 else slice(None) for dim, c in enumerate(cut))]
            for each in (self.correction.scale, self.correction.shift)
        )
        return (box.double() * scale + shift).to(box.dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def _expanded(start: LazyTensor, slope: LazyTensor, layer: int, depth: int) -> LazyTensor:
    """A tensor of one layer of a linear expansion, computed when it is read."""
    other = slope.cast(start.dtype)

    def rows(first: int, last: int) -> Tensor:
        if not start.shape:
            return expanded(start.read(), other.read(), layer, depth)
        return expanded(start.read(first, last), other.read(first, last), layer, depth)

    return ComputedTensor(start.name, start.shape, start.dtype, rows, sources=[start, other])


def _pairs(index: Tensor | None, divisor: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbouring copies of every index, in pairs; an odd last one stays alone."""
    assert index is not None
    # Copies count within one dimension, whatever else lies beside the axis: equal sources are copies.
    order = torch.argsort(index, stable=True)
    ordered = index[order]
    place = torch.arange(len(ordered)) - torch.searchsorted(ordered, ordered)
    partner = torch.zeros(len(ordered), dtype=torch.bool)
    partner[:-1] = (ordered[1:] == ordered[:-1]) & (place[:-1] % 2 == 0)
    first = partner.nonzero().flatten()
    return order[first], order[first + 1]


def _marked(which: Tensor, dim: int, dims: int) -> Tensor:
    return which.view([-1 if place == dim else 1 for place in range(dims)])


def _anywhere(codes: Sequence[Tensor | None], wanted: int, shape: torch.Size) -> Tensor | None:
    found = [_marked(code == wanted, dim, len(shape)) for dim, code in enumerate(codes) if code is not None]
    found = [each for each in found if bool(each.any())]
    if not found:
        return None
    result = found[0]
    for each in found[1:]:
        result = result | each
    return result.expand(shape)
