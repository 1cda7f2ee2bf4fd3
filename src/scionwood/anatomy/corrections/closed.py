"""Closed: an operation that nobody has thought through for grown axes is a reason why the function is not preserved.

Elementwise operations and views do to copies what they do to the original. Whatever reduces, orders, normalises or mixes along
an axis that has grown must be looked at by name, here or beside; and what is new in a padded axis is known to be zero only as
far as every operation on the way keeps zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from scionwood.anatomy.absorb.nodes import ADD, BIJECTIVE, CONVOLVE, JOIN, PARTIAL, PICKS, SAME
from scionwood.anatomy.anatomy import Dimension
from scionwood.anatomy.corrections.side_by_side import SideBySide
from scionwood.anatomy.corrections.sites import (
    ALONG,
    CONTRACTIONS,
    CONVOLUTIONS,
    LINEAR,
    SCALES,
    STATISTICS,
    by_channel,
    shapes_of,
)
from scionwood.anatomy.nodes import VIEWS, arguments_of, module_path, operation, shape_of, uncast
from scionwood.anatomy.rules import views

__all__ = ["Closed"]

_MOVES = frozenset(views.RULES) | VIEWS | SAME | BIJECTIVE | PARTIAL | PICKS | JOIN
"""What moves numbers and changes none."""
_PLACED = frozenset(
    {
        "embedding", "embedding_bag", "masked_fill", "where", "copy", "fill", "zero", "scatter", "scatter_add", "scatter_reduce",
        "index_add", "index_put", "masked_scatter", "masked_select", "slice_scatter", "select_scatter", "prelu", "one_hot",
        "im2col", "col2im", "complex", "polar", "real", "imag",
        "conj", "_conj", "resolve_conj", "zeros_like", "ones_like", "full_like", "empty_like",
        "new_zeros", "new_ones", "new_full", "new_empty", "rand_like", "randn_like", "bernoulli", "einsum", "outer",
        "meshgrid", "glu", "log_sigmoid", "hardswish",
    }
)  # fmt: skip
"""What treats every index of an axis by itself, or looks at positions, along which nothing is copied."""
_SPACE = ("_pool1d", "_pool2d", "_pool3d", "upsample_", "_upsample_", "grid_sampler", "fft_")
"""Pooling, resampling and transforms: along space and time, where nothing is copied."""
_WEIGHED = frozenset({"bilinear", "lstm", "gru", "rnn_tanh", "rnn_relu", "conv_transpose3d", "mean"})
"""What weights read, or what is looked at beside."""
_LARGEST = frozenset({"amax", "amin", "any", "all"})
"""What is the same of several copies, however many."""
_KEEPS_ZERO = frozenset(
    {
        "relu", "relu6", "gelu", "silu", "mish", "tanh", "elu", "selu", "celu", "leaky_relu", "rrelu", "prelu", "hardswish", "hardtanh",
        "softsign", "sin", "neg", "abs", "sqrt", "square", "sign", "erf", "rms_norm", "sum", "mean",
    }
)  # fmt: skip


class Closed(SideBySide):
    """Operations that are known, and how far what they do to grown axes is.

    Attributes:
        normed: the axes that norms are along.
        zeros: for every value that was asked for, whether what is new in it is zero.
    """

    normed: frozenset[str]
    zeros: dict[fx.Node, bool]

    def closed(self) -> None:
        """Look at every operation of the target, whether the source has its like or not."""
        for node in self.absorber.graph.nodes:
            if node.op != "call_function" or self.absorber.depends[node] == "constant" or self._known(node):
                continue
            if node not in self.pairs:
                if operation(node) not in SCALES | STATISTICS | CONTRACTIONS:  # these are told already
                    self.failures.append(
                        f"{module_path(node) or 'the model'}: {operation(node)} has no like in the source"
                    )
            elif shapes_of(node) != shapes_of(self.pairs[node]) and node not in self.shares:
                self.failures.append(
                    f"{module_path(node) or 'the model'}: {operation(node)} is over an axis that grows"
                )

    def _known(self, node: fx.Node) -> bool:
        """Whether an operation treats every index by itself, or is looked at elsewhere."""
        name = operation(node)
        if name in ("mv", "dot", "vdot") and self.absorber.depends[node] == "parameter":
            return True  # of weights alone: it is asked how often each is divided
        values = [uncast(given).meta.get("val") for given in node.all_input_nodes]
        if not any(isinstance(value, (list, tuple)) or _floats(value) for value in values):
            return True  # labels and masks: who makes them out of numbers is looked at
        looked_at = ALONG | STATISTICS | CONTRACTIONS | CONVOLVE | LINEAR | _WEIGHED | {"batch_norm"}
        if name in _MOVES | _PLACED | looked_at or any(part in name for part in _SPACE):
            return True
        return torch.Tag.pointwise in getattr(node.target, "tags", ()) or node.meta.get("val") is None

    def grouped(self, node: fx.Node, theirs: fx.Node) -> None:
        """A group norm takes the statistics of each group: new groups are by themselves, wider ones must be whole copies."""
        mine, old = by_channel(node), by_channel(theirs)
        if mine == old:
            return
        if self.pads or None in self.copies.values() or mine % old:
            self.failures.append(
                f"{module_path(node)}: group_norm takes the statistics of {mine} channels, where it took those of {old}"
            )

    def reduces(self, node: fx.Node, mine: int, old: int) -> None:
        """What is taken along a grown axis, and is no sum."""
        name = operation(node)
        whole = bool(self.copies) and not self.pads and None not in self.copies.values()
        if name in _LARGEST and self.copies and not self.pads:
            return
        if name in ("var", "std") and whole and not _corrects(node):
            return
        self.failures.append(f"{module_path(node)}: {name} is taken along an axis that goes from {old} to {mine}")

    def empty(self, given: Any) -> bool:
        """Whether what padding adds to a value is zero: what is written with zeros, as far as all that follows keeps them."""
        if not isinstance(given, fx.Node) or self.absorber.depends[given] == "constant":
            return False
        if given not in self.zeros:
            self.zeros[given] = self._is_empty(given)
        return self.zeros[given]

    def _is_empty(self, node: fx.Node) -> bool:
        if node in self.pairs and shape_of(node) == shape_of(self.pairs[node]):
            return True  # nothing is new in it
        name = operation(node) if node.op == "call_function" else node.op
        if node in self.absorber.parameter:
            return self.written_zero(self.absorber.parameter[node])
        if name in LINEAR | {"embedding"} | CONVOLUTIONS:
            weight = self.weights(node) or self.convolved(node) or self._table_of(node)
            return weight is not None and self.written_zero(weight)
        if name in JOIN or name in ADD:
            given = node.args[0] if name in JOIN else node.args[:2]
            return all(self.empty(arg) for arg in given)  # type: ignore[union-attr]
        if name == "mul":
            return any(self.empty(arg) for arg in node.args[:2])
        if name == "pow":
            return isinstance(node.args[1], (int, float)) and node.args[1] > 0 and self.empty(node.args[0])
        if name in ("div", "true_divide", "masked_fill", "clamp_min"):
            return self.empty(node.args[0])
        if name in _MOVES | _KEEPS_ZERO | {"repeat_interleave"} or "_pool" in name:
            return self.empty(node.args[0])
        return False

    def _table_of(self, node: fx.Node) -> str | None:
        found = self.absorber.parameter_of(node.args[0]) if operation(node) == "embedding" else None
        return found[0] if found is not None else None

    def written_zero(self, name: str) -> bool:
        """Whether a parameter writes zeros where methods write zeros: for what is new in scores, and along norms."""
        anatomy = self.match.target.tensors.get(name)
        axes = self.match.target.axes
        new = (
            [axis for dim in anatomy.dims for axis in self.match.target.leaves(dim) if axis in self.pads]
            if anatomy
            else []
        )
        return any(
            axes[axis].paired or "score" in axes[axis].tags or (axis in self.normed and axis not in self.means)
            for axis in new
        )

    def in_parts(self, operands: Sequence[Any]) -> bool:
        """Whether what is contracted was joined of parts that grow by different factors."""
        weights: set[str] = set()
        waiting, seen = [arg for arg in operands if isinstance(arg, fx.Node)], set()
        while waiting:
            node = waiting.pop()
            if node in seen or node.op != "call_function":
                continue
            seen.add(node)
            name = self.weights(node)
            if name is None:
                waiting.extend(node.all_input_nodes)
            else:
                weights.add(name)
        known = self.match.target.tensors
        return any(self._ratio(dim) is None for name in sorted(weights & set(known)) for dim in known[name].dims)

    def _ratio(self, dim: Dimension) -> float | None:
        """By how much the axes of a dimension that are contracted between activations grow; nothing, where its parts differ."""
        whole = 1.0
        for name in dim:
            axis = self.match.target.axes[name]
            ratios: set[float | None]
            if axis.parts is not None:
                leaves = [set(self.match.target.leaves(part)) for part in axis.parts]
                axes = self.match.target.axes
                ratios = {
                    self._ratio(part)
                    for part, own in zip(axis.parts, leaves, strict=True)
                    if any(axes[leaf].paired for leaf in own)
                }
            else:
                theirs = self.match.axes.get(name)
                ratios = {
                    axis.size / self.match.source.axes[theirs].size if axis.paired and theirs is not None else 1.0
                }
            if len(ratios) > 1 or None in ratios:
                return None
            whole *= next(iter(ratios), None) or 1.0
        return whole


def _corrects(node: fx.Node) -> bool:
    """Whether a variance is of a sample: divided by one less than there are."""
    given = arguments_of(node)
    correction = given.get("correction", 1 if given.get("unbiased", True) else 0)
    return correction is None or correction != 0


def _floats(value: Any) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())
