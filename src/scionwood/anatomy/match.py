"""Matching two models of one family: which tensor comes from which, and which axis from which.

The two anatomies are walked side by side: same name (block indices through the depth map), dimension by dimension, axis by axis. No name
of an axis has to agree; what has to agree is that one axis of the target always meets the same axis of the source.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from torch import Tensor

from scionwood.anatomy.anatomy import Anatomy, Dimension
from scionwood.anatomy.depth import indices_in, kept_blocks, through
from scionwood.anatomy.reasons import folded
from scionwood.anatomy.regroup import Spread, regrouped
from scionwood.errors import MatchError, nearest

__all__ = ["Match", "match"]

DepthRule = Callable[[str, int, int], Sequence[int]]
"""(path of the block list, length in the source, length in the target) → the source block of every target block."""


@dataclasses.dataclass(frozen=True)
class Match:
    """How the tensors and the axes of a target model answer to those of a source model.

    Attributes:
        source: the source's anatomy.
        target: the target's anatomy.
        tensors: for every tensor of the target, the tensor of the source it comes from.
        fresh: tensors of the target that nothing in the source answers to, with the reason.
        dropped: tensors of the source that the target does not use, with the reason.
        axes: for every axis of the target, the axis of the source it is made from.
        shrunk: axes of the source that have one index left in the target, where they are no axis any more.
        depth: for every block list of the target, the source block of each of its blocks.
        sprouted: axes of the target that have one index in the source, where they are no axis yet.
        spread: for dimensions of the source that are seen with more heads of keys than are stored (see
            :mod:`scionwood.anatomy.regroup`), by tensor and place: the stored index of every index.
    """

    source: Anatomy
    target: Anatomy
    tensors: Mapping[str, str]
    fresh: Mapping[str, str]
    dropped: Mapping[str, str]
    axes: Mapping[str, str]
    shrunk: frozenset[str]
    depth: Mapping[str, tuple[int, ...]]
    sprouted: frozenset[str] = frozenset()
    spread: Mapping[tuple[str, int], Tensor] = dataclasses.field(default_factory=dict)

    def origin(self, name: str) -> str:
        """The name that a tensor of the target has in the source, with axes or without: every block index through the depth map."""
        return through(name, self.depth)

    def why_dropped(self, name: str) -> str:
        """Why the target does not use a tensor of the source."""
        if name in self.dropped:
            return self.dropped[name]
        return _why_dropped(name, self.source.depth, kept_blocks(self.depth))

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """For every axis of the target: its size in the source and in the target."""
        return {
            mine: (self.source.axes[theirs].size, self.target.axes[mine].size) for mine, theirs in self.axes.items()
        }


def _why_dropped(name: str, lists: Mapping[str, int], kept: Mapping[str, set[int]]) -> str:
    for path, index in indices_in(name, lists):
        if path in kept and index not in kept[path]:
            return "its block is not among those kept"
    return "the target has no such tensor"


def first(path: str, source: int, target: int) -> Sequence[int]:
    """Take the first blocks.

    >>> list(first("layers", 12, 3))
    [0, 1, 2]
    """
    return range(min(source, target))


def match(
    source: Anatomy,
    target: Anatomy,
    *,
    depth: DepthRule = first,
    fresh_outputs: bool = False,
    classes: Collection[tuple[int, int]] | None = None,
    growing: bool = False,
) -> Match:
    """Match the axes of two models of one family.

    Args:
        source: the anatomy to take from.
        target: the anatomy to make.
        depth: which source block each target block comes from, list by list; for growing, it may repeat them.
        fresh_outputs: leave the modules that only write the model's outputs unmatched, even where the sizes agree.
        classes: the numbers of classes (source, target), where the configs say them: an output of another size is then selected like any
            axis. Nothing says that every output means something by itself: a module that only writes outputs is fresh where they differ.
        growing: the target is the larger one: its axes may be larger, and where the source has one index of an axis (one group of
            queries), the target may have several. Only the number of entries of a vocabulary must stay.

    Returns:
        The size map of every axis, the tensor map and the depth map.

    Raises:
        MatchError: the models are of different families, an axis of the target meets two axes of the source, or is larger than what it
            comes from (for growing: smaller). It names every parameter, both shapes and both axes.
    """
    matcher = _Matcher(source, target, depth, fresh_outputs=fresh_outputs, classes=classes, growing=growing)
    return matcher.result()


class _Matcher:
    def __init__(
        self,
        source: Anatomy,
        target: Anatomy,
        depth: DepthRule,
        *,
        fresh_outputs: bool,
        classes: Collection[tuple[int, int]] | None,
        growing: bool,
    ) -> None:
        self.classes = classes
        self.growing = growing
        self.source = source
        self.target = target
        self.rule = depth
        self.fresh_outputs = fresh_outputs
        self.depth: dict[str, tuple[int, ...]] = {}
        self.axes: dict[str, str] = {}
        self.met_at: dict[str, str] = {}
        self.shrunk: dict[str, str] = {}
        self.tensors: dict[str, str] = {}
        self.fresh: dict[str, str] = {}
        self.problems: list[str] = []
        self.larger: list[str] = []
        self.smaller: list[str] = []
        self.sprouted: dict[str, str] = {}
        self.undecided: list[tuple[str, int, Dimension, Dimension]] = []

    def result(self) -> Match:
        self._tensors()
        self._heads()
        spread: Spread = {}
        if self.growing:
            self.source, spread = regrouped(self.source, self.target, self.tensors)
        for name, origin in self.tensors.items():
            self._dims(name, origin)
        self._decide()
        self._sizes()
        if self.problems or self.larger or self.smaller:
            self._refuse()
        used = set(self.tensors.values())
        anew = {through(name, self.depth): reason for name, reason in self.fresh.items()}
        kept = kept_blocks(self.depth)
        dropped = {
            name: anew.get(name) or _why_dropped(name, self.source.depth, kept)
            for name in self.source.tensors
            if name not in used
        }
        shrunk, sprouted = frozenset(self.shrunk), frozenset(self.sprouted)
        return Match(
            self.source, self.target, self.tensors, self.fresh, dropped, self.axes, shrunk, self.depth, sprouted, spread
        )

    # Names.

    def _tensors(self) -> None:
        for name in self.target.tensors:
            origin = self._origin(name)
            kept = self.source.ties.get(origin, origin)
            if kept in self.source.tensors:
                self.tensors[name] = kept
            else:
                self.fresh[name] = f"the source has no {origin}"
        held = len(self.tensors)
        if held * 2 < len(self.target.tensors):
            missing = next(iter(self.fresh))
            raise MatchError(
                f"{self.source.source} and {self.target.source} are of different families: "
                f"only {held} of {len(self.target.tensors)} tensors of the target have a counterpart",
                problems=[f"{missing}: {self.fresh[missing]}{nearest(missing, list(self.source.tensors))}"],
                hint="source and target must be of one model type",
            )
        self._blocks_of_another_kind()

    def _origin(self, name: str) -> str:
        """The name in the source; asks the depth rule, outermost list first, for what is not yet known of the depth map."""
        for path, _ in indices_in(name, self.target.depth):
            theirs = through(path, self.depth)
            if theirs in self.source.depth and path not in self.depth:
                self.depth[path] = tuple(self.rule(path, self.source.depth[theirs], self.target.depth[path]))
        return through(name, self.depth)

    def _blocks_of_another_kind(self) -> None:
        """A hybrid's attention block cannot be made of a recurrent one: a block that would be mostly fresh is an error."""
        blocks: dict[str, list[str]] = {}
        for name in self.target.tensors:
            inside = list(indices_in(name, self.target.depth))
            if inside:
                blocks.setdefault(f"{inside[-1][0]}.{inside[-1][1]}", []).append(name)
        for block, names in blocks.items():
            new = [name for name in names if name in self.fresh]
            if new and len(new) * 2 > len(names) and len(names) > 1:
                path, _, index = block.rpartition(".")
                chosen = self.depth.get(path, ())
                # Of lists within lists, the outermost that is too long is to blame.
                inside = indices_in(names[0], self.target.depth)
                long = next((own for own, place in inside if place >= len(self.depth.get(own, ()))), None)
                if long is not None:
                    held = len(self.depth.get(long, ()))
                    deeper = f"{long} has {self.target.depth[long]} blocks in the target, {held} in the source"
                    if deeper not in self.larger:
                        self.larger.append(deeper)
                    continue
                self.problems.append(
                    f"{block} would come from block {chosen[int(index)]} of the source, which is of another kind "
                    f"(it has no {through(new[0], self.depth)}): "
                    "choose the blocks by an explicit list"
                )

    # Output modules.

    def _heads(self) -> None:
        """A module that only writes the model's outputs, such as a classifier, is fresh where the number of outputs differs."""
        for name, axis in self.target.axes.items():
            if axis.kind != "output" or axis.parts is not None:
                continue
            where = {tensor for tensor, _ in self.target.occurrences(name)}
            owners = {tensor.rpartition(".")[0] for tensor in where}
            if len(owners) != 1 or any(
                "reads" in self.target.tensors[t].roles[p] for t, p in self.target.occurrences(name)
            ):
                continue
            for tensor in where & set(self.tensors):
                mine, theirs = self.target.tensors[tensor], self.source.tensors[self.tensors[tensor]]
                places = [place for place, dim in enumerate(mine.dims) if name in dim]
                sizes = [(theirs.shape[p], mine.shape[p]) for p in places if p < len(theirs.shape)]
                # Growing, an output that is wider because the model is wider is an axis like any other.
                unmade = not self.growing
                differ = any(
                    a != b and (self.classes is None or (a, b) in self.classes or (unmade and b > a)) for a, b in sizes
                )
                if self.fresh_outputs or differ:
                    reason = (
                        f"{sizes[0][0]} outputs in the source, {sizes[0][1]} in the target"
                        if sizes
                        else "another shape"
                    )
                    self._set_fresh(where, "a fresh head was asked for" if self.fresh_outputs else reason)
                    break

    def _set_fresh(self, names: set[str], reason: str) -> None:
        for name in names:
            if self.tensors.pop(name, None) is not None:
                self.fresh[name] = reason

    # Axes.

    def _dims(self, name: str, origin: str) -> None:
        mine, theirs = self.target.tensors[name], self.source.tensors[origin]
        if len(mine.dims) != len(theirs.dims):
            self.problems.append(
                f"{name}: {list(theirs.shape)} in the source, {list(mine.shape)} in the target: not of one rank"
            )
            return
        for place, (new, old) in enumerate(zip(mine.dims, theirs.dims, strict=True)):
            self._align(name, place, new, old)

    def _align(self, name: str, place: int, new: Dimension, old: Dimension) -> None:
        if len(new) == len(old) and all(self._alike(a, b) for a, b in zip(new, old, strict=True)):
            for a, b in zip(new, old, strict=True):
                self._meet(name, place, a, b)
            return
        mine, theirs = list(_segments(self.target, new)), list(_segments(self.source, old))
        if self.growing and len(theirs) > len(mine):
            mine = self._side_by_side(name, theirs, mine)
        elif not self.growing and len(mine) > len(theirs):
            theirs = self._side_by_side(name, mine, theirs)
        if len(mine) == len(theirs) > 1:
            for a, b in zip(mine, theirs, strict=True):
                self._align(name, place, a, b)
            return
        self.undecided.append((name, place, new, old))

    def _side_by_side(self, name: str, few: list[Dimension], many: list[Dimension]) -> list[Dimension]:
        """Parts inside an axis of which one model has one index (rotary halves of one key head) are segments of their own there.

        Args:
            name: the tensor.
            few: the segments in the model that has one index.
            many: those in the other.
        """
        larger, gone = (self.target, self.sprouted) if self.growing else (self.source, self.shrunk)
        ways: list[list[tuple[Dimension, int, Dimension]]] = []
        for segment in many:
            ways.append([(segment, 1, ())])
            for place, axis in enumerate(segment[1:], start=1):
                if larger.axes[axis].kind == "part":
                    ways[-1].append((segment[place + 1 :], larger.axes[axis].size, segment[:place]))
        for way in itertools.product(*ways):
            spread = [segment for segment, times, _ in way for _ in range(times)]
            if len(spread) == len(few) and all(
                next(_embeddings(self, *((b, a) if self.growing else (a, b))), None) is not None
                for a, b in zip(few, spread, strict=True)
            ):
                gone.update((axis, name) for _, _, left in way for axis in left)
                return spread
        return many

    def _alike(self, new: str, old: str) -> bool:
        mine, theirs = self.target.axes[new], self.source.axes[old]
        if (mine.parts is None) != (theirs.parts is None) or (mine.kind == "part") != (theirs.kind == "part"):
            return False
        return mine.parts is None or theirs.parts is None or len(mine.parts) == len(theirs.parts)

    def _meet(self, name: str, place: int, new: str, old: str) -> None:
        mine, theirs = self.target.axes[new], self.source.axes[old]
        if mine.parts is not None and theirs.parts is not None:
            for a, b in zip(mine.parts, theirs.parts, strict=True):
                self._align(name, place, a, b)
            return
        known = self.axes.setdefault(new, old)
        self.met_at.setdefault(new, name)
        if known != old:
            self.problems.append(
                f"{name}: dimension {place} ({self._shapes(name)}) is {new} in the target and {old} in the source, "
                f"but at {self.met_at[new]} {new} was met by {known}"
            )

    def _decide(self) -> None:
        """Where an axis has one index in one of the models it is no axis there: find which, by what is known from elsewhere."""
        waiting = self.undecided
        while waiting:
            left = []
            for name, place, new, old in waiting:
                options = [option for option in _embeddings(self, new, old) if self._consistent(option, new, old)]
                if len(options) == 1 or (options and len(waiting) == len(left) + 1):
                    self._take(name, place, options[0], new, old)
                else:
                    left.append((name, place, new, old))
            if len(left) == len(waiting):
                self.problems.extend(
                    f"{name}: dimension {place} ({self._shapes(name)}) is {' x '.join(new) or 'one'} in the target "
                    f"and {' x '.join(old) or 'one'} in the source"
                    for name, place, new, old in left
                )
                return
            waiting = left

    def _consistent(self, option: Mapping[str, str], new: Dimension, old: Dimension) -> bool:
        for a, b in option.items():
            if self.axes.get(a, b) != b or b in self.shrunk or a in self.sprouted:
                return False
        # Blocks that are copies of one share its axes: an axis of the source may answer to several of the target.
        if self.growing:
            return all(leaf in option or leaf not in self.axes or leaf in self.sprouted for leaf in new)
        reverse = {b: a for a, b in self.axes.items()}
        return all(leaf in option.values() or leaf not in reverse or leaf in self.shrunk for leaf in old)

    def _take(self, name: str, place: int, option: Mapping[str, str], new: Dimension, old: Dimension) -> None:
        for a, b in option.items():
            self._meet(name, place, a, b)
        if self.growing:
            self.sprouted.update((leaf, name) for leaf in new if leaf not in option)
        else:
            self.shrunk.update((leaf, name) for leaf in old if leaf not in option.values())

    # Sizes.

    def _sizes(self) -> None:
        for new, old in self.axes.items():
            mine, theirs = self.target.axes[new], self.source.axes[old]
            if self.growing and mine.size < theirs.size:
                where = self.met_at[new]
                self.smaller.append(
                    f"{where}: {self._shapes(where)}: {new} has {mine.size} in the target, {theirs.size} in the source"
                )
            elif not self.growing and mine.size > theirs.size and not self._shrinks_with_others(new):
                where = self.met_at[new]
                self.larger.append(
                    f"{where}: {self._shapes(where)}: {new} has {mine.size} in the target, {theirs.size} in the source"
                )
            elif mine.size != theirs.size and "vocab" in mine.tags:
                where = self.met_at[new]
                self.problems.append(
                    f"{where}: {self._shapes(where)}: the vocabularies differ ({theirs.size} and {mine.size} entries): "
                    + (
                        "a row means a token, so a vocabulary is not grown; scionwood vocabulary gives a model another one"
                        if self.growing
                        else "a row means a token, so a vocabulary is not selected from; give the target the source's vocab_size"
                    )
                )
            elif mine.size != theirs.size and mine.kind == "input" and "table" not in mine.tags:
                where = self.met_at[new]
                self.problems.append(
                    f"{where}: {self._shapes(where)}: the models take different inputs ({old}: {theirs.size}, {new}: {mine.size})"
                )

    def _shrinks_with_others(self, axis: str) -> bool:
        """Whether an axis that grows is beside others that shrink, so that every dimension does: fewer heads, each of them wider."""
        places = [place for place in self.target.occurrences(axis) if place[0] in self.tensors]
        free = self.target.axes[axis].kind == self.source.axes[self.axes[axis]].kind == "free"
        return free and all(
            len(list(self.target.leaves(self.target.tensors[name].dims[place]))) > 1
            and self.target.tensors[name].shape[place] <= self.source.tensors[self.tensors[name]].shape[place]
            for name, place in places
        )

    def _shapes(self, name: str) -> str:
        mine = list(self.target.tensors[name].shape)
        theirs = list(self.source.tensors[self.tensors[name]].shape) if name in self.tensors else "none"
        return f"{theirs} in the source, {mine} in the target"

    def _refuse(self) -> None:
        hint = None
        if self.larger:
            hint = "selecting takes from a larger model; making a larger one from a smaller is growing, another verb"
        if self.smaller:
            hint = "growing makes every axis larger or leaves it; a smaller model is selected: scionwood select"
            if all(_noun(problem.rpartition(": ")[2].split(" ")[0]) in _OF_A_HEAD for problem in self.smaller):
                hint = (
                    "the width of a head follows from hidden size and number of heads unless it is set, too (head_dim)"
                )
        raise MatchError(
            f"{self.target.source} cannot be made from {self.source.source}",
            problems=[*folded(self.problems), *folded(self.larger), *folded(self.smaller)],
            hint=hint,
        )


