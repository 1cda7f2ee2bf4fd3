"""Blocks: which blocks of a source every block of a deeper target is made from, list by list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scionwood.anatomy import Anatomy
from scionwood.anatomy.depth import through
from scionwood.errors import MatchError, MethodError, nearest
from scionwood.methods.grow.depth import EXPANSION, Deeper, check_rule, deeper
from scionwood.methods.record import Record
from scionwood.verbs.target import Depth

__all__ = ["Blocks", "follow", "rules_of"]


def rules_of(depth: Depth | None, record: Record) -> Depth:
    """Return the rules for deeper targets.

    Raises:
        MethodError: there is no such rule; the method takes none; or layers that are learned mixtures are to begin as
            something else than copies.
    """
    method = record.name.removeprefix("grow.")
    if depth is None:
        return "stack" if record.learned else "block_expansion"
    if record.shape == "generate":
        raise MethodError(
            f"{method} gives every layer of the target weights of its own, and grows no depth", hint="leave --depth out"
        )
    rules = list(depth.values()) if isinstance(depth, Mapping) else [depth]
    for rule in rules:
        check_rule(rule)
    if record.learned and (wrong := [rule for rule in rules if rule in ("block_expansion", EXPANSION)]):
        raise MethodError(
            f"Where layers are learned mixtures they begin as copies, not by {wrong[0]}.",
            hint=f"give --depth stack, interleave, or the blocks' numbers; {wrong[0]} goes with the other methods",
        )
    return depth


def follow(rule: str | Sequence[int], old: int, new: int) -> Sequence[int]:
    """Return the source's block of every block by a rule."""
    return [block for block, _ in deeper(rule, old, new)]


class Blocks:
    """Answers the match's questions for blocks, and remembers what it said.

    Args:
        rules: as :func:`rules_of` gives them.
        source: the source's anatomy.
        record: the method's.

    Attributes:
        chosen: for every list of blocks of the target the source's blocks, and which of them must do nothing yet.
        expanded: the lists that are expanded from two.
    """

    def __init__(self, rules: Depth, source: Anatomy, record: Record) -> None:
        self.rules = rules
        self.source = source
        self.record = record
        self.chosen: dict[str, Deeper] = {}
        self.expanded: list[str] = []

    def __call__(self, path: str, old: int, new: int) -> Sequence[int]:
        """Return the source's block of every block of a list.

        Raises:
            MatchError: the target has fewer blocks.
            MethodError: the rule does not reach the target's depth, or the method joins two models of it.
        """
        if self.record.joins and old != new:
            method = self.record.name.removeprefix("grow.")
            raise MethodError(
                f"{path or 'the model'}, {old} to {new} blocks: {method} joins two models of the target's depth",
                hint="join them first, and grow the depth of the result after it",
            )
        rule = self._rule(path, old, new)
        found = _deeper(rule, path, old, new)
        if rule == EXPANSION:
            self.expanded.append(path)
        # The path is the target's: its outer indices were mapped before this is asked.
        own = through(path, {outer: [block for block, _ in each] for outer, each in self.chosen.items()})
        self.chosen[path] = _like_their_neighbours(self.source, own, found)
        return [block for block, _ in self.chosen[path]]

    def check(self, known: Sequence[str]) -> None:
        """Refuse rules that nothing came of, once all questions were asked.

        Args:
            known: the target's lists of blocks.

        Raises:
            MethodError: they name a list that the target does not have, or expand where no list grows.
        """
        unknown = [name for name in self.rules if name not in known] if isinstance(self.rules, Mapping) else []
        if unknown:
            raise MethodError(
                "depth names what the model does not have",
                problems=[f"no list of blocks is called {name!r}{nearest(str(name), known)}" for name in unknown],
                hint=f"there are {', '.join(known)}",
            )
        if self.rules == EXPANSION and not self.expanded:
            raise MethodError(
                f"no list of blocks grows, so that {EXPANSION} has nothing to expand",
                hint=f"name the list that is expanded all the same: --depth {next(iter(known), 'LIST')}={EXPANSION}",
            )

    @property
    def idle(self) -> list[str]:
        """The blocks of the target that must do nothing yet, by path."""
        return [
            f"{path}.{place}" if path else str(place)
            for path, blocks in self.chosen.items()
            for place, (_, off) in enumerate(blocks)
            if off
        ]

    @property
    def changed(self) -> list[str]:
        """Lists of blocks that do something twice, or in another order, or are made of two, in words."""
        found = []
        for path, blocks in self.chosen.items():
            kept = [block for block, off in blocks if not off]
            if path in self.expanded:
                found.append(f"{path or 'the model'} is expanded from two blocks, which are no layers by themselves")
            elif kept != sorted(dict.fromkeys(kept)):
                found.append(f"{path or 'the model'} has blocks of the source several times")
        return found

    def _rule(self, path: str, old: int, new: int) -> str | Sequence[int]:
        named = isinstance(self.rules, Mapping)
        # Without a name, a rule or an explicit list is meant for the lists of blocks that grow.
        if old == new and not (named and path in self.rules):
            return "block_expansion"
        return self.rules.get(path, "block_expansion") if isinstance(self.rules, Mapping) else self.rules


def _deeper(rule: str | Sequence[int], path: str, old: int, new: int) -> Deeper:
    """The source's blocks of one block list, and which of them must do nothing yet."""
    if new < old:
        raise MatchError(
            f"{path or 'the model'} has {new} blocks in the target, {old} in the source",
            hint="growing keeps every block; a shallower model is selected: scionwood select",
        )
    try:
        return deeper(rule, old, new)
    except MethodError as error:
        raise MethodError(
            f"{path or 'the model'}, {old} to {new} blocks: {error.message}", problems=error.problems, hint=error.hint
        ) from None


def _like_their_neighbours(anatomy: Anatomy, path: str, found: Deeper) -> Deeper:
    """A copy that does nothing must fit between its neighbours: after a block that changes the width it is the next one's."""

    def shapes(block: int) -> list[tuple[str, tuple[int, ...]]]:
        start = f"{path}.{block}." if path else f"{block}."
        inside = [name for name in anatomy.tensors if name.startswith(start)]
        return sorted((name.removeprefix(start), anatomy.tensors[name].shape) for name in inside)

    depth = anatomy.depth[path]
    return tuple(
        (block + 1, True) if off and block + 1 < depth and shapes(block) != shapes(block + 1) else (block, off)
        for block, off in found
    )
