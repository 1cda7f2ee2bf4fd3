"""Stack: one model out of ranges of the layers of others, one after another."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import nn

from scionwood.checkpoint import Checkpoint, Entry, LazyTensor, Ledger, Lineage, Source, installed_versions, parent_of
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.parent import told
from scionwood.errors import MatchError, MethodError
from scionwood.verbs.layers import Layers, find_layers, is_listed, layer_settings, settings_of

__all__ = ["stack"]

MOST_LISTED = 20

# By their names: what stands between the last layer and the output, and what between the input and the first one.
_AFTER = re.compile(
    r"(^|\.)(lm_head|embed_out|head|score|classifier|output|output_projection|qa_outputs|cls|pooler"
    r"|norm|norm_f|ln_f|final_norm|final_layernorm|final_layer_norm|layer_norm|post_layernorm|layernorm_post)(\.|$)"
)
_BEFORE = re.compile(
    r"(^|[._])(wte|wpe|cls_token|mask_token|patch|pos|position|conv\d*)(\.|_|$)|(^|[._])embed|embedding"
)


def stack(
    parts: Sequence[Source | nn.Module],
    *,
    layers: Sequence[Sequence[int] | None] | None = None,
    within: str | Sequence[str] | None = None,
) -> Checkpoint:
    """Make a model of the layers of others, one range after another: depth up-scaling, and what is called a frankenmerge.

    Layers are numbered anew. What stands before them, embeddings, is the first part's; what stands after them, the last
    norm and the head, is the last part's. Nothing is computed: the tensors are those of the parts.

    Of a model with several lists of layers, such as an encoder and a decoder, one is stacked; what belongs to the others
    is the first part's.

    Args:
        parts: the models, one for each range; the same one may occur again.
        layers: for each part the first layer and one past the last; None for all of them.
        within: patterns of the names of the layers that are stacked, where a model has several lists of them.

    Returns:
        A lazy checkpoint. Its config and side files are the first part's, with the new number of layers.

    Raises:
        SourceError: a part cannot be read.
        MatchError: tensors of one name in a layer have different shapes.
        MethodError: a range that the part does not have, or a model whose layers cannot be told from its names.

    Example:
        >>> import torch
        >>> model = {f"layers.{n}.{name}": torch.full((2,), n) for n in range(4) for name in ("weight", "bias")}
        >>> stacked = stack([model, model], layers=[(0, 3), (1, 4)])
        >>> [int(stacked[f"layers.{n}.weight"][0]) for n in range(6)]
        [0, 1, 2, 1, 2, 3]
    """
    named: dict[str, Checkpoint] = {}
    opened = [
        named.setdefault(str(part), open_checkpoint(part)) if isinstance(part, (str, Path)) else open_checkpoint(part)
        for part in parts
    ]
    patterns = [within] if isinstance(within, str) else within
    lists = [_only_list(checkpoint, patterns) for checkpoint in opened]
    ranges = _ranges(opened, lists, layers)
    first, last = opened[0], opened[-1]
    tensors: dict[str, LazyTensor] = {}
    ties: dict[str, str] = {}
    entries: list[Entry] = []
    used: set[tuple[int, str]] = set()

    def take(source: Checkpoint, name: str, new: str) -> None:
        kept = source.tensors[source.ties.get(name, name)]
        tensors[new] = kept.named(new)
        used.add((id(source), source.ties.get(name, name)))
        entries.append(Entry(new, "stacked", name, f"of {source.source}", kept.num_elements))

    before, after = _around(first, lists[0], last, lists[-1])
    for name in before:
        take(first, name, name)
    count = 0
    for checkpoint, own, (start, stop) in zip(opened, lists, ranges, strict=True):
        blocks: dict[int, list[tuple[str, str]]] = {}
        for name in checkpoint.tensors:
            if (place := own.split(name)) is not None:
                blocks.setdefault(place[0], []).append((name, place[1]))
        for layer in range(start, stop):
            for name, rest in blocks.get(layer, ()):
                take(checkpoint, name, lists[0].name(count, rest))
            count += 1
    for name in after:
        take(last, name, name)
    for source in (first, last):
        ties |= {alias: kept for alias, kept in source.ties.items() if alias not in tensors and kept in tensors}
    _check_shapes(tensors, Layers(lists[0].prefix, count))
    for checkpoint in dict.fromkeys(opened):
        entries += [
            Entry(name, "dropped", name, f"of {checkpoint.source}: no part holds it", tensor.num_elements)
            for name, tensor in checkpoint.tensors.items()
            if (id(checkpoint), name) not in used
        ]
    told_parts = [
        {"model": told(checkpoint), "layers": [start, stop]}
        for checkpoint, (start, stop) in zip(opened, ranges, strict=True)
    ]
    return dataclasses.replace(
        first,
        tensors=tensors,
        ties=ties,
        config=_config(opened, lists, ranges, count),
        source=f"stack({', '.join(checkpoint.source for checkpoint in opened)})",
        revision=None,
        lineage=Lineage(
            {"verb": "stack", "parts": told_parts, **({} if patterns is None else {"within": list(patterns)})},
            tuple(parent_of(checkpoint, "part") for checkpoint in dict.fromkeys(opened)),
            None,
            installed_versions(),
        ),
        ledger=Ledger(entries),
        origin=None,
    )


def _only_list(checkpoint: Checkpoint, patterns: Sequence[str] | None) -> Layers:
    found = find_layers(checkpoint)
    chosen = [
        layers
        for layers in found
        if patterns is None or any(fnmatchcase(layers.name(0, ""), pattern) for pattern in patterns)
    ]
    if len(chosen) == 1:
        return chosen[0]
    if not found:
        raise MethodError(
            f"{checkpoint.source} has no layers that its names tell.",
            hint="layers are numbered from 0, as in model.layers.0, and as many as the config says",
        )
    listed = ", ".join(f"{layers.prefix} ({layers.count})" for layers in found)
    raise MethodError(
        f"{checkpoint.source} has several lists of layers: {listed}. Only one can be stacked."
        if patterns is None
        else f"{checkpoint.source} has the lists of layers {listed}, and {', '.join(patterns)} fits {len(chosen)} of them.",
        hint="within says which, by a pattern of its names, as in decoder.*; a module of mergekit's stands for such patterns",
    )


def _ranges(
    checkpoints: Sequence[Checkpoint], lists: Sequence[Layers], layers: Sequence[Sequence[int] | None] | None
) -> list[tuple[int, int]]:
    given = [None] * len(checkpoints) if layers is None else list(layers)
    problems = [] if checkpoints else ["there are no parts to stack"]
    if len(given) != len(checkpoints):
        problems.append(f"there are {len(given)} ranges for {len(checkpoints)} parts")
    found: list[tuple[int, int]] = []
    for checkpoint, own, bounds in zip(checkpoints, lists, given, strict=False):
        start, stop = (0, own.count) if bounds is None else (int(bounds[0]), int(bounds[-1]))
        if bounds is not None and (len(bounds) != 2 or not 0 <= start < stop <= own.count):
            problems.append(
                f"{checkpoint.source} has the layers 0 to {own.count - 1}: {list(bounds)} is no range of them "
                "(the first, and one past the last)"
            )
        found.append((start, stop))
    if problems:
        raise MethodError("These layers cannot be stacked.", problems=problems)
    return found


def _around(first: Checkpoint, own: Layers, last: Checkpoint, other: Layers) -> tuple[list[str], list[str]]:
    """The tensors of the first part that stand before its layers, and those of the last that stand after its.

    What belongs to another list of layers is the first part's.
    """
    before, unknown = [], []
    lists = find_layers(first)
    here = own.within(lists)
    beside = tuple(layers.within(lists) for layers in lists if layers != own)
    for name in first.tensors:
        if own.split(name) is None and (name.startswith(beside) or not _is_after(name)):
            before.append(name)
            if name.startswith(here) and not _BEFORE.search(name):
                unknown.append(f"{name} in {first.source}")
    after = [
        name for name in last.tensors if other.split(name) is None and not name.startswith(beside) and _is_after(name)
    ]
    if unknown and first is not last:
        raise MethodError(
            "Some names do not tell whether a tensor stands before the layers or after them.",
            problems=unknown,
            hint="parts that begin and end with one model need not know",
        )
    return before, after


def _is_after(name: str) -> bool:
    return _AFTER.search(name) is not None and _BEFORE.search(name.partition("embed_out")[0]) is None


def _check_shapes(tensors: Mapping[str, LazyTensor], layers: Layers) -> None:
    shapes: dict[str, dict[tuple[int, ...], str]] = {}
    for name, tensor in tensors.items():
        if (place := layers.split(name)) is not None:
            shapes.setdefault(place[1], {}).setdefault(tensor.shape, name)
    problems = [
        ", ".join(f"{name} is {list(shape)}" for shape, name in found.items())
        for found in shapes.values()
        if len(found) > 1
    ]
    if problems:
        more = [f"… and {len(problems) - MOST_LISTED} more"] if len(problems) > MOST_LISTED else []
        raise MatchError(
            "The layers cannot be stacked: they differ in shape.", problems=[*problems[:MOST_LISTED], *more]
        )


def _config(
    checkpoints: Sequence[Checkpoint], lists: Sequence[Layers], ranges: Sequence[tuple[int, int]], count: int
) -> dict[str, Any] | None:
    """The first part's config with the new number of layers, and what it lists for every layer cut and joined likewise."""
    config = checkpoints[0].config
    if config is None:
        return None
    lists_here = find_layers(checkpoints[0])
    paths = set(settings_of(config, lists_here)[lists[0].prefix])
    told_counts = [path for path, told_count in layer_settings(config) if told_count == lists[0].count]
    if count != lists[0].count and told_counts and not paths:
        raise MethodError(
            f"The config of {checkpoints[0].source} does not tell how many layers {lists[0].prefix} has: "
            f"{' and '.join('.'.join(path) for path in told_counts)} may count another list."
        )
    # Of several lists, those settings are this one's that stand where its number does.
    homes = {path[:-1] for path in paths}

    def made(settings: Sequence[Mapping[str, Any]], path: tuple[str, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in settings[0].items():
            values = [each.get(key) for each in settings]
            if (*path, key) in paths:
                result[key] = count
            elif (len(lists_here) == 1 or path in homes) and all(
                is_listed(key, each, own.count) for each, own in zip(values, lists, strict=True)
            ):
                result[key] = [
                    item
                    for each, (start, stop) in zip(values, ranges, strict=True)
                    for item in (each or [])[start:stop]
                ]
            elif all(isinstance(each, Mapping) for each in values):
                result[key] = made([each for each in values if isinstance(each, Mapping)], (*path, key))
            else:
                result[key] = value
        return result

    return made([checkpoint.config or {} for checkpoint in checkpoints], ())
