"""The checkpoint: what every verb takes and gives."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from scionwood.checkpoint.ledger import Ledger
from scionwood.checkpoint.lineage import Lineage
from scionwood.checkpoint.tensor import LazyTensor
from scionwood.errors import nearest

__all__ = ["Checkpoint", "Origin", "format_bytes"]


@dataclass(frozen=True)
class Origin:
    """The files that a checkpoint was opened from.

    Args:
        tensors: what they hold. A checkpoint with other tensors is no longer what is in the files.
        files: name → path of the files of weights.
        folder: the folder, when a folder was opened and not one file in it.
    """

    tensors: Mapping[str, LazyTensor]
    files: Mapping[str, Path]
    folder: Path | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Checkpoint(Mapping[str, Tensor]):
    """A lazy, ordered mapping from names to tensors, with its config and its side files.

    As a mapping it holds every name, the tied ones too, so that ``module.load_state_dict(dict(checkpoint))`` is strict.
    ``checkpoint[name]`` reads a tensor that is the caller's own. ``tensors`` holds what is stored, unread.

    Args:
        tensors: what is stored: name → lazy tensor, names as on disk, in the order of the output.
        ties: a name that is not stored → the stored name it shares.
        config: ``config.json``; ``adapter_config.json`` for an adapter.
        side_files: name in the folder → path: tokenizer, generation config, …: copied through when writing.
        documents: name in the folder → contents, of files that were made and not copied: a merged tokenizer, a chat
            template. They take the place of side files of the same names.
        source: how the user named it.
        revision: the commit that a hub id resolved to.
        lineage: recipe, parents by digest, seed, versions.
        ledger: what a verb did to every tensor, and why.
        origin: the files it was opened from; they stay what it reads from when ``dataclasses.replace`` gives it other
            tensors, and are never written over.

    >>> import torch
    >>> from scionwood.checkpoint import open
    >>> checkpoint = open({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
    >>> checkpoint
    Checkpoint('memory': 2 tensors, 8 parameters, 32 bytes, float32)
    >>> checkpoint.tensors["weight"]
    MemoryTensor('weight', [2, 3], float32)
    >>> checkpoint["bias"]
    tensor([0., 0.])
    """

    tensors: Mapping[str, LazyTensor]
    ties: Mapping[str, str] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    side_files: Mapping[str, Path] = field(default_factory=dict)
    documents: Mapping[str, bytes] = field(default_factory=dict)
    source: str = "memory"
    revision: str | None = None
    lineage: Lineage | None = None
    ledger: Ledger | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        for alias, name in self.ties.items():
            if name not in self.tensors or alias in self.tensors:
                raise ValueError(f"The tie {alias!r} → {name!r} does not lead from an unstored name to a stored one.")

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.tensors.get(self.ties.get(name, name))
        if tensor is None:
            raise KeyError(f"{name!r} is not in {self.source!r}{nearest(name, list(self))}")
        return tensor.read().clone()

    def __contains__(self, name: object) -> bool:
        return name in self.tensors or name in self.ties

    def __iter__(self) -> Iterator[str]:
        yield from self.tensors
        yield from self.ties

    def __len__(self) -> int:
        return len(self.tensors) + len(self.ties)

    # Two checkpoints are equal when they are one object: contents are compared by digest(..., full=True).
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        parts = [f"{len(self.tensors):,} tensors"]
        if self.ties:
            parts.append(f"{len(self.ties):,} tied")
        dtypes = dict.fromkeys(str(tensor.dtype).removeprefix("torch.") for tensor in self.tensors.values())
        parts += [f"{self.num_parameters:,} parameters", format_bytes(self.nbytes), *dtypes]
        return f"{type(self).__name__}({self.source!r}: {', '.join(parts)})"

    @property
    def nbytes(self) -> int:
        """Size of the stored tensors in bytes; a tied one counts once."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def num_parameters(self) -> int:
        """Number of stored elements, buffers included; a tied tensor counts once."""
        return sum(tensor.num_elements for tensor in self.tensors.values())

    @property
    def is_adapter(self) -> bool:
        """Whether it holds the factors of a PEFT adapter, by its config."""
        return bool(self.config) and "peft_type" in self.config

    @property
    def files(self) -> Mapping[str, Path]:
        """Name → path of the files that hold just these tensors; empty for what is in memory or not yet computed."""
        return self.origin.files if self.origin is not None and self.origin.tensors is self.tensors else {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return all tensors in memory, tied names sharing one tensor."""
        stored = {name: self[name] for name in self.tensors}
        return {**stored, **{alias: stored[name] for alias, name in self.ties.items()}}


def format_bytes(nbytes: int) -> str:
    """Return a size for people, in powers of 1000 as file sizes are given on the hub.

    >>> format_bytes(2_200_000_000), format_bytes(512)
    ('2.20 GB', '512 bytes')
    """
    power = min(int(math.log(nbytes, 1000)), 4) if nbytes >= 1000 else 0
    return f"{nbytes / 1000**power:.2f} {('', 'kB', 'MB', 'GB', 'TB')[power]}" if power else f"{nbytes} bytes"
