"""Growth: how the indices of a target axis come from those of a smaller source axis, and the contract of the family."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Record

__all__ = ["Fill", "Growth", "Place", "grow"]

Fill = Literal["zero", "mean", "drawn"]
"""What an index that no index of the source stands behind gets: zeros, the mean of the source's, or random numbers."""

Place = Literal["stream", "inner", "heads", "score"]
"""Where an axis is: ``stream`` is shared by several blocks, or has a norm along it; ``inner`` is one block's own;
``heads`` counts heads, or groups of them; ``score`` is contracted between two activations (queries with keys)."""


@dataclass(frozen=True, eq=False)
class Growth:
    """How one axis grows.

    Attributes:
        index: the source index of every target index; -1 for a new one, which is like none of the source's.
        divide: tensors that read the axis are divided by the number of copies: what is read stays the same sum.
        writing: what the new indices of tensors that write the axis get.
        reading: what the new indices of tensors that read it get.
        std: of what is drawn; nothing means: as the target's own class begins its weights.
        snr_db: of noise between the copies of an index, in tensors that read them: +N on one, -N on the next, so that
            it cancels while the copies are equal. Nothing means none.
        following: for every target index, whether it is taken from the next block's tensor, where there is one.
        rescales: a norm along the axis is made up for: its gain is multiplied by sqrt(source / target).
        mixing: the mixtures of old indices that new ones begin as, (new ones, source), before they are learned. Every
            tensor that has the axis mixes alike, whether it writes or reads it. Nothing means that none is learned.
        second: for every target index, whether it is the second source's, where two models are joined.
    """

    index: Tensor
    divide: bool = False
    writing: Fill = "zero"
    reading: Fill = "zero"
    std: float | None = None
    snr_db: float | None = None
    following: Tensor | None = None
    rescales: bool = False
    mixing: Tensor | None = None
    second: Tensor | None = None

    @property
    def copies(self) -> int | None:
        """How often every index of the source is there, or nothing where the numbers differ.

        >>> Growth(torch.tensor([0, 1, 0, 1])).copies
        2
        """
        counts = torch.bincount(self.index[self.index >= 0]).unique()
        return int(counts[0]) if len(counts) == 1 else None

    @property
    def pads(self) -> bool:
        """Whether some index is new."""
        return bool((self.index < 0).any())

    def standing(self, where: Tensor) -> "Growth":
        """The same with the source's indices at given places, where constants tell indices apart.

        >>> Growth(torch.tensor([0, 1, -1, -1])).standing(torch.tensor([0, 2])).index.tolist()
        [0, -1, 1, -1]

        Args:
            where: the place of every index of the source in the target.

        Raises:
            MethodError: it copies or mixes indices, and none of those would have its own constant.
        """
        source, target = len(where), len(self.index)
        if self.mixing is not None or int((self.index >= 0).sum()) != source:
            raise MethodError(
                f"{source} to {target}: a constant (a rotary frequency, a head's slope) tells its indices apart, and a copy or a "
                "mixture would have another",
                hint="the method copy_pad puts the old indices where their constants are, and the new ones add nothing",
            )
        index = torch.full((target,), -1)
        index[where] = torch.arange(source)
        return replace(self, index=index)


def grow(
    method: Callable[..., Any],
    source: int,
    target: int,
    *,
    options: Mapping[str, Any] | None = None,
    generator: torch.Generator | None = None,
    kind: str = "free",
    place: Place = "inner",
) -> Growth:
    """Return how a method grows one axis, and hold it to the contract.

    >>> from scionwood.methods.grow.hypercloning import hypercloning
    >>> grow(hypercloning, 2, 4, options={"snr_db": None}).index.tolist()
    [0, 1, 0, 1]

    Args:
        method: a method of the family grow.
        source: the size in the source.
        target: the size in the target, larger.
        options: the method's options, as ``record.resolve`` gives them.
        generator: what to draw from.
        kind: the kind of the axis.
        place: where the axis is.

    Raises:
        MethodError: the method refuses the sizes, or what it gives is no index of the target's size into the source.
    """
    record = Record.of(method)
    at_hand = {"source": source, "target": target, "kind": kind, "place": place, "generator": generator}
    needed = [name for name in inspect.signature(method).parameters if name in record.inputs]
    given = method(*(at_hand[name] for name in needed), **(options or {}))
    index = given.index
    fits = index.dtype == torch.long and index.shape == (target,)
    if not fits or not -1 <= int(index.min()) <= int(index.max()) < source:
        raise MethodError(
            f"{record.name} gave no index of {target} into {source}: {index.dtype} of shape {tuple(index.shape)}.",
            hint="This is a fault of the method; see the contract in scionwood.methods.grow.",
        )
    if lost := sorted(set(range(source)) - set(index.tolist())):
        raise MethodError(
            f"{record.name} leaves out {len(lost)} of {source} indices, such as {lost[0]}: growing keeps them all.",
            hint="This is a fault of the method; see the contract in scionwood.methods.grow.",
        )
    new = int((index < 0).sum())
    if given.mixing is not None and given.mixing.shape != (new, source):
        raise MethodError(
            f"{record.name} gave mixtures of shape {tuple(given.mixing.shape)} for {new} new indices out of {source}.",
            hint="This is a fault of the method; see the contract in scionwood.methods.grow.",
        )
    return given
