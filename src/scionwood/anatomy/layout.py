"""Layout: where on disk each tensor of a module lies.

Names on disk are not always names in the module: transformers packs a model's experts into one tensor while loading and writes them apart
while saving. Both ways are taken from what transformers itself does, not from a table here: its own saving conversion is run on tensors
without storage, and where each result lies in the module's tensor is read off its strides and its offset.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scionwood.anatomy.build import Model
from scionwood.anatomy.reasons import folded
from scionwood.errors import AnatomyError

__all__ = ["Layout", "Slot", "layout_of", "layout_on_disk"]


@dataclasses.dataclass(frozen=True)
class Slot:
    """A stored tensor: a box cut out of a tensor of the module, its dimensions in some order.

    Attributes:
        name: its name on disk.
        tensor: the tensor of the module.
        start: where the box begins, for each dimension of the module's tensor.
        size: how long it is there; 1 for a dimension that the stored tensor does not have.
        order: for each dimension of the stored tensor, the dimension of the module's tensor that it is.
    """

    name: str
    tensor: str
    start: tuple[int, ...]
    size: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape on disk."""
        return tuple(self.size[dim] for dim in self.order)

    def unfold(self, stored: Tensor) -> Tensor:
        """View the stored tensor, or some rows of its first dimension, as the box it is in the module's tensor."""
        present = (
            stored.permute(*(sorted(range(len(self.order)), key=self.order.__getitem__))) if self.order else stored
        )
        for dim in range(len(self.size)):
            if dim not in self.order:
                present = present.unsqueeze(dim)
        return present

    def fold(self, box: Tensor) -> Tensor:
        """View a box of the module's tensor as it is stored."""
        return box.permute((*self.order, *(d for d in range(box.dim()) if d not in self.order))).reshape(
            tuple(box.shape[dim] for dim in self.order)
        )


class Layout(Mapping[str, tuple[Slot, ...]]):
    """The stored tensors of a model: every tensor of the module with the slots it is stored in, in the order of the disk."""

    def __init__(self, slots: Iterable[Slot], unknown: Iterable[str] = ()) -> None:
        self.slots = tuple(slots)
        self.unknown = tuple(unknown)
        self._by_tensor: dict[str, list[Slot]] = {}
        for slot in self.slots:
            self._by_tensor.setdefault(slot.tensor, []).append(slot)

    def __getitem__(self, tensor: str) -> tuple[Slot, ...]:
        return tuple(self._by_tensor[tensor])

    def __iter__(self) -> Any:
        return iter(self._by_tensor)

    def __len__(self) -> int:
        return len(self._by_tensor)


def layout_of(model: Model) -> Layout:
    """The layout that saving the model writes: one slot for each tensor on disk, tied tensors once.

    Raises:
        AnatomyError: the saving conversion does more than cut, transpose and rename.
    """
    shapes = _stored_shapes(model.module)
    if not _is_transformers(model.module):
        return Layout(_whole(name, name, shape) for name, shape in shapes.items())
    from transformers.core_model_loading import revert_weight_conversion

    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    owners = {tensor.untyped_storage()._cdata: name for name, tensor in state.items()}
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with _Views():
            saved = revert_weight_conversion(cast("Any", model.module), dict(state))
    finally:
        logging.disable(level)
    slots = []
    for name, tensor in saved.items():
        owner = owners.get(tensor.untyped_storage()._cdata)
        slot = _box(name, owner, tensor, state[owner]) if owner is not None else None
        if slot is None:
            raise AnatomyError(
                f"{model.source}: {name} is stored rearranged in a way scionwood cannot follow",
                hint="open the model with transformers and give the module itself",
            )
        slots.append(slot)
    return Layout(slots)


