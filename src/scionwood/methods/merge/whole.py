"""Merges of tensors and of models in memory: the slow and obvious way, and the oracle of the engine."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scionwood.methods.merge.dropping import Drawn
from scionwood.methods.record import Record, resolve
from scionwood.methods.summary import summarize_model

__all__ = ["merge_models", "merge_tensors"]


def merge_tensors(
    method: Callable[..., Tensor],
    tensors: Sequence[Tensor],
    base: Tensor | None = None,
    options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Merge tensors in memory, in float32, as if they were all that the models have.

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
    models = [{"": tensor} for tensor in tensors]
    return merge_models(method, models, None if base is None else {"": base}, options, generator)[""]


def merge_models(
    method: Callable[..., Tensor],
    models: Sequence[Mapping[str, Tensor]],
    base: Mapping[str, Tensor] | None = None,
    options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Merge models in memory, in float32; what is not floating point, or has no elements, is the base's or the first's.

    >>> from scionwood.methods.merge.ties import ties
    >>> base = {"norm": torch.zeros(2), "up": torch.zeros(2)}
    >>> model = {"norm": torch.tensor([0.1, 0.2]), "up": torch.tensor([3.0, 4.0])}
    >>> merge_models(ties, [model], base, {"density": 0.5, "scope": "tensor"})
    {'norm': tensor([0.0000, 0.2000]), 'up': tensor([0., 4.])}
    >>> merge_models(ties, [model], base, {"density": 0.5, "scope": "model"})
    {'norm': tensor([0., 0.]), 'up': tensor([3., 4.])}

    Args:
        method: a method of the family merge.
        models: the tensors of each model; all have the names and shapes of the first.
        base: the base's tensors, for methods in delta space and those that take a base.
        options: the method's options.
        generator: what methods that draw draw from, tensor by tensor and model by model.

    Raises:
        MethodError: an unknown option, or a value out of its range.
    """
    record = Record.of(method)
    resolved = resolve(method, dict(options or {}))
    kept = models[0] if base is None else base
    seen = {
        name: _seen(record, [model[name] for model in models], None if base is None else base[name], generator)
        for name, tensor in kept.items()
        if tensor.is_floating_point() and tensor.numel()
    }
    summaries = summarize_model(record.summaries, seen, resolved)
    merged = dict(kept)
    for name, (values, beside) in seen.items():
        at_hand = {"deltas": values, "tensors": values, **beside, **summaries[name]}
        result = method(**{given: at_hand[given] for given in record.inputs if given in at_hand}, **resolved)
        whole = beside["base"] + result if record.space == "delta" else result
        merged[name] = whole.reshape(kept[name].shape)
    return merged


def _seen(
    record: Record, tensors: Sequence[Tensor], base: Tensor | None, generator: torch.Generator | None
) -> tuple[list[Tensor], dict[str, Any]]:
    """What a method sees of one tensor of each model, and what is beside them."""
    shape = tensors[0].shape
    # What is seen by rows comes as a matrix: a vector is one row, a scalar a row of one.
    form = (-1, shape[-1] if shape else 1) if record.scope == "row" else shape
    values = [tensor.float().reshape(form) for tensor in tensors]
    origin = None if base is None else base.float().reshape(form)
    if record.space == "delta":
        assert origin is not None
        values = [value - origin for value in values]
    beside: dict[str, Any] = {"base": origin, "shape": tuple(shape)}
    if "uniforms" in record.inputs:
        beside["uniforms"] = [Drawn(torch.rand(value.shape, generator=generator)) for value in values]
    return values, beside
