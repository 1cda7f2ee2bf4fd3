"""Making: from two anatomies side by side and a method's choices to the tensors to write, and the ledger that says what was done."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from scionwood.anatomy import AxisMap, Model
from scionwood.anatomy.layout import Layout, Slot
from scionwood.anatomy.match import Match
from scionwood.checkpoint import Checkpoint, ComputedTensor, Entry, LazyTensor, Ledger
from scionwood.verbs.choices import Choices
from scionwood.verbs.fresh import FreshWeights
from scionwood.verbs.taking import Taking, holds, within
from scionwood.verbs.units import noun

__all__ = ["Maker"]


@dataclasses.dataclass(frozen=True)
class Maker:
    """Makes every tensor that the target stores, and its line in the ledger.

    Args:
        checkpoint: the source's weights.
        match: the two anatomies side by side.
        choices: the indices of every dimension.
        read: where on disk the source's tensors lie.
        write: where the target's tensors are to lie.
        fresh: makes what the source does not have.
        target: the target's module.
    """

    checkpoint: Checkpoint
    match: Match
    choices: Choices
    read: Layout
    write: Layout
    fresh: FreshWeights
    target: Model

    def make(self) -> tuple[dict[str, LazyTensor], Ledger]:
        """Return the target's tensors, unread, and the ledger: a line for each of them and for each tensor of the source not used."""
        tensors: dict[str, LazyTensor] = {}
        entries: list[Entry] = []
        state = self.target.module.state_dict(keep_vars=True)
        used: dict[str, str] = {}
        for slot in self.write.slots:
            tensor = state[slot.tensor]
            origin, reason = self._origin(slot.tensor, tuple(tensor.shape))
            maps = self._maps(slot) if origin is not None else []
            boxes = self._boxes(origin, maps) if origin is not None else []
            if origin is None or not boxes:
                tensors[slot.name] = self._fresh(slot, tensor.dtype)
                reason = reason or "the checkpoint lacks a part of it"
                entries.append(Entry(slot.name, "fresh", None, reason, math.prod(slot.shape)))
                continue
            tensors[slot.name], entry = self._taken(slot, boxes, maps)
            entries.append(entry)
            used.update((box.name, slot.tensor) for box in boxes)
        return tensors, Ledger([*entries, *self._dropped(used)])

    @cached_property
    def dtype(self) -> torch.dtype:
        """The floating dtype that most of the source's numbers have: that of fresh tensors."""
        held: dict[torch.dtype, int] = {}
        for tensor in self.checkpoint.tensors.values():
            if tensor.dtype.is_floating_point:
                held[tensor.dtype] = held.get(tensor.dtype, 0) + tensor.num_elements
        return max(held, key=held.__getitem__) if held else torch.float32

    # Taken from the source.

    def _origin(self, tensor: str, shape: tuple[int, ...]) -> tuple[str | None, str]:
        """The source's tensor for a tensor of the target, or why there is none."""
        if tensor in self.match.fresh:
            return None, self.match.fresh[tensor]
        origin = self.match.tensors.get(tensor) or self.match.origin(tensor)
        if origin not in self.read:
            return None, f"the checkpoint holds no {origin}"
        # A counter or a table of integers has no axes: it fits only as it is.
        if tensor not in self.match.tensors and (len(self.read[origin]) > 1 or self.read[origin][0].size != shape):
            return None, "integers of another shape"
        return origin, ""

    def _maps(self, slot: Slot) -> list[AxisMap]:
        """For each dimension of the module's tensor, the indices and gains of the part that this stored tensor holds."""
        if slot.tensor not in self.match.tensors:
            return [AxisMap.identity(size) for size in slot.size]
        roles = self.match.target.tensors[slot.tensor].roles
        return [
            _part(self.choices.of(slot.tensor, place), start, size, scaled=roles[place] == "reads")
            for place, (start, size) in enumerate(zip(slot.start, slot.size, strict=True))
        ]

    def _boxes(self, origin: str, maps: Sequence[AxisMap]) -> list[Slot]:
        """The stored tensors of the source to read: one that holds all that is needed, or else all of the module's tensor."""
        boxes = self.read[origin]
        for box in boxes:
            if holds(box, maps):
                return [box]
        held = sum(math.prod(box.size) for box in boxes)
        return list(boxes) if held == math.prod(axis_map.source for axis_map in maps) else []

    def _taken(self, slot: Slot, boxes: Sequence[Slot], maps: Sequence[AxisMap]) -> tuple[LazyTensor, Entry]:
        stored = [self.checkpoint.tensors[box.name] for box in boxes]
        source, size = ", ".join(box.name for box in boxes), math.prod(slot.shape)
        local = within(boxes[0], maps) if len(boxes) == 1 else maps
        if len(boxes) == 1 and boxes[0].order == slot.order and all(axis_map.is_identity for axis_map in local):
            return stored[0].named(slot.name), Entry(slot.name, "copied", source, "", size)
        function = Taking(slot, boxes, stored, maps)
        tensor = ComputedTensor(slot.name, slot.shape, stored[0].dtype, function, whole=len(boxes) > 1, sources=stored)
        return tensor, Entry(slot.name, "selected", source, self._how(slot, local), size)

    def _how(self, slot: Slot, maps: Sequence[AxisMap]) -> str:
        """What was taken along each dimension that changes, as ``16 of 32``, with what there is to say of the choice."""
        parts = []
        for place, axis_map in enumerate(maps):
            if not axis_map.is_identity:
                scaled = f" times {1 / float(axis_map.divisor[0]):.4g}" if axis_map.divisor is not None else ""
                notes = "; ".join(self.choices.notes_on(slot.tensor, place))
                told = f" ({notes})" if notes else ""
                parts.append(f"{axis_map.target} of {axis_map.source}{scaled}{told}")
        return ", ".join(parts) or "rearranged"

    # Not taken from the source.

    def _fresh(self, slot: Slot, dtype: torch.dtype) -> LazyTensor:
        stored = self.dtype if dtype.is_floating_point else dtype
        box = tuple(slice(start, start + size) for start, size in zip(slot.start, slot.size, strict=True))

        def make(start: int, stop: int) -> Tensor:
            made = slot.fold(self.fresh.tensor(slot.tensor)[box]).to(stored)
            return made[start:stop] if slot.shape else made

        return ComputedTensor(slot.name, slot.shape, stored, make, whole=True)

    def _dropped(self, used: dict[str, str]) -> list[Entry]:
        slots = {slot.name: slot for slot in self.read.slots}
        taken = {slots[name].tensor: mine for name, mine in used.items()}
        return [
            Entry(name, "dropped", name, self._why_dropped(name, slots.get(name), taken), tensor.num_elements)
            for name, tensor in self.checkpoint.tensors.items()
            if name not in used
        ]

    def _why_dropped(self, name: str, slot: Slot | None, taken: dict[str, str]) -> str:
        if slot is None:
            return "the source's model has no such tensor" if name in self.read.unknown else "stored twice: it is tied"
        if slot.tensor not in taken:
            return self.match.why_dropped(slot.tensor)
        dims = self.match.source.tensors[slot.tensor].dims
        for place, (start, size) in enumerate(zip(slot.start, slot.size, strict=True)):
            index = self.choices.of(taken[slot.tensor], place).index
            assert index is not None
            if not bool(((index >= start) & (index < start + size)).any()):
                return f"not among the {' x '.join(dict.fromkeys(map(noun, dims[place])))} chosen"
        return "another file holds the same"


def _part(axis_map: AxisMap, start: int, size: int, *, scaled: bool) -> AxisMap:
    """The part of a map that makes the target's indices from ``start`` on, without its gains unless they count."""
    divisor = axis_map.divisor if scaled else None
    if size == axis_map.target and divisor is axis_map.divisor:
        return axis_map
    cut = slice(start, start + size)
    assert axis_map.index is not None
    return AxisMap(axis_map.source, size, axis_map.index[cut], None if divisor is None else divisor[cut])
