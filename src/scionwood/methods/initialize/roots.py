"""Roots of a function of one positive number, on a logarithmic grid and then by halving."""

import math
from collections.abc import Callable

__all__ = ["changes"]


def changes(function: Callable[[float], float], low: float, high: float, per_decade: int = 20) -> list[float]:
    """Return where a function changes its sign, ascending.

    What is zero to ten digits on both sides of a step counts as no change: it is the noise of a function that is
    constant there.

    >>> [round(root, 9) for root in changes(lambda x: (x - 0.5) * (x - 20), 1e-2, 1e2)]
    [0.5, 20.0]

    Args:
        function: of a positive number.
        low: where the search begins.
        high: where it ends.
        per_decade: steps of the grid for each factor of ten.
    """
    steps = math.ceil(math.log10(high / low) * per_decade)
    grid = [low * (high / low) ** (step / steps) for step in range(steps + 1)]
    values = [function(point) for point in grid]
    found: list[float] = []
    for left, right, at_left, at_right in zip(grid, grid[1:], values, values[1:], strict=False):
        if max(abs(at_left), abs(at_right)) < 1e-10 or not math.isfinite(at_left) or not math.isfinite(at_right):
            continue
        if at_left * at_right < 0 or at_left == 0:
            found.append(_halve(function, left, right, at_left))
    return found


def _halve(function: Callable[[float], float], left: float, right: float, at_left: float) -> float:
    if at_left == 0:
        return left
    for _ in range(60):
        middle = math.sqrt(left * right)
        value = function(middle)
        if value == 0 or not left < middle < right:
            return middle
        if value * at_left > 0:
            left = middle
        else:
            right = middle
    return math.sqrt(left * right)
