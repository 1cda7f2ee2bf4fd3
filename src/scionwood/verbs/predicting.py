"""Predicting: a model of text as verbs run it, to learn or to measure: its weights, its pieces of text, the token it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from scionwood.anatomy import Model
from scionwood.anatomy.layout import Layout
from scionwood.checkpoint import Checkpoint
from scionwood.train.text import Objective

__all__ = ["longest_piece", "needed_token", "pieces", "state_of"]

BUDGET = 4096
"""How many tokens of a text a loss is measured on."""


def needed_token(objective: Objective, module: nn.Module, special: Mapping[str, int]) -> int | None:
    """Return the token that an objective needs: the mask, or what a decoder begins with; nothing where nobody says it.

    Args:
        objective: what the model predicts.
        module: the model, with its config.
        special: special tokens by their purpose.
    """
    if objective == "masked":
        return special.get("mask")
    named = (getattr(module.config, f"{name}_token_id", None) for name in ("decoder_start", "bos", "pad"))
    return next((number for number in named if isinstance(number, int)), None)


def longest_piece(module: nn.Module, length: int) -> int:
    """Return how long a piece the model can read, at most ``length``; two fewer than it says, as some families count from 2."""
    told = getattr(module.config, "max_position_embeddings", None)
    return min(length, max(2, told - 2)) if isinstance(told, int) else length


def pieces(ids: Tensor, length: int) -> Iterator[Tensor]:
    """Cut the beginning of a text, (tokens), into pieces to measure on."""
    for piece in ids[:BUDGET].split(length):
        if len(piece) > 1:
            yield piece


def state_of(model: Model, layout: Layout, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The tensors of a module, put together from what is stored, in the dtype that the module has.

    Args:
        model: the module.
        layout: where its tensors lie in the checkpoint.
        checkpoint: what is stored.
    """
    module = model.module.state_dict(keep_vars=True)
    found: dict[str, Tensor] = {}
    for slot in layout.slots:
        own = module[slot.tensor]
        whole = found.setdefault(slot.tensor, torch.empty(own.shape, dtype=own.dtype))
        box = tuple(slice(start, start + size) for start, size in zip(slot.start, slot.size, strict=True))
        whole[box] = slot.unfold(checkpoint.tensors[slot.name].read()).to(whole.dtype)
    return found
