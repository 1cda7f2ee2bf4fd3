"""Tables: the tensors of a model that have a row for each token, as its anatomy tells them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from scionwood.anatomy import Anatomy, Model, derive
from scionwood.anatomy.build import shapes_with
from scionwood.anatomy.layout import Slot, layout_on_disk
from scionwood.checkpoint import Checkpoint, LazyTensor
from scionwood.errors import MatchError

__all__ = ["Role", "SettingPath", "Table", "counts_from_padding", "sizes_of", "tables_of"]

SettingPath = tuple[str, ...]
"""Where a setting stands in a config: ``("text_config", "vocab_size")``."""

Role = Literal["input", "output", "bias"]


@dataclass(frozen=True)
class Table:
    """A stored tensor with a row, or a column, for each token.

    Args:
        stored: the tensor as it lies in the checkpoint.
        tensor: the name of the module's tensor that it is.
        dim: which of its dimensions counts tokens.
        role: ``input`` is looked up, by itself or tied with the head; ``output`` gives logits; ``bias`` is added to them.
        tied: it is looked up and gives logits.
    """

    stored: LazyTensor
    tensor: str
    dim: int
    role: Role
    tied: bool

    @property
    def rows(self) -> int:
        """How many there are, padding included."""
        return self.stored.shape[self.dim]

    def read(self, count: int) -> Tensor:
        """The first rows, (count, width), in the dtype they are stored in; a bias is of width 1."""
        held = self.stored.read(0, count) if self.dim == 0 else self.stored.read().movedim(self.dim, 0)[:count]
        return held.reshape(count, -1)


def tables_of(model: Model, checkpoint: Checkpoint) -> list[Table]:
    """Return every table of a model: those that a text's numbers look up, and those that write as many outputs.

    Raises:
        MatchError: the model has none.
    """
    anatomy = derive(model)
    layout = layout_on_disk(model, {name: tensor.shape for name, tensor in checkpoint.tensors.items()})
    found: dict[str, Table] = {}
    for axis in _token_axes(anatomy):
        for name, place in anatomy.occurrences(axis):
            role, tied = _role(anatomy, name, place, tagged="vocab" in anatomy.axes[axis].tags)
            for slot in layout.get(name, ()):
                if _whole(slot, anatomy.tensors[name].shape):
                    stored = checkpoint.tensors[slot.name]
                    found[slot.name] = Table(stored, name, slot.order.index(place), role, tied)
    # A tied tensor that some files hold a second time, under the other name.
    for alias, kept in anatomy.ties.items():
        own = next((found[slot.name] for slot in layout.get(kept, ()) if slot.name in found), None)
        if own is not None and alias in checkpoint.tensors and alias not in found:
            found[alias] = replace(own, stored=checkpoint.tensors[alias])
    if not any(table.role == "input" for table in found.values()):
        raise MatchError(
            f"{checkpoint.source} has no table that tokens look up: no tensor has an axis of tokens",
            hint="only models of text have a vocabulary; scionwood anatomy shows the axes",
        )
    return list(found.values())


def sizes_of(model: Model, tables: Sequence[Table]) -> frozenset[SettingPath]:
    """Return the settings of a model's config that say how many rows its tables have.

    Models are built with one row more: a setting that changes tables, and nothing else, counts their rows. One of that
    number that no tensor hangs on is believed where it calls itself a vocabulary: Marian takes its loss by such a one.

    Raises:
        MatchError: tables have as many rows as no setting says.
    """
    state = model.module.state_dict(keep_vars=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    held = {id(state[table.tensor]) for table in tables}
    own = {name for name, tensor in state.items() if id(tensor) in held}  # under all names that tied ones have
    rows = {table.rows for table in tables}
    found: set[SettingPath] = set()
    counted: set[str] = set()
    for path, value in _numbers(model.config):
        if value not in rows:
            continue
        changed = _changed(model, path, value + 1, shapes)
        if changed is not None and changed <= own and (changed or "vocab" in path[-1]):
            found.add(path)
            counted |= changed
    if own - counted:
        raise MatchError(
            f"{model.source} has tables of tokens whose rows no setting of its config counts.",
            problems=[f"{name}, of the shape {list(shapes[name])}" for name in sorted(own - counted)],
            hint="a table with other rows would not load; such models keep their vocabulary",
        )
    return frozenset(found)


def counts_from_padding(model: Model) -> bool:
    """Whether positions begin at the number of the padding token, as RoBERTa's do: at what it counts of the others."""
    padding = {value for path, value in _numbers(model.config) if path[-1] == "pad_token_id"}
    waiting = [
        node
        for node in model.program.graph.nodes
        if node.target in (torch.ops.aten.ne.Scalar, torch.ops.aten.eq.Scalar)
        and node.args[0].op == "placeholder"
        and node.args[1] in padding
    ]
    seen = set()
    while waiting:
        node = waiting.pop()
        if "cumsum" in str(node.target):
            return True
        if node not in seen:
            seen.add(node)
            waiting += node.users
    return False


def _numbers(config: Any, path: SettingPath = ()) -> Iterator[tuple[SettingPath, int]]:
    """The whole numbers in a config of transformers and in its parts, by path."""
    for name, value in vars(config).items():
        if type(value) is int and not name.startswith("_"):
            yield (*path, name), value
        elif hasattr(value, "model_type"):
            yield from _numbers(value, (*path, name))


def _changed(model: Model, path: SettingPath, value: int, shapes: Mapping[str, tuple[int, ...]]) -> set[str] | None:
    """The names of the tensors that have another shape with another setting; nothing where no model has it."""
    other = shapes_with(model, path, value)
    return None if other is None else {name for name in {**shapes, **other} if other.get(name) != shapes.get(name)}


def _token_axes(anatomy: Anatomy) -> list[str]:
    """The axes that text looks up, and those of one such size that are only ever written: the logits."""
    tagged = [name for name, axis in anatomy.axes.items() if "vocab" in axis.tags]
    sizes = {anatomy.axes[name].size for name in tagged}
    return [
        *tagged,
        *(
            name
            for name, axis in anatomy.axes.items()
            if name not in tagged
            and axis.kind == "output"
            and axis.parts is None
            and axis.size in sizes
            and not any("reads" in anatomy.tensors[tensor].roles[place] for tensor, place in anatomy.occurrences(name))
        ),
    ]


def _role(anatomy: Anatomy, name: str, place: int, *, tagged: bool) -> tuple[Role, bool]:
    tensor = anatomy.tensors[name]
    if sum(size > 1 for size in tensor.shape) < 2:
        return "bias", False
    if not tagged:
        return "output", False
    return "input", "writes" in tensor.roles[place]


def _whole(slot: Slot, shape: tuple[int, ...]) -> bool:
    return slot.size == tuple(shape) and not any(slot.start)


def as_stored(rows: Tensor, table: Table) -> Tensor:
    """Lay rows (n, width) out as the table is stored, in its dtype."""
    shape = [size for dim, size in enumerate(table.stored.shape) if dim != table.dim]
    made = rows.view(len(rows), *shape).movedim(0, table.dim)
    return made.to(table.stored.dtype if table.stored.dtype.is_floating_point else torch.float32).contiguous()
