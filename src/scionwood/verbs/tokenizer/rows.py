"""The tensors that have a row for each token, and such a tensor under another vocabulary."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scionwood.checkpoint import Checkpoint, ComputedTensor, LazyTensor

__all__ = ["MISSING", "PADDING", "AlignedRows", "Donors", "aligned_tensor", "vocabulary_size", "vocabulary_tensors"]

_NAMED = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings|token_embedding|shared|lm_head|embed_out|output_projection"
    r"|predictions\.decoder|generator_lm_head|embeddings?)\.weight$"
)
_BIAS = re.compile(
    r"(?:^|\.)(?:lm_head|embed_out|predictions|predictions\.decoder|generator_lm_head|vocab_projector)\.bias$"
)
_NOT_OF_TOKENS = re.compile(r"position|token_type|segment")
_BLOCK = re.compile(r"(?:^|\.)\d+\.")


def vocabulary_size(config: Mapping[str, Any] | None) -> int | None:
    """Return the number of tokens by a config, or by the config of its text part.

    >>> vocabulary_size({"model_type": "llava", "text_config": {"vocab_size": 32000}})
    32000
    """
    if config is None:
        return None
    own = config.get("vocab_size")
    if isinstance(own, int):
        return own
    nested = (value for key, value in config.items() if key in ("text_config", "decoder") and isinstance(value, dict))
    return next((size for size in map(vocabulary_size, nested) if size is not None), None)


def vocabulary_tensors(checkpoint: Checkpoint) -> list[str]:
    """Return the stored tensors that have a row for each token: embeddings, heads, and the heads' biases.

    They stand outside the blocks and have as many rows as the config has tokens. Where another size of the model is that
    number, too, only the names that libraries give them are believed.

    >>> from scionwood.checkpoint import open
    >>> names = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight")
    >>> model = open({name: torch.zeros(6, 4) for name in names})
    >>> vocabulary_tensors(model)
    ['model.embed_tokens.weight']
    """
    size = vocabulary_size(checkpoint.config)
    outside = {
        name: tensor
        for name, tensor in checkpoint.tensors.items()
        if not _BLOCK.search(name) and not _NOT_OF_TOKENS.search(name) and tensor.dtype.is_floating_point
    }
    named = [name for name, tensor in outside.items() if _NAMED.search(name) and len(tensor.shape) == 2]
    if size is None:
        size = max((outside[name].shape[0] for name in named), default=None)
    others = [value for key, value in (checkpoint.config or {}).items() if key != "vocab_size"]
    unique = checkpoint.config is not None and size not in others
    found = []
    for name, tensor in outside.items():
        sized = bool(tensor.shape) and tensor.shape[0] == size
        # An embedding may be padded beyond the config's number; what is known by its size alone may not.
        is_matrix = name in named or (sized and unique and len(tensor.shape) == 2)
        is_bias = sized and len(tensor.shape) == 1 and (unique or _BIAS.search(name) is not None)
        if is_matrix or is_bias:
            found.append(name)
    return found


@dataclass(frozen=True)
class Donors:
    """Where a row comes from that a model does not have itself: the mean of these rows, or zeros if there are none.

    Args:
        rows: pairs of the number of a model and the row in its tensor.
    """

    rows: tuple[tuple[int, int], ...] = ()


MISSING = -1
"""In an index: a row that the model does not have, and another one gives."""

PADDING = -2
"""In an index: the mean of all rows that stand for tokens."""


class AlignedRows:
    """Computes rows of one model's tensor under another vocabulary, out of the rows that they need.

    Args:
        own: the model's tensor.
        index: for each new row the model's own row, or ``MISSING`` or ``PADDING``.
        donors: new row → where it comes from.
        everyone: the same tensor of every model that gives rows, by number.
        dtype: of the rows.
    """

    _CHUNK = 1024

    def __init__(
        self,
        own: LazyTensor,
        index: np.ndarray,
        donors: Mapping[int, Donors],
        everyone: Mapping[int, LazyTensor],
        dtype: torch.dtype,
    ) -> None:
        self.own = own
        self.index = index
        self.donors = donors
        self.everyone = everyone
        self.dtype = dtype
        self._lock = threading.Lock()
        self._mean: Tensor | None = None

    def __call__(self, start: int, stop: int) -> Tensor:
        index = self.index[start:stop]
        rows = torch.empty(stop - start, *self.own.shape[1:], dtype=self.dtype)
        # Runs of consecutive rows are read at once: most vocabularies differ in a few tokens only.
        follows = (np.diff(index) == 1) & (index[:-1] >= 0)
        bounds = [0, *(int(cut) + 1 for cut in np.flatnonzero(~follows)), len(index)]
        for low, high in itertools.pairwise(bounds):
            if index[low] >= 0:
                rows[low:high] = self.own.read(int(index[low]), int(index[high - 1]) + 1)
            else:
                rows[low] = self._mean_row() if index[low] == PADDING else self._given(start + low)
        return rows

    def _given(self, row: int) -> Tensor:
        donors = self.donors[row].rows
        read = [self.everyone[number].read(place, place + 1)[0] for number, place in donors]
        if len(read) == 1:
            return read[0]
        return torch.stack([each.float() for each in read]).mean(0) if read else torch.zeros(self.own.shape[1:])

    def _mean_row(self) -> Tensor:
        with self._lock:
            if self._mean is None:
                known = np.flatnonzero(self.index != PADDING)
                total = torch.zeros(self.own.shape[1:], dtype=torch.float64)
                for start in range(0, len(self.index), self._CHUNK):
                    inside = known[(known >= start) & (known < start + self._CHUNK)]
                    for low, high in _runs(inside):
                        total += self(low, high).double().sum(0)
                self._mean = total / max(1, len(known))
            return self._mean


def _runs(numbers: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of consecutive numbers."""
    if not len(numbers):
        return []
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(numbers, cuts)]


def aligned_tensor(
    own: LazyTensor,
    index: np.ndarray,
    donors: Mapping[int, Donors],
    everyone: Sequence[LazyTensor | None],
    dtype: torch.dtype,
) -> ComputedTensor:
    """Return a tensor with the rows of a new vocabulary; models that lack the tensor give none of them."""
    donors = {
        row: Donors(tuple((number, place) for number, place in donor.rows if everyone[number] is not None))
        for row, donor in donors.items()
    }
    givers = {number: tensor for number, tensor in enumerate(everyone) if tensor is not None}
    used = sorted({number for donor in donors.values() for number, _ in donor.rows})
    return ComputedTensor(
        own.name,
        (len(index), *own.shape[1:]),
        dtype,
        AlignedRows(own, index, donors, givers, dtype),
        sources=[own, *(givers[number] for number in used if givers[number] is not own)],
    )
