"""Exact order statistics in one pass: a sample says between which bounds the number lies, and what lies there is kept.

Two bounds around the k-th largest of a sample hold the k-th largest of everything nearly always. A pass counts what
lies above them and keeps what lies between, a few hundredths of all; the number is found among these. When the sample
has misled, which the counts show, the answer is None, and somebody else counts (``engine.counting``).
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

__all__ = ["Bracket"]

DEVIATIONS = 5.0
"""How far apart the bounds are, in standard errors of the sample."""

MOST_KEPT = 1 << 22
"""Numbers that a bracket may expect to keep; where it would be more, the bounds are worth nothing."""


class Bracket:
    """Looks for the k-th largest magnitude of numbers that come in tiles.

    >>> import torch
    >>> bracket = Bracket(2, 4, [])
    >>> bracket.count(torch.tensor([1.0, -3.0])), bracket.count(torch.tensor([2.0, 0.0]))
    (None, None)
    >>> bracket.value
    2.0

    Args:
        keep: which one is wanted, 1 for the largest.
        total: how many numbers there are.
        sample: some of them, from several places of the tensor; none to keep everything.
    """

    def __init__(self, keep: int, total: int, sample: Sequence[Tensor]) -> None:
        self.keep = keep
        self.total = total
        self.low, self.high = _bounds(keep / total, sample) if sample else (-1.0, float("inf"))
        self._above = self._level = self._floor = 0
        self._between: list[np.ndarray] = []

    @property
    def hopeless(self) -> bool:
        """Whether too much would lie between the bounds to keep it."""
        return self.low < 0 and self.total > MOST_KEPT

    def count(self, numbers: Tensor) -> None:
        """Take in a tile."""
        magnitudes = np.abs(numbers.numpy().reshape(-1))
        self._above += np.count_nonzero(magnitudes > self.high)
        self._level += np.count_nonzero(magnitudes == self.high)
        if self.low < self.high:
            self._floor += np.count_nonzero(magnitudes == self.low)
        self._between.append(magnitudes[(magnitudes > self.low) & (magnitudes < self.high)])

    @property
    def value(self) -> float | None:
        """The number, once every tile was counted; None if it lies outside of the bounds."""
        if self.keep <= 0:
            return float("inf")
        if self.keep >= self.total:
            return 0.0
        place = self.keep - self._above
        if place <= 0:
            return None
        if place <= self._level:
            return self.high
        place -= self._level
        between = np.concatenate(self._between)
        if place <= len(between):
            return float(np.partition(between, len(between) - place)[len(between) - place])
        return self.low if place - len(between) <= self._floor else None


def _bounds(share: float, sample: Sequence[Tensor]) -> tuple[float, float]:
    """The magnitudes between which the ``share`` of the largest begins, nearly certainly."""
    parts = [np.abs(part.numpy().reshape(-1)) for part in sample]
    ordered = np.sort(np.concatenate(parts))[::-1]
    count = len(ordered)
    middle = ordered[max(0, min(count - 1, int(share * count)))]
    # Neighbours are alike, so the error is that between places, not that of so many draws.
    shares = np.array([np.count_nonzero(part > middle) / len(part) for part in parts])
    margin = DEVIATIONS * float(shares.std(ddof=1)) / len(parts) ** 0.5 + 2 / count
    first, last = int((share - margin) * count), int((share + margin) * count) + 1
    high = float(ordered[min(first, count - 1)]) if first > 0 else float("inf")
    return (float(ordered[max(last, 0)]) if last < count else -1.0), high
