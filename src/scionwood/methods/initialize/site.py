"""A site: one tensor, or one part of a fused one, as an initialiser sees it."""

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["Attention", "Branch", "Kind", "Site"]

Kind = Literal["linear", "convolution", "embedding", "bias", "gain", "table", "other"]
"""``gain`` and ``bias`` stand along one axis; ``table`` is added to activations as it is (learned positions, a class
token); ``other`` is what no rule knows (the state matrix of a recurrence)."""


@dataclass(frozen=True)
class Attention:
    """What a weight is in an attention.

    Args:
        role: which projection.
        heads: heads of queries.
        kv_heads: heads of keys and values; fewer where queries are grouped.
        width: of one head, along this projection's own side.
        block: names the attention: its four projections share it.
    """

    role: Literal["query", "key", "value", "output"]
    heads: int
    kv_heads: int
    width: int
    block: str


@dataclass(frozen=True)
class Branch:
    """Where a weight stands in a residual branch: what is computed beside the stream and then added to it.

    Args:
        number: which branch of the model, in the order of execution, from 0.
        count: how many branches the model has.
        place: which of the branch's weights it is along the longest path, from 0.
        length: how many weights that path has.
        weights: how many weights the branch has in all, those beside the longest path and each part of a fused one too.
        last: its result is added to the stream with no weight in between.
    """

    number: int
    count: int
    place: int
    length: int
    last: bool
    weights: int = 0


@dataclass(frozen=True)
class Site:
    """One tensor, or one part of a fused one.

    Args:
        name: of the tensor in the module; ``name[part]`` for a part of a fused one.
        kind: what it is.
        shape: (out, in, *taps) for ``linear`` and ``convolution``, (rows, width) for ``embedding``, its own otherwise.
        order: its place in the order of execution among all sites, from 0.
        layer: the block it lies in, from 1; None outside of the list of blocks.
        layers: how many blocks that list has; 0 outside.
        branch: its place in a residual branch; None for the stem, the head, and what is on the stream itself.
        reads: the activation function whose result it reads, as ``activations.activation`` takes it ("relu",
            "leaky_relu(0.5)", "mul(x, exp(neg(x)))"), "gated silu" for the product of one with something linear,
            "tanh * sigmoid" for that of two, "softmax", "identity" where there is none since the weight or the norm before,
            "input" for the model's own input, "unknown (maximum)" for what is no function of one value.
        feeds: the activation function through which the next weight reads what this one writes; "" where there is none.
        norm: of a gain or a bias: it is a norm's, and belongs to no weight.
        reads_sum: what it reads comes from a residual sum, without a weight or a norm in between.
        head: it writes the model's output, and no weight comes after it; of an embedding, its rows are summands of that.
        attention: what it is in an attention.
        groups: of a convolution.
        axes: the named axes of each dimension, outermost first.
        learned: false for what its class fixes, as positions by sines are.
        padding: of an embedding, the row that stands for no text; it never gets a gradient.
        computed: what is contracted with an activation is a function of it.

    >>> Site("fc.weight", "linear", (8, 4)).fan_in
    4
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    order: int = 0
    layer: int | None = None
    layers: int = 0
    branch: Branch | None = None
    reads: str = "identity"
    head: bool = False
    attention: Attention | None = None
    groups: int = 1
    axes: tuple[tuple[str, ...], ...] = ()
    feeds: str = ""
    norm: bool = False
    reads_sum: bool = False
    learned: bool = True
    padding: int | None = None
    computed: bool = False

    @property
    def is_weight(self) -> bool:
        """Whether it is contracted with an activation: a linear map or a convolution."""
        return self.kind in ("linear", "convolution")

    @property
    def taps(self) -> int:
        """The number of kernel taps of a convolution; 1 for what has none.

        >>> Site("conv.weight", "convolution", (8, 4, 3, 3)).taps
        9
        """
        return math.prod(self.shape[2:]) if self.is_weight else 1

    @property
    def fan_in(self) -> int:
        """How many inputs each output sums over, taps included; per group of a grouped convolution."""
        return math.prod(self.shape[1:]) if self.is_weight else (self.shape[-1] if self.shape else 1)

    @property
    def fan_out(self) -> int:
        """How many outputs each input goes to, taps included; per group."""
        return self.shape[0] * self.taps // self.groups if self.is_weight else (self.shape[0] if self.shape else 1)
