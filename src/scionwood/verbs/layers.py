"""Layers by name: the lists of repeated blocks of a checkpoint, as the names of its tensors and its config tell them.

No model is built for it. A list is a prefix under which the numbers from 0 on follow; ``model.layers`` in
``model.layers.3.mlp.up_proj.weight``. Where the config says how many layers there are, a list has that many.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scionwood.checkpoint import Checkpoint

__all__ = ["Layers", "find_layers", "layer_settings"]

COUNTS = (
    "num_hidden_layers",
    "num_layers",
    "n_layers",
    "n_layer",
    "num_encoder_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
    "depth",
)
"""What configs call the number of their layers."""

_NUMBERED = re.compile(r"^(?:(.*?)\.)?(\d+)(?:\.(.*))?$")


@dataclass(frozen=True)
class Layers:
    """A list of repeated blocks.

    Args:
        prefix: what stands before the number; empty where nothing does.
        count: how many there are.
    """

    prefix: str
    count: int

    def split(self, name: str) -> tuple[int, str] | None:
        """Return the layer that a tensor is in and its name there, or None for one that stands elsewhere.

        >>> Layers("model.layers", 4).split("model.layers.3.mlp.up_proj.weight")
        (3, 'mlp.up_proj.weight')
        """
        start = f"{self.prefix}." if self.prefix else ""
        if not name.startswith(start):
            return None
        number, _, rest = name[len(start) :].partition(".")
        return (int(number), rest) if number.isdecimal() else None

    def name(self, layer: int, rest: str) -> str:
        """Return the name of a tensor in a layer."""
        return ".".join(part for part in (self.prefix, str(layer), rest) if part)

    def depth(self, name: str) -> float | None:
        """Return how deep a tensor's layer lies: 0 for the first, 1 for the last or only one; None outside of them."""
        place = self.split(name)
        if place is None:
            return None
        return place[0] / (self.count - 1) if self.count > 1 else 1.0


def find_layers(checkpoint: Checkpoint) -> list[Layers]:
    """Return the lists of layers of a checkpoint, in the order in which they first occur.

    >>> import torch
    >>> from scionwood.checkpoint import open
    >>> open_model = open({f"layers.{n}.{part}": torch.zeros(1) for n in range(3) for part in ("weight", "bias")})
    >>> find_layers(open_model)
    [Layers(prefix='layers', count=3)]
    """
    found: dict[str, set[int]] = {}
    for name in checkpoint:
        place = _NUMBERED.match(name)
        if place is not None:
            found.setdefault(place[1] or "", set()).add(int(place[2]))
    told = {count for _, count in layer_settings(checkpoint.config or {})}
    return [
        Layers(prefix, len(numbers))
        for prefix, numbers in found.items()
        if max(numbers) == len(numbers) - 1 and (len(numbers) in told if told else len(numbers) > 1)
    ]


def layer_settings(config: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield where a config says how many layers there are, and how many.

    >>> list(layer_settings({"num_hidden_layers": 4, "text_config": {"n_layer": 2}}))
    [(('num_hidden_layers',), 4), (('text_config', 'n_layer'), 2)]
    """
    for key, value in config.items():
        if key in COUNTS and type(value) is int:
            yield (*path, key), value
        elif isinstance(value, Mapping):
            yield from layer_settings(value, (*path, key))
