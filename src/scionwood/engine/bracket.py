"""Exact order statistics in one pass: a sample says between which bounds the number lies, and what lies there is kept.

Two bounds around the k-th largest of a sample hold the k-th largest of everything nearly always. A pass counts what
lies above them and keeps what lies between, a few hundredths of all; the number is found among these. When the sample
has misled, which the counts show, the answer is None, and somebody else counts (``engine.counting``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

__all__ = ["Bracket"]

DEVIATIONS = 5.0
"""How far apart the bounds are, in standard errors of the sample."""

CROWD = 0.01
"""The share of the sample that may be equal to a bound and still be kept."""

MOST_KEPT = 1 << 22
"""Numbers that a bracket may expect to keep; where it would be more, the bounds are worth nothing."""


class Bracket:
    """Looks for the k-th largest of non-negative numbers that come in tiles.

    >>> import torch
    >>> bracket = Bracket(2, 4, [])
    >>> bracket.count(torch.tensor([1.0, 3.0])), bracket.count(torch.tensor([2.0, 0.0]))
    (None, None)
    >>> bracket.value
    2.0

    Args:
        keep: which one is wanted, 1 for the largest; or which one for how many that are not zero.
        total: how many numbers there are.
        sample: some of them, from several places of the tensor; none to keep everything.
    """

    def __init__(self, keep: int | Callable[[int], int], total: int, sample: Sequence[Tensor]) -> None:
        self._keep = keep
        self.total = total
        self.low, self.high = _bounds(keep, total, sample) if sample else (_Bound(-1.0), _Bound(float("inf")))
        self._above = 0
        self._nonzero = 0
        self._between: list[np.ndarray] = []

    @property
    def hopeless(self) -> bool:
        """Whether too much would lie between the bounds to keep it."""
        return self.low.value < 0 and self.total > MOST_KEPT

    def count(self, numbers: Tensor) -> None:
        """Take in a tile."""
        magnitudes = numbers.numpy().reshape(-1)
        self._above += int(np.count_nonzero(magnitudes > self.high.value))
        if callable(self._keep):
            self._nonzero += int(np.count_nonzero(magnitudes != 0))
        for bound in (self.low, self.high):
            if bound.crowded:
                bound.count += int(np.count_nonzero(magnitudes == bound.value))
        self._between.append(magnitudes[(magnitudes > self.low.value) & (magnitudes < self.high.value)])

    @property
    def value(self) -> float | None:
        """The number, once every tile was counted; None if it lies outside of the bounds."""
        keep = self._keep(self._nonzero) if callable(self._keep) else self._keep
        if keep <= 0:
            return float("inf")
        if keep >= self.total:
            return 0.0
        place = keep - self._above
        if place <= 0:
            return None
        if place <= self.high.count:
            return self.high.value
        place -= self.high.count
        between = np.concatenate(self._between)
        if place <= len(between):
            return float(np.partition(between, len(between) - place)[len(between) - place])
        return self.low.value if place - len(between) <= self.low.count else None


@dataclass
class _Bound:
    """A bound, that does not lie between the bounds; where many numbers are equal to it, they are counted instead."""

    value: float
    crowded: bool = False
    count: int = 0


def _bounds(keep: int | Callable[[int], int], total: int, sample: Sequence[Tensor]) -> tuple[_Bound, _Bound]:
    """The magnitudes between which the largest begin, nearly certainly."""
    parts = [part.numpy().reshape(-1) for part in sample]
    ordered = np.sort(np.concatenate(parts))[::-1]
    count = len(ordered)

    def kept(numbers: np.ndarray) -> float:
        return (keep(int(np.count_nonzero(numbers) / len(numbers) * total)) if callable(keep) else keep) / total

    share = kept(ordered)
    middle = ordered[max(0, min(count - 1, int(share * count)))]
    # Neighbours are alike, so the error is that between places, not that of so many draws.
    shares = np.array([np.count_nonzero(part > middle) / len(part) - kept(part) for part in parts])
    margin = DEVIATIONS * float(shares.std(ddof=1)) / len(parts) ** 0.5 + 2 / count
    first, last = int((share - margin) * count), int((share + margin) * count) + 1
    high = _bound(ordered, ordered[min(first, count - 1)], np.inf) if first > 0 else _Bound(float("inf"))
    low = _bound(ordered, ordered[max(last, 0)], -np.inf) if last < count else _Bound(-1.0)
    if low.value == high.value:
        low.crowded = False  # counted once
    return low, high


def _bound(ordered: np.ndarray, value: np.float32, outwards: float) -> _Bound:
    """A bound at a value of the sample, or just beyond it, where few enough are equal to it to be kept."""
    if np.count_nonzero(ordered == value) > CROWD * len(ordered):
        return _Bound(float(value), crowded=True)
    return _Bound(float(np.nextafter(value, np.float32(outwards))))
