"""An adapter put on the model it was made for."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace

import torch

from scionwood.checkpoint import (
    CastTensor,
    Checkpoint,
    Entry,
    LazyTensor,
    Ledger,
    Lineage,
    Source,
    installed_versions,
    parent_of,
)
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.parent import told
from scionwood.errors import MatchError, nearest
from scionwood.verbs.adapter.lora import Adapter, LowRank, read_adapter
from scionwood.verbs.adapter.product import adapted, adapted_bias

__all__ = ["apart", "apply_adapter", "put_on", "with_head"]


def apply_adapter(model: Source, adapter: Source) -> Checkpoint:
    """Put a PEFT adapter on a model: W + scale · B · A, in float32 and rounded once.

    LoRA with its variants: rank-stabilised scale, ranks and alphas by pattern, DoRA, embeddings, convolutions, biases, and
    modules that the adapter saves whole, which take the place of the model's. Where the adapter changes one of two tied
    tensors, both are stored and the config says so.

    Args:
        model: the model that the adapter was made for.
        adapter: the adapter.

    Returns:
        A lazy checkpoint: nothing is read until it is written.

    Raises:
        SourceError: the adapter is malformed, or of a kind that is not understood.
        MatchError: it names what the model does not have, or in another shape; lists everything.

    Example:
        >>> from scionwood.checkpoint import Checkpoint, open
        >>> factors = {"base_model.model.up.lora_A.weight": torch.tensor([[1.0, 2.0]])}
        >>> factors["base_model.model.up.lora_B.weight"] = torch.tensor([[1.0], [0.0]])
        >>> adapter = replace(open(factors), config={"peft_type": "LORA", "r": 1, "lora_alpha": 2})
        >>> apply_adapter({"up.weight": torch.zeros(2, 2)}, adapter)["up.weight"]
        tensor([[2., 4.],
                [0., 0.]])
    """
    return put_on(open_checkpoint(model), open_checkpoint(adapter))


def put_on(model: Checkpoint, adapter: Checkpoint, *, dtype: torch.dtype | None = None) -> Checkpoint:
    """Put an adapter on a model, and store what changes in a dtype, instead of the model's own."""
    base = with_head(model)
    read = read_adapter(adapter)
    targets = _targets(base, read, _Names(base, read))
    untied = {alias: name for alias, name in base.ties.items() if alias in targets or name in targets}
    base = apart(base, untied) if untied else model
    tensors = dict(base.tensors)
    entries: dict[str, Entry] = {}
    for name, (whole, product) in targets.items():
        own = tensors[name]
        kept = dtype or own.dtype
        weight = own if whole is None else whole.named(name)
        if product is None:
            tensors[name] = weight if weight.dtype == kept else CastTensor(weight, kept)
        elif name.endswith(".bias") and product.bias is not None:
            tensors[name] = adapted_bias(weight, product, kept)
        else:
            tensors[name] = adapted(weight, product, kept)
        details = [*(["saved whole by the adapter"] if whole is not None else []), *_described(product)]
        details += ["no longer tied"] if name in (*untied, *untied.values()) else []
        entries[name] = Entry(name, "adapted", name, ", ".join(details), tensors[name].num_elements)
    for name, tensor in tensors.items():
        entries.setdefault(name, Entry(name, "copied", name, "", tensor.num_elements))
    return replace(
        base,
        tensors=tensors,
        source=f"{model.source}+{adapter.source}",
        revision=None,
        lineage=Lineage(
            {"verb": "apply_adapter", "model": told(model), "adapter": told(adapter)},
            (parent_of(base, "base"), parent_of(read.checkpoint, "adapter")),
            None,
            installed_versions(),
        ),
        ledger=Ledger(entries[name] for name in tensors),
        origin=None,
    )


_HEAD = "lm_head.weight"
_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings)\.weight$")
_WITH_HEAD = re.compile(r"ForCausalLM|LMHeadModel")


def with_head(base: Checkpoint) -> Checkpoint:
    """Name the head of a language model that is stored without one: it is the embedding, and may have to part from it."""
    architectures = (base.config or {}).get("architectures") or []
    embeddings = [name for name in base.tensors if _EMBEDDING.search(name)]
    has_head = any(name.endswith(("lm_head.weight", "embed_out.weight")) for name in base)
    if has_head or len(embeddings) != 1 or not any(_WITH_HEAD.search(str(name)) for name in architectures):
        return base
    return replace(base, ties={**base.ties, _HEAD: embeddings[0]})


