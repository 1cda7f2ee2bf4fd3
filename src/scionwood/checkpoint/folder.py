"""Folders of weights: which files hold them, and whether every file named in the folder stays in it.

What a folder says about itself is not trusted: a name in an index, or a link, must lead to a file inside the folder.
The one exception is the cache of the Hugging Face hub, whose snapshots are links to ``blobs`` beside them.
"""

import errno
import json
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from scionwood.checkpoint.strict_json import read_json_object
from scionwood.checkpoint.torch_file import TORCH_SUFFIXES
from scionwood.errors import SourceError, nearest

__all__ = ["LINEAGE_FILE", "WeightFiles", "existing", "expanded", "inside", "readable", "side_files", "weight_files"]

LINEAGE_FILE = "scionwood.yaml"

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)$")
_BLOB = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?$")
_MOST_SIDE_FILE_BYTES = 200_000_000

# Weights in any format, and what tells of the parent's training or of its page: none of it is true of a new model.
_NOT_CARRIED_SUFFIXES = (
    *(
        ".safetensors",
        *TORCH_SUFFIXES,
        ".index.json",
        ".h5",
        ".msgpack",
        ".ot",
        ".onnx",
        ".onnx_data",
        ".gguf",
        ".ggml",
    ),
    *(".tflite", ".npz", ".npy", ".pkl", ".pickle", ".joblib", ".mlmodel", ".zip", ".tar", ".gz", ".7z", ".lock"),
    *(
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".webp",
        ".svg",
        ".mp4",
        ".webm",
        ".wav",
        ".mp3",
        ".flac",
        ".pdf",
        ".ipynb",
        ".log",
    ),
)
_NOT_CARRIED = re.compile(
    r"(config\.json|adapter_config\.json|scionwood\.yaml|mergekit_config\.ya?ml|readme(\..*)?|model_?card(\..*)?"
    r"|trainer_state\.json|training_args\..*|(all|eval|train|predict|test)_results\.json|events\.out\..*|\..*)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class WeightFiles:
    """The files that hold a folder's weights.

    Args:
        files: name in the folder → file, in the order of the names.
        weight_map: tensor → name of its file, as the index says; None where there is no index.
        index: name of the index, or None.
        is_adapter: whether they hold the factors of a PEFT adapter.
    """

    files: dict[str, Path]
    weight_map: dict[str, str] | None = None
    index: str | None = None
    is_adapter: bool = False


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the path with ``~`` and ``~user`` replaced; as it is, where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def existing(path: Path, what: str = "file or folder") -> Path:
    """Return the path if there is something, and refuse links that lead to themselves.

    Raises:
        SourceError: there is nothing, with the nearest name beside it; or a link leads in a circle.
    """
    try:
        os.stat(path)
    except ValueError:
        raise SourceError(f"{str(path)!r} is not the name of a file.") from None
    except FileNotFoundError:
        if path.is_symlink():
            raise SourceError(f"{path} is a link to {path.readlink()}, which does not exist.") from None
        raise SourceError(f"There is no {what} {path}{nearest_sibling(path)}.") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SourceError(f"{path} is a link that leads in a circle.") from None
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None
    return path


def nearest_sibling(path: Path) -> str:
    """Return ``" (did you mean '…'?)"`` for the name beside a missing path that comes nearest to it, or nothing."""
    missing, parent = path.name, path.parent
    # Of a/b/c it may be a that is misspelt: look beside the first part that is missing.
    while not parent.is_dir() and parent != parent.parent:
        missing, parent = parent.name, parent.parent
    try:
        return nearest(missing, sorted(entry.name for entry in parent.iterdir()))
    except OSError:
        return ""


def inside(folder: Path, name: str) -> Path:
    """Return the file ``name`` of the folder, provided that it is there and lies in the folder, links followed.

    Raises:
        SourceError: the name is absolute or climbs out, the file is missing, or a link leads out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or "\0" in name or "\\" in name or PurePosixPath(name).is_absolute() or ".." in parts:
        raise SourceError(f"{name!r} is not the name of a file in {folder}.")
    path = existing(folder / name, "file")
    target = path.resolve()
    if not target.is_file():  # a pipe would be waited for
        raise SourceError(f"{path} is {'a folder' if target.is_dir() else 'a pipe or a device'}, not a file.")
    if not (target.is_relative_to(folder.resolve()) or _is_blob_of_hub_cache(target)):
        raise SourceError(
            f"{path} is a link that leads out of its folder, to {target}.",
            hint="Name that file or its folder itself, or put the file in place of the link.",
        )
    return target


def readable(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` of the folder if there is one, under the rules of ``inside``."""
    return inside(folder, name) if os.path.lexists(folder / name) else None


def weight_files(folder: Path) -> WeightFiles:
    """Return which files hold the weights of a folder, by the names that libraries give them.

    A single ``model.safetensors`` comes before shards with an index, safetensors before torch files, a model before an
    adapter: the order in which transformers looks.

    Raises:
        SourceError: there are no weights, or it cannot be told which files are meant.
    """
    for stem, suffix in (("model", ".safetensors"), ("pytorch_model", ".bin")):
        if os.path.lexists(folder / f"{stem}{suffix}"):
            return WeightFiles({f"{stem}{suffix}": inside(folder, f"{stem}{suffix}")})
        if os.path.lexists(folder / f"{stem}{suffix}.index.json"):
            return indexed_files(folder, f"{stem}{suffix}.index.json")
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if os.path.lexists(folder / name):
            return WeightFiles({name: inside(folder, name)}, is_adapter=True)
    return _only_weights(folder)


def indexed_files(folder: Path, index: str) -> WeightFiles:
    """Return the shards that an index names.

    Raises:
        SourceError: the index is malformed, or names a file that is missing or lies elsewhere; all are listed.
    """
    path = inside(folder, index)
    weight_map = read_json_object(path, str(folder / index)).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(f, str) for f in weight_map.values()):
        raise SourceError(f"{folder / index} has no weight_map from names of tensors to names of files.")
    files: dict[str, Path] = {}
    problems: list[str] = []
    for name in sorted(set(weight_map.values())):
        if not name.endswith((".safetensors", *TORCH_SUFFIXES)):
            problems.append(f"{name!r} is not the name of a file of weights")
            continue
        try:
            files[name] = inside(folder, name)
        except SourceError as error:
            # The names of the other shards are near to this one's, and no answer.
            problems.append(error.message.partition(" (did you mean")[0].rstrip("."))
    if problems:
        raise SourceError(
            f"{folder / index} names files that cannot be read.",
            problems=problems[:20],
            hint="Every shard that the index names must lie beside it.",
        )
    return WeightFiles(files, weight_map, index)


