"""Taking: the rows of a selected tensor, computed when they are written, out of as few bytes of the source as hold them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.anatomy import AxisMap
from scionwood.anatomy.layout import Slot
from scionwood.checkpoint import LazyTensor

__all__ = ["Taking", "holds", "within"]


def holds(box: Slot, maps: Sequence[AxisMap]) -> bool:
    """Whether all that these maps take, one for each dimension of the module's tensor, lies in a box of it."""
    for axis_map, start, size in zip(maps, box.start, box.size, strict=True):
        assert axis_map.index is not None
        if len(axis_map.index) and not start <= int(axis_map.index.min()) <= int(axis_map.index.max()) < start + size:
            return False
    return True


def within(box: Slot, maps: Sequence[AxisMap]) -> list[AxisMap]:
    """The same maps from a box that holds all they take."""
    return [_shifted(*each) for each in zip(maps, box.start, box.size, strict=True)]


def _shifted(axis_map: AxisMap, start: int, size: int) -> AxisMap:
    if (start, size) == (0, axis_map.source):
        return axis_map
    assert axis_map.index is not None
    return AxisMap(size, axis_map.target, axis_map.index - start, axis_map.divisor)


class Taking:
    """Computes rows of a selected tensor: reads only the source rows it needs."""

    def __init__(
        self, slot: Slot, boxes: Sequence[Slot], stored: Sequence[LazyTensor], maps: Sequence[AxisMap]
    ) -> None:
        self.slot = slot
        self.boxes = tuple(boxes)
        self.stored = tuple(stored)
        self.maps = tuple(maps)
        self.lead: int | None = next(iter(slot.order), None)
        self.local = within(boxes[0], maps) if len(boxes) == 1 else list(maps)

    def __call__(self, start: int, stop: int) -> Tensor:
        if len(self.boxes) != 1:
            return self._assembled()[start:stop]
        box, stored = self.boxes[0], self.stored[0]
        if self.lead is None:
            return stored.read()
        rows = self.local[self.lead]
        assert rows.index is not None
        wanted = AxisMap(
            rows.source,
            stop - start,
            rows.index[start:stop],
            None if rows.divisor is None else rows.divisor[start:stop],
        )
        if next(iter(box.order), None) == self.lead:
            assert wanted.index is not None
            low, high = int(wanted.index.min()), int(wanted.index.max()) + 1
            held = box.unfold(stored.read(low, high))
            wanted = AxisMap(high - low, stop - start, wanted.index - low, wanted.divisor)
        else:
            held = box.unfold(stored.read())
        for dim, axis_map in enumerate(self.local):
            held = (wanted if dim == self.lead else axis_map).read(held, dim)
        return self.slot.fold(held).contiguous()

    def _assembled(self) -> Tensor:
        """Put the module's whole tensor together from its pieces, where no single piece holds what is needed."""
        shape = [max(box.start[d] + box.size[d] for box in self.boxes) for d in range(len(self.maps))]
        whole = torch.empty(shape, dtype=self.stored[0].dtype)
        for box, stored in zip(self.boxes, self.stored, strict=True):
            place = tuple(slice(begin, begin + length) for begin, length in zip(box.start, box.size, strict=True))
            whole[place] = box.unfold(stored.read())
        for dim, axis_map in enumerate(self.maps):
            whole = axis_map.read(whole, dim)
        return self.slot.fold(whole).contiguous()
