"""Inputs: a batch out of a file, for methods that measure and for modules that no config describes."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from torch import Tensor

from scionwood.checkpoint import open as open_checkpoint
from scionwood.errors import SourceError

__all__ = ["read_inputs"]


def read_inputs(path: str | Path) -> Tensor | dict[str, Tensor]:
    """Read a batch: inputs by name from a safetensors or torch file, or one array from a file of numpy.

    Numbers of double precision become single, as layers want them.

    Raises:
        SourceError: the file is missing, damaged, or holds objects that are no numbers.
    """
    if Path(path).suffix != ".npy":
        return {name: _single(tensor) for name, tensor in dict(open_checkpoint(path)).items()}
    if not Path(path).exists():
        raise SourceError(f"There is no file or folder {path}.")
    try:
        return _single(torch.from_numpy(numpy.load(path, allow_pickle=False)))
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise SourceError(
            f"{path} is no array of numbers: {str(error).partition(chr(10))[0]}",
            hint="numpy.save('batch.npy', array) writes one",
        ) from error


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float64 else tensor
