"""Atoms: the algebra of dimensions that the anatomy is derived with.

A dimension is an ordered product of atoms, outermost first, as a row-major view of it would be. An atom is a leaf, or it has been
refined: into a *product* of smaller atoms (a projection viewed as heads x width), or into a *sum* of dimensions laid end to end (a fused
projection cut in q, k and v; channels that a concatenation joins). Two atoms that an operation aligns become one (union-find), and
refining one refines it everywhere it occurs.

What cannot be refined is not an error: the atoms involved are pinned ``coarse``. Not knowing makes an anatomy coarser, never wrong.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from torch import Tensor

__all__ = [
    "PINS",
    "UNIT",
    "Atom",
    "Dim",
    "UnrefinableError",
    "cut",
    "expand",
    "leaves",
    "pin",
    "regroup",
    "segments",
    "size_of",
    "unify",
]

PINS = ("coarse", "kernel", "part", "positional", "constants", "input", "output")
"""Why an atom is not free, strongest first: an atom with several pins shows the first. ``constants`` is positional for no other
reason than the constants in its profiles."""

Dim: TypeAlias = "tuple[Atom, ...]"

UNIT: Dim = ()
"""The dimension of size one: the empty product."""


class UnrefinableError(Exception):
    """Two dimensions have no common refinement; the caller pins them coarse."""


class Atom:
    """One axis while it is being found: a leaf, a product of atoms, a sum of dimensions, or an alias of another atom.

    Attributes:
        size: number of indices.
        factors: the atoms whose product it is, outermost first, once it has been viewed so.
        terms: the dimensions whose concatenation it is, in order, once it has been cut so.
        pins: why it is not free; on leaves only, refining hands them down.
        tags: what operations saw it as (``"heads"``, ``"score"`` …): names are chosen from these.
        profiles: for a positional leaf, how the constants that pinned it vary along it: matrices of one row per index.
    """

    __slots__ = ("alias", "factors", "identity", "pins", "profiles", "size", "tags", "terms")

    _numbers = itertools.count()

    def __init__(self, size: int, *pins: str) -> None:
        self.size = size
        self.alias: Atom | None = None
        self.factors: Dim | None = None
        self.terms: list[Dim] | None = None
        self.pins: set[str] = set(pins)
        self.tags: set[str] = set()
        self.profiles: list[Tensor] = []
        self.identity = next(Atom._numbers)

    def __repr__(self) -> str:
        atom = find(self)
        if atom.factors is not None:
            return "(" + "x".join(map(repr, atom.factors)) + ")"
        if atom.terms is not None:
            return "(" + "+".join(repr(term) for term in atom.terms) + ")"
        return f"#{atom.identity}:{atom.size}"


def find(atom: Atom) -> Atom:
    """Follow aliases to the atom that stands for all of them."""
    root = atom
    while root.alias is not None:
        root = root.alias
    while atom.alias is not None:
        atom.alias, atom = root, atom.alias
    return root


def size_of(dim: Iterable[Atom]) -> int:
    """Return the number of indices of a dimension."""
    return math.prod(atom.size for atom in dim)


def expand(dim: Iterable[Atom]) -> Dim:
    """Flatten products and drop atoms of size one: what is left are leaves and sums."""
    flat: list[Atom] = []
    for atom in dim:
        root = find(atom)
        if root.factors is not None:
            flat.extend(expand(root.factors))
        elif root.size != 1:
            flat.append(root)
    return tuple(flat)


def leaves(dim: Iterable[Atom]) -> Iterator[Atom]:
    """Every leaf under a dimension, through products and sums, in order."""
    for atom in expand(dim):
        if atom.terms is None:
            yield atom
        else:
            for term in atom.terms:
                yield from leaves(term)


def pin(dim: Iterable[Atom], reason: str) -> None:
    """Say that no leaf under this dimension is free, and why."""
    for leaf in leaves(dim):
        leaf.pins.add(reason)


def tag(dim: Iterable[Atom], name: str) -> None:
    """Note on every leaf what an operation took it for."""
    for leaf in leaves(dim):
        leaf.tags.add(name)


def imprint(dim: Iterable[Atom], profile: Tensor) -> None:
    """Hand a profile (one row per index of the dimension) down to the leaves: each sees it from its own side."""
    flat = expand(dim)
    if not profile.numel():
        return
    grid = profile.reshape(*(atom.size for atom in flat), -1)
    for place, atom in enumerate(flat):
        own = grid.movedim(place, 0).reshape(atom.size, -1)
        if atom.terms is None:
            atom.profiles.append(own)
            continue
        for term, rows in zip(atom.terms, own.split([size_of(term) for term in atom.terms]), strict=True):
            imprint(term, rows)


def _inherit(old: Atom, dim: Iterable[Atom]) -> None:
    """Refining a leaf hands down what is known of it."""
    parts = tuple(dim)
    for reason in old.pins:
        pin(parts, reason)
    for name in old.tags:
        tag(parts, name)
    for profile in old.profiles:
        imprint(parts, profile)


def segments(dim: Dim) -> list[Dim]:
    """The dimension as a list of dimensions laid end to end; a list of one if it is no concatenation.

    A sum that stands outermost is distributed over what stands inside it: (a + b) x c = a x c + b x c.
    """
    flat = expand(dim)
    if not flat or flat[0].terms is None:
        return [flat]
    return [piece for term in flat[0].terms for piece in segments((*term, *flat[1:]))]


def concatenate(dims: Sequence[Dim]) -> Dim:
    """Return the dimension that holds these end to end."""
    pieces = [piece for dim in dims for piece in segments(dim)]
    pieces = [piece for piece in pieces if size_of(piece)] or pieces[:1]
    if len(pieces) == 1:
        return pieces[0]
    if all(piece == UNIT for piece in pieces):
        return (Atom(len(pieces), "part"),)
    joined = Atom(sum(size_of(piece) for piece in pieces))
    joined.terms = pieces
    return (joined,)


def cut(dim: Dim, start: int, stop: int) -> Dim:
    """Return the part [start, stop) of a dimension, refining it so that the part is a segment of it.

    Raises:
        UnrefinableError: the bounds fall inside an inner factor.
    """
    _bound(dim, start)
    _bound(dim, stop)
    offset, chosen = 0, []
    for piece in segments(dim):
        if start <= offset < stop:
            chosen.append(piece)
        offset += size_of(piece)
    return concatenate(chosen) if chosen else (Atom(0),)


def _bound(dim: Dim, position: int) -> None:
    """Refine a dimension until a segment begins at the position."""
    offset = 0
    for piece in segments(dim):
        width = size_of(piece)
        if offset < position < offset + width:
            inner = size_of(piece[1:])
            at = position - offset
            if at % inner:
                raise UnrefinableError(f"{piece!r} cannot be cut at {at}")
            _cut_leaf(piece[0], at // inner)
            return
        offset += width


def _bounds(atom: Atom) -> list[int]:
    """Where the segments of a sum end."""
    return list(itertools.accumulate(size_of(piece) for piece in segments((atom,))))


def _cut_leaf(leaf: Atom, at: int) -> None:
    leaf.terms = [expand((Atom(at),)), expand((Atom(leaf.size - at),))]
    # What was taken whole is known of the whole; of its segments, those are taken that a cut takes.
    leaf.tags.discard("taken")
    _inherit(leaf, (leaf,))
    tag((leaf,), "cut")


def _split(atom: Atom, inner: int) -> tuple[Dim, Dim]:
    """Refine an atom into outer x inner and return both sides."""
    if atom.terms is not None:
        outers: list[Dim] = []
        shared: Dim | None = None
        for term in atom.terms:
            outer_dim, inner_dim = _take_inner(expand(term), inner)
            outers.append(outer_dim)
            if shared is None:
                shared = inner_dim
            else:
                unify(shared, inner_dim)
        assert shared is not None
        outer = concatenate(outers)
        atom.terms, atom.factors = None, (*outer, *expand(shared))
        return expand(outer), expand(shared)
    if atom.size % inner:
        raise UnrefinableError(f"{atom.size} is no multiple of {inner}")
    outside, inside = Atom(atom.size // inner), Atom(inner)
    atom.factors = (outside, inside)
    _inherit(atom, atom.factors)
    return (outside,), (inside,)


def _take_inner(dim: Dim, size: int) -> tuple[Dim, Dim]:
    """Split a dimension into an outer rest and an inner part of the given size."""
    outer, inner = list(expand(dim)), []
    taken = 1
    while taken < size:
        if not outer:
            raise UnrefinableError(f"no inner part of size {size}")
        atom = outer.pop()
        if size % (taken * atom.size) == 0:
            inner[:0] = [atom]
            taken *= atom.size
            continue
        if size % taken:
            raise UnrefinableError(f"no inner part of size {size}")
        rest, piece = _split(atom, size // taken)
        outer.extend(rest)
        inner[:0] = piece
        taken = size
    return tuple(outer), tuple(inner)


def regroup(dim: Dim, sizes: Sequence[int]) -> list[Dim]:
    """View a dimension as several of the given sizes, outermost first, refining atoms where a boundary falls inside one.

    Raises:
        UnrefinableError: a boundary falls where no factor can be split.
    """
    parts: list[Dim] = []
    rest = expand(dim)
    for size in reversed(sizes[1:]):
        rest, piece = _take_inner(rest, size)
        parts.append(piece)
    return [rest, *reversed(parts)]


def unify(left: Dim, right: Dim) -> None:
    """Make two dimensions of one size one and the same, refining both until they fit.

    Raises:
        UnrefinableError: they have no common refinement, such as 2 x 3 against 3 x 2.
    """
    a, b = list(expand(left)), list(expand(right))
    while a and b:
        x, y = find(a[-1]), find(b[-1])
        if x.factors is not None or x.size == 1:
            a[-1:] = expand((x,))
        elif y.factors is not None or y.size == 1:
            b[-1:] = expand((y,))
        elif x is y:
            a.pop()
            b.pop()
        elif x.size == y.size:
            a.pop()
            b.pop()
            _unite(x, y)
        elif x.size > y.size:
            _halve(a, b, x, y)
        else:
            _halve(b, a, y, x)
    if size_of(expand(a)) != 1 or size_of(expand(b)) != 1:
        raise UnrefinableError(f"{left!r} and {right!r} have different sizes")


def _halve(larger: list[Atom], smaller: list[Atom], big: Atom, small: Atom) -> None:
    """Refine the larger of two inner atoms so that its inner part has the size of the smaller, or of their greatest common divisor."""
    inner = small.size if big.size % small.size == 0 else math.gcd(big.size, small.size)
    if inner == 1:
        raise UnrefinableError(f"{big.size} and {small.size} share no factor")
    if inner != small.size:
        smaller.pop()
        for side in _split(small, inner):
            smaller.extend(side)
    larger.pop()
    for side in _split(big, inner):
        larger.extend(side)


def _unite(x: Atom, y: Atom) -> None:
    """Make two different atoms of one size one: leaves join, a leaf becomes what the other is, sums align their bounds."""
    if x.terms is not None and y.terms is not None:
        # A cut shows wherever the atom stands, so that one bound may bring another: until both have the same.
        while (mine := _bounds(x)) != (theirs := _bounds(y)):
            for position in theirs:
                _bound((x,), position)
            for position in mine:
                _bound((y,), position)
        pairs = list(zip(segments((x,)), segments((y,)), strict=True))
        y.alias = x
        for left, right in pairs:
            unify(left, right)
        return
    kept, gone = (y, x) if x.terms is None and y.terms is not None else (x, y)
    if kept.terms is not None and any(leaf is gone for leaf in leaves((kept,))):
        raise UnrefinableError("an atom cannot be a part of itself")
    gone.alias = kept
    _inherit(gone, (kept,))


def settle(dim: Dim) -> None:
    """Turn sums whose terms are all alike into products with a leading ``part`` atom (rotary halves, gate and up), from the inside out.

    Terms of one size that share an atom are alike but for what nothing tied yet (the q, k and v of a fused projection share their heads);
    they are tied, which gives one axis for the three.
    """
    for atom in expand(dim):
        if atom.terms is None:
            continue
        terms = segments((atom,))
        atom.terms = terms
        for term in terms:
            settle(term)
        terms = [expand(term) for term in terms]
        if all(term == UNIT for term in terms):
            atom.terms = None
            atom.pins.add("part")
            continue
        if len({size_of(term) for term in terms}) != 1:
            continue
        shared = set(leaves(terms[0]))
        if not all(shared & set(leaves(term)) for term in terms[1:]):
            continue
        try:
            for term in terms[1:]:
                unify(terms[0], term)
        except UnrefinableError:
            continue
        atom.factors = (Atom(len(terms), "part"), *expand(terms[0]))
        atom.terms = None
