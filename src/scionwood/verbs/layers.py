"""Layers by name: the lists of repeated blocks of a checkpoint, as the names of its tensors and its config tell them.

No model is built for it. A list is a prefix under which the numbers from 0 on follow; ``model.layers`` in
``model.layers.3.mlp.up_proj.weight``. Where the config says how many layers there are, a list has that many.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scionwood.checkpoint import Checkpoint

__all__ = ["Layers", "find_layers", "is_listed", "layer_settings", "settings_of"]

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

    def within(self, lists: Sequence["Layers"]) -> str:
        """Return the part of the model that has this list and none of the others, as its names begin; empty for all.

        >>> lists = [Layers("model.encoder.layers", 4), Layers("model.decoder.layers", 2)]
        >>> lists[1].within(lists)
        'model.decoder.'
        """
        others = [other.prefix.split(".") for other in lists if other != self]
        own = self.prefix.split(".")
        shared = [next((at for at, word in enumerate(own) if at >= len(o) or o[at] != word), len(own)) for o in others]
        return "".join(f"{word}." for word in own[: max(shared) + 1]) if shared else ""

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


def settings_of(config: Mapping[str, Any], lists: Sequence[Layers]) -> dict[str, list[tuple[str, ...]]]:
    """Return which settings of a config count which list of layers: its prefix → where they stand.

    Lists of one length are told apart by words: a setting with ``decoder`` in its name counts the list that has it in
    its own, and one that names no list counts the list that no other one names.

    >>> lists = [Layers("encoder.block", 4), Layers("decoder.block", 4)]
    >>> settings_of({"num_layers": 4, "num_decoder_layers": 4}, lists)
    {'encoder.block': [('num_layers',)], 'decoder.block': [('num_decoder_layers',)]}
    """
    found: dict[str, list[tuple[str, ...]]] = {layers.prefix: [] for layers in lists}
    unnamed: list[tuple[tuple[str, ...], list[Layers]]] = []
    for path, count in layer_settings(config):
        counted = [layers for layers in lists if layers.count == count]
        words = _stems("_".join(path)) - _COMMON
        named = [layers for layers in counted if words & _stems(layers.prefix.replace(".", "_"))]
        chosen = counted if len(counted) == 1 else named
        if len(chosen) == 1:
            found[chosen[0].prefix].append(path)
        else:
            unnamed.append((path, counted))
    named_lists = {prefix for prefix, paths in found.items() if paths}
    for path, counted in unnamed:
        left = [layers.prefix for layers in counted if layers.prefix not in named_lists]
        if len(left) == 1:
            found[left[0]].append(path)
    return found


def is_listed(key: str, value: Any, count: int) -> bool:
    """Return whether a setting lists something for every layer: names of kinds, or numbers that its own name says so of.

    >>> is_listed("layer_types", ["full", "sliding"], 2), is_listed("eos_token_id", [1, 2], 2)
    (True, False)
    """
    if not isinstance(value, list) or len(value) != count or "layer" not in key:
        return False
    return "per_layer" in key or all(isinstance(item, (str, bool)) for item in value)


def _stems(text: str) -> set[str]:
    """The beginnings of words: visual is vision."""
    return {word[:3] for word in text.split("_") if word}


_COMMON = _stems("num_n_hidden_layers_depth_config_model")
