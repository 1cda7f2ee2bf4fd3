"""Summaries: the few numbers about a whole tensor that a tile by tile computation needs before it can begin.

A method that works element by element may still depend on the whole: on a norm, a dot product, the k-th largest
magnitude. It declares such a number as a summary, in the order they are needed, and takes it as an input of the same
name. The engine makes them in passes over tiles; :func:`summarize` makes them at once for tensors in memory. Both give
the same bits where sums are exact in float64.

A summary that some options do without says so (``when``), and costs no pass then: the method gets None. One that must
know what was drawn, the base, or the shape of the whole tensor says so too (``needs``), and finds them among the
earlier summaries, the random numbers stacked.

Summaries lie on the CPU, wherever the inputs lie: what is small is computed there. An array that meets the inputs element
by element (a number for each column) goes to them, by ``.to(input.device)``.

Some numbers are about the whole model: a threshold that all tensors share, the norm of everything. Such a summary says
so by its options (``over``). It is made of all tensors that are merged, and each of them gets the same. It may be made
of earlier summaries of single tensors; how many elements a model-wide rank keeps may depend on model-wide ones alone.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = [
    "Rank",
    "Sum",
    "Summary",
    "kth_largest",
    "over_model",
    "over_scope",
    "share",
    "summarize",
    "summarize_model",
    "wanted",
]


def _always(_: Mapping[str, Any]) -> bool:
    return True


def _tensor(_: Mapping[str, Any]) -> Literal["tensor", "model"]:
    return "tensor"


def over_model(_: Mapping[str, Any]) -> Literal["model"]:
    """Say of a summary that it is always about the whole model."""
    return "model"


def over_scope(options: Mapping[str, Any]) -> Literal["tensor", "model"]:
    """Say of a summary that the option ``scope`` tells what it is about."""
    return options["scope"]


@dataclass(frozen=True)
class Sum:
    """A number, or an array of them, that adds up over tiles.

    Args:
        name: the input of the method that gets it.
        of: (inputs, earlier summaries, options) → the tile's share, in float64.
        when: options → whether it is needed at all.
        needs: what else of the tile it must see: ``base``, ``uniforms``, ``shape``.
        over: options → whether it is of each tensor by itself, or one of the whole model.
    """

    name: str
    of: Callable[[Sequence[Tensor], Mapping[str, Tensor], Mapping[str, Any]], Tensor]
    when: Callable[[Mapping[str, Any]], bool] = field(default=_always, kw_only=True)
    needs: Collection[str] = field(default=(), kw_only=True)
    over: Callable[[Mapping[str, Any]], Literal["tensor", "model"]] = field(default=_tensor, kw_only=True)


@dataclass(frozen=True)
class Rank:
    """The k-th largest of non-negative numbers, exactly: one for each tensor that ``of`` returns.

    Args:
        name: the input of the method that gets it: a float32 vector.
        of: (inputs, earlier summaries, options) → non-negative float32 tensors of the tile's shape.
        keep: (number of elements, of the tensor or the model; earlier summaries; options) → how many are to reach the
            threshold, one number for all tensors, or a few numbers that repeat over them. None gives infinity, all gives zero.
        nonzero: whether only the elements that are not zero count in that number; each tensor has its own then.
        when: options → whether it is needed at all.
        needs: what else of the tile it must see: ``base``, ``uniforms``, ``shape``.
        over: options → whether it is of each tensor by itself, or one of the whole model.
    """

    name: str
    of: Callable[[Sequence[Tensor], Mapping[str, Tensor], Mapping[str, Any]], Sequence[Tensor]]
    keep: Callable[[int, Mapping[str, Tensor], Mapping[str, Any]], int | Sequence[int]]
    nonzero: bool = field(default=False, kw_only=True)
    when: Callable[[Mapping[str, Any]], bool] = field(default=_always, kw_only=True)
    needs: Collection[str] = field(default=(), kw_only=True)
    over: Callable[[Mapping[str, Any]], Literal["tensor", "model"]] = field(default=_tensor, kw_only=True)

    def kept(self, count: int, tensors: int, earlier: Mapping[str, Tensor], options: Mapping[str, Any]) -> list[int]:
        """How many elements of each of the tensors are to reach the threshold."""
        keep = self.keep(count, earlier, options)
        return [keep] * tensors if isinstance(keep, int) else list(keep) * (tensors // len(keep))


Summary = Sum | Rank


def wanted(summaries: Sequence[Summary], options: Mapping[str, Any]) -> list[Summary]:
    """Return the summaries that these options need."""
    return [summary for summary in summaries if summary.when(options)]


def share(
    summary: Summary,
    inputs: Sequence[Tensor],
    found: Mapping[str, Tensor],
    options: Mapping[str, Any],
    beside: Mapping[str, Any],
) -> Any:
    """Call a summary on a tile, with what it needs of what is ``beside`` the inputs: the base, the random numbers."""
    more = {need: beside[need] for need in summary.needs}
    return summary.of(inputs, {**found, **more} if more else found, options)


def summarize(
    summaries: Sequence[Summary],
    inputs: Sequence[Tensor],
    options: Mapping[str, Any],
    beside: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Make every summary that is wanted of one tensor from each model, in memory.

    >>> rank = Rank("thresholds", lambda tensors, _, __: [t.abs() for t in tensors], lambda count, _, options: options["keep"])
    >>> summarize([rank], [torch.tensor([1.0, -4.0, 2.0, 3.0])], {"keep": 2})
    {'thresholds': tensor([3.])}
    """
    return summarize_model(summaries, {"": (inputs, beside or {})}, options)[""]


