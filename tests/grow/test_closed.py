"""What an operation does to copies and to new indices is known, or the function is said to be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.grow.preservation import grown
from torch import Tensor, nn
from torch.nn import functional

import scionwood

COPIES = {"method": "hypercloning", "options": {"snr_db": None}}
UNEQUAL = {"method": "net2net"}
PADS = {"method": "copy_pad", "options": {"pad": "zero"}}
RMS = {"method": "copy_pad", "options": {"pad": "rms"}}
MEAN = {"method": "copy_pad", "options": {"pad": "mean"}}


class Between(nn.Module):
    """Something between two linear maps, of a width."""

    def __init__(self, width: int, between: Callable[[Any, Tensor], Tensor], layer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.up, self.layer, self.down = nn.Linear(6, width), layer(width), nn.Linear(width, 4)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.between(self, self.up(x))


class Tabled(nn.Linear):
    """A linear map with a table that it reads."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        self.table = nn.Parameter(torch.randn(5, width))


def of(
    between: Callable[[Any, Tensor], Tensor], layer: Callable[[int], nn.Module] | None = None
) -> Callable[[int], nn.Module]:
    return lambda width: Between(width, between, layer or (lambda _: nn.Identity()))


def inside(function: Callable[[Tensor], Tensor]) -> Callable[[int], nn.Module]:
    return of(lambda m, h: m.down(function(h)))


def weighed(function: Callable[[Tensor], Tensor]) -> Callable[[int], nn.Module]:
    return of(lambda m, h: functional.linear(h.relu(), function(m.down.weight)))


