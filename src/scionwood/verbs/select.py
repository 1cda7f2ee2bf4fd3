"""Select: a smaller model's weights out of a larger model's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scionwood import anatomy as anatomies
from scionwood.anatomy import AxisMap, Model
from scionwood.anatomy.layout import Layout, Slot, layout_of, layout_on_disk
from scionwood.anatomy.match import Match, match
from scionwood.checkpoint import (
    Checkpoint,
    ComputedTensor,
    Entry,
    LazyTensor,
    Ledger,
    Lineage,
    Source,
    installed_versions,
    parent_of,
)
from scionwood.checkpoint import open as open_checkpoint
from scionwood.errors import MatchError, MethodError
from scionwood.methods import registry
from scionwood.methods.record import resolve
from scionwood.methods.select.depth import blocks
from scionwood.verbs.choices import Choices
from scionwood.verbs.fresh import FreshWeights
from scionwood.verbs.importance import magnitude_scores, variance_scores
from scionwood.verbs.target import Target, class_counts, target_config

__all__ = ["select"]


def select(
    source: Source | nn.Module,
    *,
    like: Target | None = None,
    set: Mapping[str, Any] | None = None,  # noqa: A002 - the command line's word
    method: str = "uniform",
    depth: str | Sequence[int] | Mapping[str, str | Sequence[int]] = "first",
    seed: int = 0,
    head: str = "selected",
    rescale: str | None = None,
    scores: Mapping[str, Tensor] | None = None,
    options: Mapping[str, Any] | None = None,
    inputs: object = None,
) -> Checkpoint:
    """Make a smaller model's weights by selecting from a larger one's (Xu et al., 2024, arXiv:2311.18823).

    Every axis of the target is given indices of the source's axis, and every tensor that has the axis takes the same ones, so that what
    one tensor writes the next one reads. Which axes there are, and where, is derived from the two models' own graphs.

    Args:
        source: the larger model: whatever :func:`scionwood.open` takes.
        like: the smaller model's shape: a folder or a file with a config, a config, or for plain modules the smaller module itself.
        set: sizes of the target, by their names in the config; they change what ``like`` says, or the source's config without it.
        method: a method of the family select; ``uniform`` is the paper's.
        depth: which blocks stay: ``first`` (the paper's), ``last``, ``even``, ``stride``, ``without_middle``, the numbers themselves, or a
            mapping from block lists to one of these, for nets with stages.
        seed: of methods that draw, and of fresh tensors.
        head: ``selected``, or ``fresh`` to initialise modules that only write the model's outputs anew even where their sizes agree.
        rescale: ``variance`` multiplies what reads a cut axis by sqrt(old / new), as weight subcloning does (arXiv:2312.09299).
        scores: importance per index by axis of the source, for methods that rank by activations.
        options: the method's own options.
        inputs: example inputs, for plain modules.

    Returns:
        A lazy checkpoint in the layout that the target's class saves: nothing is read until it is written. Its ledger lists every tensor.

    Raises:
        SourceError: the source cannot be read.
        AnatomyError: a model cannot be built or traced.
        MatchError: the two are of different families, or the target is larger than the source on some axis.
        MethodError: an unknown method or option, or sizes that the method cannot serve.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> def net(width):
        ...     return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
        >>> small = select(net(8), like=net(4), inputs=torch.zeros(1, 4))
        >>> small["0.weight"].shape, small.ledger
        (torch.Size([4, 4]), Ledger(4 selected))
    """
    function = registry.load(method, family="select")
    resolved = resolve(function, dict(options or {}))
    for name, value, known in (("head", head, ("selected", "fresh")), ("rescale", rescale, ("variance", None))):
        if value not in known:
            raise MethodError(f"{name} is {value!r}, not one of {', '.join(map(repr, known))}")
    checkpoint = open_checkpoint(source)
    larger, smaller, config = _models(source, checkpoint, like, set, depth, inputs)
    chosen_depth = _depth_rule(depth)
    pair = match(
        anatomies.derive(larger),
        anatomies.derive(smaller),
        depth=chosen_depth,
        fresh_outputs=head == "fresh",
        classes=class_counts(larger.config, smaller.config),
    )
    _check_depth_names(depth, pair)
    read = layout_on_disk(larger, {name: tensor.shape for name, tensor in checkpoint.tensors.items()})

    def importance() -> Mapping[str, Tensor]:
        if scores is not None:
            return scores
        if choices.record.scores == "magnitude":
            return magnitude_scores(pair.source, checkpoint, read)
        return variance_scores(pair.source, checkpoint, read) if choices.record.scores == "variance" else {}

    choices = Choices(pair, function, resolved, seed, importance, rescale=rescale == "variance")
    maker = _Maker(checkpoint, pair, choices, read, layout_of(smaller), FreshWeights(smaller, seed), smaller)
    tensors, ledger = maker.make()
    recipe = _recipe(checkpoint, like, set, choices.record.name, resolved, depth, head, rescale, scores)
    lineage = Lineage(recipe, (parent_of(checkpoint, "source"),), seed, installed_versions())
    return Checkpoint(
        tensors=tensors,
        ties=_ties_on_disk(pair, tensors),
        config=config,
        side_files=checkpoint.side_files,
        source=f"select({checkpoint.source})",
        lineage=lineage,
        ledger=ledger,
    )


def _models(
    source: Any, checkpoint: Checkpoint, like: Any, overrides: Mapping[str, Any] | None, depth: Any, inputs: object
) -> tuple[Model, Model, dict[str, Any] | None]:
    if isinstance(like, nn.Module) and inputs is not None:
        if not isinstance(source, nn.Module):
            raise MatchError("a plain module as target needs the module itself as source", hint="give source=module, like=module, inputs=...")
        return anatomies.model(source, inputs), anatomies.model(like, inputs), None
    if checkpoint.config is None or "model_type" not in checkpoint.config:
        raise MatchError(
            f"{checkpoint.source} has no config that says which model it is",
            hint="give a folder with a config.json, or for plain modules source=module, like=module and inputs=...",
        )
    config = target_config(checkpoint.config, like, overrides, depth)
    name = str(like) if isinstance(like, (str, Path)) else "the target"
    return anatomies.from_config(checkpoint.config, checkpoint.source), anatomies.from_config(config, name), config


def _depth_rule(depth: Any) -> Callable[[str, int, int], Sequence[int]]:
    def rule(path: str, old: int, new: int) -> Sequence[int]:
        if new > old:
            return range(old)  # the match says which list is deeper
        asked = depth.get(path, "first") if isinstance(depth, Mapping) else depth
        if not isinstance(asked, str) and not isinstance(depth, Mapping) and old == new and list(asked) != list(range(new)):
            return range(new)  # an explicit list is meant for the lists that shrink
        return blocks(asked, old, new)

    return rule


def _check_depth_names(depth: Any, pair: Match) -> None:
    if isinstance(depth, Mapping):
        unknown = [path for path in depth if path not in pair.target.depth]
        if unknown:
            raise MethodError(f"no block list is called {', '.join(unknown)}", hint=f"there are {', '.join(pair.target.depth) or 'none'}")


def _recipe(
    checkpoint: Checkpoint, like: Any, overrides: Any, method: str, options: Any, depth: Any, head: str, rescale: Any, scores: Any
) -> dict[str, Any]:
    recipe: dict[str, Any] = {"verb": "select", "source": checkpoint.source, "method": method}
    if isinstance(like, (str, Path)):
        recipe["like"] = str(like)
    elif like is not None:
        recipe["like"] = type(like).__name__
    recipe |= {"set": dict(overrides)} if overrides else {}
    recipe |= {"options": dict(options)} if options else {}
    recipe["depth"] = depth if isinstance(depth, str) else dict(depth) if isinstance(depth, Mapping) else list(depth)
    recipe |= {"head": head} if head != "selected" else {}
    recipe |= {"rescale": rescale} if rescale else {}
    recipe |= {"scores": "given"} if scores is not None else {}
    return recipe


def _ties_on_disk(pair: Match, tensors: Mapping[str, LazyTensor]) -> dict[str, str]:
    return {alias: kept for alias, kept in pair.target.ties.items() if kept in tensors and alias not in tensors}


@dataclasses.dataclass
class _Maker:
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
        if unchanged and len(boxes) == 1 and boxes[0].shape == slot.shape and boxes[0].order == slot.order and self._same_box(slot, boxes[0]):
            return stored[0].named(slot.name), Entry(slot.name, "copied", names[0], "", size), names
        function = _Taking(slot, boxes, stored, maps)
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
            if all(_inside(axis_map, box.start[d], box.size[d]) for d, axis_map in enumerate(maps)):
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
            box = whole[tuple(slice(b, b + n) for b, n in zip(slot.start, slot.size, strict=True))] if slot.start else whole
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
                reason = self.match.dropped.get(owner[name]) or self.match.fresh.get(owner[name]) or "none of its indices were chosen"
            entries.append(Entry(name, "dropped", name, reason, tensor.num_elements))
        return entries


def _inside(axis_map: AxisMap, start: int, size: int) -> bool:
    assert axis_map.index is not None
    if not len(axis_map.index):
        return True
    return start <= int(axis_map.index.min()) and int(axis_map.index.max()) < start + size


class _Taking:
    """Computes rows of a selected tensor: reads only the source rows it needs."""

    def __init__(self, slot: Slot, boxes: Sequence[Slot], stored: Sequence[LazyTensor], maps: Sequence[AxisMap]) -> None:
        self.slot = slot
        self.boxes = tuple(boxes)
        self.stored = tuple(stored)
        self.maps = tuple(maps)
        self.lead = slot.order[0] if slot.order else None
        self.local = [_shifted(m, boxes[0].start[d], boxes[0].size[d]) for d, m in enumerate(maps)] if len(boxes) == 1 else list(maps)

    def __call__(self, start: int, stop: int) -> Tensor:
        if len(self.boxes) > 1:
            return self._assembled()[start:stop]
        box, stored = self.boxes[0], self.stored[0]
        if self.lead is None:
            return stored.read()
        rows = self.local[self.lead]
        assert rows.index is not None
        wanted = AxisMap(rows.source, stop - start, rows.index[start:stop], None if rows.divisor is None else rows.divisor[start:stop])
        if box.order and box.order[0] == self.lead:
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


def _shifted(axis_map: AxisMap, start: int, size: int) -> AxisMap:
    assert axis_map.index is not None
    return AxisMap(size, axis_map.target, axis_map.index - start, axis_map.divisor)

