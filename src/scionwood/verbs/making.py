"""Making: from two anatomies side by side and a method's choices to the tensors to write, and the ledger that says what was done."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.anatomy import AxisMap, Model
from scionwood.anatomy.layout import Layout, Slot
from scionwood.anatomy.match import Match
from scionwood.checkpoint import Checkpoint, ComputedTensor, Entry, LazyTensor, Ledger
from scionwood.verbs.choices import Choices
from scionwood.verbs.fresh import FreshWeights
from scionwood.verbs.taking import Taking, holds

__all__ = ["Maker"]


@dataclasses.dataclass
class Maker:
    """Turns a match and its choices into the tensors to write and the ledger."""

    checkpoint: Checkpoint
    match: Match
    choices: Choices
    read: Layout
    write: Layout
    fresh: FreshWeights
    target: Model

    def make(self) -> tuple[dict[str, LazyTensor], Ledger]:
        tensors: dict[str, LazyTensor] = {}
        entries: list[Entry] = []
        state = self.target.module.state_dict(keep_vars=True)
        used: set[str] = set()
        for slot in self.write.slots:
            origin, reason = self._origin(slot, tuple(state[slot.tensor].shape))
            if origin is None:
                tensors[slot.name] = self._fresh(slot, state[slot.tensor].dtype)
                entries.append(Entry(slot.name, "fresh", None, reason, math.prod(slot.shape)))
                continue
            tensor, entry, read = self._taken(slot, origin)
            tensors[slot.name] = tensor
            entries.append(entry)
            used.update(read)
        entries.extend(self._dropped(used))
        return tensors, Ledger(entries)

    def _origin(self, slot: Slot, shape: tuple[int, ...]) -> tuple[str | None, str]:
        """The source's tensor for a stored tensor of the target, or why there is none."""
        if slot.tensor in self.match.target.tensors:
            origin = self.match.tensors.get(slot.tensor)
            if origin is None:
                return None, self.match.fresh[slot.tensor]
        else:
            origin = slot.tensor  # a counter or a table of integers: it has no axes, and fits only as it is
        if origin not in self.read:
            return None, f"the checkpoint holds no {origin}"
        if slot.tensor not in self.match.target.tensors and self._shape(origin) != shape:
            return None, "integers of another shape"
        return origin, ""

    def _shape(self, tensor: str) -> tuple[int, ...]:
        boxes = self.read[tensor]
        return tuple(max(box.start[d] + box.size[d] for box in boxes) for d in range(len(boxes[0].size)))

    def _taken(self, slot: Slot, origin: str) -> tuple[LazyTensor, Entry, list[str]]:
        maps = self._maps(slot, origin)
        boxes = self._boxes(slot, origin, maps)
        stored = [self.checkpoint.tensors[box.name] for box in boxes]
        unchanged = all(axis_map.is_identity and axis_map.divisor is None for axis_map in maps)
        names = [box.name for box in boxes]
        size = math.prod(slot.shape)
        if (
            unchanged
            and len(boxes) == 1
            and boxes[0].shape == slot.shape
            and boxes[0].order == slot.order
            and self._same_box(slot, boxes[0])
        ):
            return stored[0].named(slot.name), Entry(slot.name, "copied", names[0], "", size), names
        function = Taking(slot, boxes, stored, maps)
        tensor = ComputedTensor(slot.name, slot.shape, stored[0].dtype, function)
        return tensor, Entry(slot.name, "selected", names[0], self._detail(slot, maps), size), names

    def _maps(self, slot: Slot, origin: str) -> list[AxisMap]:
        """For each dimension of the module's tensor, the indices and gains of the part that this stored tensor holds."""
        maps = []
        for place, (start, size) in enumerate(zip(slot.start, slot.size, strict=True)):
            if slot.tensor in self.match.target.tensors:
                whole = self.choices.of(slot.tensor, place)
                reads = self.match.target.tensors[slot.tensor].roles[place] == "reads"
            else:
                whole, reads = AxisMap.identity(self._shape(origin)[place]), False
            assert whole.index is not None
            cut = slice(start, start + size)
            divisor = whole.divisor[cut] if whole.divisor is not None and reads else None
            maps.append(AxisMap(whole.source, size, whole.index[cut], divisor))
        return maps

    def _boxes(self, slot: Slot, origin: str, maps: Sequence[AxisMap]) -> list[Slot]:
        """The stored tensors of the source to read: one that holds all that is needed, or else all of the module's tensor."""
        for box in self.read[origin]:
            if all(holds(axis_map, box.start[d], box.size[d]) for d, axis_map in enumerate(maps)):
                return [box]
        return list(self.read[origin])

    def _same_box(self, slot: Slot, box: Slot) -> bool:
        return slot.size == box.size

    def _detail(self, slot: Slot, maps: Sequence[AxisMap]) -> str:
        parts = []
        for place in slot.order:
            axis_map = maps[place]
            if axis_map.source == axis_map.target and axis_map.is_identity and axis_map.divisor is None:
                continue
            notes = self._notes(slot.tensor, place)
            scaled = f" x{1 / float(axis_map.divisor[0]):.4g}" if axis_map.divisor is not None else ""
            parts.append(f"{slot.size[place]} of {axis_map.source}{scaled}" + (f" ({notes})" if notes else ""))
        return ", ".join(parts)

    def _notes(self, tensor: str, place: int) -> str:
        if tensor not in self.match.target.tensors:
            return ""
        found = {}
        for axis in self.match.target.leaves(self.match.target.tensors[tensor].dims[place]):
            for name in (axis, self.match.axes.get(axis, axis)):
                for key, note in self.choices.notes.items():
                    if name in key.split(" x "):
                        found[note] = None
        return "; ".join(found)

    def _fresh(self, slot: Slot, dtype: torch.dtype) -> LazyTensor:
        stored = self._dtype() if dtype.is_floating_point else dtype

        def make(start: int, stop: int) -> Tensor:
            whole = self.fresh.tensor(slot.tensor)
            box = (
                whole[tuple(slice(b, b + n) for b, n in zip(slot.start, slot.size, strict=True))]
                if slot.start
                else whole
            )
            made = slot.fold(box).to(stored)
            return made if not slot.shape else made.reshape(slot.shape)[start:stop]

        return ComputedTensor(slot.name, slot.shape, stored, make, whole=True)

    def _dtype(self) -> torch.dtype:
        """The floating dtype that most of the source's numbers have."""
        held: dict[torch.dtype, int] = {}
        for tensor in self.checkpoint.tensors.values():
            if tensor.dtype.is_floating_point:
                held[tensor.dtype] = held.get(tensor.dtype, 0) + tensor.num_elements
        return max(held, key=held.__getitem__) if held else torch.float32

    def _dropped(self, used: set[str]) -> list[Entry]:
        entries = []
        owner = {slot.name: slot.tensor for slot in self.read.slots}
        for name, tensor in self.checkpoint.tensors.items():
            if name in used:
                continue
            if name in self.read.unknown:
                reason = "the model has no place for it"
            elif name not in owner:
                reason = "tied: stored under another name"
            else:
                reason = (
                    self.match.dropped.get(owner[name])
                    or self.match.fresh.get(owner[name])
                    or "none of its indices were chosen"
                )
            entries.append(Entry(name, "dropped", name, reason, tensor.num_elements))
        return entries
