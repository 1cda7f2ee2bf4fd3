"""What following a graph finds: uses of stored tensors, residual sums, and places in branches and attentions."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from torch import Tensor, fx

__all__ = ["Branch", "Flow", "Kind", "Projection", "Residual", "Use"]

Kind: TypeAlias = Literal["linear", "convolution", "embedding", "gain", "bias", "table", "other"]


@dataclasses.dataclass(frozen=True)
class Projection:
    """What a weight, or some rows of it, is in an attention.

    Attributes:
        role: ``query``, ``key``, ``value`` or ``output``.
        heads: heads of queries.
        kv_heads: heads of keys and values.
        width: of one head on this projection's side.
        attention: names the attention, by the node that computes it.
        rows: which rows it takes (columns, for ``output``), in the order of heads; all, where the weight is nothing else.
    """

    role: Literal["query", "key", "value", "output"]
    heads: int
    kv_heads: int
    width: int
    attention: str
    rows: Tensor = dataclasses.field(repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Branch:
    """Where a weight stands in the innermost residual branch around it.

    Of a parallel block each path is a branch. The keys and values of an attention lie in its branch, though those of a
    cross attention read what is outside.

    Attributes:
        number: which branch of the model, from 0.
        count: how many the model has.
        place: how many weights come before it on the longest path of the branch.
        length: how many weights the longest path has.
        weights: how many weights the branch has in all; one that is used part by part counts once.
        last: its result is added to the stream with no weight in between.
    """

    number: int
    count: int
    place: int
    length: int
    weights: int
    last: bool


@dataclasses.dataclass(frozen=True)
class Use:
    """The first use of a stored tensor.

    Attributes:
        tensor: its name in the module; of tied ones, that which is stored.
        kind: ``linear`` and ``convolution`` are contracted with an activation, an ``embedding`` is looked up by the
            model's input, a ``table`` by constants or added as it is, ``gain`` and ``bias`` stand along an axis.
        node: where it is used.
        order: its place among all uses.
        module: the path of the module that uses it.
        block: the layer it lies in, by its path: the innermost repeated block that residual sums stand in, where there are any;
            blocks of several kinds in one list, where the residual stream runs through them.
        layer: that block's number among its likes, from 1, over all stages; None outside of layers.
        layers: how many its likes are.
        transposed: a linear map stored as (in, out), or a transposed convolution.
        stacked: one map for each expert, the experts in front.
        groups: of a convolution.
        reads: the activation function whose result it reads, with its numbers where they are not the usual ones, or as it
            is written where it has no name (see ``functions``); "gated silu" for a product of one with something linear,
            "tanh * sigmoid" for one of two, "identity" where there is none since the weight or the norm before, "input"
            for the model's own input, "unknown (maximum)" for what is no function of one value, by its last operation.
        feeds: the activation function through which the next weight reads its result; "" where there is none.
        norm: it is a norm's own, and stands beside no weight.
        reads_sum: what it reads comes from a residual sum without a weight or a norm in between.
        head: it writes the model's output outside of every branch, and no weight comes after it; of a table, what is
            looked up in it is not multiplied with what another lookup gave.
        branch: where it stands in a residual branch.
        projections: what it is in an attention; several for a fused projection.
        padding: of an embedding, the row that stands for no text, which never gets a gradient.
        viewed: the shape that it is contracted with, where its dimensions are joined or cut before.
        factor: what it is multiplied by before it is contracted, a constant.
        computed: what is contracted is another function of it.
    """

    tensor: str
    kind: Kind
    node: fx.Node = dataclasses.field(repr=False, compare=False)
    order: int
    module: str
    block: str | None
    layer: int | None
    layers: int
    transposed: bool = False
    stacked: bool = False
    groups: int = 1
    reads: str = "identity"
    feeds: str = ""
    norm: bool = False
    reads_sum: bool = False
    head: bool = False
    branch: Branch | None = None
    projections: tuple[Projection, ...] = ()
    padding: int | None = None
    viewed: tuple[int, ...] | None = None
    factor: float = 1.0
    computed: bool = False


@dataclasses.dataclass(frozen=True)
class Residual:
    """A sum that a residual branch ends in.

    Attributes:
        node: the sum.
        stream: the side that is passed on.
        branch: the side that is computed from it.
        start: what both sides are computed from: the stream itself, but for casts, unless it is projected, or is what
            an earlier path of a parallel block was added to.
        block: the innermost repeated block around the sum.
        projected: the stream has a weight of its own, as where the number of channels changes.
    """

    node: fx.Node
    stream: fx.Node
    branch: fx.Node
    start: fx.Node
    block: str | None
    projected: bool


@dataclasses.dataclass(frozen=True)
class Flow:
    """What :func:`flow` found.

    Attributes:
        uses: the first use of every stored tensor that the graph uses, in the order of execution.
        residuals: the residual sums, in the order of execution.
    """

    uses: tuple[Use, ...]
    residuals: tuple[Residual, ...]
