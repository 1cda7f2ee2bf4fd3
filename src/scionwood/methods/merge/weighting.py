"""Weights of models, and other numbers of theirs: one for all, or one for each."""

from collections.abc import Sequence
from typing import Annotated

from scionwood.errors import MethodError
from scionwood.methods.options import Finite

__all__ = ["Densities", "Shares", "Weights", "check_index", "spread", "spread_weights"]

Weights = Annotated[float, Finite()] | Sequence[Annotated[float, Finite()]]
"""One weight for all models, or one for each in the order written."""

Densities = Annotated[float, Finite(above=0, at_most=1)] | Sequence[Annotated[float, Finite(above=0, at_most=1)]]
"""The share of entries that is kept: one for all models, or one for each."""

Shares = Annotated[float, Finite(at_least=0, at_most=1)] | Sequence[Annotated[float, Finite(at_least=0, at_most=1)]]
"""Another share, which may be none: one for all models, or one for each."""


def spread(given: float | Sequence[float], count: int, what: str = "weights") -> list[float]:
    """Return one number for each model.

    >>> spread(0.5, 2, "densities"), spread((0.5, 1), 2, "densities")
    ([0.5, 0.5], [0.5, 1.0])

    Raises:
        MethodError: another number of them than models.
    """
    listed = [float(given)] * count if isinstance(given, (int, float)) else [float(number) for number in given]
    if len(listed) != count:
        raise MethodError(
            f"There are {len(listed)} {what} for {count} models.", hint="Give one for each, or one for all."
        )
    return listed


def spread_weights(weights: float | Sequence[float], count: int, *, normalize: bool = False) -> list[float]:
    """Return one weight for each model; divided by their sum, if asked.

    >>> spread_weights((1, 0.5), 2, normalize=True), spread_weights(2.0, 3)
    ([0.6666666666666666, 0.3333333333333333], [2.0, 2.0, 2.0])

    Raises:
        MethodError: another number of weights than models, or weights that sum to zero where they are to be normalised.
    """
    listed = spread(weights, count)
    if not normalize:
        return listed
    total = sum(listed)
    if abs(total) < 1e-12:
        raise MethodError(
            f"The weights {listed} sum to zero, and cannot be normalised.", hint="Set normalize to false."
        )
    return [weight / total for weight in listed]


def check_index(index: int, count: int) -> int:
    """Return the index of a model, if there is one.

    >>> check_index(1, 2)
    1

    Raises:
        MethodError: there are not so many models.
    """
    if not 0 <= index < count:
        raise MethodError(f"There is no model {index} among {count}.", hint="The first model is number 0.")
    return index
