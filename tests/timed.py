"""Time held against time of the same moment: what a slow machine cannot fail."""

from collections.abc import Callable

__all__ = ["assert_linear"]

TIMES = 8
LEAST = 0.05
"""Seconds below which a clock says little."""


def assert_linear(seconds: Callable[[int], float], count: int) -> None:
    """Assert that so many take at most 24 times as long as an eighth of them; with the square it would be 64 times."""
    assert seconds(count) < 3 * TIMES * max(LEAST, seconds(count // TIMES))
