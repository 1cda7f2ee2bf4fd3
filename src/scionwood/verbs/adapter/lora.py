"""A PEFT adapter as it lies in its files: for each module two factors, and plain tensors beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scionwood.checkpoint import Checkpoint, LazyTensor
from scionwood.errors import SourceError

__all__ = ["PREFIX", "SUPPORTED", "Adapter", "LowRank", "read_adapter"]

SUPPORTED = ("LORA",)
"""The kinds of adapters that are understood, by PEFT's names; LORA includes rank-stabilised LoRA and DoRA."""

PREFIX = "base_model.model."

_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.(?!weight$|bias$)[^.]+)?\.(?P<what>weight|bias)$")
_EMBEDDING = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<side>[AB])(?:\.[^.]+)?$")
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(?:\.(?!weight$)[^.]+)?(?:\.weight)?$")
_WRAPPED = re.compile(r"\.(?:base_layer|modules_to_save\.[^.]+)(?=\.)")

# What changes the sum W + s·B·A into something else, by the names in the config.
_NOT_UNDERSTOOD = {
    "layer_replication": "layers that are repeated",
    "target_parameters": "parameters without a module of their own",
    "trainable_token_indices": "single rows of an embedding",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "alora_invocation_tokens": "activated LoRA, which is off for part of each text",
}


@dataclass(frozen=True, eq=False)
class LowRank:
    """What an adapter adds to the weight of one module: ``scale · B · A``.

    Args:
        module: the module, as the adapter names it.
        kind: ``linear``, ``embedding`` or ``convolution``.
        a: the factor that reads: (rank, in), or (rank, in, *kernel).
        b: the factor that writes: (out, rank).
        scale: of the product.
        transposed: the weight is stored as (in, out): embeddings, and layers with ``fan_in_fan_out``.
        magnitude: DoRA's length of each output.
        bias: what is added to the module's bias, times the scale.
    """

    module: str
    kind: str
    a: LazyTensor
    b: LazyTensor
    scale: float
    transposed: bool
    magnitude: LazyTensor | None = None
    bias: LazyTensor | None = None

    @property
    def rank(self) -> int:
        """The number of columns of B."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight that it is added to."""
        out, into = self.b.shape[0], self.a.shape[1:]
        return (*into, out) if self.transposed else (out, *into)


@dataclass(frozen=True, eq=False)
class Adapter:
    """An adapter, read.

    Args:
        checkpoint: where it was read from.
        products: module → what is added to its weight.
        plain: name of a tensor of the model → what takes its place: modules saved whole, and biases.
    """

    checkpoint: Checkpoint
    products: Mapping[str, LowRank]
    plain: Mapping[str, LazyTensor]

    @property
    def config(self) -> Mapping[str, Any]:
        """Its ``adapter_config.json``."""
        return self.checkpoint.config or {}


def read_adapter(checkpoint: Checkpoint) -> Adapter:
    """Read an adapter's names, shapes and config; no values.

    Raises:
        SourceError: it is no adapter, of a kind that is not understood, or its factors do not fit each other.
    """
    config = checkpoint.config or {}
    source = checkpoint.source
    kind = config.get("peft_type")
    if kind not in SUPPORTED:
        what = "is no adapter: it has no adapter_config.json" if kind is None else f"is an adapter of the kind {kind}"
        raise SourceError(f"{source} {what}.", hint=f"Adapters of these kinds are understood: {', '.join(SUPPORTED)}.")
    strange = [f"{name}: {text}" for name, text in _NOT_UNDERSTOOD.items() if config.get(name)]
    if strange:
        raise SourceError(f"{source} uses what cannot be put on a model as a sum.", problems=strange)
    found: dict[str, dict[str, LazyTensor]] = {}
    plain: dict[str, LazyTensor] = {}
    for name, tensor in checkpoint.tensors.items():
        inner = name.removeprefix(PREFIX)
        if match := _FACTOR.fullmatch(inner):
            part = match["side"] if match["what"] == "weight" else f"{match['side']} bias"
        elif match := _EMBEDDING.fullmatch(inner):
            part = f"embedding {match['side']}"
        elif match := _MAGNITUDE.fullmatch(inner):
            part = "magnitude"
        else:
            plain[_WRAPPED.sub("", inner)] = tensor
            continue
        found.setdefault(match["module"], {})[part] = tensor
    products: dict[str, LowRank] = {}
    problems: list[str] = []
    for module, parts in found.items():
        try:
            products[module] = _product(module, parts, config)
        except ValueError as error:
            problems.append(f"{module}: {error}")
    if problems:
        raise SourceError(f"{source} has factors that do not fit each other or its config.", problems=problems[:20])
    return Adapter(checkpoint, products, plain)


def _product(module: str, parts: Mapping[str, LazyTensor], config: Mapping[str, Any]) -> LowRank:
    embedded = "embedding A" in parts or "embedding B" in parts
    names = ("embedding A", "embedding B") if embedded else ("A", "B")
    for name in names:
        if name not in parts:
            raise ValueError(f"it has no lora_{name.replace(' ', '_')}")
    a, b = (parts[name] for name in names)
    rank = _of_module(config.get("rank_pattern"), module, config.get("r"))
    alpha = _of_module(config.get("alpha_pattern"), module, config.get("lora_alpha"))
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise ValueError(f"its rank is {rank!r} and its alpha {alpha!r} in the config")
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[0] != rank:
        raise ValueError(f"A is {list(a.shape)}, where the config has the rank {rank}")
    if b.shape[1] != rank:
        grouped = " (a convolution in groups, which is not understood)" if len(a.shape) > 2 else ""
        raise ValueError(f"B is {list(b.shape)} and A is {list(a.shape)}{grouped}")
    if math.prod(b.shape[2:]) != 1:
        raise ValueError(f"B is {list(b.shape)}, with a kernel of its own")
    return LowRank(
        module=module,
        kind="embedding" if embedded else "convolution" if len(a.shape) > 2 else "linear",
        a=a,
        b=b,
        scale=alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank,
        transposed=embedded or bool(config.get("fan_in_fan_out")),
        magnitude=parts.get("magnitude"),
        bias=parts.get("B bias"),
    )


def _of_module(pattern: Any, module: str, default: Any) -> Any:
    """A module's own value where a pattern names it: the end of its name, as a regular expression."""
    for key, value in (pattern or {}).items():
        if re.fullmatch(rf"(?:.*\.)?(?:{key})", module):
            return value
    return default
