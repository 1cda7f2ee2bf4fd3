"""What will be written where, decided before anything is written."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from scionwood.checkpoint.checkpoint import Checkpoint, format_bytes
from scionwood.checkpoint.header import DTYPE_CODES, MOST_HEADER_BYTES, StoredTensor, encode_header
from scionwood.checkpoint.tensor import LazyTensor
from scionwood.errors import OutputError, nearest

__all__ = ["Shard", "parse_dtype", "parse_size", "plan_shards", "shard_index", "with_dtype"]

_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}
_SHORT_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp64": "float64"}
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}B": 1000 ** (power + 1) for power, prefix in enumerate("KMGT")}
_UNITS |= {f"{prefix}IB": 1024 ** (power + 1) for power, prefix in enumerate("KMGT")}


@dataclass(frozen=True)
class Shard:
    """One file of weights: its header, and which tensor begins at which byte of the file."""

    name: str
    header: bytes
    tensors: tuple[LazyTensor, ...]
    offsets: tuple[int, ...]
    size: int


def parse_size(size: int | str) -> int:
    """Return a size in bytes: a whole number, or text like ``"5GB"`` (powers of 1000) or ``"5GiB"`` (of 1024).

    Raises:
        OutputError: the text is not a size, or the size is not positive.

    >>> parse_size("5GB"), parse_size("1.5 MiB")
    (5000000000, 1572864)
    """
    if isinstance(size, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", size)
        if not found or found[2].upper() not in _UNITS:
            raise OutputError(f"{size!r} is not a size.", hint='Write it like "5GB", "500MB" or "2GiB".')
        size = int(float(found[1]) * _UNITS[found[2].upper()])
    if size <= 0:
        raise OutputError(f"{size} bytes hold nothing; a size must be positive.")
    return size


def parse_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Return a dtype that floating tensors can be cast to: float32, float16, bfloat16 or float64, or their short names.

    Raises:
        OutputError: another dtype.

    >>> parse_dtype("bf16")
    torch.bfloat16
    """
    name = str(dtype).removeprefix("torch.").lower()
    name = _SHORT_DTYPES.get(name, name)
    if name not in _DTYPES:
        raise OutputError(
            f"Weights cannot be cast to {name!r}, only to {', '.join(_DTYPES)}{nearest(name, list(_DTYPES))}."
        )
    return _DTYPES[name]


def with_dtype(tensors: Mapping[str, LazyTensor], dtype: torch.dtype) -> dict[str, LazyTensor]:
    """Return the tensors with the floating ones in another dtype; whole numbers, truth values and complex ones stay.

    Raises:
        OutputError: some are 8-bit floats: their values mean nothing without scales, which a cast does not apply.
    """
    coded = [name for name, tensor in tensors.items() if tensor.dtype.is_floating_point and tensor.dtype.itemsize == 1]
    if coded:
        raise OutputError(
            f"{len(coded)} tensors are 8-bit floats, such as {coded[0]!r}; a cast would lose their scales.",
            hint="Leave dtype out, or dequantise the model first.",
        )
    return {
        name: tensor.cast(dtype) if tensor.dtype.is_floating_point and tensor.dtype != dtype else tensor
        for name, tensor in tensors.items()
    }


def plan_shards(
    checkpoint: Checkpoint, metadata: Mapping[str, str], *, stem: str, shard_size: int | None
) -> list[Shard]:
    """Return the files to be written: tensors in their order, each into the first file that is not full.

    Within a file the tensors with larger elements come first, so that every one is aligned to its elements. A tensor
    larger than ``shard_size`` has a file of its own.

    Args:
        checkpoint: what is to be written.
        metadata: of every file; the ties are added to the file that has the stored tensor.
        stem: ``"model"`` for ``model.safetensors`` or ``model-00001-of-00002.safetensors``.
        shard_size: most bytes of values in a file; None for one file.

    Raises:
        OutputError: a dtype that the format does not have, a name that it cannot hold, or too long a header.
    """
    _check_storable(checkpoint, metadata)
    groups = _groups(list(checkpoint.tensors.values()), shard_size)
    shards: list[Shard] = []
    for number, group in enumerate(groups, start=1):
        name = f"{stem}.safetensors" if len(groups) == 1 else f"{stem}-{number:05d}-of-{len(groups):05d}.safetensors"
        names = {tensor.name for tensor in group}
        ties = {alias: kept for alias, kept in checkpoint.ties.items() if kept in names}
        shards.append(_shard(name, group, {**metadata, **ties}))
    return shards


def shard_index(shards: Sequence[Shard]) -> dict[str, object]:
    """Return what ``model.safetensors.index.json`` says: the sizes, and in which file each tensor is."""
    tensors = [tensor for shard in shards for tensor in shard.tensors]
    return {
        "metadata": {
            "total_parameters": sum(tensor.num_elements for tensor in tensors),
            "total_size": sum(tensor.nbytes for tensor in tensors),
        },
        "weight_map": {tensor.name: shard.name for shard in shards for tensor in shard.tensors},
    }


def _groups(tensors: list[LazyTensor], shard_size: int | None) -> list[list[LazyTensor]]:
    groups: list[list[LazyTensor]] = [[]]
    size = 0
    for tensor in tensors:
        if shard_size is not None and groups[-1] and size + tensor.nbytes > shard_size:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.nbytes
    return groups


def _shard(name: str, group: list[LazyTensor], metadata: Mapping[str, str]) -> Shard:
    tensors = sorted(group, key=lambda tensor: -tensor.dtype.itemsize)
    stored: list[StoredTensor] = []
    end = 0
    for tensor in tensors:
        stored.append(StoredTensor(tensor.name, tensor.dtype, tensor.shape, end, end + tensor.nbytes))
        end += tensor.nbytes
    header = encode_header(stored, metadata)
    if len(header) - 8 > MOST_HEADER_BYTES:
        raise OutputError(f"The header of {name} takes {format_bytes(len(header))}; the format ends at 100 MB.")
    offsets = tuple(len(header) + entry.start for entry in stored)
    return Shard(name, header, tuple(tensors), offsets, len(header) + end)


def _check_storable(checkpoint: Checkpoint, metadata: Mapping[str, str]) -> None:
    problems = [
        f"{alias!r} cannot be the name of a tied tensor in a safetensors file"
        for alias in checkpoint.ties
        if alias in metadata or not _is_text(alias)
    ]
    for name, tensor in checkpoint.tensors.items():
        if tensor.name != name:
            problems.append(f"{name!r} calls itself {tensor.name!r}")
        if tensor.dtype not in DTYPE_CODES:
            problems.append(f"{name!r} is {str(tensor.dtype).removeprefix('torch.')}, which safetensors does not have")
        if name == "__metadata__" or not _is_text(name):
            problems.append(f"{name!r} cannot be the name of a tensor in a safetensors file")
    if problems:
        raise OutputError("The checkpoint cannot be written as safetensors.", problems=problems[:20])


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
