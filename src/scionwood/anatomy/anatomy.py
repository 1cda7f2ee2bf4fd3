"""The anatomy of a model: which named axes each of its tensors has."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Anatomy", "Axis", "Dimension", "TensorAnatomy", "flat_index"]

Dimension: TypeAlias = tuple[str, ...]
"""The axes of one dimension, outermost first; ``()`` is a dimension of size one."""


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis of a model, wherever it occurs.

    Attributes:
        name: where it belongs and what it is, such as ``layers.3.mlp.inner``.
        size: number of indices.
        kind: ``free``, ``output``, ``input``, ``positional``, ``part``, ``kernel`` or ``coarse``.
        parts: for a concatenation, the dimensions laid end to end, in order; else nothing.
        paired: it is contracted between two activations (queries with keys): duplicating it changes the scale of the result.
        tags: what operations saw it as: ``heads``, ``score``, ``value``, ``vocab`` …
        profiles: for an axis that is positional because of constants alone, how they vary along it: matrices of one row per index.
    """

    name: str
    size: int
    kind: str
    parts: tuple[Dimension, ...] | None = None
    paired: bool = False
    tags: frozenset[str] = frozenset()
    profiles: tuple[Tensor, ...] = dataclasses.field(default=(), repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class TensorAnatomy:
    """One stored tensor: its shape, and for every dimension its axes and its role.

    Attributes:
        name: the parameter's or buffer's name in the module.
        shape: sizes.
        dims: the axes of each dimension, outermost first.
        roles: for each dimension ``writes``, ``reads``, ``scales``, several joined by ``+``, or ``unused``.
    """

    name: str
    shape: tuple[int, ...]
    dims: tuple[Dimension, ...]
    roles: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """The named axes of every tensor of a model, derived from the model's own graph; made by :func:`scionwood.anatomy.of`.

    Attributes:
        tensors: every floating-point tensor that a checkpoint of the model holds, by its name in the module.
        axes: every axis by name, concatenations included.
        ties: tensors that share their storage with another: name → the name that ``tensors`` has.
        depth: for every list of repeated blocks, its length.
        outputs: the dimensions of each output tensor.
        unused: tensors that the graph never looks at.
        unknown_ops: operations without a rule, with how often they occurred; what they touched is ``coarse``.
        source: how the model was named.
    """

    tensors: Mapping[str, TensorAnatomy]
    axes: Mapping[str, Axis]
    ties: Mapping[str, str]
    depth: Mapping[str, int]
    outputs: tuple[tuple[Dimension, ...], ...]
    unused: frozenset[str]
    unknown_ops: Mapping[str, int]
    source: str

    def __repr__(self) -> str:
        kinds = {
            kind: sum(axis.kind == kind for axis in self.axes.values())
            for kind in ("free", "output", "input", "positional", "coarse")
        }
        counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        return f"<Anatomy of {self.source}: {len(self.tensors)} tensors, axes: {counted}>"

    def leaves(self, dim: Dimension) -> Iterator[str]:
        """Every axis of a dimension that is no concatenation, in order."""
        for name in dim:
            parts = self.axes[name].parts
            if parts is None:
                yield name
            else:
                for part in parts:
                    yield from self.leaves(part)

    def occurrences(self, axis: str) -> Iterator[tuple[str, int]]:
        """Every tensor and dimension that an axis occurs in, inside concatenations too."""
        for name, tensor in self.tensors.items():
            for place, dim in enumerate(tensor.dims):
                if axis in self.leaves(dim):
                    yield name, place

    @property
    def composite(self) -> frozenset[str]:
        """The axes that occur as a part of a concatenation somewhere: to permute one there, ``parts`` must be looked into."""
        return frozenset(leaf for axis in self.axes.values() for part in axis.parts or () for leaf in self.leaves(part))

    @property
    def num_parameters(self) -> int:
        """How many numbers the tensors hold."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    @property
    def coarse_share(self) -> float:
        """The share of all numbers that lie on a coarse axis, between 0 and 1."""
        coarse = {name for name, axis in self.axes.items() if axis.kind == "coarse"}
        held = sum(
            math.prod(tensor.shape)
            for tensor in self.tensors.values()
            if any(leaf in coarse for dim in tensor.dims for leaf in self.leaves(dim))
        )
        return held / max(self.num_parameters, 1)

    def table(self) -> RenderableType:
        """The anatomy as a table for people; see :func:`scionwood.anatomy.table.table`."""
        from scionwood.anatomy.table import table

        return table(self)

    def to_json(self) -> dict[str, Any]:
        """The whole anatomy as plain data.

        ``tensors[name]["dims"]`` lists the axes of each dimension, outermost first: the product of their sizes is the dimension's size.
        An axis that is a concatenation lists its ``parts``. An axis that occurs inside such parts has the kind ``part`` here, with what
        it is by itself under ``within``: permuting it where it stands in plain sight alone would not do.
        """
        composite = self.composite
        axes: dict[str, dict[str, Any]] = {}
        for name, axis in self.axes.items():
            entry: dict[str, Any] = {"size": axis.size, "kind": axis.kind}
            if name in composite and axis.kind in ("free", "output", "input"):
                entry |= {"kind": "part", "within": axis.kind}
            if axis.parts is not None:
                entry["parts"] = [list(part) for part in axis.parts]
            if axis.paired:
                entry["paired"] = True
            axes[name] = entry
        return {
            "tensors": {
                name: {"shape": list(t.shape), "dims": [list(dim) for dim in t.dims], "roles": list(t.roles)}
                for name, t in self.tensors.items()
            },
            "axes": axes,
            "depth": dict(self.depth),
            "ties": dict(self.ties),
            "outputs": [[list(dim) for dim in output] for output in self.outputs],
            "unused": sorted(self.unused),
            "unknown_ops": sorted(self.unknown_ops),
        }


def flat_index(anatomy: Anatomy, dim: Dimension, choose: Callable[[str], Tensor]) -> Tensor:
    """Turn one index per axis into one index for a whole dimension, through products and concatenations.

    Args:
        anatomy: whose sizes count.
        dim: the dimension.
        choose: the index vector of an axis that is no concatenation.

    Returns:
        The indices into the dimension, in the order that the chosen indices of its axes give.

    >>> axes = {"heads": Axis("heads", 2, "free"), "width": Axis("width", 3, "free")}
    >>> tiny = Anatomy({}, axes, {}, {}, (), frozenset(), {}, "example")
    >>> chosen = {"heads": torch.tensor([1, 0]), "width": torch.tensor([0, 2])}
    >>> flat_index(tiny, ("heads", "width"), chosen.__getitem__).tolist()
    [3, 5, 0, 2]
    """
    result = torch.zeros(1, dtype=torch.long)
    for name in dim:
        axis = anatomy.axes[name]
        if axis.parts is None:
            own = choose(name)
        else:
            pieces, offset = [], 0
            for part in axis.parts:
                pieces.append(flat_index(anatomy, part, choose) + offset)
                offset += math.prod(anatomy.axes[leaf].size for leaf in part)
            own = torch.cat(pieces)
        result = (result[:, None] * axis.size + own[None, :]).reshape(-1)
    return result
