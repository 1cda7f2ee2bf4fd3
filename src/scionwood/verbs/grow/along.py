"""Along: how one dimension of one tensor grows, and how that of several axes makes that of their product."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.anatomy import AxisMap

__all__ = ["Along", "concatenated", "identity", "product"]


@dataclasses.dataclass(frozen=True, eq=False)
class Along:
    """How one dimension of one tensor grows.

    Attributes:
        map: from the source's dimension to the target's; a new index stands on index 0 here.
        code: for every index what it gets: 0 what the map says, or ``DRAWN``, ``MEAN``, ``ZERO``. Nothing: all the map's.
        following: which indices are the next block's; nothing, if none is.
        std: of what is drawn; nothing means as the target's class begins.
        snr_db: of noise between copies, where the dimension reads.
        member: for every index the model it is from, 0 or 1, where two are joined; 2 where one axis of the dimension says
            the one and another the other.
    """

    map: AxisMap
    code: Tensor | None = None
    following: Tensor | None = None
    std: float | None = None
    snr_db: float | None = None
    member: Tensor | None = None

    def part(self, start: int, size: int) -> Along:
        """The part that makes the target's indices from ``start`` on."""
        cut = slice(start, start + size)
        assert self.map.index is not None
        divisor = None if self.map.divisor is None else self.map.divisor[cut]
        return dataclasses.replace(
            self,
            map=AxisMap(self.map.source, size, self.map.index[cut], divisor),
            code=None if self.code is None else self.code[cut],
            following=None if self.following is None else self.following[cut],
            member=None if self.member is None else self.member[cut],
        )


def identity(size: int) -> Along:
    """Return how a dimension of one axis that stays as it is grows: not at all."""
    return Along(AxisMap.identity(size))


def _or(a: float | None, b: float | None) -> float | None:
    return b if a is None else a


def product(outer: Along, inner: Along) -> Along:
    """Return how a dimension grows whose indices are pairs, of an outer axis and an inner one."""
    n, m = outer.map.target, inner.map.target
    code = following = None
    if outer.code is not None or inner.code is not None:
        first, second = _codes(outer), _codes(inner)
        code = torch.maximum(first[:, None].expand(n, m), second[None].expand(n, m)).flatten()
    if outer.following is not None or inner.following is not None:
        first, second = _follows(outer), _follows(inner)
        following = (first[:, None] | second[None]).flatten()
    return Along(
        AxisMap.product(outer.map, inner.map),
        code,
        following,
        _or(outer.std, inner.std),
        _or(outer.snr_db, inner.snr_db),
        _both(outer.member, inner.member, n, m),
    )


def _both(outer: Tensor | None, inner: Tensor | None, n: int, m: int) -> Tensor | None:
    """The member of every index of a product: where its two axes say different ones, 2."""
    first = None if outer is None else outer[:, None].expand(n, m)
    second = None if inner is None else inner[None].expand(n, m)
    if first is None or second is None:
        alone = second if first is None else first
        return None if alone is None else alone.flatten()
    return torch.where(first == second, first, 2).flatten()


def concatenated(pieces: Sequence[Along]) -> Along:
    """Return how a dimension grows that is several side by side."""
    code = following = None
    if any(piece.code is not None for piece in pieces):
        code = torch.cat([_codes(piece) for piece in pieces])
    if any(piece.following is not None for piece in pieces):
        following = torch.cat([_follows(piece) for piece in pieces])
    std = next((piece.std for piece in pieces if piece.std is not None), None)
    snr_db = next((piece.snr_db for piece in pieces if piece.snr_db is not None), None)
    member = None
    if any(piece.member is not None for piece in pieces):
        # A piece that does not grow stays in one: it is the first's.
        member = torch.cat([_zeros(piece) if piece.member is None else piece.member for piece in pieces])
    return Along(AxisMap.concatenate([piece.map for piece in pieces]), code, following, std, snr_db, member)


def _codes(along: Along) -> Tensor:
    return _zeros(along) if along.code is None else along.code


def _zeros(along: Along) -> Tensor:
    return torch.zeros(along.map.target, dtype=torch.long)


def _follows(along: Along) -> Tensor:
    return torch.zeros(along.map.target, dtype=torch.bool) if along.following is None else along.following
