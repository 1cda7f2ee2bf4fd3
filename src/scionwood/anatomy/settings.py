"""Settings: what a family knows of its config beyond what a file says: other names, defaults, and what it works out from the rest."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scionwood.anatomy.reasons import silence

__all__ = ["config_class", "own_name", "worked_out"]


def config_class(config: Mapping[str, Any]) -> Any:
    """The config class of a family in transformers, or nothing.

    >>> config_class({"model_type": "bert"}).__name__, config_class({"model_type": "oak"})
    ('BertConfig', None)
    """
    from transformers import CONFIG_MAPPING

    family = config.get("model_type")
    return CONFIG_MAPPING[family] if isinstance(family, str) and family in CONFIG_MAPPING else None


def own_name(config: Mapping[str, Any], name: str) -> str | None:
    """The name that a config's family gives to a setting, or nothing if it has no such setting.

    >>> own_name({"model_type": "gpt2"}, "num_hidden_layers"), own_name({"model_type": "gpt2"}, "hiden_size")
    ('n_layer', None)
    """
    if name in config:
        return name
    family = config_class(config)
    if family is None:
        return None
    name = family.attribute_map.get(name, name)
    return name if name in config or name in family().to_dict() else None


def worked_out(config: Mapping[str, Any], changes: Mapping[tuple[str, ...], Any]) -> dict[tuple[str, ...], Any]:
    """The settings that a family works out from others (a head's width from the hidden size), as some changes make them.

    Args:
        config: a config, as its file holds it.
        changes: new values by path: ``("hidden_size",)``, ``("text_config", "hidden_size")``.

    Returns:
        The new values of settings that are not among the changes, by path. Nothing, where the family is unknown.

    >>> bert = {"model_type": "bert", "hidden_size": 32, "num_attention_heads": 4}
    >>> worked_out(bert | {"hidden_size": 16}, {})
    {}
    >>> llama = {"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "head_dim": 8}
    >>> worked_out(llama, {("hidden_size",): 16})
    {('head_dim',): 4}
    """
    family = config_class(config)
    if family is None:
        return {}
    free = copy.deepcopy(dict(config))
    dropped: dict[tuple[str, ...], Any] = {}
    for path in _paths(config):
        if path in changes or path[-1] in ("model_type", "architectures") or path[:-1] in dropped:
            continue
        without = copy.deepcopy(free)
        value = _place(without, path).pop(path[-1])
        made = _made(family, without)
        if made is not None and _at(made, path) == family._decode_special_floats(value):
            free, dropped[path] = without, value
    for path, value in changes.items():
        _place(free, path)[path[-1]] = value
    made = _made(family, free)
    if made is None:
        return {}  # the sizes do not go together: building the model says why
    new = {path: family._encode_special_floats(_at(made, path)) for path in dropped}
    return {path: value for path, value in new.items() if value != dropped[path]}


def _paths(config: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in config.items():
        yield (name,)
        if isinstance(value, dict):
            yield from ((name, inner) for inner in value)


def _place(config: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    for part in path[:-1]:
        config = config[part]
    return config


def _at(config: Any, path: Sequence[str]) -> Any:
    for part in path:
        config = config.get(part) if isinstance(config, dict) else None
    return config


def _made(family: Any, config: dict[str, Any]) -> dict[str, Any] | None:
    """The whole config that the family makes of these settings; nothing, if they are not valid."""
    try:
        with silence():
            return family.from_dict(family._decode_special_floats(copy.deepcopy(config))).to_dict()
    except Exception:  # noqa: BLE001 - a config may refuse its sizes with any kind of error
        return None
