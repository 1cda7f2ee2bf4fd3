"""Summaries: the few numbers about a whole tensor that a tile by tile computation needs before it can begin.

A method that works element by element may still depend on the whole: on a norm, a dot product, the k-th largest
magnitude. It declares such a number as a summary, in the order they are needed, and takes it as an input of the same
name. The engine makes them in passes over tiles; :func:`summarize` makes them at once for tensors in memory. Both give
the same bits where sums are exact in float64.

A summary that some options do without says so (``when``), and costs no pass then: the method gets None. One that must
know what was drawn, or the base, says so too (``needs``), and finds them among the earlier summaries, the random
numbers stacked.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Rank", "Sum", "Summary", "kth_largest", "share", "summarize", "wanted"]


def _always(_: Mapping[str, Any]) -> bool:
    return True


@dataclass(frozen=True)
class Sum:
    """A number, or an array of them, that adds up over tiles.

    Args:
        name: the input of the method that gets it.
        of: (inputs, earlier summaries, options) → the tile's share, in float64.
        when: options → whether it is needed at all.
        needs: what else of the tile it must see: ``base``, ``uniforms``.
    """

    name: str
    of: Callable[[Sequence[Tensor], Mapping[str, Tensor], Mapping[str, Any]], Tensor]
    when: Callable[[Mapping[str, Any]], bool] = field(default=_always, kw_only=True)
    needs: Collection[str] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Rank:
    """The k-th largest of non-negative numbers, exactly: one for each tensor that ``of`` returns.

    Args:
        name: the input of the method that gets it: a float32 vector.
        of: (inputs, earlier summaries, options) → non-negative float32 tensors of the tile's shape.
        keep: (number of elements, earlier summaries, options) → how many are to reach the threshold, one number for all
            tensors, or a few numbers that repeat over them. None gives infinity, all gives zero.
        when: options → whether it is needed at all.
        needs: what else of the tile it must see: ``base``, ``uniforms``.
    """

    name: str
    of: Callable[[Sequence[Tensor], Mapping[str, Tensor], Mapping[str, Any]], Sequence[Tensor]]
    keep: Callable[[int, Mapping[str, Tensor], Mapping[str, Any]], int | Sequence[int]]
    when: Callable[[Mapping[str, Any]], bool] = field(default=_always, kw_only=True)
    needs: Collection[str] = field(default=(), kw_only=True)

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
    if "uniforms" in more:
        more["uniforms"] = torch.stack(list(more["uniforms"]))
    return summary.of(inputs, {**found, **more} if more else found, options)


def summarize(
    summaries: Sequence[Summary],
    inputs: Sequence[Tensor],
    options: Mapping[str, Any],
    beside: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Make every summary that is wanted of tensors in memory.

    >>> rank = Rank("thresholds", lambda tensors, _, __: [t.abs() for t in tensors], lambda count, _, options: options["keep"])
    >>> summarize([rank], [torch.tensor([1.0, -4.0, 2.0, 3.0])], {"keep": 2})
    {'thresholds': tensor([3.])}
    """
    found: dict[str, Tensor] = {}
    for summary in wanted(summaries, options):
        made = share(summary, inputs, found, options, beside or {})
        if isinstance(summary, Rank):
            kept = summary.kept(inputs[0].numel(), len(made), found, options)
            made = torch.stack([kth_largest(numbers, k) for numbers, k in zip(made, kept, strict=True)])
        found[summary.name] = made
    return found


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
