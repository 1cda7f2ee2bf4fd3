"""The target's config: what ``like`` and ``set`` ask for."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from scionwood.checkpoint import Checkpoint, open_config
from scionwood.errors import MethodError, nearest
from scionwood.methods.select.depth import blocks

__all__ = ["Target", "class_counts", "target_config"]

Target: TypeAlias = "str | Path | Mapping[str, Any] | Checkpoint | nn.Module | Any"
"""A folder or a file with a config, a hub id, a config (a mapping or transformers' own), a checkpoint, or a module."""


def target_config(
    source: Mapping[str, Any], like: Target | None, overrides: Mapping[str, Any] | None, depth: object
) -> dict[str, Any]:
    """Return the config of the target.

    Args:
        source: the source's config: the start where ``like`` is not given, and the class where the target names none.
        like: what the target shall be like.
        overrides: sizes by their names in the config; dots lead into parts (``text_config.hidden_size``).
        depth: the depth rule: settings that have an entry for each layer follow it.

    Raises:
        MethodError: neither ``like`` nor ``overrides``, or a name that the config does not have.
    """
    if like is None and not overrides:
        raise MethodError(
            "nothing says what the target shall be", hint="give like=… (--like CONFIG) or set=… (--set hidden_size=256)"
        )
    config = copy.deepcopy(dict(source)) if like is None else _config_of(like)
    if not config.get("architectures") and config.get("model_type") == source.get("model_type"):
        config["architectures"] = source.get("architectures")
    before = copy.deepcopy(config)
    if like is None:
        config = _independent(config)
    unknown = []
    for name, value in (overrides or {}).items():
        if not _assign(config, name, value):
            unknown.append(f"{name}{nearest(name, list(before))}")
    if unknown:
        raise MethodError(
            "the target's config has no such setting",
            problems=unknown,
            hint=f"it has {', '.join(sorted(_sizes(before)))}",
        )
    _follow_depth(before, config, overrides or {}, depth)
    return config


def _config_of(like: Any) -> dict[str, Any]:
    if isinstance(like, Checkpoint):
        return copy.deepcopy(dict(like.config or {}))
    if isinstance(like, nn.Module):
        like = getattr(like, "config", like)
    if hasattr(like, "to_dict"):
        return like.to_dict()
    return copy.deepcopy(dict(open_config(like)))


def class_counts(source: Any, target: Any) -> set[tuple[int, int]] | None:
    """How many things the outputs of two models name, by their configs; nothing, for modules without one."""
    if source is None or target is None:
        return None
    counts = [(getattr(source, name, None), getattr(target, name, None)) for name in ("num_labels", "vocab_size")]
    return {(old, new) for old, new in counts if isinstance(old, int) and isinstance(new, int)}


def _independent(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the family works out from other settings (a head's width from the hidden size), so that it follows them."""
    from transformers import CONFIG_MAPPING

    family = config.get("model_type")
    if not isinstance(family, str) or family not in CONFIG_MAPPING:
        return config
    kind = CONFIG_MAPPING[family]
    kept = copy.deepcopy(config)
    for path in [(name,) for name in config] + [
        (part, name) for part in config if isinstance(config[part], dict) for name in config[part]
    ]:
        if path[-1] in ("model_type", "architectures"):
            continue
        without = copy.deepcopy(kept)
        place = without
        for part in path[:-1]:
            place = place.get(part, {})
        if path[-1] not in place:
            continue
        value = place.pop(path[-1])
        try:
            worked_out: Any = kind.from_dict(kind._decode_special_floats(copy.deepcopy(without))).to_dict()
        except Exception:  # noqa: BLE001, S112 - a setting without which the config is not valid is not worked out
            continue
        for part in path:
            worked_out = worked_out.get(part) if isinstance(worked_out, dict) else None
        if kind._decode_special_floats({"": worked_out}) == kind._decode_special_floats({"": value}):
            kept = without
    return kept


def _assign(config: dict[str, Any], name: str, value: Any) -> bool:
    *path, last = name.split(".")
    place: Any = config
    for part in path:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or (last not in place and not _has_setting(config, path, last)):
        return False
    place[last] = value
    return True


def _has_setting(config: Mapping[str, Any], path: Sequence[str], name: str) -> bool:
    """Whether the family has the setting though its file leaves it at the default."""
    if path:
        return False
    from transformers import CONFIG_MAPPING

    family = config.get("model_type")
    return isinstance(family, str) and family in CONFIG_MAPPING and hasattr(CONFIG_MAPPING[family](), name)


def _sizes(config: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name, value in config.items()
        if isinstance(value, int) and not isinstance(value, bool) and not name.endswith("_id")
    ]


def _follow_depth(
    before: Mapping[str, Any], config: dict[str, Any], overrides: Mapping[str, Any], depth: object
) -> None:
    """A setting with an entry for each layer (which kind of attention it has) goes with the layers that stay."""
    old, new = before.get("num_hidden_layers"), config.get("num_hidden_layers")
    if not isinstance(old, int) or not isinstance(new, int) or new >= old:
        return
    if not isinstance(depth, (str, Sequence)):
        return
    for name, value in config.items():
        if isinstance(value, list) and len(value) == old and name not in overrides:
            config[name] = [value[number] for number in blocks(depth, old, new)]