def layout_on_disk(model: Model, stored: Mapping[str, tuple[int, ...]]) -> Layout:
    """The layout of a given checkpoint: today's, an older one that transformers still loads, or a mixture.

    Args:
        model: the model that the checkpoint's config describes.
        stored: the shape of every tensor on disk.

    Returns:
        The slots; ``unknown`` lists stored tensors that the model has no place for.

    Raises:
        AnatomyError: a stored tensor has another shape than its config says; lists them all.
    """
    today = layout_of(model)
    by_name = {slot.name: slot for slot in today.slots}
    ties = _tied_names(model.module)
    shapes = _stored_shapes(model.module)
    renamed = _loading_names(model, [name for name in stored if name not in by_name], today)
    slots: list[Slot] = []
    taken: dict[str, list[Slot]] = {}
    unknown: list[str] = []
    problems: list[str] = []
    for name, shape in stored.items():
        slot = by_name.get(name)
        if slot is None:
            kept = ties.get(name, name)
            slot = renamed.get(name) or (_whole(name, kept, shapes[kept]) if kept in shapes else None)
            if slot is None:
                unknown.append(name)
                continue
            place = (slot.tensor, slot.start)
            if any(
                place == (own.tensor, own.start)
                for own in (*taken.get(slot.tensor, ()), *_present(today, slot.tensor, stored))
            ):
                continue  # stored a second time, under an older or a tied name
        if slot.shape != tuple(shape):
            problems.append(f"{name}: {list(shape)} in the file, {list(slot.shape)} by the config")
            continue
        slots.append(dataclasses.replace(slot, name=name))
        taken.setdefault(slot.tensor, []).append(slots[-1])
    # Where a tensor of one block is there and that of another is not, blocks are missing.
    held = {slot.tensor for slot in slots}
    likes = {_in_any_block(name) for name in held}
    if not problems:
        problems = [
            f"{name}: {list(shapes[name])} by the config, but not there"
            for name in today
            if name not in held and _in_any_block(name) != name and _in_any_block(name) in likes
        ]
    if problems:
        raise AnatomyError(
            f"{model.source}: the weights do not fit the config",
            problems=folded(problems),
            hint="is the config.json that of these weights?",
        )
    return Layout(slots, unknown)


def _present(today: Layout, tensor: str, stored: Mapping[str, object]) -> list[Slot]:
    return [slot for slot in today.get(tensor, ()) if slot.name in stored]


def _in_any_block(name: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", name)


def _is_transformers(module: nn.Module) -> bool:
    return type(module).__module__.partition(".")[0] == "transformers" or hasattr(module, "_tied_weights_keys")


def _stored_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every name that a checkpoint has, tied tensors under their first name."""
    ties = _tied_names(module)
    return {name: tuple(t.shape) for name, t in module.state_dict(keep_vars=True).items() if name not in ties}


def _tied_names(module: nn.Module) -> dict[str, str]:
    first: dict[int, str] = {}
    ties: dict[str, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        kept = first.setdefault(id(tensor), name)
        if kept != name:
            ties[name] = kept
    return ties


def _whole(name: str, tensor: str, shape: tuple[int, ...]) -> Slot:
    return Slot(name, tensor, (0,) * len(shape), shape, tuple(range(len(shape))))


class _Views(TorchDispatchMode):
    """Copies that only make a tensor contiguous are left out, so that strides keep telling where a result came from."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.clone.default:
            return torch.ops.aten.alias.default(args[0])
        return func(*args, **(kwargs or {}))


def _box(name: str, owner: str, view: Tensor, base: Tensor) -> Slot | None:
    """Read off which box of the base a view is; nothing, if it is none."""
    start: list[int] = []
    rest = view.storage_offset()
    for stride in base.stride():
        start.append(rest // stride if stride else 0)
        rest -= start[-1] * stride
    size = [1] * base.dim()
    order = []
    for length, stride in zip(view.shape, view.stride(), strict=True):
        places = [
            d for d in range(base.dim()) if base.stride(d) == stride and d not in order and base.shape[d] >= length
        ]
        if not places:
            return None
        # Dimensions of size one share a stride with the next: prefer the one whose length fits.
        place = next((d for d in places if base.shape[d] == length), places[0])
        order.append(place)
        size[place] = length
    if any(begin + length > whole for begin, length, whole in zip(start, size, base.shape, strict=True)) or rest:
        return None
    return Slot(name, owner, tuple(start), tuple(size), tuple(order))


def _loading_names(model: Model, names: list[str], today: Layout) -> dict[str, Slot]:
    """Where transformers would load older names: plain renamings by name, packed ones by their order among their likes."""
    if not names or not _is_transformers(model.module):
        return {}
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    transforms = get_model_conversion_mapping(cast("Any", model.module))
    renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
    converters = [t for t in transforms if isinstance(t, WeightConverter)]
    shapes = _stored_shapes(model.module)
    ties = _tied_names(model.module)
    state: dict[str, Any] = dict.fromkeys([*shapes, *ties], True)
    prefix = getattr(model.module, "base_model_prefix", "") or None

    def loaded(name: str) -> tuple[str, str | None]:
        return rename_source_key(name, renamings, converters, prefix, state)

    groups: dict[tuple[str, str | None], list[Slot]] = {}
    for slot in sorted(today.slots, key=lambda s: dot_natural_key(s.name)):
        groups.setdefault(loaded(slot.name), []).append(slot)
    counts: dict[tuple[str, str | None], int] = {}
    found: dict[str, Slot] = {}
    for name in sorted(names, key=dot_natural_key):
        key = loaded(name)
        target, pattern = key
        if pattern is None:
            kept = ties.get(target, target)
            if kept in shapes:
                found[name] = _whole(name, kept, shapes[kept])
            continue
        place = counts.get(key, 0)
        counts[key] = place + 1
        if place < len(groups.get(key, ())):
            found[name] = groups[key][place]
    return found
