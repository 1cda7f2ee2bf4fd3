"""Saved predictors: what was trained to give weights as one file, which ``scionwood grow`` takes as its source.

A predictor is no model: its file holds its tensors, and in the metadata its kind, a version, and what it takes to build
it again. The kind is the name of the method of ``scionwood grow`` that takes it.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor

from scionwood.checkpoint import Checkpoint, Source
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.described import description_of, write_described
from scionwood.errors import SourceError

__all__ = ["kind_of", "load", "save"]

KEY = "scionwood.predictor"
VERSION = 1
KINDS: Mapping[str, str] = {
    "hypernetwork": "scionwood.train.growth.hypernetwork.LowRankHyperNet",
    "denoised_weights": "scionwood.train.growth.denoised.BlockDiffusion",
}
"""Kind → the class that is saved."""

BuiltT = TypeVar("BuiltT")


def save(
    path: str | os.PathLike[str],
    kind: str,
    settings: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    overwrite: bool,
) -> None:
    """Write a predictor to one ``.safetensors`` file.

    Raises:
        OutputError: the name is another kind of file's, it exists, or it cannot be written.
    """
    told = {"kind": kind, "version": VERSION, "settings": settings}
    write_described(path, tensors, KEY, told, overwrite=overwrite)


def load(source: Source, kind: str, build: Callable[[Mapping[str, Any], dict[str, Tensor]], BuiltT]) -> BuiltT:
    """Return a predictor of a kind, built from its settings and its tensors.

    Raises:
        SourceError: it is no saved predictor, one of another kind or a later version, or damaged.
    """
    checkpoint = open_checkpoint(source)
    told = description_of(checkpoint, KEY)
    if told is None or told.get("kind") != kind:
        raise _another(checkpoint, kind_of(checkpoint), kind)
    if told.get("version") != VERSION:
        raise SourceError(
            f"{checkpoint.source} is a {kind} saved as version {told.get('version')}, and version {VERSION} is read here.",
            hint="Read it with the scionwood that saved it, or a newer one.",
        )
    try:
        return build(told["settings"], {name: checkpoint[name] for name in checkpoint.tensors})
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise SourceError(
            f"{checkpoint.source} is damaged: its tensors and its description make no {kind} "
            f"({str(error).partition(chr(10))[0]}).",
            hint=f"Save it again: {KINDS[kind]}.save.",
        ) from error


def kind_of(checkpoint: Checkpoint) -> str | None:
    """Return the method of ``scionwood grow`` that a checkpoint was saved for as a predictor; nothing for any other."""
    told = description_of(checkpoint, KEY)
    return None if told is None else str(told.get("kind"))


def _another(checkpoint: Checkpoint, found: str | None, kind: str) -> SourceError:
    """What a file is that is no predictor of a kind."""
    if found is not None:
        return SourceError(
            f"{checkpoint.source} was saved for the method {found}, not for {kind}.",
            hint=f"Give --method {found}, or what {KINDS[kind]}.save wrote.",
        )
    family = (checkpoint.config or {}).get("model_type")
    what = f"a model's weights ({family})" if family else "weights"
    return SourceError(
        f"{checkpoint.source} is no saved {kind}: it holds {what}, {len(checkpoint.tensors):,} tensors.",
        hint=f"The source of {kind} is the file that {KINDS[kind]}.save wrote once it was trained.",
    )
