"""Attentions: which rows of which weights an attention takes for its queries, keys and values, and what reads its result."""

from __future__ import annotations

import dataclasses
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
        self._values: dict[fx.Node, Projection] = {}
        self.sources: dict[fx.Node, set[int]] = {}
        """An attention → the numbers of the weights of its keys and values."""

    def add(self, node: fx.Node, labels: Sequence[Tensor], widths: Sequence[int], owners: Mapping[int, str]) -> None:
        """Note an attention, unless one of its sides is made of several weights, or keys and values differ in heads.

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
        heads, kv_heads, v_heads = (len(rows) // width for width, (_, rows) in zip(widths, sides, strict=True))
        if not kv_heads or kv_heads != v_heads:
            return
        self.sources[node] = {int(own.flatten()[0] >> 32) for own in labels[1:]}
        for role, width, (tensor, rows) in zip(_ROLES, widths, sides, strict=True):
            self._note(tensor, Projection(role, heads, kv_heads, width, node.name, rows))
        self._values[node] = Projection("value", heads, kv_heads, widths[2], node.name, sides[2][1])

    def read(self, attention: fx.Node, tensor: str, labels: Tensor) -> None:
        """Note that a weight reads what an attention gives; the labels say which columns of it are whose."""
        value = self._values.get(attention)
        if value is not None:
            self._note(tensor, dataclasses.replace(value, role="output", rows=torch.unique(labels)))

    def _note(self, tensor: str, own: Projection) -> None:
        """A weight that several layers share is the same in each of their attentions."""
        known = self._found.setdefault(tensor, [])
        if not any(other.role == own.role and torch.equal(other.rows, own.rows) for other in known):
            known.append(own)

    def projections(self) -> dict[str, list[Projection]]:
        """Return for each tensor what it is."""
        return self._found
