"""What is raced from which first weights: three nets, each without what usually hides bad ones.

50 linear layers with ReLU and nothing else; 50 residual blocks without norms; both for scikit-learn's digits; and a small
transformer for docstrings, letter by letter.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from scionwood.demos import digits
from scionwood.demos.docstrings import sentences, split_of

__all__ = ["RACES", "Race", "Start", "pixels", "text"]

DEPTH, WIDTH = 50, 64
LETTERS = 32
SIZES: dict[str, Any] = {"n_embd": 48, "n_layer": 6, "n_head": 4}


@dataclass(frozen=True)
class Start:
    """First weights.

    Args:
        label: for people.
        rate: the best learning rate of the search.
        colour: of its line.
        method: of the family initialize; nothing for what the class begins with.
        options: of the method.
        scalars: put Fixup's scalars around the layers.
    """

    label: str
    rate: float
    colour: str
    method: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    scalars: bool = False


@dataclass(frozen=True)
class Race:
    """What is learned by what, from several starts.

    Args:
        title: a few words for people.
        measured: the steps after which the result is measured; the last is the budget.
        starts: by name.
        rates: those of the search.
        make: makes a net, by its seed.
        unit: what is measured.
        lower: whether less is better.
    """

    title: str
    measured: tuple[int, ...]
    starts: Mapping[str, Start]
    rates: tuple[float, ...]
    make: Callable[[int], nn.Module]
    unit: str
    lower: bool = False


class Block(nn.Module):
    """x → relu(x + second(relu(first(x)))): a residual block without a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the stream, with the branch added."""
        return torch.relu(x + self.second(torch.relu(self.first(x))))


def plain(seed: int) -> nn.Module:
    """Return 50 linear layers with ReLU between."""
    torch.manual_seed(seed)
    sizes = [64, *[WIDTH] * (DEPTH - 1), 10]
    layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def residual(seed: int) -> nn.Module:
    """Return 50 residual blocks without norms, between a stem and a head."""
    torch.manual_seed(seed)
    blocks = [Block() for _ in range(DEPTH)]
    return nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), *blocks, nn.Linear(WIDTH, 10))


def language(seed: int) -> nn.Module:
    """Return a small transformer of GPT-2's class, without dropout."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    dropouts: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "n_positions": LETTERS, "vocab_size": len(text()[0])}
    return GPT2LMHeadModel(GPT2Config(initializer_range=DEVIATION, **SIZES, **dropouts, **ends))


DEVIATION = 0.06
"""Of the transformer's first weights: 0.02 was worse, and 0.12 about as good, for its own class."""

GREY, RED, GREEN, BLUE, PINK, SKY, GOLD = "#555555", "#D55E00", "#009E73", "#0072B2", "#CC79A7", "#56B4E9", "#E69F00"

RACES = {
    "plain": Race(
        "50 linear layers with ReLU",
        (0, 25, 50, 100, 200),
        {
            "default": Start("PyTorch's own", 3e-3, GREY),
            "he": Start("He (activation_gain)", 1e-3, RED, "activation_gain"),
            "lsuv": Start("lsuv", 1e-3, GREEN, "lsuv"),
            "zero": Start("zero", 3e-3, BLUE, "zero"),
            "identity": Start("identity", 1e-3, PINK, "identity"),
        },
        (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4),
        plain,
        "test accuracy in %",
    ),
    "residual": Race(
        "50 residual blocks without norms",
        (0, 25, 50, 100, 150),
        {
            "default": Start("PyTorch's own", 1e-2, GREY),
            "he": Start("He (activation_gain)", 1e-3, RED, "activation_gain"),
            "lsuv": Start("lsuv", 1e-2, GREEN, "lsuv"),
            "zero": Start("zero", 3e-3, BLUE, "zero"),
            "identity": Start("identity", 3e-3, PINK, "identity"),
            "fixup": Start("fixup", 1e-1, SKY, "fixup"),
            "fixup_scalars": Start("fixup with its scalars", 1e-1, GOLD, "fixup", scalars=True),
        },
        (3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3),
        residual,
        "test accuracy in %",
    ),
    "text": Race(
        "a transformer of 6 layers on docstrings",
        (0, 30, 60, 120),
        {
            "default": Start("GPT-2's own (std 0.06)", 6e-3, GREY),
            "layer_index": Start("layer_index (std 0.06)", 6e-3, GREEN, "layer_index", {"std": DEVIATION}),
            "mimetic": Start("mimetic, as for vision", 6e-3, BLUE, "mimetic"),
            "mimetic_text": Start(
                "mimetic, signs of language",
                6e-3,
                PINK,
                "mimetic",
                {"alpha_qk": 0.3, "beta_qk": -0.1, "alpha_vo": 0.2, "beta_vo": -0.2},
            ),
        },
        (3e-3, 6e-3, 1.2e-2),
        language,
        "held-out loss in nats a letter",
        lower=True,
    ),
}


@cache
def text() -> tuple[str, dict[str, Tensor]]:
    """Return the letters, and the parts of the text as their numbers."""
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for sentence in sentences():
        parts[split_of(sentence.function)].append(sentence.text)
    joined = {name: "\n".join(found) for name, found in parts.items()}
    letters = "".join(sorted({letter for letter in joined["train"] if letter.isascii()}))
    numbers = {letter: number for number, letter in enumerate(letters)}
    return letters, {
        name: torch.tensor([numbers[letter] for letter in whole if letter in numbers]) for name, whole in joined.items()
    }


@cache
def pixels() -> dict[str, tuple[Tensor, Tensor]]:
    """Return the digits as rows of 64 pixels with their labels."""
    return {name: (part.inputs["pixel_values"].flatten(1), part.labels) for name, part in digits.load().items()}
