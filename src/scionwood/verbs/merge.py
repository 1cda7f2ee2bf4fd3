"""Merge: one model's weights out of several models of one shape."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from scionwood.checkpoint import Checkpoint, Entry, LazyTensor, Ledger, Lineage, Source, installed_versions, parent_of
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.collecting import collector_paused
from scionwood.checkpoint.parent import told
from scionwood.engine.combine import CombinedTensor
from scionwood.engine.job import Job, check_device
from scionwood.errors import MatchError, MethodError
from scionwood.methods import registry
from scionwood.methods.record import Record
from scionwood.verbs.adapter import merge_adapters
from scionwood.verbs.axes import named_axes
from scionwood.verbs.differences import BY_TOKENS, in_common, of_holders, untied
from scionwood.verbs.layers import find_layers
from scionwood.verbs.tokenizer import (
    Aligned,
    TokenSource,
    align_vocabularies,
    among,
    difference,
    plain_tokens,
    token_sources,
    with_chat_template,
)
from scionwood.verbs.tokenizer.rows import vocabulary_tensors
from scionwood.verbs.varying import Options

__all__ = ["merge"]


def merge(
    models: Sequence[Source | nn.Module],
    *,
    base: Source | nn.Module | None = None,
    method: str = "linear",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    allow_nonfinite: bool = False,
    tokenizer: Source | None = None,
    tokens: Mapping[str, TokenSource | Mapping[str, Any]] | None = None,
    pad_to_multiple_of: int | None = None,
    chat_template: str | None = None,
    merge_space: str | None = None,
    rank: int | None = None,
    differences: Literal["common"] | None = None,
) -> Checkpoint:
    """Merge models of one shape into one.

    Arithmetic is float32 whatever the models are stored in; the result is stored as the base is, or as the first model.
    Tensors of integers are copied from there. Every tensor of every model is merged or copied: one that some model
    lacks is an error.

    Args:
        models: what to merge, in the order that the weights are written in: whatever :func:`scionwood.open` takes.
        base: what the models were fine-tuned from, for methods that merge differences.
        method: a method of the family merge.
        options: the method's own options. A list of rules in the place of a value makes it vary over tensors and layers,
            as :mod:`scionwood.verbs.varying` says.
        seed: of methods that draw at random.
        device: where the arithmetic is done: ``cpu``, or an accelerator as torch names it. Sums are made in another
            order there, so the last bit may differ.
        allow_nonfinite: merge NaN and infinity as they come, with a warning that counts them; they are refused otherwise.
        tokenizer: for models with different vocabularies: ``union`` of them, the ``base``'s (the first model's without a
            base), or the model whose tokenizer it is. Every model is given a row for every token of it.
        tokens: with a tokenizer, token → where its row comes from in the models that lack it: a ``TokenSource``, or its
            fields by name. A token that the vocabulary lacks is added.
        pad_to_multiple_of: with a tokenizer, the number of rows is brought up to a multiple of it.
        chat_template: of the result: ``auto`` for the one that most models have, a name such as ``chatml``, or a template.
        merge_space: for PEFT adapters, what of them is merged: ``product``, ``factors`` or ``weight``.
        rank: for PEFT adapters, of the merged one.
        differences: with ``common``, what not all models have is merged among those that have it, and not refused:
            tensors that some lack, heads that some tie; rows of embeddings that not all have are left out.

    Returns:
        A lazy checkpoint: nothing is read until it is written. Its config and side files are the base's, or the first
        model's. Where all models are adapters, it is an adapter; with a base, the model with the merged adapter on it.

    Raises:
        SourceError: a model cannot be read.
        MatchError: the models differ in names or shapes; lists every difference.
        MethodError: an unknown method, option or device, a base that is missing or not used, one model under two places.

    Example:
        >>> import torch
        >>> a, b = {"weight": torch.tensor([1.4, 0.9])}, {"weight": torch.tensor([0.8, 1.3])}
        >>> merge([a, b], options={"weights": (1, 0.5)})["weight"]
        tensor([1.2000, 1.0333])
    """
    function = registry.load(method, family="merge")
    record = Record.of(function)
    chosen = Options(function, options or {})
    _check_models(models)
    opened = [open_checkpoint(model) for model in models]
    origin = None if base is None else open_checkpoint(base)
    if any(model.is_adapter for model in (*opened, *([] if origin is None else [origin]))):
        _check_adapters(opened, origin, tokenizer or chat_template)
        return merge_adapters(
            opened,
            merge=merge,
            base=origin,
            method=method,
            options=options,
            seed=seed,
            settings={
                **({} if device == "cpu" else {"device": device}),
                **({"allow_nonfinite": True} if allow_nonfinite else {}),
            },
            merge_space=merge_space,
            rank=rank,
        )
    _check_request(record, origin, tokenizer, for_tokens=tokens or pad_to_multiple_of, for_adapters=merge_space or rank)
    given = [*([] if origin is None else [origin]), *opened]
    models_given, base_given = tuple(opened), origin
    aligned: Aligned | None = None
    rows: dict[str, TokenSource] = {}
    if tokenizer is not None:
        rows = token_sources(tokens or {}, given)
        aligned = align_vocabularies(
            opened,
            origin,
            source="union" if tokenizer == "union" else "base" if tokenizer == "base" else among(given, tokenizer),
            tokens=rows,
            pad_to_multiple_of=pad_to_multiple_of,
            dtype=torch.float32,  # so that what is merged is rounded once
        )
        opened, origin = list(aligned.models), aligned.base
    details = {} if aligned is None else dict(aligned.details)
    for made_common in (in_common, untied) if differences == "common" else (untied,):
        common = made_common(opened, origin)
        opened, origin = list(common.models), common.base
        details |= common.details
        for lost in common.warnings:
            warnings.warn(lost, stacklevel=2)
    everyone = [*([] if origin is None else [origin]), *opened]
    uses_base = record.space == "delta" or "base" in record.inputs
    _check_names(everyone, partial=differences == "common", with_base=uses_base and origin is not None)
    _warn_of_vocabularies(everyone, aligned)
    chosen = dataclasses.replace(
        chosen,
        layers=tuple(find_layers(everyone[0])),
        check=lambda resolved: _try_on_nothing(function, len(opened), resolved),
    )
    names = [*(model.source for model in opened), *([] if origin is None else [origin.source])]
    job = Job(names, device=check_device(device), allow_nonfinite=allow_nonfinite)
    tensors: dict[str, LazyTensor] = {}
    entries: list[Entry] = []
    stored = {name: tensor for checkpoint in reversed(everyone) for name, tensor in checkpoint.tensors.items()}
    with collector_paused():
        for name in dict.fromkeys(name for checkpoint in everyone for name in checkpoint.tensors):
            kept = stored[name]
            if not kept.dtype.is_floating_point:
                tensors[name] = kept
                entries.append(Entry(name, "copied", name, "not floating point: never averaged", kept.num_elements))
                continue
            holders = [number for number, model in enumerate(opened) if name in model]
            own = _tensor(origin, name) if origin is not None and uses_base and name in origin else None
            if len(holders) + (own is not None) == 1 < len(everyone):
                whose = opened[holders[0]] if holders else everyone[0]
                tensors[name] = kept
                entries.append(Entry(name, "copied", name, f"only in {whose.source}", kept.num_elements))
                continue
            resolved = chosen.of(name)
            detail = details.get(name, "")
            if len(holders) < len(opened):
                resolved = of_holders(function, resolved, holders)
                _try_on_nothing(function, len(holders), resolved)
                detail = f"of {', '.join(opened[number].source for number in holders)}, which have it"
            inputs = [_tensor(opened[number], name) for number in holders]
            dtype = next((each.tensors[name].dtype for each in given if name in each.tensors), kept.dtype)
            tensors[name] = CombinedTensor(name, dtype, function, inputs, own, resolved, seed, job=job)
            entries.append(Entry(name, "merged", name, detail, kept.num_elements))
    chosen.warn_of_unused()
    if partial := [name for name in tensors if not all(name in model for model in everyone)]:
        some = ", ".join([*partial[:3], *(["…"] if len(partial) > 3 else [])])
        warnings.warn(f"Not all models have {some}; the ledger says which do.", stacklevel=2)
    parents = [
        *([] if base_given is None else [parent_of(base_given, "base")]),
        *(parent_of(model, "model") for model in models_given),
    ]
    recipe: dict[str, Any] = {"verb": "merge", "method": record.name}
    recipe |= {"models": [told(model) for model in models_given]}
    recipe |= {} if base_given is None else {"base": told(base_given)}
    if tokenizer is not None:
        recipe["tokenizer"] = told(tokenizer) if isinstance(tokenizer, Checkpoint) else str(tokenizer)
        recipe |= {"tokens": plain_tokens(rows)} if rows else {}
        recipe |= {} if pad_to_multiple_of is None else {"pad_to_multiple_of": pad_to_multiple_of}
    recipe |= {} if chat_template is None else {"chat_template": chat_template}
    recipe |= {} if differences is None else {"differences": differences}
    recipe |= {} if device == "cpu" else {"device": device}  # its sums are in another order
    recipe |= {"allow_nonfinite": True} if allow_nonfinite else {}
    recipe |= {"options": told_options} if (told_options := chosen.told()) else {}
    first = everyone[0] if chat_template is None else with_chat_template(everyone[0], chat_template, given)
    return dataclasses.replace(
        first,
        tensors=tensors,
        source=f"merge({', '.join(checkpoint.source for checkpoint in everyone)})",
        revision=None,
        lineage=Lineage(recipe, tuple(parents), seed, installed_versions()),
        ledger=Ledger(entries),
        origin=None,
    )


def _check_models(models: Sequence[Any]) -> None:
    named = [model for model in models if isinstance(model, str)]
    problems = [f"{name} is given twice" for name in dict.fromkeys(named) if named.count(name) > 1]
    if not models:
        problems.append("there are no models to merge")
    if problems:
        raise MethodError("This merge cannot be done.", problems=problems)


def _check_request(
    record: Record, base: Checkpoint | None, tokenizer: object, *, for_tokens: object, for_adapters: object
) -> None:
    problems = []
    if (record.space == "delta" or "base" in record.needs) and base is None:
        problems.append(f"{record.name} merges differences to a base, and no base is given")
    if base is not None and record.space != "delta" and "base" not in record.inputs and tokenizer is None:
        problems.append(f"{record.name} does not use a base: name it among the models, or leave it out")
    if for_tokens is not None and tokenizer is None:
        problems.append("tokens and pad_to_multiple_of are for where a tokenizer is asked for")
    if for_adapters is not None:
        problems.append("merge_space and rank are for PEFT adapters, and the models are none")
    if problems:
        raise MethodError("This merge cannot be done.", problems=problems)


def _check_adapters(models: Sequence[Checkpoint], base: Checkpoint | None, tokenizer: object) -> None:
    whole = [model.source for model in models if not model.is_adapter]
    problems = [f"{source} is a whole model" for source in whole]
    problems += [f"{model.source} is a PEFT adapter" for model in models if whole and model.is_adapter]
    if base is not None and base.is_adapter:
        problems.append(f"the base {base.source} is a PEFT adapter")
    if tokenizer is not None:
        problems.append("a tokenizer and a chat template are for whole models")
    if problems:
        raise MethodError(
            "Adapters are merged with adapters, and whole models with whole models.",
            problems=problems,
            hint="scionwood.apply_adapter puts an adapter on its model, and makes it a whole one.",
        )


def _warn_of_vocabularies(checkpoints: Sequence[Checkpoint], aligned: Aligned | None) -> None:
    """Say what the shapes do not: that rows of one number stand for different tokens, or what aligning has left out."""
    if aligned is not None:
        found = list(aligned.notes)
    else:
        differences = (difference(checkpoints[0], other) for other in checkpoints[1:])
        found = [f"{told}; {BY_TOKENS} aligns their rows" for told in differences if told is not None]
    for note in found:
        warnings.warn(f"Vocabularies: {note}.", stacklevel=3)


def _tensor(checkpoint: Checkpoint, name: str) -> LazyTensor:
    """A stored tensor by its own name or, where this model ties it, by the name it is stored under."""
    return checkpoint.tensors[checkpoint.ties.get(name, name)]


def _check_names(checkpoints: Sequence[Checkpoint], *, partial: bool, with_base: bool) -> None:
    """Every model must have every tensor, in one shape; where it may be partial, the base and some of them."""
    first = checkpoints[0]
    names = dict.fromkeys(name for checkpoint in checkpoints for name in checkpoint)
    problems = []
    differing: set[str] = set()
    axes: Mapping[str, str] | None = None
    for name in names:
        holders = [checkpoint for checkpoint in checkpoints if name in checkpoint]
        if len(holders) < len(checkpoints) and not (partial and (name in first or not with_base)):
            missing = ", ".join(checkpoint.source for checkpoint in checkpoints if name not in checkpoint)
            problems.append(f"{name} is not in {missing}")
            differing.add(name)
            continue
        shapes = {tuple(_tensor(checkpoint, name).shape) for checkpoint in holders}
        if len(shapes) > 1:
            listed = ", ".join(
                f"{list(_tensor(checkpoint, name).shape)} in {checkpoint.source}" for checkpoint in holders
            )
            axes = named_axes(first) if axes is None else axes
            called = f" ({axes[name]})" if name in axes else ""
            problems.append(f"{name}{called}: {listed}")
            differing.add(name)
    if problems:
        rest = [f"… and {len(problems) - 20} more"] if len(problems) > 20 else []
        of_tokens = {name for checkpoint in checkpoints for name in vocabulary_tensors(checkpoint)}
        hint = "models that are merged must have the same tensors; select or grow makes one shape of another"
        if differing <= of_tokens:
            hint = f"their vocabularies differ: {BY_TOKENS} gives every model a row for every token"
        raise MatchError(
            f"The models cannot be merged with {first.source}: they differ in {len(problems)} tensors.",
            problems=[*problems[:20], *rest],
            hint=hint,
        )


def _try_on_nothing(function: Any, count: int, options: Mapping[str, Any]) -> None:
    """Run the method once on a single number from each model, so that what it refuses is refused before a byte is read."""
    from scionwood.methods.merge.whole import merge_tensors

    ones = [torch.ones(1, 1) * (number + 1) for number in range(count)]
    merge_tensors(function, ones, torch.zeros(1, 1), options)
