"""Casting: the same weights in another dtype."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from scionwood.checkpoint.checkpoint import Checkpoint
from scionwood.checkpoint.lineage import Lineage, installed_versions
from scionwood.checkpoint.parent import parent_of, told
from scionwood.checkpoint.plan import parse_dtype, with_dtype

__all__ = ["cast"]


def cast(checkpoint: Checkpoint, dtype: torch.dtype | str) -> Checkpoint:
    """Return a checkpoint with its floating tensors in another dtype, rounded to nearest even when they are read.

    The config and the lineage say it, too.

    Args:
        checkpoint: what to cast.
        dtype: ``"bfloat16"``, ``torch.float32``, ….

    Raises:
        OutputError: no such dtype, or tensors that a cast would make meaningless.

    >>> from scionwood.checkpoint import open
    >>> cast(open({"bias": torch.zeros(2)}), "bf16")["bias"]
    tensor([0., 0.], dtype=torch.bfloat16)
    """
    dtype = parse_dtype(dtype)
    name = str(dtype).removeprefix("torch.")
    config = checkpoint.config
    if config is not None and not checkpoint.is_adapter:
        config = _config_with_dtype(config, name)
        if not {"dtype", "torch_dtype"} & set(config):
            config["dtype"] = name
    return replace(
        checkpoint,
        tensors=with_dtype(checkpoint.tensors, dtype),
        config=config,
        lineage=_lineage(checkpoint, name),
    )


def _lineage(checkpoint: Checkpoint, dtype: str) -> Lineage:
    """Return the lineage of what was cast: a verb's result is made in the dtype; what is stored becomes the parent."""
    lineage = checkpoint.lineage
    if lineage is not None and not checkpoint.files and lineage.recipe.get("dtype", dtype) == dtype:
        return replace(lineage, recipe={**lineage.recipe, "dtype": dtype})
    parents = (parent_of(checkpoint, "source"),) if checkpoint.files or lineage is not None else ()
    return Lineage({"verb": "write", "source": told(checkpoint), "dtype": dtype}, parents, None, installed_versions())


def _config_with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Return the config with the dtype in it, and in the configs nested in it, changed; the order of the keys stays."""
    result: dict[str, Any] = {}
    for key, value in config.items():
        if key in ("dtype", "torch_dtype"):
            result[key] = dtype
        elif isinstance(value, dict) and key.endswith("_config") and key != "quantization_config":
            result[key] = _config_with_dtype(value, dtype)
        else:
            result[key] = value
    return result
