"""Layers: the blocks that a model repeats, by its residual stream where it has one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from scionwood.anatomy.depth import block_lists, indices_in, template
from scionwood.anatomy.flow.ancestry import Ancestry
from scionwood.anatomy.flow.records import Residual
from scionwood.anatomy.nodes import module_path

__all__ = ["Layers"]


class Layers:
    """The lists of blocks of a module, and which of them count as its layers.

    Args:
        module: the model.
        ancestry: what is computed from what in it.
    """

    def __init__(self, module: nn.Module, ancestry: Ancestry) -> None:
        self.module = module
        self.ancestry = ancestry
        self.lists: Mapping[str, int] = block_lists(module)
        self.counted = self.lists

    def keep(self, residuals: Sequence[Residual]) -> list[Residual]:
        """Keep what residual sums tell to be layers, and return the sums with the blocks around them.

        What repeats inside of a residual block is no layer, nor is a stage. A list repeats one block, or the residual stream
        runs through blocks of several kinds, which are not the parts of such a block themselves: other parts that are
        numbered, as heads for several tasks, are no layers.
        """
        through = [path for path, size in self.lists.items() if self._is_passed_through(path, size, residuals)]
        outer = {path for path in through if not any(path.startswith(f"{other}.") for other in through)}
        self.lists = {path: size for path, size in self.lists.items() if path in outer or self._repeats_one(path)}
        found = [
            dataclasses.replace(own, block=_innermost(f"{module_path(own.node)}.", self.lists)) for own in residuals
        ]
        around = {own.block.rpartition(".")[0] for own in found if own.block}
        inner = {path for path in around if not any(other.startswith(f"{path}.") for other in around)}
        self.counted = {path: size for path, size in self.lists.items() if not around or path in inner}
        return found

    def block_of(self, name: str) -> str | None:
        """The layer that a tensor lies in, by its path."""
        return _innermost(name, self.counted)

    def numbered(self, names: Iterable[str]) -> dict[str, tuple[int, int]]:
        """The number of every layer among its likes and how many these are, of tensors in the order of execution."""
        groups: dict[str, dict[str, None]] = {}
        for block in map(self.block_of, names):
            if block is not None:
                groups.setdefault(template(f"{block}.", self.lists), {})[block] = None
        return {block: (place + 1, len(blocks)) for blocks in groups.values() for place, block in enumerate(blocks)}

    def _is_passed_through(self, path: str, size: int, residuals: Sequence[Residual]) -> bool:
        """Whether every part of a list has residual sums, and takes the stream from the part before without a weight between."""
        sums: dict[int, list[Residual]] = {}  # in the order of execution
        for own in residuals:
            for _, index in indices_in(f"{module_path(own.node)}.", {path: size}):
                sums.setdefault(index, []).append(own)
        return len(sums) == size and all(
            any(self.ancestry.is_stream(own.node, other.start) for own in early for other in late)
            for early, late in itertools.pairwise(sums.values())
        )

    def _repeats_one(self, path: str) -> bool:
        return len({type(child) for child in self.module.get_submodule(path).children()}) == 1


def _innermost(name: str, lists: Mapping[str, int]) -> str | None:
    inside = list(indices_in(name, lists))
    if not inside:
        return None
    path, index = inside[-1]
    return f"{path}.{index}" if path else str(index)
