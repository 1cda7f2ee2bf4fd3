"""Making: the tensors of a grown model, computed when they are written, and the ledger's line for each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scionwood.anatomy import AxisMap
from scionwood.anatomy.absorb import Correction
from scionwood.anatomy.depth import indices_in
from scionwood.anatomy.layout import Slot
from scionwood.checkpoint import ComputedTensor, Entry, LazyTensor
from scionwood.verbs.fresh import generator_for
from scionwood.verbs.grow.maps import DRAWN, MEAN, ZERO, Along, Growths
from scionwood.verbs.making import Maker
from scionwood.verbs.taking import Taking

__all__ = ["Grower"]


@dataclasses.dataclass(frozen=True)
class Grower(Maker):
    """Makes every tensor that a grown target stores, and its line in the ledger.

    Args:
        corrections: what becomes of parameters beyond the maps.
        told: why, for the ledger.
    """

    corrections: Mapping[str, Correction] = dataclasses.field(default_factory=dict)
    told: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def _taken(self, slot: Slot, boxes: Sequence[Slot], maps: Sequence[Any]) -> tuple[LazyTensor, Entry]:
        correction = self.corrections.get(slot.tensor)
        alongs = self._alongs(slot)
        if all(along.map.is_identity and along.code is None for along in alongs) and correction is None:
            return super()._taken(slot, boxes, maps)
        stored = [self.checkpoint.tensors[box.name] for box in boxes]
        source, size = ", ".join(box.name for box in boxes), math.prod(slot.shape)
        following = self._following(slot, alongs)
        function = Growing(self, slot, boxes, stored, alongs, correction, following)
        sources = [*stored, *(() if following is None else following[1])]
        tensor = ComputedTensor(slot.name, slot.shape, stored[0].dtype, function, whole=function.whole, sources=sources)
        return tensor, Entry(slot.name, "grown", source, self._told_of(slot, alongs), size)

    def _alongs(self, slot: Slot) -> list[Along]:
        assert isinstance(self.choices, Growths)
        if slot.tensor not in self.match.tensors:
            return [Along(AxisMap.identity(size)) for size in slot.size]
        return [
            self.choices.along(slot.tensor, place).part(start, size)
            for place, (start, size) in enumerate(zip(slot.start, slot.size, strict=True))
        ]

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
    ) -> None:
        self.maker = maker
        self.slot = slot
        self.alongs = list(alongs)
        self.correction = correction
        self.dtype = stored[0].dtype
        wide = self.dtype if self.dtype in (torch.float32, torch.float64) else torch.float32
        maps = [along.map for along in alongs]
        self.taking = Taking(slot, boxes, [tensor.cast(wide) for tensor in stored], maps)
        self.following = (
            Taking(slot, following[0], [tensor.cast(wide) for tensor in following[1]], maps) if following else None
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
