"""The header of a safetensors file, parsed and made: the format in one place.

A file is 8 bytes of little-endian length N, N bytes of JSON ``{name: {"dtype", "shape", "data_offsets"}}`` (beginning
with ``{``, padded with spaces), and the values, back to back, without holes or overlaps.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from scionwood.checkpoint.mapping import MappedFile
from scionwood.checkpoint.strict_json import parse_json_object
from scionwood.errors import SourceError, nearest

__all__ = ["DTYPES", "DTYPE_CODES", "Header", "StoredTensor", "encode_header", "parse_header"]

MOST_HEADER_BYTES = 100_000_000

DTYPES: dict[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
"""The dtypes of the format that torch has, by their code in a header."""

DTYPE_CODES: dict[torch.dtype, str] = {dtype: code for code, dtype in DTYPES.items()}
"""The code in a header of every dtype that can be stored."""


@dataclass(frozen=True)
class StoredTensor:
    """One entry of a header: the values are the bytes ``[start, stop)`` behind the header."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """A whole header: the tensors in the order of their bytes, the metadata, and where the values begin."""

    tensors: tuple[StoredTensor, ...]
    metadata: dict[str, str]
    data_start: int


def parse_header(file: MappedFile) -> Header:
    """Return the header of a safetensors file after checking everything that can be checked without the values.

    Raises:
        SourceError: the length, the JSON, a dtype, a shape or an offset is wrong; all that is wrong is listed.
    """
    path = file.label
    if file.size < 8:
        raise SourceError(f"{path} is cut short: {file.size} bytes, where a safetensors header takes 8 at least.")
    length = int.from_bytes(file.bytes(0, 8), "little")
    if length > MOST_HEADER_BYTES:
        raise SourceError(
            f"{path} is not a safetensors file: it claims a header of {length:,} bytes, more than {MOST_HEADER_BYTES:,}."
        )
    if 8 + length > file.size:
        raise SourceError(f"{path} is cut short: its header has {length:,} bytes, the file only {file.size:,}.")
    text = file.bytes(8, 8 + length)
    if not text.startswith(b"{"):
        raise SourceError(f"{path} is not a safetensors file: its header does not begin with '{{'.")
    problems: list[str] = []
    entries = parse_json_object(text, f"the header of {path}")
    metadata = _checked_metadata(entries.pop("__metadata__", {}), problems)
    tensors = [tensor for name, entry in entries.items() if (tensor := _checked_entry(name, entry, problems))]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.stop))
    if not problems:
        _check_layout(tensors, file.size - 8 - length, problems)
    if problems:
        raise SourceError(f"The header of {path} is damaged.", problems=_first(problems))
    return Header(tuple(tensors), metadata, 8 + length)


def encode_header(tensors: Iterable[StoredTensor], metadata: Mapping[str, str]) -> bytes:
    """Return the length and the header of a file with these tensors, padded to a multiple of 8 bytes.

    >>> encode_header([StoredTensor("bias", torch.bfloat16, (2,), 0, 4)], {"format": "pt"})[8:]
    b'{"__metadata__":{"format":"pt"},"bias":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}       '
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": DTYPE_CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [tensor.start, tensor.stop],
        }
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _checked_metadata(metadata: Any, problems: list[str]) -> dict[str, str]:
    if not isinstance(metadata, dict):
        problems.append(f"__metadata__ is a {type(metadata).__name__}, not an object")
        return {}
    problems.extend(
        f"__metadata__ {key!r} is a {type(value).__name__}, not a string"
        for key, value in metadata.items()
        if not isinstance(value, str)
    )
    return metadata


_KEYS = {"dtype", "shape", "data_offsets"}


def _checked_entry(name: str, entry: Any, problems: list[str]) -> StoredTensor | None:
    """Return the entry, or None after adding what is wrong with it to the problems."""
    if not isinstance(entry, dict) or entry.keys() != _KEYS:
        problems.append(f"{name!r} is not an object of dtype, shape and data_offsets")
        return None
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        problems.append(f"{name!r} has the unknown dtype {code!r}{nearest(str(code), list(DTYPES))}")
        return None
    if not isinstance(shape, list) or not all(map(_is_size, shape)):
        problems.append(f"{name!r} has the shape {shape!r}, not a list of sizes")
        return None
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
        problems.append(f"{name!r} has the offsets {offsets!r}, not two numbers")
        return None
    start, stop = offsets
    needed = math.prod(shape) * DTYPES[code].itemsize
    if stop - start != needed:
        problems.append(
            f"{name!r} takes {needed:,} bytes as {code} {shape}, but its offsets {offsets} span {stop - start:,}"
        )
        return None
    return StoredTensor(name, DTYPES[code], tuple(shape), start, stop)


def _check_layout(tensors: list[StoredTensor], size: int, problems: list[str]) -> None:
    end = 0
    for tensor in tensors:
        if tensor.start < end:
            problems.append(f"{tensor.name!r} begins at byte {tensor.start:,}, inside the tensor before it")
        elif tensor.start > end:
            problems.append(f"{tensor.start - end:,} bytes before {tensor.name!r} belong to no tensor")
        end = max(end, tensor.stop)
    if end > size:
        problems.append(f"the tensors end at byte {end:,} of the data, but the file ends at {size:,}: it is cut short")
    elif end < size:
        problems.append(f"{size - end:,} bytes at the end of the file belong to no tensor")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _first(problems: list[str], most: int = 20) -> list[str]:
    rest = len(problems) - most
    return problems if rest <= 0 else [*problems[:most], f"… and {rest} more"]
