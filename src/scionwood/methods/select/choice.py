"""Ask a selection for one unit of choice, and hold it to the contract that ``methods/select`` describes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Record

__all__ = ["Choice", "choose"]


@dataclass(frozen=True, eq=False)
class Choice:
    """What a selection chose for one unit.

    Args:
        index: the source index of every target index.
        gain: the factor for tensors along a dimension that reads the unit.
    """

    index: Tensor
    gain: float = 1.0


def choose(
    method: Callable[..., Any],
    source: Sequence[int],
    target: Sequence[int],
    *,
    options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    scores: Tensor | None = None,
    kind: str = "free",
) -> Choice:
    """Return a selection's choice for one unit; give every input there is, and the method gets those it asks for.

    >>> from scionwood.methods.select.uniform import uniform
    >>> choose(uniform, (8,), (4,)).index.tolist()
    [0, 2, 4, 6]

    Args:
        method: a method of the family select.
        source: the sizes of the source's axes, outermost first.
        target: the sizes of the target's axes, outermost first.
        options: its options, as ``record.resolve`` gives them.
        generator: what to draw from.
        scores: one number per index of the unit, flat.
        kind: the kind of the axis.

    Raises:
        MethodError: an input that the method needs is missing, the method refuses the sizes, or what it gives back is
            no index of the target's size within the source.
    """
    record = Record.of(method)
    at_hand = {"source": tuple(source), "target": tuple(target)}
    at_hand |= {"generator": generator, "scores": scores, "kind": kind}
    inputs = {name: at_hand.get(name) for name in record.inputs}
    if missing := [name for name in sorted(record.needs) if inputs[name] is None]:
        words = [f"scores ({record.scores})" if name == "scores" else f"a {name}" for name in missing]
        raise MethodError(f"{record.name} needs {' and '.join(words)}, and was given none.")
    given = method(**inputs, **(options or {}))
    choice = given if isinstance(given, Choice) else Choice(given)
    n, m = math.prod(source), math.prod(target)
    index = choice.index
    if index.dtype != torch.long or index.shape != (m,) or (m and not 0 <= int(index.min()) <= int(index.max()) < n):
        raise MethodError(
            f"{record.name} gave no index of {m} of {n}: {index.dtype} of shape {tuple(index.shape)}.",
            hint="This is a fault of the method; see the contract in scionwood.methods.select.",
        )
    return choice