def normed(make: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
    return of(lambda m, h: m.down(m.layer(h)), make)


def made(make: Callable[[int], nn.Module], width: int, how: dict[str, Any]) -> tuple[list[str], float]:
    """Grow from a width of 8; why the function is said to change, and by how much it does."""
    torch.manual_seed(0)
    small, large = make(8).eval(), make(width).eval()
    x = torch.randn(3, 6)
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
        checkpoint = scionwood.grow(small, like=large, inputs=x, **how)
        large.load_state_dict({name: tensor.read() for name, tensor in checkpoint.tensors.items()})
        theirs = small(x)
        difference = float((large(x) - theirs).abs().max() / theirs.abs().max())
    entries = [entry for entry in checkpoint.ledger or () if entry.name == "the function"]
    return [entry.detail for entry in entries if entry.action == "changed"], difference


CHANGED = {
    "logsumexp": (inside(lambda h: h - h.logsumexp(-1, keepdim=True)), COPIES, "logsumexp is taken along an axis"),
    "the deviation of a sample": (inside(lambda h: h / h.std(-1, keepdim=True)), COPIES, "std is taken along an axis"),
    "a largest place": (
        inside(lambda h: h * functional.one_hot(h.argmax(-1), h.shape[-1])),
        COPIES,
        "argmax is taken along an axis",
    ),
    "the largest of new ones": (
        inside(lambda h: h * h.abs().amin(-1, keepdim=True)),
        PADS,
        "amin is taken along an axis",
    ),
    "distances": (inside(lambda h: torch.cdist(h, h) @ h), COPIES, "cdist is over an axis that grows"),
    "a cosine": (
        inside(lambda h: h * functional.cosine_similarity(h, h.tanh(), dim=-1)[:, None]),
        PADS,
        "cosine_similarity is over an axis that grows",
    ),
    "a sum of new ones": (
        of(lambda m, h: m.down(h.relu()) + h.sum(-1, keepdim=True)),
        PADS,
        "sums over an axis padded",
    ),
    "a product of new ones": (
        inside(lambda h: ((h.exp() @ h.exp().T) @ h) / 9),
        PADS,
        "matmul sums over an axis padded",
    ),
    "wider groups of new ones": (normed(lambda width: nn.GroupNorm(2, width)), PADS, "group_norm takes the statistics"),
    "wider groups of unequal copies": (
        normed(lambda width: nn.GroupNorm(1, width)),
        UNEQUAL,
        "group_norm takes the statistics of 12 channels, where it took those of 8",
    ),
    "a squared weight": (weighed(lambda w: w**2), COPIES, "pow stands between a weight and what the weight reads"),
    "a bounded weight": (weighed(torch.tanh), COPIES, "tanh stands between a weight and what the weight reads"),
    "a weight by its deviation": (
        weighed(lambda w: (w - w.mean(-1, keepdim=True)) / w.std(-1, correction=0, keepdim=True)),
        COPIES,
        "sums over copies with a weight that is not divided by them",
    ),
    "a normalised weight": (
        of(
            lambda m, h: m.layer(h.relu()),
            lambda width: nn.utils.parametrizations.weight_norm(nn.Linear(width, 4)),
        ),
        COPIES,
        "_weight_norm stands between a weight",
    ),
    "a weight that is read backwards": (
        of(lambda m, h: functional.linear(h.relu(), m.up.weight.T)),
        PADS,
        "up.weight is tied",
    ),
    "what is no zero in a norm": (
        of(lambda m, h: m.down(m.layer(h.sigmoid())), nn.RMSNorm),
        RMS,
        "what is new in it is not zero",
    ),
    "a mean through an activation": (
        of(lambda m, h: m.down(m.layer(functional.gelu(h))), nn.LayerNorm),
        MEAN,
        "what is the mean of channels goes through gelu before the norm",
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_what_mixes_a_grown_axis_is_said_to_change_the_function(case: str) -> None:
    make, how, reason = CHANGED[case]
    reasons, difference = made(make, 12 if how is UNEQUAL else 16, how)
    assert any(reason in said for said in reasons), reasons
    assert difference > 1e-4


KEPT = {
    "elementwise": (inside(lambda h: functional.gelu(h) * h.sigmoid() + h.clamp(-1, 1)), UNEQUAL),
    "the deviation of all": (inside(lambda h: h / h.std(-1, correction=0, keepdim=True)), COPIES),
    "the largest of copies": (inside(lambda h: h - h.amax(-1, keepdim=True)), UNEQUAL),
    "a sum of copies": (of(lambda m, h: m.down(h.relu()) + m.layer(h).sum(-1, keepdim=True), lambda n: nn.Linear(n, n)), COPIES),
    "wider groups of whole copies": (normed(lambda width: nn.GroupNorm(2, width)), COPIES),
    "more groups of new ones": (normed(lambda width: nn.GroupNorm(width // 4, width)), PADS),
    "a multiple of a weight": (weighed(lambda w: -2 * w.view(4, -1)), COPIES),
    "a bounded weight beside new ones": (weighed(torch.tanh), PADS),
    "a mean that is only moved": (normed(nn.LayerNorm), MEAN),
    "one weight that reads another": (of(lambda m, h: m.down(h + m.layer(m.layer.table).mean(0)), Tabled), COPIES),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_what_is_known_of_a_grown_axis_keeps_the_function(case: str) -> None:
    make, how = KEPT[case]
    reasons, difference = made(make, 12 if how is UNEQUAL else 16, how)
    assert reasons == []
    assert difference < 1e-5


def test_parts_of_a_score_that_grow_by_different_factors_are_no_claim() -> None:
    """Rotary frequencies stay as many, so that only what passes by them is copied."""
    config = {"model_type": "gptj", "vocab_size": 31, "n_embd": 24, "n_head": 6, "n_layer": 1, "rotary_dim": 2}
    found = grown(config | {"n_positions": 32}, {"n_embd": 48}, **COPIES)
    assert found.difference > 0.01
    assert any("joined of parts, and the parts grow by different factors" in said for said in found.reasons)


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (
            {"model_type": "deberta", "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0}
            | {"max_relative_positions": 8, "position_biased_input": False, "num_attention_heads": 6}
            | {"hidden_size": 24, "intermediate_size": 40},
            {"hidden_size": 48, "num_attention_heads": 12},
        ),
        (
            {
                "model_type": "gpt_oss",
                "head_dim": 8,
                "num_local_experts": 4,
                "num_experts_per_tok": 2,
                "hidden_size": 32,
            }
            | {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2},
            {"num_local_experts": 8, "num_experts_per_tok": 4},
        ),
        (
            {"model_type": "recurrent_gemma", "hidden_size": 24, "intermediate_size": 48, "num_attention_heads": 4}
            | {"lru_width": 24, "attention_window_size": 16, "block_types": ["recurrent"]},
            {"lru_width": 48},
        ),
    ],
    ids=["a table that a weight reads", "biases of experts", "a gate with a weight for each head"],
)
def test_one_side_of_a_contraction_is_divided_and_what_is_looked_up_is_not(config: dict, sizes: dict) -> None:
    base = {"vocab_size": 31, "num_hidden_layers": 1, "max_position_embeddings": 64}
    found = grown(base | config, sizes)
    assert found.reasons == []
    assert found.difference < 1e-5


def test_a_mean_through_an_activation_is_no_claim() -> None:
    config = {"model_type": "albert", "architectures": ["AlbertForMaskedLM"], "vocab_size": 31, "embedding_size": 12}
    config |= {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 40}
    found = grown(config | {"max_position_embeddings": 32}, {"embedding_size": 24}, **MEAN)
    assert found.difference > 0.01
    assert any("what is the mean of channels goes through" in said for said in found.reasons)
