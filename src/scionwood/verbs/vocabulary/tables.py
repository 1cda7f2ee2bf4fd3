"""Tables: the tensors of a model that have a row for each token, as its anatomy tells them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from scionwood.anatomy import Anatomy, Model, derive
from scionwood.anatomy.layout import Slot, layout_on_disk
from scionwood.checkpoint import Checkpoint, LazyTensor
from scionwood.errors import MatchError

__all__ = ["Role", "Table", "tables_of"]

Role = Literal["input", "output", "bias"]


@dataclass(frozen=True)
class Table:
    """A stored tensor with a row, or a column, for each token.

    Args:
        stored: the tensor as it lies in the checkpoint.
        dim: which of its dimensions counts tokens.
        role: ``input`` is looked up, by itself or tied with the head; ``output`` gives logits; ``bias`` is added to them.
        tied: it is looked up and gives logits.
    """

    stored: LazyTensor
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
                    found[slot.name] = Table(stored, slot.order.index(place), role, tied)
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