def side_files(folder: Path) -> dict[str, Path]:
    """Return what belongs to a model beside config and weights: tokenizer, generation config, licence, code, ….

    Small files of the folder and of the modules that a sentence-transformers ``modules.json`` names. Left out: weights
    in any format, hidden files, the model card, pictures, records of training; and, with a warning, links that lead out
    of the folder.
    """
    found: dict[str, Path] = {}
    for name in _candidates(folder):
        if PurePosixPath(name).name.lower().endswith(_NOT_CARRIED_SUFFIXES):
            continue
        if "/" not in name and _NOT_CARRIED.fullmatch(name):
            continue
        try:
            path = inside(folder, name)
        except SourceError as error:
            warnings.warn(f"{error.message.rstrip('.')}; it is not carried along.", stacklevel=4)
            continue
        if path.is_file() and path.stat().st_size <= _MOST_SIDE_FILE_BYTES:
            found[name] = path
    return found


def _candidates(folder: Path) -> Iterator[str]:
    try:
        yield from sorted(entry.name for entry in os.scandir(folder) if not (folder / entry.name).is_dir())
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror}.") from None
    for module in _sentence_transformers_modules(folder):
        yield from sorted(f"{module}/{entry.name}" for entry in os.scandir(folder / module) if entry.is_file())


def _sentence_transformers_modules(folder: Path) -> list[str]:
    """Return the folders that ``modules.json`` names, those that are plain names of folders here."""
    try:
        path = folder / "modules.json"
        modules = json.loads(path.read_bytes()) if path.is_file() else []
        paths = [module["path"] for module in modules]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
    names = [path for path in paths if isinstance(path, str) and re.fullmatch(r"\w[\w.-]*", path)]
    return [name for name in names if (folder / name).is_dir() and not (folder / name).is_symlink()]


def _only_weights(folder: Path) -> WeightFiles:
    """Return the weights of a folder whose files have other names than usual, if there is only one way to read it."""
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    indexes = [name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json"))]
    if len(indexes) == 1:
        return indexed_files(folder, indexes[0])
    for suffixes in ((".safetensors",), TORCH_SUFFIXES):
        weights = [name for name in names if name.endswith(suffixes)]
        weights = [name for name in weights if name not in ("training_args.bin", "optimizer.pt", "scheduler.pt")]
        if len(weights) == 1 and not _SHARD.match(weights[0]):
            return WeightFiles({weights[0]: inside(folder, weights[0])})
        shards = [name for name in weights if _SHARD.match(name)]
        if shards:
            raise SourceError(
                f"{folder} has shards, such as {shards[0]}, but no index beside them.",
                hint="Fetch the file that ends with .index.json, too.",
            )
        if weights:
            raise SourceError(
                f"{folder} has several files of weights and no index.", problems=weights[:20], hint="Name one of them."
            )
    raise SourceError(
        f"{folder} has no weights: no *.safetensors, no pytorch_model.bin, no adapter_model.safetensors"
        + (f"; it has {_few(names)}." if names else "; it is empty.")
    )


def _few(names: Iterable[str], most: int = 6) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _is_blob_of_hub_cache(target: Path) -> bool:
    """Tell whether a file is ``models--owner--name/blobs/<hash>``, where the hub's cache keeps what its links lead to."""
    return (
        target.parent.name == "blobs"
        and target.parent.parent.name.startswith("models--")
        and _BLOB.fullmatch(target.name) is not None
    )
