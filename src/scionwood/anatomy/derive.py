"""From a trace to an anatomy: settle the atoms, sort out roles and kinds, and give the axes their names."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import TypeAlias

from torch import nn

from scionwood.anatomy import atoms
from scionwood.anatomy.anatomy import Anatomy, Axis, Dimension, TensorAnatomy
from scionwood.anatomy.atoms import PINS, Atom, Dim, expand, leaves, pin
from scionwood.anatomy.build import Model
from scionwood.anatomy.depth import block_lists
from scionwood.anatomy.names import Occurrence, name_axes, trim, trunk
from scionwood.anatomy.trace import Trace, trace

__all__ = ["derive"]


def derive(model: Model) -> Anatomy:
    """Trace a model and describe the axes of every tensor it stores."""
    found = trace(model)
    ties = _ties(model.module, found)
    dims = {
        name: found.dims[name]
        for name in model.module.state_dict(keep_vars=True)
        if name in found.dims and name not in ties
    }
    for output in found.outputs:
        for dim in output:
            pin(dim, "output")
    unused = {name for name in dims if not {name, *(a for a, kept in ties.items() if kept == name)} & found.used}
    for name in unused:
        for dim in dims[name]:
            pin(dim, "coarse")
    everything = [dim for tensor in dims.values() for dim in tensor]
    _settle(everything)
    roles = _roles(found, ties)
    return _describe(model, found, dims, ties, roles, unused)


def _ties(module: nn.Module, found: Trace) -> dict[str, str]:
    """Names that share one tensor with an earlier name; their dimensions are made one."""
    kept: dict[int, str] = {}
    ties: dict[str, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if name not in found.dims:
            continue
        key = id(tensor)
        if key not in kept:
            kept[key] = name
            continue
        ties[name] = kept[key]
        for mine, theirs in zip(found.dims[name], found.dims[kept[key]], strict=True):
            atoms.unify(mine, theirs)
    return ties


def _settle(dims: Iterable[Dim]) -> None:
    """Concatenations of like parts become products; a pass may make further parts alike, so go on until nothing changes."""
    everything = list(dims)
    before = -1
    while before != (now := len({leaf for dim in everything for leaf in leaves(dim)})):
        before = now
        for dim in everything:
            atoms.settle(dim)


Roles: TypeAlias = "dict[str, list[set[str]]]"


def _roles(found: Trace, ties: dict[str, str]) -> Roles:
    """For every dimension of every tensor, the roles it was seen in: by the dimension itself, or through its axes after a view."""
    roles: Roles = {name: [set() for _ in tensor] for name, tensor in found.dims.items()}
    place_of = {
        (name, id(dim)): place for name, tensor in found.dims.items() for place, dim in enumerate(tensor) if dim
    }
    for name, dim, role in found.roles:
        place = place_of.get((name, id(dim)))
        if place is not None:
            roles[ties.get(name, name)][place].add(role)
            continue
        seen = set(leaves(dim))
        for other, own in enumerate(found.dims[name]):
            if seen & set(leaves(own)):
                roles[ties.get(name, name)][other].add(role)
    return roles


def _kind(atom: Atom) -> str:
    found = next((reason for reason in PINS if reason in atom.pins), "free")
    return "positional" if found == "constants" else found


def _describe(
    model: Model,
    found: Trace,
    dims: dict[str, list[Dim]],
    ties: dict[str, str],
    roles: Roles,
    unused: set[str],
) -> Anatomy:
    lists = block_lists(model.module)
    places: dict[Atom, list[Occurrence]] = defaultdict(list)
    for name, tensor in dims.items():
        for place, dim in enumerate(tensor):
            own = tuple(leaves(dim))
            summed = any(atom.terms is not None for atom in expand(dim))
            for leaf in dict.fromkeys(own):
                places[leaf].append(Occurrence(name, place, len(tensor), frozenset(roles[name][place]), own, summed))
    names = name_axes(places, {atom: _kind(atom) for atom in places}, lists)
    paired = {leaf for dim in found.paired for leaf in leaves(dim)}
    axes = {
        names[atom]: Axis(
            names[atom],
            atom.size,
            _kind(atom),
            None,
            paired=atom in paired,
            tags=frozenset(atom.tags),
            profiles=() if "positional" in atom.pins else tuple(atom.profiles),
        )
        for atom in places
    }
    root = trunk(list(dims), lists)
    composites: dict[tuple[Dimension, ...], str] = {}

    def written(dim: Dim, owner: str) -> Dimension:
        result = []
        for atom in expand(dim):
            if atom.terms is None:
                result.append(names[atom])
            else:
                parts = tuple(written(term, owner) for term in atom.terms)
                result.append(_composite(parts, atom.size, owner, axes, composites))
        return tuple(result)

    tensors = {}
    for name, tensor in dims.items():
        tensors[name] = TensorAnatomy(
            name,
            tuple(math.prod(atom.size for atom in dim) for dim in tensor),
            tuple(written(dim, trim(name.rpartition(".")[0], root)) for dim in tensor),
            tuple("unused" if name in unused else _role(seen) for seen in roles[name]),
        )

    def output(dim: Dim, owner: str) -> Dimension:
        """A dimension of an output that no tensor has (batch, time) is one axis, whatever it was made of."""
        if any(leaf in names for leaf in leaves(dim)):
            for leaf in leaves(dim):
                if leaf not in names:
                    names[leaf] = f"{owner}.{leaf.identity}"
                    axes[names[leaf]] = Axis(names[leaf], leaf.size, "positional")
            return written(dim, owner)
        size = atoms.size_of(dim)
        if size != 1:
            axes[owner] = Axis(owner, size, "input")
        return (owner,) if size != 1 else ()

    outputs = tuple(
        tuple(output(dim, f"outputs.{number}.{place}") for place, dim in enumerate(dims))
        for number, dims in enumerate(found.outputs)
    )
    return Anatomy(tensors, axes, ties, lists, outputs, frozenset(unused), found.unknown, model.source)


def _role(found: set[str]) -> str:
    order = [role for role in ("writes", "reads", "scales") if role in found]
    if len(order) > 1 and "scales" in order:
        order.remove("scales")
    return "+".join(order) or "scales"


def _composite(
    parts: tuple[Dimension, ...], size: int, owner: str, axes: dict[str, Axis], known: dict[tuple[Dimension, ...], str]
) -> str:
    """A concatenation is an axis too: it is named after the first tensor that has it."""
    if parts not in known:
        kinds = {axes[leaf].kind for part in parts for leaf in part}
        base = f"{owner}." if owner else ""
        name, number = f"{base}parts", 2
        while name in axes:
            name, number = f"{base}parts_{number}", number + 1
        kind = "positional" if kinds and kinds <= {"positional"} else "coarse" if "coarse" in kinds else "part"
        axes[name] = Axis(name, size, kind, parts)
        known[parts] = name
    return known[parts]
