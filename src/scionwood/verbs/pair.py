"""A pair of models, one to be made out of the other: both built, and the target's config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from scionwood import anatomy as anatomies
from scionwood.anatomy import Model
from scionwood.anatomy.build import check_family
from scionwood.checkpoint import Checkpoint
from scionwood.errors import MatchError
from scionwood.verbs.target import Depth, config_of, target_config

__all__ = ["models_of", "told_target"]


def models_of(
    source: Any,
    checkpoint: Checkpoint,
    like: Any,
    changes: Mapping[str, Any] | None,
    depth: Depth,
    inputs: object,
    what: str,
    deeper: Callable[[str | Sequence[int], int, int], Sequence[int]] | None = None,
) -> tuple[Model, Model, dict[str, Any] | None]:
    """Build the source's model and the target's, and the target's config where they have one.

    Args:
        source: what the user gave.
        checkpoint: the same, opened.
        like: what the target shall be like.
        changes: settings of the target.
        depth: which blocks it has.
        inputs: example inputs, for plain modules.
        what: what is to be done with the source, for messages: "selected from".
        deeper: rule, old and new depth → the source's block of every block, where a target may be deeper.

    Raises:
        MatchError: the source has no config, or is quantized.
    """
    if isinstance(like, nn.Module) and inputs is not None:
        if not isinstance(source, nn.Module):
            raise MatchError(
                "a plain module as target needs the module itself as source",
                hint="give source=module, like=module, inputs=...",
            )
        return anatomies.model(source, inputs), anatomies.model(like, inputs), None
    if checkpoint.config is None or "model_type" not in checkpoint.config:
        raise MatchError(
            f"{checkpoint.source} has no config that says which model it is",
            hint="give a folder with a config.json, or for plain modules source=module, like=module and inputs=...",
        )
    if quantized := checkpoint.config.get("quantization_config"):
        how = quantized.get("quant_method", "a method of its own") if isinstance(quantized, dict) else quantized
        raise MatchError(
            f"{checkpoint.source} is quantized ({how}): its tensors are codes, and cannot be {what}",
            hint="give the weights it was quantized from",
        )
    check_family(checkpoint.config, checkpoint.source)
    config = target_config(checkpoint.config, like, changes, depth, **({"deeper": deeper} if deeper else {}))
    name = str(like) if isinstance(like, (str, Path)) else "the target"
    return anatomies.from_config(checkpoint.config, checkpoint.source), anatomies.from_config(config, name), config


def told_target(like: Any) -> Any:
    """The target as the recipe tells it: by name where it has one, else by its config; of a plain module, the class."""
    if like is None or isinstance(like, (str, Path)):
        return str(like) if like is not None else None
    if isinstance(like, Checkpoint):
        return like.source
    plain = isinstance(like, nn.Module) and not hasattr(like, "config")
    return type(like).__qualname__ if plain else config_of(like)
