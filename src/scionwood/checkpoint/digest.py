"""Digests: which weights these are."""

import hashlib
import struct
from collections.abc import Mapping
from pathlib import Path

from scionwood.checkpoint.bytes_view import bytes_of
from scionwood.checkpoint.checkpoint import Checkpoint
from scionwood.checkpoint.header import DTYPE_CODES
from scionwood.checkpoint.mapping import MappedFile
from scionwood.checkpoint.open import Source, open

__all__ = ["digest"]

SAMPLE_BYTES = 4 << 10
SAMPLE_STRIDE = 1 << 20
TILE_BYTES = 8 << 20


def digest(source: Source, *, full: bool = False, revision: str | None = None) -> str:
    """Return a digest of the weights of a source.

    Without ``full``, ``"sampled-sha256:…"``: SHA-256 over, for every file of weights in the order of their names, the
    name, the size, the header, and the first 4 KiB of every 1 MiB of the data behind it (a torch file has no header
    here: all of it is data). It reads 0.4 % of the files and identifies a checkpoint; a bit that flips in the part that
    is not sampled goes unseen. What is not on disk has no files, and gets the full digest.

    With ``full``, ``"sha256:…"`` over every byte, whatever the files: for every tensor SHA-256 over its name, dtype,
    shape and values, and SHA-256 over these and the ties, in the order of the names. The same weights give the same
    digest in one file, in shards, and in memory.

    Args:
        source: anything that ``open`` takes.
        full: read every byte.
        revision: branch, tag or commit of a hub id.

    Raises:
        SourceError: the source cannot be opened.

    >>> import torch
    >>> digest({"bias": torch.zeros(2)})[:19]
    'sha256:b50838321595'
    """
    checkpoint = open(source, revision=revision)
    if full or not checkpoint.files:
        return "sha256:" + _digest_of_tensors(checkpoint)
    return "sampled-sha256:" + _digest_of_files(checkpoint.files)


def _digest_of_files(files: Mapping[str, Path]) -> str:
    total = hashlib.sha256()
    for name in sorted(files):
        file = MappedFile(files[name])
        header = 0
        if name.endswith(".safetensors"):
            header = min(8 + int.from_bytes(file.bytes(0, 8), "little"), file.size)
        total.update(_framed(name.encode()) + struct.pack("<Q", file.size) + struct.pack("<Q", header))
        total.update(file.view(0, header))
        for start in range(header, file.size, SAMPLE_STRIDE):
            total.update(file.view(start, min(start + SAMPLE_BYTES, file.size)))
    return total.hexdigest()


def _digest_of_tensors(checkpoint: Checkpoint) -> str:
    total = hashlib.sha256()
    for name in sorted(checkpoint):
        total.update(_framed(name.encode()))
        if name in checkpoint.ties:
            total.update(b"tie" + _framed(checkpoint.ties[name].encode()))
            continue
        tensor = checkpoint.tensors[name]
        code = DTYPE_CODES.get(tensor.dtype, str(tensor.dtype))
        one = hashlib.sha256(_framed(name.encode()) + _framed(code.encode()))
        one.update(struct.pack(f"<Q{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape))
        for start, stop in tensor.tiles(TILE_BYTES):
            one.update(bytes_of(tensor.read_rows(start, stop)))
        total.update(one.digest())
    return total.hexdigest()


def _framed(text: bytes) -> bytes:
    """Return the bytes with their length before them, so that no two sequences of parts give the same bytes."""
    return struct.pack("<Q", len(text)) + text
