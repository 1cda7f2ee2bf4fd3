"""Files that torch.save wrote: read as data, never run."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scionwood.checkpoint.mapping import MappedFile
from scionwood.checkpoint.memory import stripped_names, tied_tensors
from scionwood.checkpoint.tensor import LazyTensor, MemoryTensor
from scionwood.errors import SourceError, nearest

__all__ = ["TORCH_SUFFIXES", "read_torch_file"]

TORCH_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt")


def read_torch_file(
    path: Path, entry: str | None = None, label: str | None = None
) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    """Return the tensors and ties of a file that ``torch.save`` wrote, memory-mapped.

    Args:
        path: the file.
        entry: the key under which a training checkpoint keeps the weights. Found by itself where just one of the
            file's entries is a mapping of tensors.
        label: the file's name in errors; the path unless given.

    Raises:
        SourceError: the file would run code, is damaged, or does not hold a state dict.
    """
    label = label or str(path)
    file = MappedFile(path, label)
    value = _load(path, label)
    if entry is not None:
        value = _entry(label, value, entry)
    elif not _is_state_dict(value):
        value = _only_state_dict(label, value)
    return tied_tensors(stripped_names(value, label), label, lambda name, tensor: MemoryTensor(name, tensor, file))


def _load(path: Path, label: str) -> Any:
    try:
        return _load_as_data(path)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        code = f" ({found[1].rstrip('.,')})" if found else ""
        raise SourceError(
            f"{label} holds more than plain tensors{code}, and is not read: that might run code.",
            hint="Save it again where you trust it, with safetensors.torch.save_file(state_dict, ...).",
        ) from None
    except OSError as error:
        raise SourceError(f"{label} cannot be read: {error.strerror or error}.") from None
    except (EOFError, KeyError, IndexError):  # they name an opcode, or nothing
        raise SourceError(f"{label} is damaged, or not a file that torch.save wrote.") from None
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SourceError(f"{label} is damaged, or not a file that torch.save wrote: {reason.rstrip('.')}.") from None


def _load_as_data(path: Path) -> Any:
    with warnings.catch_warnings():
        # Of pickle protocols that torch does not write itself: either it can read them or it says that it cannot.
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            # Files older than torch 1.6 are not zip archives and cannot be mapped; they are read whole, still as data.
            if "mmap can only be used" not in str(error):
                raise
            return torch.load(path, map_location="cpu", weights_only=True, mmap=False)


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(item, torch.Tensor) for item in value.values())


def _only_state_dict(label: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SourceError(f"{label} holds a {type(value).__name__}, not a state dict.")
    if not value:
        return value
    found = [str(key) for key, item in value.items() if _is_state_dict(item)]
    if len(found) == 1:
        return next(item for item in value.values() if _is_state_dict(item))
    if found:
        names = ", ".join(repr(name) for name in found)
        raise SourceError(
            f"{label} holds several state dicts: {names}.", hint=f"Say which one, for example entry={found[0]!r}."
        )
    unfit = [f"{key!r} is a {type(item).__name__}" for key, item in value.items() if not isinstance(item, torch.Tensor)]
    raise SourceError(f"{label} holds entries that are no tensors.", problems=unfit[:20])


def _entry(label: str, value: Any, entry: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or entry not in value:
        known = [str(key) for key in value] if isinstance(value, Mapping) else []
        raise SourceError(f"{label} has no entry {entry!r}{nearest(entry, known)}.")
    if not isinstance(value[entry], Mapping):
        raise SourceError(f"The entry {entry!r} of {label} is a {type(value[entry]).__name__}, not a state dict.")
    return value[entry]
