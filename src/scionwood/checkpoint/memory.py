"""Checkpoints of what is in memory: a module, or a state dict."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from scionwood.checkpoint.checkpoint import Checkpoint
from scionwood.checkpoint.tensor import LazyTensor, MemoryTensor
from scionwood.errors import SourceError

__all__ = ["from_module", "from_state_dict", "stripped_names", "tied_tensors"]


def from_module(module: nn.Module) -> Checkpoint:
    """Return a checkpoint of a module's parameters and persistent buffers; it shares their memory.

    The wrappers of DataParallel, DistributedDataParallel and torch.compile are taken off. ``module.config.to_dict()``
    becomes the config where there is one, with the module's class as its architecture unless it names one.

    Raises:
        SourceError: a tensor has no values (meta device), or an entry of the state dict is no tensor.
    """
    module = _without_wrappers(module)
    entries = {_without_compile_wrapper(name): value for name, value in module.state_dict().items()}
    tensors, ties = tied_tensors(entries, type(module).__name__)
    return Checkpoint(tensors, ties, config=_module_config(module), source=type(module).__name__)


def from_state_dict(entries: Mapping[str, Any], source: str = "memory") -> Checkpoint:
    """Return a checkpoint of a state dict; it shares its memory. Prefixes that wrappers leave are stripped.

    Raises:
        SourceError: a tensor has no values (meta device), or an entry is no tensor.
    """
    tensors, ties = tied_tensors(stripped_names(entries, source), source)
    return Checkpoint(tensors, ties, source=source)


def stripped_names(entries: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the entries without ``module.``, if every name begins with it, and without ``_orig_mod.`` anywhere.

    >>> stripped_names({"module._orig_mod.a.weight": 1, "module._orig_mod.b": 2}, "memory")
    {'a.weight': 1, 'b': 2}
    """
    names = {name: _without_compile_wrapper(name) for name in entries if isinstance(name, str)}
    if names and all(name.startswith("module.") for name in names.values()):
        names = {name: _without_compile_wrapper(short.removeprefix("module.")) for name, short in names.items()}
    if len(names) != len(entries):
        unfit = [repr(name) for name in entries if not isinstance(name, str)]
        raise SourceError(f"{source} has names that are not text.", problems=unfit[:20])
    if len(set(names.values())) != len(names):
        raise SourceError(f"{source} has names that are the same once 'module.' and '_orig_mod.' are taken off.")
    return {names[name]: value for name, value in entries.items()}


def tied_tensors(
    entries: Mapping[str, Any], source: str, wrap: Callable[[str, Tensor], LazyTensor] = MemoryTensor
) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    """Return the lazy tensors and the ties: of names that show the same memory in the same way, the first is stored."""
    problems = [problem for name, value in entries.items() if (problem := _problem(name, value))]
    if problems:
        raise SourceError(f"{source} cannot be read as weights.", problems=problems[:20])
    tensors: dict[str, LazyTensor] = {}
    ties: dict[str, str] = {}
    stored: dict[Any, str] = {}
    for name, value in entries.items():
        place = (value.device, value.data_ptr(), tuple(value.shape), value.stride(), value.dtype)
        if value.numel() and place in stored:
            ties[name] = stored[place]
        else:
            stored[place] = name
            tensors[name] = wrap(name, value)
    return tensors, ties


def _problem(name: str, value: Any) -> str | None:
    if not isinstance(value, Tensor):
        return f"{name!r} is a {type(value).__name__}, not a tensor"
    if value.is_meta:
        return f"{name!r} is on the meta device and has no values"
    if value.layout != torch.strided or value.is_quantized:
        return f"{name!r} is {'quantised' if value.is_quantized else value.layout}, not a plain dense tensor"
    return None


def _without_wrappers(module: nn.Module) -> nn.Module:
    while True:
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            module = module.module
        elif isinstance(original := getattr(module, "_orig_mod", None), nn.Module):
            module = original
        else:
            return module


def _without_compile_wrapper(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _module_config(module: nn.Module) -> dict[str, Any] | None:
    config = getattr(module, "config", None)
    to_dict = getattr(config, "to_dict", None)
    if not callable(to_dict):
        return None
    try:
        # Through JSON, so that it is what a reader of config.json would find: the keys of id2label are text, and so on.
        plain = json.loads(json.dumps(to_dict()))
    except (TypeError, ValueError) as error:
        raise SourceError(f"The config of {type(module).__name__} cannot be written as JSON: {error}.") from None
    if not plain.get("architectures"):
        plain["architectures"] = [type(module).__name__]
    return plain