def apart(checkpoint: Checkpoint, aliases: Collection[str]) -> Checkpoint:
    """Store tied tensors each by itself, and say so in the config."""
    own = {
        alias: checkpoint.tensors[checkpoint.ties[alias]].named(alias) for alias in checkpoint.ties if alias in aliases
    }
    return replace(
        checkpoint,
        tensors={**checkpoint.tensors, **own},
        ties={alias: name for alias, name in checkpoint.ties.items() if alias not in own},
        config=None if checkpoint.config is None else {**checkpoint.config, "tie_word_embeddings": False},
    )


class _Names:
    """How an adapter's names are written in a checkpoint: as they are, or with another beginning."""

    def __init__(self, base: Checkpoint, adapter: Adapter) -> None:
        wanted = [*(f"{module}.weight" for module in adapter.products), *adapter.plain]
        self.cut, self.put = max(
            self._changes(base, wanted), key=lambda change: sum(_changed(name, *change) in base for name in wanted)
        )

    @staticmethod
    def _changes(base: Checkpoint, wanted: Sequence[str]) -> list[tuple[str, str]]:
        # The change of names that fits most of them; the first of equals, so that names as they are come first.
        starts = dict.fromkeys(name.partition(".")[0] + "." for name in base if "." in name)
        cuts = dict.fromkeys(name.partition(".")[0] + "." for name in wanted if "." in name)
        return [("", ""), *((cut, "") for cut in cuts), *(("", start) for start in starts)]

    def __call__(self, name: str) -> str:
        return _changed(name, self.cut, self.put)


def _changed(name: str, cut: str, put: str) -> str:
    return put + name.removeprefix(cut)


Targets = dict[str, tuple[LazyTensor | None, LowRank | None]]


def _targets(base: Checkpoint, adapter: Adapter, names: _Names) -> Targets:
    """For each tensor of the model that changes: what takes its place, if anything, and what is added to it."""
    targets: Targets = {}
    wanted: dict[str, str] = {}
    for name, tensor in adapter.plain.items():
        targets[names(name)] = (tensor, None)
        wanted[names(name)] = f"the tensor {name}"
    for module, product in adapter.products.items():
        ends = [".weight", *([".bias"] if product.bias is not None else [])]
        for end in ends:
            name = names(module + end)
            targets[name] = (targets.get(name, (None, None))[0], product)
            wanted[name] = f"the module {module}"
    known = list(base)
    problems: list[str] = []
    for name, (whole, product) in targets.items():
        if name not in base:
            problems.append(f"{wanted[name]} would change {name}, which the model lacks{nearest(name, known)}")
            continue
        own = base.tensors[base.ties.get(name, name)]
        shape = own.shape if whole is None else whole.shape
        if product is not None and not name.endswith(".bias") and product.shape != shape:
            problems.append(f"{wanted[name]} is for {list(product.shape)}, and {name} is {list(shape)}")
        if whole is not None and whole.shape[1:] != own.shape[1:]:
            problems.append(f"{wanted[name]} is {list(whole.shape)}, and {name} is {list(own.shape)}")
        if not own.dtype.is_floating_point:
            problems.append(f"{name} is {str(own.dtype).removeprefix('torch.')}: codes, which nothing can be added to")
    if problems:
        raise MatchError(
            f"{adapter.checkpoint.source} does not fit {base.source}.",
            problems=[*problems[:20], *([f"… and {len(problems) - 20} more"] if len(problems) > 20 else [])],
            hint="An adapter belongs to the model that its base_model_name_or_path names"
            + (
                f": {adapter.config['base_model_name_or_path']}"
                if adapter.config.get("base_model_name_or_path")
                else ""
            ),
        )
    return targets


def _described(product: LowRank | None) -> list[str]:
    if product is None:
        return []
    scale = f"{product.scale:.6g}" if not math.isclose(product.scale, 1.0) else "1"
    text = f"rank {product.rank}, scale {scale}"
    return [f"{text}, DoRA" if product.magnitude is not None else text]
