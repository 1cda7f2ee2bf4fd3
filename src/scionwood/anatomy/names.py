"""Names for axes, from where they occur and what operations saw them as; no architecture is named here."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from scionwood.anatomy.atoms import Atom
from scionwood.anatomy.depth import block_of, indices_in, shared_path

__all__ = ["Occurrence", "name_axes", "trim", "trunk"]


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """One place where an axis stands.

    Attributes:
        tensor: the tensor's name.
        place: the dimension's index in the tensor.
        rank: how many dimensions the tensor has.
        roles: the roles seen for this axis in this tensor.
        beside: the other atoms of the same dimension, outermost first, this one included.
        summed: the dimension is a concatenation, or has one as a factor; else it is the product of the atoms.
    """

    tensor: str
    place: int
    rank: int
    roles: frozenset[str]
    beside: tuple[Atom, ...]
    summed: bool = False

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


def name_axes(
    places: Mapping[Atom, Sequence[Occurrence]], kinds: Mapping[Atom, str], lists: Mapping[str, int]
) -> dict[Atom, str]:
    """Give every atom a name of its own: ``<where>.<what>``.

    *Where* is the path that all its tensors share, without the trunk. *What* is the first of these that applies: what an operation saw
    (vocab, experts, heads, qk_dim, v_dim …), its kind (kernel, positions, part), ``hidden`` or ``channels`` if more than one block
    shares it, ``inner`` if one block keeps it to itself.
    """
    root = trunk([o.tensor for found in places.values() for o in found], lists)
    attending = {block_of(o.tensor, lists) for atom, found in places.items() if "value" in atom.tags for o in found}
    wanted: dict[Atom, tuple[str, str]] = {}
    for atom, found in places.items():
        noun = _noun(atom, found, kinds[atom], lists)
        if noun == "qk_dim" and attending.isdisjoint(block_of(o.tensor, lists) for o in found):
            # Contracted between activations where nothing is attended to: the state of a recurrence.
            noun = "state"
        wanted[atom] = (_where(noun, found, root, lists), noun)
    factors = _factors(places, wanted)
    wanted = {atom: (where, factors.get(atom, noun)) for atom, (where, noun) in wanted.items()}
    short = Counter(_joined(*pair) for pair in wanted.values())
    inside = Counter(_joined(*pair) for atom, pair in wanted.items() if _in_blocks(places[atom], lists))
    names: dict[Atom, str] = {}
    taken: set[str] = set()
    for atom, (where, noun) in wanted.items():
        name = _joined(where, noun)
        # Of several that want a name, the one that runs through the blocks has it; the others are called after who writes them.
        if short[name] > 1 and not (inside[name] == 1 and _in_blocks(places[atom], lists)):
            name = _distinct(places[atom], root, noun, name, lists)
        base, number = name, 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        names[atom] = name
    return names


def _where(noun: str, found: Sequence[Occurrence], root: str, lists: Mapping[str, int]) -> str:
    """The path that all the tensors of an axis share; for the widths that blocks hand on, those tensors that write it."""
    if noun == "vocab":
        return ""
    writers = [o.module for o in found if "writes" in o.roles and o.rank > 1]
    chosen = writers if noun in ("hidden", "channels") and writers else [o.module for o in found]
    path = shared_path(chosen)
    if path in lists and noun in ("hidden", "channels"):
        path = path.rpartition(".")[0]
    return trim(path, root)


def _in_blocks(found: Sequence[Occurrence], lists: Mapping[str, int]) -> bool:
    return any(block_of(o.tensor, lists) for o in found)


def _factors(places: Mapping[Atom, Sequence[Occurrence]], wanted: Mapping[Atom, tuple[str, str]]) -> dict[Atom, str]:
    """Widths that always stand together (12 groups of 4 channels) are told apart as groups and width."""
    together: dict[Atom, tuple[Atom, ...]] = {}
    for atom, (_, noun) in wanted.items():
        if noun in ("hidden", "channels", "inner"):
            products = [occurrence.beside for occurrence in places[atom] if not occurrence.summed]
            largest = max(products, key=len, default=())
            together[atom] = tuple(other for other in largest if wanted.get(other, ("", ""))[1] == noun)
    result: dict[Atom, str] = {}
    for atom, alike in together.items():
        if len(alike) > 1 and all(together.get(other) == alike for other in alike):
            noun = wanted[atom][1].removesuffix("s")
            result[atom] = f"{noun}_width" if alike[-1] is atom else f"{noun}_groups"
    return result


def _joined(*parts: str) -> str:
    return ".".join(filter(None, parts))


def trim(path: str, root: str) -> str:
    """The path without the trunk it grows on."""
    if path == root or root.startswith(f"{path}."):
        return ""
    return path.removeprefix(f"{root}.") if root else path


def _distinct(found: Sequence[Occurrence], root: str, noun: str, name: str, lists: Mapping[str, int]) -> str:
    """Two axes want one name: say which module writes this one, or in which part of the model most of it lies."""
    if noun in ("hidden", "channels"):
        blocks = [[f"{path}.{index}" for path, index in indices_in(o.tensor, lists)] for o in found]
        inside = [enclosing for enclosing in blocks if enclosing]
        shared = [block for block in inside[0] if all(block in others for others in inside)] if inside else []
        if inside:
            most = Counter(enclosing[0] for enclosing in inside).most_common(1)[0][0]
            return _joined(trim(shared[-1] if shared else most, root), noun)
    modules = [trim(o.module, root) for o in found if "writes" in o.roles] or [trim(o.module, root) for o in found]
    (first, _), *_ = Counter(path.split(".")[0] for path in modules).most_common(1)
    if "." not in name and len(set(modules)) > 1:
        return _joined(first, noun)
    return _joined(modules[0], noun)


_SEEN = (("vocab", "vocab"), ("experts", "experts"), ("positions", "positions"))


def _noun(atom: Atom, found: Sequence[Occurrence], kind: str, lists: Mapping[str, int]) -> str:
    for seen, noun in _SEEN:
        if seen in atom.tags:
            return noun
    if kind == "part":
        return _part(atom, found)
    if kind == "kernel":
        return _kernel(found[0])
    blocks = {block_of(o.tensor, lists) for o in found}
    if "score" in atom.tags and blocks == {None} and kind == "output":
        return "projection"
    attention = _attention(atom, found)
    if attention:
        return attention
    if "groups" in atom.tags:
        return "groups"
    if "summed" in atom.tags and kind == "free" and len(blocks) == 1:
        return "state"
    if "table" in atom.tags:
        return "rows"
    if kind in ("positional", "input"):
        return {"positional": "positions", "input": "input"}[kind]
    modules = {o.module for o in found}
    if kind == "output" and len(modules) == 1:
        return "output"
    convolved = sum(o.rank >= 3 for o in found) * 2 > sum(o.rank >= 2 for o in found)
    if len(blocks) > 1 or (blocks == {None} and len(modules) > 2):
        return "channels" if convolved else "hidden"
    if len(modules) > 1:
        return "channels" if convolved else "inner"
    if len({o.tensor for o in found}) > 1:
        return "inner"
    return f"{found[0].tensor.rpartition('.')[2]}_{found[0].place}"


def _attention(atom: Atom, found: Sequence[Occurrence]) -> str | None:
    """What an attention saw: heads around, the width of queries and keys, the width of values."""
    width = {"score", "value"} & atom.tags
    if "heads" in atom.tags and not width:
        return _heads(atom, found)
    return {("score", "value"): "head_dim", ("score",): "qk_dim", ("value",): "v_dim"}.get(tuple(sorted(width)))


def _heads(atom: Atom, found: Sequence[Occurrence]) -> str:
    """With grouped queries, a dimension holds two atoms that act as heads: the keys' heads outside, the group inside."""
    for occurrence in found:
        acting = [other for other in occurrence.beside if "heads" in other.tags and not {"score", "value"} & other.tags]
        both = list(dict.fromkeys(acting))
        if len(both) > 1:
            return "kv_heads" if both[0] is atom else "group"
    return "heads"


def _part(atom: Atom, found: Sequence[Occurrence]) -> str:
    """A part is named after what it has several of: the rotary halves of ``qk_dim`` are its ``qk_part``."""
    beside = found[0].beside
    after = beside[beside.index(atom) + 1 :]
    return "qk_part" if after and "score" in after[0].tags else "part"


def _kernel(occurrence: Occurrence) -> str:
    if occurrence.rank == 4:
        return ("kernel_height", "kernel_width")[occurrence.place % 2]
    return "kernel" if occurrence.rank == 3 else f"kernel_{occurrence.place}"
