"""Opening a checkpoint: headers now, values later."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from scionwood.checkpoint import folder as folders
from scionwood.checkpoint.checkpoint import Checkpoint, Origin
from scionwood.checkpoint.collecting import collector_paused
from scionwood.checkpoint.header import parse_header
from scionwood.checkpoint.hub import HubName, download, parse_hub_name
from scionwood.checkpoint.lineage import Lineage
from scionwood.checkpoint.mapping import MappedFile
from scionwood.checkpoint.memory import from_module, from_state_dict
from scionwood.checkpoint.strict_json import read_json_object
from scionwood.checkpoint.tensor import FileTensor, LazyTensor
from scionwood.checkpoint.torch_file import TORCH_SUFFIXES, read_torch_file
from scionwood.errors import SourceError

__all__ = ["Source", "lineage", "open", "open_config"]

Source = str | os.PathLike[str] | Checkpoint | nn.Module | Mapping[str, Any]
"""What can be opened: a path, a hub id, a checkpoint, a module, a state dict."""


def open(source: Source, *, revision: str | None = None, entry: str | None = None) -> Checkpoint:
    """Open a checkpoint: read its headers and its config, none of its values.

    ======================  ===========================================================================================
    source                  what is read
    ======================  ===========================================================================================
    folder                  ``model.safetensors``, or the shards that its index names; else the same for
                            ``pytorch_model.bin``; else a PEFT adapter (a checkpoint of its factors, its config
                            ``adapter_config.json``); else the one file of weights that is there
    ``*.safetensors``       that file; config and side files are the folder's matter, and left out
    ``*.bin .pt .pth``      that file, as data (``weights_only``), memory-mapped; no code in it is ever run
    ``*.index.json``        the shards that it names, with config and side files
    ``owner/name``          that model of the Hugging Face hub, through its cache; ``@revision`` may follow. A string
                            that names an existing path is a path; ``hf://`` before it says that it is none
    nn.Module, state dict   their tensors, sharing memory; names that share memory are ties
    Checkpoint              itself
    ======================  ===========================================================================================

    Args:
        source: what to open.
        revision: branch, tag or commit of a hub id.
        entry: the key under which a torch file keeps its weights, where it cannot be told.

    Returns:
        A lazy checkpoint.

    Raises:
        SourceError: what is there is missing, malformed, truncated or unsafe; everything found is listed.
        DependencyError: a hub id was given and huggingface_hub is not installed.

    >>> import torch
    >>> shared = torch.ones(3, 2)
    >>> open({"embed.weight": shared, "head.weight": shared}).ties
    {'head.weight': 'embed.weight'}
    """
    if isinstance(source, str | os.PathLike):
        path, commit = _located(source, revision)
        if path.is_dir():
            checkpoint = _open_folder(path, folders.weight_files(path), entry)
        elif path.name.endswith(".index.json"):
            checkpoint = _open_folder(path.parent, folders.indexed_files(path.parent, path.name), entry)
        else:
            checkpoint = _open_file(path, entry)
        return replace(checkpoint, source=_without_revision(os.fspath(source), commit), revision=commit)
    if revision is not None:
        raise SourceError(f"A revision ({revision!r}) is for a model of the hub, not for a {type(source).__name__}.")
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, nn.Module):
        return from_module(source)
    if isinstance(source, Mapping):
        return from_state_dict(source)
    raise SourceError(
        f"A checkpoint is opened from a path, a hub id, a module or a state dict, not a {type(source).__name__}."
    )


def open_config(source: Source, *, revision: str | None = None) -> dict[str, Any]:
    """Return only the config of a source: weights need not be there.

    Args:
        source: a folder with a ``config.json``, a ``.json`` file, a hub id, a config as a dictionary, a module with a
            config, or a checkpoint.
        revision: branch, tag or commit of a hub id.

    Raises:
        SourceError: there is no config, or it is not one JSON object without repeated keys.
        DependencyError: a hub id was given and huggingface_hub is not installed.

    >>> open_config({"model_type": "llama", "hidden_size": 8})
    {'model_type': 'llama', 'hidden_size': 8}
    """
    if isinstance(source, str | os.PathLike):
        path, _ = _located(source, revision, weights=False)
        if not path.is_dir():
            if path.suffix != ".json":
                raise SourceError(f"{path} is not a config: name a folder with a config.json, or a .json file.")
            return read_json_object(path)
        config = _folder_config(path, is_adapter=not os.path.lexists(path / "config.json"))
        if config is None:
            near = folders.nearest_sibling(path / "config.json")
            near = "" if "_config.json" in near else near  # generation_config.json is a file of its own right
            raise SourceError(
                f"{path} has no config.json{near}.",
                hint=None if near else "It says which model the weights are of; fetch it with them.",
            )
        return config
    if isinstance(source, Mapping) and not isinstance(source, Checkpoint):
        return dict(source)
    config = open(source, revision=revision).config
    if config is None:
        raise SourceError(f"This {type(source).__name__} has no config.")
    return config


def lineage(source: Source, *, revision: str | None = None) -> Lineage | None:
    """Return how a checkpoint was made, as it says itself; None if scionwood did not make it.

    Read from the metadata of the weights, else from ``scionwood.yaml`` beside them.

    Raises:
        SourceError: the source cannot be opened, or what it says is malformed.
    """
    return open(source, revision=revision).lineage


def _located(source: str | os.PathLike[str], revision: str | None, *, weights: bool = True) -> tuple[Path, str | None]:
    """Return the path of a source and, for one of the hub, its commit."""
    text = os.fspath(source)
    if not text:
        raise SourceError("The name of the source is empty.")
    path = folders.expanded(text)
    name = parse_hub_name(text) if isinstance(source, str) and not os.path.lexists(path) else None
    if name is None:
        if text.startswith("hf://"):
            raise SourceError(f"{text!r} is not a hub id: hf://owner/name or hf://owner/name@revision.")
        if revision is not None and os.path.lexists(path):
            raise SourceError(f"A revision ({revision!r}) is for a model of the hub, but {text} is a path.")
        return folders.existing(path), None
    if revision is not None and name.revision not in (None, revision):
        raise SourceError(f"Two revisions are asked for: {name.revision!r} in {text!r}, and {revision!r}.")
    try:
        return download(HubName(name.repository, revision or name.revision), weights=weights)
    except SourceError as error:
        near = "" if text.startswith("hf://") else folders.nearest_sibling(path)
        if not near:
            raise
        raise SourceError(error.message.rstrip(".") + near + ".", problems=error.problems, hint=error.hint) from None


def _open_folder(folder: Path, weights: folders.WeightFiles, entry: str | None) -> Checkpoint:
    tensors, ties, metadata = _read_files(weights, folder, entry)
    return Checkpoint(
        tensors,
        ties,
        config=_folder_config(folder, weights.is_adapter),
        side_files=folders.side_files(folder),
        lineage=_read_lineage(metadata, folder, folder),
        origin=Origin(tensors, weights.files, folder.absolute()),
    )


def _open_file(path: Path, entry: str | None) -> Checkpoint:
    if not path.is_file():
        raise SourceError(f"{path} is neither a file nor a folder.")
    if not path.name.endswith((".safetensors", *TORCH_SUFFIXES)):
        raise SourceError(
            f"{path} is not a file of weights by its name: .safetensors, {', '.join(TORCH_SUFFIXES)} or .index.json."
        )
    weights = folders.WeightFiles({path.name: path.resolve()})
    tensors, ties, metadata = _read_files(weights, path.parent, entry)
    return Checkpoint(tensors, ties, lineage=_read_lineage(metadata, path, None), origin=Origin(tensors, weights.files))


def _read_files(
    weights: folders.WeightFiles, folder: Path, entry: str | None
) -> tuple[dict[str, LazyTensor], dict[str, str], dict[str, str]]:
    """Return tensors, ties and metadata of all files, having compared them with the index."""
    tensors: dict[str, LazyTensor] = {}
    ties: dict[str, str] = {}
    metadata: dict[str, str] = {}
    found: dict[str, str] = {}
    problems: list[str] = []
    for file, path in weights.files.items():
        if file.endswith(".safetensors"):
            file_tensors, file_metadata = _read_safetensors(path, str(folder / file))
            metadata |= file_metadata
            file_ties: dict[str, str] = {}
        else:
            file_tensors, file_ties = read_torch_file(path, entry, str(folder / file))
        for name in (*file_tensors, *file_ties):
            if name in found:
                problems.append(f"{name!r} is in {found[name]} and in {file}")
            found[name] = file
        tensors |= file_tensors
        ties |= file_ties
    if weights.weight_map is not None:
        problems += _index_problems(weights.weight_map, found)
    if problems:
        where = folder / (weights.index or next(iter(weights.files)))
        rest = [f"… and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise SourceError(f"{where} and its shards do not agree.", problems=[*problems[:20], *rest])
    # save_model of safetensors notes a name that it left out as {alias: kept} among the metadata.
    for alias, kept in metadata.items():
        if kept in tensors and alias not in tensors and alias not in ("format", "scionwood"):
            ties[alias] = kept
    return tensors, ties, metadata


def _index_problems(weight_map: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    problems: list[str] = []
    for name, file in weight_map.items():
        if name not in found:
            problems.append(f"{name!r} is in the index, but not in {file}")
        elif found[name] != file:
            problems.append(f"{name!r} is in {found[name]}, but the index says {file}")
    problems.extend(
        f"{name!r} is in {file}, but not in the index" for name, file in found.items() if name not in weight_map
    )
    return problems


@collector_paused()
def _read_safetensors(path: Path, label: str) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    file = MappedFile(path, label)
    header = parse_header(file)
    tensors: dict[str, LazyTensor] = {
        stored.name: FileTensor(stored.name, stored.shape, stored.dtype, file, header.data_start + stored.start)
        for stored in header.tensors
    }
    return tensors, header.metadata


def _folder_config(folder: Path, is_adapter: bool) -> dict[str, Any] | None:
    name = "adapter_config.json" if is_adapter else "config.json"
    path = folders.readable(folder, name)
    return None if path is None else read_json_object(path, str(folder / name))


def _read_lineage(metadata: Mapping[str, str], where: Path, folder: Path | None) -> Lineage | None:
    """Return the lineage from the metadata of the weights in ``where``, else from the file for it in the folder."""
    try:
        if "scionwood" in metadata:
            return Lineage.from_json(metadata["scionwood"])
        where = where / folders.LINEAGE_FILE
        path = folders.readable(folder, folders.LINEAGE_FILE) if folder is not None else None
        return Lineage.from_yaml(path.read_text("utf-8", errors="replace")) if path is not None else None
    except SourceError as error:
        raise SourceError(f"The lineage in {where} cannot be read: {error.message}") from None


def _without_revision(source: str, commit: str | None) -> str:
    """Return a hub id as ``owner/name``: its revision is the commit, kept apart."""
    name = parse_hub_name(source) if commit else None
    return name.repository if name else source
