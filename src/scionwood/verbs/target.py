"""The target's config: what ``like`` and ``set`` ask for."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from scionwood.anatomy.build import shapes_of
from scionwood.anatomy.settings import own_name, worked_out
from scionwood.checkpoint import Checkpoint, open_config
from scionwood.errors import MethodError, nearest
from scionwood.methods.select.depth import blocks

__all__ = ["Depth", "Target", "class_counts", "target_config", "with_dtype"]

Target: TypeAlias = "str | Path | Mapping[str, Any] | Checkpoint | nn.Module | Any"
"""A folder or a file with a config, a hub id, a config (a mapping or transformers' own), a checkpoint, or a module."""

Depth: TypeAlias = str | Sequence[int] | Mapping[str, str | Sequence[int]]
"""A depth rule, the numbers of the blocks, or either for each list of blocks."""


def target_config(
    source: Mapping[str, Any],
    like: Target | None,
    changes: Mapping[str, Any] | None,
    depth: Depth,
    *,
    deeper: Callable[[str | Sequence[int], int, int], Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Return the config of the target.

    Args:
        source: the source's config: the start where ``like`` is not given, and the class where the target names none.
        like: what the target shall be like.
        changes: settings by their names in the config; dots lead into parts (``text_config.hidden_size``). Settings that the family
            works out from them follow, and so do lists with an entry for each layer.
        depth: which blocks stay: the lists keep the same.
        deeper: for a deeper target, which block of the source each of its blocks is, by a rule and both depths.

    Raises:
        MethodError: neither ``like`` nor ``changes``, or a name that the config does not have.
    """
    if like is None and not changes:
        raise MethodError(
            "nothing says what the target shall be", hint="give like=… (--like CONFIG) or set=… (--set hidden_size=256)"
        )
    before = copy.deepcopy(dict(source)) if like is None else config_of(like)
    if not before.get("architectures") and before.get("model_type") == source.get("model_type"):
        before["architectures"] = source.get("architectures")
    _check_settings(changes or {})
    asked = _paths(before, changes or {})
    _check_signs(before, asked)
    config = copy.deepcopy(before)
    # What a file asks for is taken at its word; a source's own settings are a start, and follow what is changed.
    for path, value in [*(worked_out(before, asked) if like is None else {}).items(), *asked.items()]:
        _part(config, path[:-1])[path[-1]] = value
    _follow_depth(before, config, asked, depth, deeper)
    return config


def config_of(like: Any) -> dict[str, Any]:
    """The config that a target is given by, as its file would hold it."""
    if isinstance(like, Checkpoint):
        return copy.deepcopy(dict(like.config or {}))
    if isinstance(like, nn.Module):
        like = getattr(like, "config", like)
    if hasattr(like, "to_json_string"):
        return json.loads(like.to_json_string())
    return copy.deepcopy(dict(open_config(like)))


def class_counts(source: Any, target: Any) -> set[tuple[int, int]] | None:
    """How many things the outputs of two models name, by their configs; nothing, for modules without one."""
    if source is None or target is None:
        return None
    counts = [(getattr(source, name, None), getattr(target, name, None)) for name in ("num_labels", "vocab_size")]
    return {(old, new) for old, new in counts if isinstance(old, int) and isinstance(new, int)}


def with_dtype(config: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Say in a config, and in its parts that say it, which dtype the weights have.

    >>> with_dtype({"torch_dtype": "float32", "text_config": {"dtype": "float32"}}, torch.bfloat16)
    {'text_config': {'dtype': 'bfloat16'}, 'dtype': 'bfloat16'}
    """
    name = str(dtype).removeprefix("torch.")
    result = {key: value for key, value in config.items() if key != "torch_dtype"}
    for key, value in result.items():
        if isinstance(value, dict) and {"dtype", "torch_dtype"} & set(value):
            result[key] = with_dtype(value, dtype)
    return {**result, "dtype": name}


def _check_settings(changes: Mapping[str, Any]) -> None:
    """Refuse to change what a model is, rather than a size of it."""
    wrong = [name for name in changes if name.rpartition(".")[2] in ("model_type", "architectures", "auto_map")]
    if wrong:
        raise MethodError(
            f"{' and '.join(wrong)} cannot be set: the target is a model of the source's kind",
            hint="for another class of the family give its config (--like CONFIG)",
        )


def _paths(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """The changes by path, under the names that the config's family has for them."""
    found: dict[tuple[str, ...], Any] = {}
    unknown = []
    for name, value in changes.items():
        *path, last = name.split(".")
        part = _part(config, path)
        own = None if part is None else own_name(part, last)
        if isinstance(part, dict) and last == "num_labels" and isinstance(value, int) and value > 0:
            # A config stores the classes by name; another number of them means names that say no more.
            if len(part.get("id2label") or ()) != value:
                found[*path, "id2label"] = {str(number): f"LABEL_{number}" for number in range(value)}
                found[*path, "label2id"] = {f"LABEL_{number}": number for number in range(value)}
        elif isinstance(part, dict) and isinstance(part.get(last), dict) and not isinstance(value, dict):
            unknown.append(f"{name} is made of settings of its own: {name}.{next(iter(part[last]), '…')}, …")
        elif own is None:
            unknown.append(f"{name}{nearest(name, _sizes(config)) or nearest(name, list(_names(config)))}")
        else:
            found[*path, own] = value
    if unknown:
        raise MethodError(
            "the target's config has no such setting",
            problems=unknown,
            hint=f"its sizes are {', '.join(sorted(_sizes(config)))}",
        )
    return found


def _check_signs(before: dict[str, Any], asked: Mapping[tuple[str, ...], Any]) -> None:
    """Refuse sizes below zero, at which every family fails in its own words."""
    wrong = [
        f"{'.'.join(path)} is {value}"
        for path, value in asked.items()
        if type(value) is int and value < 0 and type(old := _at(before, path)) is int and old > 0
    ]
    if wrong:
        raise MethodError("sizes must be positive", problems=wrong)


def _at(config: dict[str, Any], path: Sequence[str]) -> Any:
    part = _part(config, path[:-1])
    return None if part is None else part.get(path[-1])


def _part(config: dict[str, Any], path: Sequence[str]) -> Any:
    place: Any = config
    for part in path:
        place = place.get(part) if isinstance(place, dict) else None
    return place if isinstance(place, dict) else None


def _names(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)


def _sizes(config: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name in _names(config)
        if isinstance(value := _value(config, name), int)
        and not isinstance(value, bool)
        and not name.endswith("_id")
        and ("." not in name or "_config." in name)
    ]


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _follow_depth(
    before: Mapping[str, Any],
    config: dict[str, Any],
    asked: Mapping[tuple[str, ...], Any],
    depth: Depth,
    deeper: Callable[[str | Sequence[int], int, int], Sequence[int]] | None,
) -> None:
    """A setting with an entry for each layer (which kind of attention it has) goes with the layers that stay."""
    rules = list(depth.values()) if isinstance(depth, Mapping) else [depth]
    for path in [(), *((name,) for name, value in before.items() if isinstance(value, dict))]:
        was, now = _part(dict(before), path), _part(config, path)
        name = own_name(was, "num_hidden_layers")
        old, new = was.get(name), now.get(name)
        if name is None or len(rules) != 1 or not isinstance(old, int) or not isinstance(new, int) or new == old:
            continue
        if new > old and deeper is None:
            continue
        # A list as long as another count of layers (the convolutions before a transformer) is not known to be of these.
        others = [key for key in was if key.startswith("num_") and key.endswith("_layers") and key != name]
        if old in [was[key] for key in others]:
            continue
        lists = {key for key, value in was.items() if isinstance(value, list) and len(value) == old}
        for key in _entries_for_each_layer(before, path, name, lists):
            if (*path, key) not in asked:
                chosen = blocks(rules[0], old, new) if new < old or deeper is None else deeper(rules[0], old, new)
                now[key] = [was[key][number] for number in chosen]


def _entries_for_each_layer(
    config: Mapping[str, Any], path: Sequence[str], depth: str, lists: AbstractSet[str]
) -> set[str]:
    """Those of some lists without one entry more in which a model of one layer more is another, or cannot be built."""

    def deeper(longer: AbstractSet[str]) -> dict[str, tuple[int, ...]] | None:
        made = copy.deepcopy(dict(config))
        part = _part(made, path)
        part[depth] += 1
        for key in longer:
            part[key] = [*part[key], part[key][-1]]
        return shapes_of(made)

    found = {key for key in lists if "layer" in key}
    unknown = lists - found
    # Two numbers of another kind may stand there by chance, as a size or a range does, of which no model takes three.
    together = deeper(lists) if unknown else None
    for key in unknown:
        longer = found | {key} if together is None else lists
        whole = deeper(longer) if together is None else together
        if whole is not None and whole != deeper(longer - {key}):
            found.add(key)
    return found
