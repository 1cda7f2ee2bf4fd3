"""The named axes of a checkpoint's tensors, for messages: asked for only when something is wrong with a shape."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from scionwood.checkpoint import Checkpoint
from scionwood.errors import ScionwoodError

__all__ = ["named_axes"]


def named_axes(checkpoint: Checkpoint) -> Mapping[str, str]:
    """Return what the axes of every tensor are called, such as ``vocab x hidden``; nothing where that cannot be told.

    >>> from scionwood.checkpoint import open
    >>> named_axes(open({}))
    {}
    """
    if not checkpoint.config or "model_type" not in checkpoint.config:
        return {}
    from scionwood import anatomy

    with contextlib.suppress(ScionwoodError):
        found = anatomy.of(dict(checkpoint.config))
        # An axis is called by its last word: the tensor's own name says in which block it is.
        return {
            name: " x ".join("·".join(axis.rpartition(".")[2] for axis in dim) or "1" for dim in tensor.dims)
            for name, tensor in found.tensors.items()
        }
    return {}
