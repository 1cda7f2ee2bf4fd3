"""Writing a checkpoint: streamed, in bounded memory, under its name only when complete."""

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from scionwood.checkpoint.card import model_card
from scionwood.checkpoint.cast import cast
from scionwood.checkpoint.checkpoint import Checkpoint, format_bytes
from scionwood.checkpoint.folder import LINEAGE_FILE, expanded
from scionwood.checkpoint.inputs import Inputs
from scionwood.checkpoint.journal import Journal, plan_digest
from scionwood.checkpoint.lineage import Lineage, installed_versions
from scionwood.checkpoint.open import Source, open
from scionwood.checkpoint.parent import parent_of, told
from scionwood.checkpoint.plan import Shard, parse_size, plan_shards, shard_index
from scionwood.checkpoint.staging import Part, check_free_space, check_output, output_errors, remove, staged, sync
from scionwood.checkpoint.stream import Progress, stream_shards
from scionwood.checkpoint.workers import default_workers
from scionwood.errors import OutputError, SourceError

__all__ = ["write"]

SPARE_MEMORY = 1 << 30


def write(
    checkpoint: Source,
    path: str | os.PathLike[str],
    *,
    shard_size: int | str = "5GB",
    dtype: torch.dtype | str | None = None,
    overwrite: bool = False,
    code: bool = False,
    restart: bool = False,
    workers: int | None = None,
    memory: int | str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Path:
    """Write a checkpoint as a Hugging Face folder, or as one file if the path ends with ``.safetensors``.

    A folder gets ``model.safetensors`` (or shards with their index; ``adapter_model.safetensors`` for an adapter),
    ``config.json``, the side files, the lineage as ``scionwood.yaml``, and a model card. Tied tensors are written once.
    Everything is written to a hidden folder beside the path, synced, and renamed: the name holds the whole or nothing.
    The same checkpoint gives the same bytes, whatever ``workers`` and ``memory``.

    A run that failed, or was killed at any moment, is gone on with by the same call: what it had finished stays in the
    hidden folder and is not computed again. That takes a checkpoint whose bytes are known by its recipe and its files;
    one of tensors in memory is written from the beginning.

    Args:
        checkpoint: what to write: a checkpoint, or anything that ``open`` takes.
        path: where to. Missing parents are made.
        shard_size: most bytes of values in one file, as a number or like ``"5GB"``.
        dtype: cast the floating tensors to it, and say so in the config: ``"bfloat16"``, ``torch.float32``, ….
        overwrite: put the new model in the place of an old one. The old one is deleted when the new one is complete.
        code: copy the ``*.py`` files of the source, too.
        restart: begin anew, whatever an unfinished run has left.
        workers: threads that read, compute and write; the number of cores, at most 8, unless given.
        memory: most bytes that tensors which must be held whole may take at once, as a number or like ``"8GB"``; 1 GiB
            more than the largest of them needs, unless given.
        progress: called with a :class:`Progress` after every few megabytes.

    Returns:
        The path.

    Raises:
        OutputError: it exists, lies in, is or holds an input, another process is writing it, the memory does not
            suffice, or the disk is full; nothing is left under its name.
        SourceError: a tensor cannot be read; a file changed while it was read, or since the run that is gone on with.

    >>> import tempfile
    >>> from scionwood.checkpoint import open
    >>> folder = tempfile.TemporaryDirectory()
    >>> out = write(open({"bias": torch.ones(3)}), Path(folder.name) / "out")
    >>> sorted(file.name for file in out.iterdir())
    ['README.md', 'model.safetensors', 'scionwood.yaml']
    >>> open(out)["bias"]
    tensor([1., 1., 1.])
    >>> folder.cleanup()
    """
    checkpoint = open(checkpoint)
    path = expanded(path)
    workers = default_workers() if workers is None else workers
    if workers < 1:
        raise OutputError(f"{workers} workers cannot write; there must be one at least.")
    single = path.suffix == ".safetensors"
    size = parse_size(shard_size)
    target = check_output(path, _inputs(checkpoint), overwrite=overwrite)
    if dtype is not None:
        checkpoint = cast(checkpoint, dtype)
    lineage = _lineage(checkpoint)
    shards = plan_shards(
        checkpoint,
        {"format": "pt", "scionwood": lineage.to_json()},
        stem=path.stem if single else "adapter_model" if checkpoint.is_adapter else "model",
        shard_size=None if single or checkpoint.is_adapter else size,
    )
    documents = {} if single else _documents(target.name, checkpoint, lineage, shards)
    side_files = {} if single else _side_files(checkpoint, documents, shards, code)
    budget = _budget(shards, memory)
    inputs = Inputs(checkpoint)
    inputs.check()
    check_free_space(target, _needed(shards, documents, side_files))
    with staged(target, overwrite=overwrite) as part:
        paths = [part.output] if single else [part.output / shard.name for shard in shards]
        plan = plan_digest(checkpoint, lineage, shards, (file.path for file in inputs.files))
        with output_errors(target):
            journal = _journal(part, plan, inputs, dict(zip(paths, shards, strict=True)), restart=restart)
            part.kept = lambda: _kept(part, journal, inputs, len(checkpoint.tensors))
            if not single:
                _make_empty(part.output, except_for=paths)
        stream_shards(shards, paths, target, workers=workers, memory=budget, journal=journal, progress=progress)
        if not single:
            _write_rest(part.output, target, documents, side_files)
        inputs.check()
    return path


def _journal(part: Part, plan: str, inputs: Inputs, files: Mapping[Path, Shard], *, restart: bool) -> Journal | None:
    """Return the journal of the run to go on with, or of one that begins; None if it could not be gone on with later."""
    unfinished = part.output.exists() and not restart  # a run killed after the renaming has left its journal alone
    found = Journal.read(part.journal) if unfinished else None
    fingerprints = {str(path): text for path, text in inputs.fingerprints().items()}
    unfit = None
    if found is None:
        if unfinished and part.journal.exists():
            unfit = "its journal is damaged"
    elif found.done and not (inputs.repeatable and found.plan == plan):
        unfit = "it had another recipe, other options, other files or other versions"
    elif found.done and found.inputs != fingerprints:
        changed = [path for path, text in fingerprints.items() if found.inputs.get(path) != text]
        raise SourceError(
            f"An unfinished run has left {len(found.done)} finished tensors in {part.folder}, "
            "but files that it read have changed since.",
            problems=changed,
            hint="Put them back as they were, or begin anew (restart=True, --restart).",
        )
    elif found.done and not all(path.is_file() and path.stat().st_size == shard.size for path, shard in files.items()):
        unfit = "its files are not all there"
    elif found.done:
        return found
    if unfit is not None:
        warnings.warn(f"What an unfinished run has left in {part.folder} is discarded: {unfit}.", stacklevel=3)
    part.clear()
    return Journal.begin(part.journal, plan, fingerprints) if inputs.repeatable else None


def _kept(part: Part, journal: Journal | None, inputs: Inputs, total: int) -> str | None:
    """Say what of a failed run is kept, or return None if there is nothing to go on with."""
    if journal is None or not journal.done or inputs.changed or not part.output.exists():
        return None
    return f"{len(journal.done)} of {total} tensors are finished and kept in {part.folder}; the same command resumes."


def _make_empty(folder: Path, *, except_for: Iterable[Path]) -> None:
    """Make a folder, or take out what a run that was nearly done has put beside the weights."""
    folder.mkdir(exist_ok=True)
    for path in set(folder.iterdir()) - set(except_for):
        remove(path)


def _budget(shards: Sequence[Shard], memory: int | str | None) -> int:
    """Return how much the tensors in work may hold at once.

    Raises:
        OutputError: one tensor alone takes more.
    """
    tensors = [tensor for shard in shards for tensor in shard.tensors]
    largest = max(tensors, key=lambda tensor: tensor.working_bytes, default=None)
    need = 0 if largest is None else largest.working_bytes
    budget = need + SPARE_MEMORY if memory is None else parse_size(memory)
    if largest is not None and budget < need:
        raise OutputError(
            f"{largest.name!r} takes {format_bytes(need)} of memory while it is made, more than {format_bytes(budget)}.",
            hint=f"Allow {need:,} bytes or more (memory, --memory), or leave the limit out.",
        )
    return budget


def _inputs(checkpoint: Checkpoint) -> Iterator[Path]:
    """Yield what must not be written over: the files the tensors come from, and whatever a parent was named by."""
    if checkpoint.origin is not None:
        # A folder that was opened is an input as a whole; the folder around a single file is not.
        if checkpoint.origin.folder is not None:
            yield checkpoint.origin.folder
        yield from checkpoint.origin.files.values()
    # The parents of what is stored were read when it was made; those of what a verb made are read now.
    lineages = [checkpoint.lineage] if checkpoint.lineage and not checkpoint.files else []
    like = lineages[0].recipe.get("like") if lineages else None  # what only gave its sizes was read, too
    if isinstance(like, str) and os.path.lexists(expanded(like)):
        yield expanded(like)
    while lineages:
        for parent in lineages.pop().parents:
            source = expanded(parent.source)
            if os.path.lexists(source):
                yield source
            if parent.lineage and parent.digest is None:
                lineages.append(parent.lineage)
    yield from checkpoint.side_files.values()


def _lineage(checkpoint: Checkpoint) -> Lineage:
    """Return what the output says of its origin: what a verb made, and a copy of a stored one that has a lineage, keep it."""
    if checkpoint.lineage is not None:
        return checkpoint.lineage
    parents = (parent_of(checkpoint, "source"),) if checkpoint.files else ()
    return Lineage({"verb": "write", "source": told(checkpoint)}, parents, None, installed_versions())


def _documents(name: str, checkpoint: Checkpoint, lineage: Lineage, shards: list[Shard]) -> dict[str, bytes]:
    documents = dict(checkpoint.documents)
    if checkpoint.config is not None:
        documents["adapter_config.json" if checkpoint.is_adapter else "config.json"] = _json(checkpoint.config)
    if len(shards) > 1:
        documents["model.safetensors.index.json"] = _json(shard_index(shards))
    documents[LINEAGE_FILE] = lineage.to_yaml().encode()
    documents["README.md"] = model_card(name, checkpoint, lineage).encode()
    return documents


def _side_files(
    checkpoint: Checkpoint, documents: Mapping[str, bytes], shards: list[Shard], code: bool
) -> dict[str, Path]:
    taken = {*documents, *(shard.name for shard in shards)}
    return {
        name: file
        for name, file in checkpoint.side_files.items()
        if name not in taken and (code or not name.endswith(".py"))
    }


def _needed(shards: list[Shard], documents: Mapping[str, bytes], side_files: Mapping[str, Path]) -> int:
    written = sum(shard.size for shard in shards) + sum(len(text) for text in documents.values())
    return written + sum(file.stat().st_size for file in side_files.values() if file.is_file())


def _write_rest(part: Path, target: Path, documents: Mapping[str, bytes], side_files: Mapping[str, Path]) -> None:
    folders = {part}
    for name, file in side_files.items():
        try:
            source = file.open("rb")
        except OSError as error:
            raise SourceError(f"{file} cannot be read: {error.strerror}.") from None
        with source, output_errors(target):
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            folders.add((part / name).parent)
            with (part / name).open("wb") as copy:
                shutil.copyfileobj(source, copy)
                copy.flush()
                os.fsync(copy.fileno())
    with output_errors(target):
        for name, text in documents.items():
            with (part / name).open("wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for folder in sorted(folders, reverse=True):
            sync(folder)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
