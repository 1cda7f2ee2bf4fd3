"""Names for axes, from where they occur and what operations saw them as; no architecture is named here."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from scionwood.anatomy.atoms import Atom
from scionwood.anatomy.depth import block_of, shared_path

__all__ = ["Occurrence", "name_axes", "trunk"]


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """One place where an axis stands.

    Attributes:
        tensor: the tensor's name.
        place: the dimension's index in the tensor.
        rank: how many dimensions the tensor has.
        roles: the roles seen for this axis in this tensor.
        beside: the other atoms of the same dimension, outermost first, this one included.
    """

    tensor: str
    place: int
    rank: int
    roles: frozenset[str]
    beside: tuple[Atom, ...]

    @property
    def module(self) -> str:
        """The path of the module that owns the tensor."""
        return self.tensor.rpartition(".")[0]


def trunk(tensors: Sequence[str], lists: Mapping[str, int]) -> str:
    """The path that leads to all block lists and means nothing by itself, such as ``model``.

    >>> trunk(["model.layers.0.a.weight", "lm_head.weight"], {"model.layers": 1})
    'model'
    """
    tops = [path for path in lists if not any(path.startswith(f"{other}.") for other in lists)]
    if not tops:
        return ""
    common = shared_path(tops)
    return common if len(tops) > 1 else common.rpartition(".")[0]


def name_axes(places: Mapping[Atom, Sequence[Occurrence]], kinds: Mapping[Atom, str], lists: Mapping[str, int]) -> dict[Atom, str]:
    """Give every atom a name of its own: ``<where>.<what>``.

    *Where* is the path that all its tensors share, without the trunk. *What* is the first of these that applies: what an operation saw
    (vocab, experts, heads, qk_dim, v_dim …), its kind (kernel, positions, part), ``hidden`` or ``channels`` if more than one block
    shares it, ``inner`` if one block keeps it to itself.
    """
    root = trunk([o.tensor for found in places.values() for o in found], lists)
    wanted: dict[Atom, tuple[str, str]] = {}
    for atom, found in places.items():
        where = shared_path([f"{o.module}.{o.tensor.rpartition('.')[2]}" if len(found) == 1 else o.module for o in found])
        wanted[atom] = (_trim(where, root), _noun(atom, found, kinds[atom], lists))
    names: dict[Atom, str] = {}
    short = Counter(".".join(filter(None, pair)) for pair in wanted.values())
    taken: set[str] = set()
    for atom, (where, noun) in wanted.items():
        name = ".".join(filter(None, (where, noun)))
        if short[name] > 1:
            name = _distinct(atom, places[atom], root, noun, name)
        base, number = name, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        names[atom] = name
    return names


def _trim(path: str, root: str) -> str:
    if path == root:
        return ""
    return path.removeprefix(f"{root}.") if root else path


def _distinct(atom: Atom, found: Sequence[Occurrence], root: str, noun: str, name: str) -> str:
    """Two axes want one name: say which module writes this one, or where most of it lies."""
    writers = [o.module for o in found if "writes" in o.roles] or [o.module for o in found]
    first, _ = Counter(path.split(".")[0] for path in (_trim(w, root) for w in writers)).most_common(1)[0]
    if "." not in name and len(set(writers)) > 1:
        return f"{first}.{noun}"
    return f"{_trim(writers[0], root)}.{noun}"


_SEEN = (("vocab", "vocab"), ("experts", "experts"), ("positions", "positions"))


def _noun(atom: Atom, found: Sequence[Occurrence], kind: str, lists: Mapping[str, int]) -> str:
    for seen, noun in _SEEN:
        if seen in atom.tags:
            return noun
    if kind == "part":
        return "part"
    if kind == "kernel":
        first = found[0]
        return {3: "kernel", 4: ("kernel_height", "kernel_width")[first.place % 2]}.get(first.rank, f"kernel_{first.place}")  # type: ignore[return-value]
    if "heads" in atom.tags and not {"score", "value"} & atom.tags:
        return _heads(atom, found)
    if {"score", "value"} <= atom.tags:
        return "head_dim"
    if "score" in atom.tags:
        return "qk_dim"
    if "value" in atom.tags:
        return "v_dim"
    if "table" in atom.tags:
        return "rows"
    if kind == "positional":
        return "positions"
    if kind == "input":
        return "input"
    modules = {o.module for o in found}
    if kind == "output" and len(modules) == 1:
        return "output"
    blocks = {block_of(o.tensor, lists) for o in found}
    convolved = sum(o.rank >= 3 for o in found) * 2 > sum(o.rank >= 2 for o in found)
    if len(blocks) > 1 or (blocks == {None} and len(modules) > 2):
        return "channels" if convolved else "hidden"
    return "channels" if convolved and len(modules) > 1 else "inner" if len(modules) > 1 else found[0].tensor.rpartition(".")[2] + f"_{found[0].place}"


def _heads(atom: Atom, found: Sequence[Occurrence]) -> str:
    """With grouped queries, a dimension holds two atoms that act as heads: the keys' heads outside, the group inside."""
    for occurrence in found:
        both = [other for other in occurrence.beside if "heads" in other.tags and not {"score", "value"} & other.tags]
        if len(both) > 1:
            return "kv_heads" if both[0] is atom else "group"
    return "heads"