def _segments(anatomy: Anatomy, dim: Dimension) -> Iterator[Dimension]:
    """A concatenation as its parts, however it is written: as an axis with parts, or as like parts with a leading ``part`` axis."""
    if not dim:
        yield dim
        return
    head, rest = anatomy.axes[dim[0]], dim[1:]
    if head.parts is not None:
        for part in head.parts:
            yield from _segments(anatomy, (*part, *rest))
    elif head.kind == "part":
        for _ in range(head.size):
            yield rest
    else:
        yield dim


def _noun(name: str) -> str:
    return re.sub(r"_\d+$", "", name.rpartition(".")[2])


_OF_A_HEAD = {"qk_dim", "v_dim", "head_dim"}
_ACTS_AS_HEADS = {"heads", "kv_heads", "group"}


def _embeddings(matcher: _Matcher, new: Dimension, old: Dimension) -> Iterator[dict[str, str]]:
    """Every way to find the smaller model's axes among the larger one's, in order; of the others it has one index.

    The result maps the target's axes to the source's. Selecting, the target is the smaller model; growing, the source.
    """
    few, many = (old, new) if matcher.growing else (new, old)
    larger = matcher.target if matcher.growing else matcher.source
    if len(few) > len(many):
        return
    parts = {place for place, axis in enumerate(many) if larger.axes[axis].kind == "part"}
    for places in itertools.combinations(range(len(many)), len(few)):
        if not parts <= {*places}:
            continue  # a part is never left out
        pairs = [(a, many[place]) for a, place in zip(few, places, strict=True)]
        if matcher.growing:
            pairs = [(b, a) for a, b in pairs]
        if all(_compatible(matcher, a, b) for a, b in pairs):
            yield dict(pairs)


def _compatible(matcher: _Matcher, new: str, old: str) -> bool:
    if not matcher._alike(new, old):
        return False
    if matcher.target.axes[new].kind == matcher.source.axes[old].kind == "part":
        return True
    mine, theirs = _noun(new), _noun(old)
    # Where a model has one group only, its channels are what another's channels are within a group.
    widths = {mine.removesuffix("s").removesuffix("_width"), theirs.removesuffix("s").removesuffix("_width")}
    return mine == theirs or len(widths) == 1 or {mine, theirs} <= _ACTS_AS_HEADS
