"""Join: one model of parts of others, told apart by the names of their tensors."""

import dataclasses
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import nn

from scionwood.checkpoint import Checkpoint, Entry, LazyTensor, Ledger, Lineage, Source, installed_versions, parent_of
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.parent import told
from scionwood.errors import MatchError, MethodError
from scionwood.verbs.layers import find_layers, is_listed, settings_of

__all__ = ["join"]

MOST_LISTED = 20


def join(
    parts: Sequence[Source | nn.Module], *, tensors: Sequence[str | Sequence[str] | None] | None = None
) -> Checkpoint:
    """Make a model of parts of others, such as the encoder of one and the decoder of another.

    Each tensor is that of the first part whose patterns fit its name; if that part has none of this name, there is none.
    Nothing is computed.

    Args:
        parts: the models that parts are taken of.
        tensors: for each of them patterns of the names that it gives; None for all the rest.

    Returns:
        A lazy checkpoint. Its config and side files are the first part's, with the numbers of layers that the parts have.

    Raises:
        SourceError: a part cannot be read.
        MatchError: parts of models of different sizes.
        MethodError: tensors that no part gives, or a part that gives none.

    Example:
        >>> import torch
        >>> a, b = ({f"{side}.weight": torch.full((2,), n) for side in ("encoder", "decoder")} for n in (1, 2))
        >>> joined = join([a, b], tensors=["encoder.*", None])
        >>> joined["encoder.weight"], joined["decoder.weight"]
        (tensor([1, 1]), tensor([2, 2]))
    """
    named: dict[str, Checkpoint] = {}
    opened = [
        named.setdefault(str(part), open_checkpoint(part)) if isinstance(part, (str, Path)) else open_checkpoint(part)
        for part in parts
    ]
    patterns = [
        ["*"] if each is None else [each] if isinstance(each, str) else list(each)
        for each in ([None] * len(opened) if tensors is None else tensors)
    ]
    owners = _owners(opened, patterns)
    _check_sizes(opened, owners)
    made: dict[str, LazyTensor] = {}
    entries: list[Entry] = []
    for name, number in owners.items():
        owner = opened[number]
        if name in owner.tensors:
            made[name] = owner.tensors[name]
            entries.append(Entry(name, "joined", name, f"of {owner.source}", made[name].num_elements))
    entries += [
        Entry(name, "dropped", name, f"of {part.source}: {opened[owners[name]].source} has none", tensor.num_elements)
        for part in dict.fromkeys(opened)
        for name, tensor in part.tensors.items()
        if name not in made
    ]
    ties = {
        alias: kept
        for part in reversed(opened)
        for alias, kept in part.ties.items()
        if alias not in made and kept in made
    }
    told_parts = [{"model": told(part), "tensors": each} for part, each in zip(opened, patterns, strict=True)]
    first = opened[0]
    return dataclasses.replace(
        first,
        tensors=made,
        ties=ties,
        config=_config(opened, owners),
        source=f"join({', '.join(part.source for part in opened)})",
        revision=None,
        lineage=Lineage(
            {"verb": "join", "parts": told_parts},
            tuple(parent_of(part, "part") for part in dict.fromkeys(opened)),
            None,
            installed_versions(),
        ),
        ledger=Ledger(entries),
        origin=None,
    )


def _owners(parts: Sequence[Checkpoint], patterns: Sequence[Sequence[str]]) -> dict[str, int]:
    """The name of every tensor of any part → the number of the part that says whether it is there."""
    if not parts or len(parts) != len(patterns):
        raise MethodError(f"There are {len(parts)} models to join, and {len(patterns)} lists of patterns.")
    found: dict[str, int] = {}
    left: dict[str, Checkpoint] = {}
    for part in parts:
        for name in part.tensors:
            if name in found or name in left:
                continue
            fitting = (n for n, each in enumerate(patterns) if any(fnmatchcase(name, pattern) for pattern in each))
            number = next(fitting, None)
            if number is None:
                left[name] = part
            else:
                found[name] = number
    givers = {number for name, number in found.items() if name in parts[number].tensors}
    problems = [
        f"{part.source} gives nothing as {', '.join(patterns[number])}"
        for number, part in enumerate(parts)
        if number not in givers
    ]
    kept = Ledger(Entry(name, "left", None, f"of {part.source}") for name, part in left.items())
    problems += [f"no part gives {kind.strip()}" for kind in kept.summary(lines_per_action=MOST_LISTED)[1:]]
    if problems:
        raise MethodError(
            "These parts do not make a model.",
            problems=problems,
            hint="patterns are of whole names, as in encoder.*; a last part without any, a module default, gives the rest",
        )
    return found


def _check_sizes(parts: Sequence[Checkpoint], owners: Mapping[str, int]) -> None:
    """Tensors outside of layers that two parts have tell whether these are of one size."""
    lists = [layers for part in parts for layers in find_layers(part)]
    problems = []
    for name in owners:
        if any(layers.split(name) for layers in lists):
            continue
        shapes: dict[tuple[int, ...], str] = {}
        for part in parts:
            if name in part.tensors:
                shapes.setdefault(part.tensors[name].shape, part.source)
        if len(shapes) > 1:
            problems.append(f"{name}: {', '.join(f'{list(shape)} in {source}' for shape, source in shapes.items())}")
    if problems:
        more = [f"… and {len(problems) - MOST_LISTED} more"] if len(problems) > MOST_LISTED else []
        raise MatchError("These parts are of models of different sizes.", problems=[*problems[:MOST_LISTED], *more])


def _config(parts: Sequence[Checkpoint], owners: Mapping[str, int]) -> dict[str, Any] | None:
    """The first part's config; what counts the layers that another part gives, and is listed for each, is that part's."""
    config = parts[0].config
    for number, part in enumerate(parts):
        if config is None or part.config is None or not number:
            continue
        lists = find_layers(part)
        paths = settings_of(part.config, lists)
        for layers in lists:
            if any(owner == number and layers.split(name) for name, owner in owners.items()):
                for path in paths[layers.prefix]:
                    config = _with(config, part.config, path, layers.count)
    return config


def _with(config: Mapping[str, Any], other: Mapping[str, Any], path: Sequence[str], count: int) -> dict[str, Any]:
    """A config with a setting of another one, and with what stands beside it there for every layer."""
    if len(path) > 1:
        own, others = (each.get(path[0]) for each in (config, other))
        inside = (
            _with(own, others, path[1:], count) if isinstance(own, Mapping) and isinstance(others, Mapping) else own
        )
        return {**config, path[0]: inside}
    return {**config, **{key: value for key, value in other.items() if key == path[0] or is_listed(key, value, count)}}
