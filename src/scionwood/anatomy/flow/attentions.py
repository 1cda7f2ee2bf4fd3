"""Attentions: which rows of which weights an attention takes for its queries, keys and values, and what reads its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, fx

from scionwood.anatomy.flow.records import Projection

__all__ = ["Attentions"]

_ROLES: tuple[Literal["query"], Literal["key"], Literal["value"]] = ("query", "key", "value")


class Attentions:
    """Collects what weights are in the attentions of a model.

    Rows are known by labels: a weight's number times 2^32, plus the row.
    """

    def __init__(self) -> None:
        self._found: dict[str, list[Projection]] = {}
        self._readers: list[tuple[fx.Node, str, Tensor]] = []

    def add(self, node: fx.Node, labels: Sequence[Tensor], widths: Sequence[int], owners: Mapping[int, str]) -> None:
        """Note an attention, unless one of its sides is made of several weights.

        Args:
            node: what computes it.
            labels: of queries, keys and values.
            widths: of one head of each.
            owners: a weight's number times 2^32 → the tensor.
        """
        sides = []
        for own in labels:
            rows = torch.unique(own)
            numbers = torch.unique(rows >> 32)
            if len(numbers) != 1:
                return
            sides.append((owners[int(numbers[0]) << 32], rows & 0xFFFFFFFF))
        heads = len(sides[0][1]) // widths[0]
        kv_heads = max(len(sides[2][1]) // widths[2], 1)
        for role, width, (tensor, rows) in zip(_ROLES, widths, sides, strict=True):
            self._found.setdefault(tensor, []).append(Projection(role, heads, kv_heads, width, node.name, rows))

    def read(self, attention: fx.Node, tensor: str, labels: Tensor) -> None:
        """Note that a weight reads what an attention gives; the labels say which columns of it are whose."""
        self._readers.append((attention, tensor, labels))

    def projections(self) -> dict[str, list[Projection]]:
        """Return for each tensor what it is."""
        made = {name: list(own) for name, own in self._found.items()}
        values = {each.attention: each for own in self._found.values() for each in own if each.role == "value"}
        for attention, tensor, labels in self._readers:
            value = values.get(attention.name)
            if value is not None:
                rows = torch.unique(labels)
                output = Projection("output", value.heads, value.kv_heads, value.width, attention.name, rows)
                made.setdefault(tensor, []).append(output)
        return made
