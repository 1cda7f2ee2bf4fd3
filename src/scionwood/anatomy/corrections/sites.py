"""Sites: where an operation stands in a model, and what of it matters for side-by-side reading of two graphs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx

from scionwood.anatomy.nodes import module_path, operation, shape_of

__all__ = [
    "ALONG",
    "CONTRACTIONS",
    "CONVOLUTIONS",
    "LINEAR",
    "PASSES",
    "RECTIFIED",
    "SCALES",
    "STATISTICS",
    "bare",
    "by_channel",
    "by_place",
    "onward",
    "reduced",
    "scale_of",
    "shapes_of",
    "site_of",
    "size_of",
    "within",
]

CONTRACTIONS = frozenset({"matmul", "bmm", "mm", "einsum", "scaled_dot_product_attention", "baddbmm"})
STATISTICS = frozenset({"layer_norm", "rms_norm", "group_norm", "instance_norm"})
RECTIFIED = frozenset({"relu", "max_pool2d", "relu6"})
CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
LINEAR = frozenset({"linear", "addmm", "grouped_mm", "_grouped_mm", "grouped_mm_fallback"})
ALONG = frozenset({"softmax", "_softmax", "log_softmax", "_log_softmax", "logsumexp", "topk", "kthvalue", "sort", "argsort", "argmax", "argmin", "amax", "amin", "max", "min", "any", "all", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "linalg_vector_norm", "norm", "frobenius_norm", "fft_fft", "fft_fftn", "sum", "nansum", "nanmean", "count_nonzero", "var", "std", "var_mean", "std_mean", "aminmax", "prod"})  # fmt: skip
SCALES = frozenset({"mul", "div", "true_divide"})
PASSES = frozenset({"to", "_to_copy", "type_as", "float", "alias", "dropout", "contiguous", "clone", "detach", "view", "reshape", "transpose", "permute", "unsqueeze", "squeeze"})  # fmt: skip


def site_of(node: fx.Node) -> tuple[str, str, str, list[Any]]:
    """What tells one line of one module from all others, however often it runs."""
    sizes = [getattr(arg.meta.get("val"), "shape", None) for arg in node.all_input_nodes]
    return node.meta.get("stack_trace") or "", module_path(node), operation(node), sizes


def within(node: fx.Node, block: str) -> bool:
    """Whether an operation is in a block."""
    return f"{module_path(node)}.".startswith(f"{block}.")


def bare(node: fx.Node) -> fx.Node:
    """A value before views and casts of it."""
    while node.op == "call_function" and operation(node) in PASSES and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def onward(node: fx.Node) -> Iterator[fx.Node]:
    """Who uses a value, past views and casts."""
    for user in node.users:
        if user.op == "call_function" and operation(user) in PASSES | {"select", "slice"}:
            yield from onward(user)
        else:
            yield user


def size_of(node: Any, dim: int) -> int:
    """The size of one dimension of a value."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return int(value.shape[dim]) if isinstance(value, Tensor) and value.dim() else 1


def shapes_of(node: fx.Node) -> list[tuple[int, ...] | None]:
    """The shapes of all that an operation is given."""
    return [shape_of(given) for given in node.all_input_nodes]


def by_channel(node: fx.Node) -> int:
    """Over how many channels a group norm takes each of its statistics."""
    return size_of(node.args[0], 1) // int(node.args[1])  # type: ignore[arg-type]


def scale_of(node: fx.Node) -> float:
    """By what an attention multiplies its scores."""
    query: Any = node.args[0]
    given = node.kwargs.get("scale")
    if given is None and len(node.args) > 6:
        given = node.args[6]
    return float(given) if isinstance(given, (int, float)) else 1 / math.sqrt(size_of(query, -1))


def reduced(node: fx.Node) -> int:
    """Over how many numbers a reduction goes."""
    value = node.args[0].meta.get("val") if isinstance(node.args[0], fx.Node) else None
    if not isinstance(value, Tensor):
        return 1
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if operation(node) in ("linalg_vector_norm", "norm"):
        dims = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim")
    if operation(node) in ("topk", "kthvalue"):
        dims = node.args[2] if len(node.args) > 2 else -1
    shape: list[int] = list(value.shape)
    if dims is None or dims == [] or not shape:
        return value.numel()
    chosen = dims if isinstance(dims, (list, tuple)) else [dims]
    return math.prod(int(shape[dim]) for dim in chosen if isinstance(dim, int))


def by_place(graph: fx.Graph) -> dict[tuple[str, str], list[fx.Node]]:
    """The operations by the module they are in and what they are called, in the order of the graph."""
    found: dict[tuple[str, str], list[fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.op == "call_function":
            found[module_path(node), operation(node)].append(node)
    return found
