"""What a model of text learns and is measured by: -log p of the tokens it predicts, as models of its kind do.

    causal   each token from those before it: decoders
    masked   every seventh token, a mask in its place, from all others: encoders that fill in masks
    prefix   the second half of a piece from its first half, which the encoder reads: encoder-decoders

Prefix language modelling is one of the objectives of Raffel et al. (2020, arXiv:1910.10683), who train T5 on spans that
sentinels stand for. It is the one taken here, because it needs no sentinels, which other tokenizers do not have.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from scionwood.errors import MethodError

__all__ = ["Objective", "objective_of", "places_predicted", "text_loss"]

Objective = Literal["causal", "masked", "prefix"]

EVERY = 7
"""Every so manieth token is masked: about the 15 % that models which fill in masks are trained with."""


def objective_of(model: nn.Module) -> Objective | None:
    """Return what a model of the transformers library predicts of a text; nothing where it predicts no tokens.

    >>> objective_of(nn.Linear(2, 2)) is None
    True

    Args:
        model: with or without storage: only its class and its config are asked.
    """
    if getattr(model, "main_input_name", None) != "input_ids":
        return None
    if type(model).__name__.endswith("MaskedLM"):
        return "masked"
    can_generate = getattr(model, "can_generate", None)
    if can_generate is None or not can_generate():
        return None
    return "prefix" if getattr(model.config, "is_encoder_decoder", False) else "causal"


def places_predicted(objective: Objective, length: int) -> Tensor:
    """Return which tokens of a piece are predicted, (length,).

    >>> places_predicted("prefix", 5).tolist()
    [False, False, False, True, True]
    >>> places_predicted("masked", 9).nonzero().flatten().tolist()
    [0, 7]

    Args:
        objective: what the model predicts.
        length: of the piece.
    """
    place = torch.arange(length)
    if objective == "masked":
        return place % EVERY == 0
    return place >= (1 if objective == "causal" else (length + 1) // 2)


def text_loss(
    model: nn.Module,
    ids: Tensor,
    objective: Objective,
    *,
    mask: int | None = None,
    start: int | None = None,
    places: Tensor | None = None,
) -> Tensor:
    """Return the sum over the predicted tokens of -log p, in nats: to be minimised, or to be divided by what it is told for.

        loss = - sum over the places t of log softmax(logits_t)[ids_t]

    >>> class Even(nn.Module):
    ...     def forward(self, input_ids):
    ...         return type("Output", (), {"logits": torch.zeros(*input_ids.shape, 8)})
    >>> float(text_loss(Even(), torch.tensor([[3, 1, 2]]), "causal"))  # 2 log 8
    4.158883...

    Args:
        model: called as models of the transformers library are.
        ids: pieces of one length, (pieces, length); of two tokens or more.
        objective: what the model predicts.
        mask: the token that stands for a masked one; for ``masked``.
        start: the token that a decoder begins with; for ``prefix``.
        places: which tokens are masked, (length,) or (pieces, length), such as random ones for learning;
            those of :func:`places_predicted` unless given. Only for ``masked``.

    Raises:
        MethodError: there is no mask, or no start, where one is needed, or the pieces are too short.
    """
    if ids.shape[-1] < 2:
        raise MethodError(
            f"Pieces of {ids.shape[-1]} tokens are too short: something must be known to predict the rest."
        )
    if objective == "causal":
        return _summed(model(input_ids=ids).logits[:, :-1], ids[:, 1:])
    if objective == "masked":
        if mask is None:
            raise MethodError("Filling in masks needs the token that stands for them: give mask.")
        hidden = places_predicted("masked", ids.shape[-1]) if places is None else places
        hidden = hidden.to(ids.device).expand_as(ids)
        return _summed(model(input_ids=ids.masked_fill(hidden, mask)).logits[hidden], ids[hidden])
    if start is None:
        raise MethodError("A decoder needs the token that it begins with: give start.")
    told = places_predicted("prefix", ids.shape[-1]).to(ids.device)
    wanted = ids[:, told]
    given = torch.cat([torch.full_like(wanted[:, :1], start), wanted[:, :-1]], dim=1)
    return _summed(model(input_ids=ids[:, ~told], decoder_input_ids=given).logits, wanted)


def _summed(logits: Tensor, wanted: Tensor) -> Tensor:
    """The cross entropy of all rows, in float32 whatever the model computes in."""
    return functional.cross_entropy(logits.float().flatten(0, -2), wanted.flatten(), reduction="sum")
