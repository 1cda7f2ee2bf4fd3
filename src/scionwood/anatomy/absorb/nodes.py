"""Nodes on the way of a factor: the operations that let it pass, and which elements of a value are meant."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

from scionwood.anatomy.nodes import module_path, operation

__all__ = [
    "ADD",
    "BIJECTIVE",
    "CONVOLVE",
    "DIVIDE",
    "HOMOGENEOUS",
    "JOIN",
    "LARGEST_MASK",
    "LINEAR",
    "MULTIPLY",
    "NORMS",
    "PARTIAL",
    "PICKS",
    "SAME",
    "SPLITS",
    "TRANSPOSE",
    "AbsorbError",
    "Mask",
    "along_dim",
    "called",
    "floating",
    "full",
    "mark",
    "shape_of",
    "told",
]

Mask: TypeAlias = Tensor | None
"""Which elements of a value are meant; nothing stands for all of them."""

SAME = frozenset(
    {
        "to", "_to_copy", "type_as", "float", "dropout", "feature_dropout", "alias", "detach", "clone", "contiguous", "lift_fresh_copy",
        "_assert_tensor_metadata",
    }
)  # fmt: skip
BIJECTIVE = frozenset({"view", "reshape", "_unsafe_view", "transpose", "permute", "t", "unsqueeze", "squeeze", "flatten", "unflatten", "numpy_T", "movedim", "swapaxes", "expand", "repeat", "roll", "flip", "expand_as"})  # fmt: skip
PARTIAL = frozenset({"slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind", "getitem", "index"})
SPLITS = frozenset({"split", "split_with_sizes", "chunk", "unbind"})
HOMOGENEOUS = frozenset({"relu", "leaky_relu", "max_pool2d", "max_pool1d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "upsample_bilinear2d", "upsample_nearest2d", "mean", "sum", "cumsum", "pad", "constant_pad_nd", "neg", "tril", "triu"})  # fmt: skip
MULTIPLY = frozenset({"mul"})
DIVIDE = frozenset({"div", "true_divide"})
ADD = frozenset({"add", "sub", "rsub"})
JOIN = frozenset({"cat", "concat", "concatenate", "stack"})
LINEAR = frozenset({"linear", "addmm", "mm", "matmul", "bmm", "grouped_mm", "_grouped_mm", "grouped_mm_fallback"})
PICKS = frozenset({"index", "index_select", "gather", "take_along_dim"})
CONVOLVE = frozenset({"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "convolution"})
NORMS = frozenset({"layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm"})
TRANSPOSE = frozenset({"t", "transpose", "permute", "numpy_T"})

LARGEST_MASK = 2**26
"""The most elements of a value that are followed one by one."""


class AbsorbError(Exception):
    """Why a factor cannot be absorbed; the caller says where."""


def told(node: fx.Node) -> str:
    """Name an operation for a message, with the module that it is in."""
    path = module_path(node)
    return f"{operation(node) if node.op == 'call_function' else node.name}{f' in {path}' if path else ''}"


def floating(node: fx.Node) -> bool:
    """Whether a node is a tensor of floating-point numbers."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def shape_of(node: Any) -> tuple[int, ...]:
    """The shape of a node.

    Raises:
        AbsorbError: it is no tensor.
    """
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    if not isinstance(value, Tensor):
        raise AbsorbError(f"{told(node) if isinstance(node, fx.Node) else node} is no tensor")
    return tuple(int(size) for size in value.shape)


def full(node: fx.Node) -> Tensor:
    """Marks on all elements of a node; of a split, on all of what it splits."""
    value = node.meta.get("val")
    if isinstance(value, (list, tuple)):
        given = node.args[0]
        assert isinstance(given, fx.Node)
        return torch.ones(shape_of(given), dtype=torch.bool)
    return torch.ones(shape_of(node), dtype=torch.bool)


def called(node: fx.Node, given: fx.Node, value: Tensor) -> Any:
    """A view, done to another tensor of its operand's shape."""
    args = [value if arg is given else arg for arg in node.args]
    if set(node.all_input_nodes) != {given}:
        raise AbsorbError(f"{told(node)} depends on more than one value")
    return node.target(*args, **node.kwargs)  # type: ignore[operator]


def mark(index: Tensor, mask: Mask, shape: tuple[int, ...]) -> Mask:
    """The elements that an index takes where it is meant; nothing, if they are all."""
    marked = torch.zeros(math.prod(shape), dtype=torch.bool)
    marked[(index if mask is None else index[mask.expand(index.shape)]).reshape(-1)] = True
    return None if bool(marked.all()) else marked.view(shape)


def along_dim(mask: Mask, dim: int, node: fx.Node) -> Mask:
    """The indices of one dimension that are meant, whatever the others are."""
    if mask is None:
        return None
    rows = mask.movedim(dim, 0).reshape(mask.shape[dim], -1)
    some = rows.any(1)
    if not torch.equal(some, rows.all(1)):
        raise AbsorbError(f"only some places of {told(node)} are meant")
    return None if bool(some.all()) else some
