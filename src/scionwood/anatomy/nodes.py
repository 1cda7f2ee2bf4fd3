"""Nodes of an exported graph: what an operation is called, what it is given, and where it stands."""

from __future__ import annotations

from typing import Any

from torch import SymInt, Tensor, fx

__all__ = [
    "ACTIVATIONS",
    "CASTS",
    "NORMS",
    "RECURRENT",
    "VIEWS",
    "arguments_of",
    "module_path",
    "operation",
    "shape_of",
    "uncast",
]

ACTIVATIONS = frozenset(
    {
        "relu", "relu6", "gelu", "silu", "mish", "tanh", "sigmoid", "softplus", "elu", "selu", "celu", "leaky_relu", "prelu", "rrelu",
        "hardswish", "hardsigmoid", "hardtanh", "sin", "cos", "softsign", "log_sigmoid", "logsigmoid", "glu",
    }
)  # fmt: skip

VIEWS = frozenset(
    {
        "view", "reshape", "_unsafe_view", "transpose", "permute", "t", "unsqueeze", "squeeze", "expand", "expand_as", "contiguous",
        "flatten", "unflatten", "clone", "alias", "detach", "slice", "select", "narrow", "split", "split_with_sizes", "chunk", "unbind",
        "repeat", "repeat_interleave", "movedim", "broadcast_to", "swapaxes", "swapdims", "roll", "flip", "numpy_T", "view_as", "lift_fresh_copy",
    }
)  # fmt: skip
"""What moves numbers and changes none: it is done to the labels of a weight's rows too."""

CASTS = frozenset({"to", "_to_copy", "type_as", "float", "dropout", "feature_dropout", "alias", "detach", "clone", "contiguous"})  # fmt: skip

NORMS = frozenset({"layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "native_layer_norm", "native_batch_norm", "native_group_norm", "_fused_rms_norm"})  # fmt: skip

RECURRENT = frozenset(
    {"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"}
)
"""Layers that read their own results: one operation for all their weights, and for all steps."""


def operation(node: fx.Node) -> str:
    """The name of what a node does, in place or not."""
    schema = getattr(node.target, "_schema", None)
    name = schema.name.rpartition("::")[2] if schema is not None else getattr(node.target, "__name__", str(node.target))
    return name.rstrip("_") if not name.startswith("__") else name


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """A node's arguments by their names in the schema."""
    names = [argument.name for argument in node.target._schema.arguments]  # type: ignore[union-attr]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}


def shape_of(node: fx.Node) -> tuple[int, ...] | None:
    """The shape of a node's value, if it is one tensor, of sizes that do not depend on values, as counts of routed tokens do."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or any(isinstance(size, SymInt) for size in value.shape):
        return None
    return tuple(value.shape)


def module_path(node: fx.Node) -> str:
    """The path of the module whose forward a node stands in."""
    stack = node.meta.get("nn_module_stack") or {}
    return next((path for path, _ in reversed(stack.values())), "")


def uncast(node: fx.Node) -> fx.Node:
    """The value itself, without casts and dropout."""
    while node.op == "call_function" and operation(node) in CASTS and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node
