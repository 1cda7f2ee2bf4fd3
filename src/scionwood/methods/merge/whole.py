"""A merge of tensors in memory: the slow and obvious way, and the oracle of the engine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scionwood.methods.record import Record, resolve
from scionwood.methods.summary import summarize

__all__ = ["merge_tensors"]


def merge_tensors(
    method: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    base: Tensor | None = None,
    options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Merge tensors in memory, in float32.

    >>> from scionwood.methods.merge.linear import linear
    >>> merge_tensors(linear, [torch.tensor([1.4, 0.9]), torch.tensor([0.8, 1.3])], options={"weights": (1, 0.5)})
    tensor([1.2000, 1.0333])

    Args:
        method: a method of the family merge.
        tensors: one tensor from each model.
        base: the base's tensor, for methods in delta space and those that take a base.
        options: the method's options.
        generator: what methods that draw draw from.

    Raises:
        MethodError: an unknown option, or a value out of its range.
    """
    record = Record.of(method)
    resolved = resolve(method, dict(options or {}))
    shape = tensors[0].shape
    # What is seen by rows comes as a matrix: a vector is one row, a scalar a row of one.
    form = (-1, shape[-1] if shape else 1) if record.scope == "row" else shape
    values = [tensor.float().reshape(form) for tensor in tensors]
    origin = None if base is None else base.float().reshape(form)
    if record.space == "delta":
        assert origin is not None
        values = [value - origin for value in values]
    at_hand: dict[str, Any] = {"deltas": values, "tensors": values, "base": origin, "shape": tuple(shape)}
    if "uniforms" in record.inputs:
        at_hand["uniforms"] = [torch.rand(value.shape, generator=generator) for value in values]
    at_hand |= summarize(record.summaries, values, resolved, at_hand)
    result = method(**{name: at_hand[name] for name in record.inputs if name in at_hand}, **resolved)
    merged = origin + result if record.space == "delta" and origin is not None else result
    return merged.reshape(shape)