def summarize_model(
    summaries: Sequence[Summary],
    tensors: Mapping[str, tuple[Sequence[Tensor], Mapping[str, Any]]],
    options: Mapping[str, Any],
) -> dict[str, dict[str, Tensor]]:
    """Make every summary that is wanted of all tensors, in memory: by the name of the tensor and that of the summary.

    >>> total = Sum("sums", lambda tensors, _, __: tensors[0].double().sum(), over=lambda options: options["over"])
    >>> models = {"a": ([torch.tensor([1.0, 2.0])], {}), "b": ([torch.tensor([4.0])], {})}
    >>> [float(found["sums"]) for found in summarize_model([total], models, {"over": "model"}).values()]
    [7.0, 7.0]

    Args:
        summaries: of a method's record.
        tensors: for every name one tensor from each model, and what is beside them.
        options: the method's options, resolved.
    """
    found: dict[str, dict[str, Tensor]] = {name: {} for name in tensors}
    common: dict[str, Tensor] = {}
    for summary in wanted(summaries, options):
        made = {
            name: share(summary, inputs, found[name], options, beside) for name, (inputs, beside) in tensors.items()
        }
        if summary.over(options) == "model":
            common[summary.name] = _together(summary, list(made.values()), common, options)
            for numbers in found.values():
                numbers[summary.name] = common[summary.name]
        else:
            for name, part in made.items():
                found[name][summary.name] = _together(summary, [part], found[name], options)
    return found


def _together(
    summary: Summary, parts: Sequence[Any], earlier: Mapping[str, Tensor], options: Mapping[str, Any]
) -> Tensor:
    """One summary of the shares of one tensor, or of those of all."""
    if isinstance(summary, Sum):
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total
    ranked = [torch.cat([tensor.reshape(-1) for tensor in tensors]) for tensors in zip(*parts, strict=True)]
    found = []
    for place, numbers in enumerate(ranked):
        count = int(torch.count_nonzero(numbers)) if summary.nonzero else numbers.numel()
        found.append(kth_largest(numbers, summary.kept(count, len(ranked), earlier, options)[place]))
    return torch.stack(found)


def kth_largest(numbers: Tensor, k: int) -> Tensor:
    """Return the k-th largest of non-negative numbers: what at least k of them reach.

    >>> kth_largest(torch.tensor([1.0, 4.0, 2.0]), 2)
    tensor(2.)
    """
    count = numbers.numel()
    if k <= 0:
        return torch.tensor(float("inf"))
    if k >= count:
        return torch.tensor(0.0)
    return numbers.reshape(-1).kthvalue(count - k + 1).values
