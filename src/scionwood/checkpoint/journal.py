"""The journal of a write: which tensors are on the disk, so that a run that was killed can be gone on with.

A text file of lines, each with its checksum. The first names the plan and the inputs; every other one names tensors
that are finished. A line is appended only after the bytes that it vouches for are on the disk, and synced before the
next; one that was torn when its process died fails the checksum, and the journal ends before it.
"""

import hashlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scionwood.checkpoint.checkpoint import Checkpoint
from scionwood.checkpoint.lineage import Lineage
from scionwood.checkpoint.plan import Shard
from scionwood.checkpoint.staging import output_errors, sync
from scionwood.errors import OutputError

__all__ = ["Commits", "Journal", "plan_digest"]

SCHEMA = 1

# Work that a kill costs at most; syncing more often costs speed, when tensors are small.
SECONDS_BETWEEN_COMMITS = 1.0


def plan_digest(checkpoint: Checkpoint, lineage: Lineage, shards: Sequence[Shard], inputs: Iterable[Path]) -> str:
    """Return a digest over what decides the bytes of a write, but for what is in its inputs.

    That is the recipe with its options, seed and versions; the config; the inputs by their paths; and the name, dtype,
    shape and place of every tensor.
    """
    plan = {
        "schema": SCHEMA,
        "lineage": _without_digests(lineage.to_dict()),
        "config": checkpoint.config,
        "inputs": sorted(str(path) for path in inputs),
        "shards": [
            (shard.name, tensor.name, str(tensor.dtype), tensor.shape, offset)
            for shard in shards
            for tensor, offset in zip(shard.tensors, shard.offsets, strict=True)
        ],
    }
    return hashlib.sha256(json.dumps(plan, separators=(",", ":")).encode()).hexdigest()


def _without_digests(plain: Any) -> Any:
    """Return a lineage without the digests of the parents: those are about what is in the inputs."""
    if isinstance(plain, Mapping):
        return {key: _without_digests(value) for key, value in plain.items() if key != "digest"}
    return [_without_digests(value) for value in plain] if isinstance(plain, list) else plain


class Journal:
    """What is finished in a part, as a file says it.

    Args:
        path: the file.
        plan: the digest of the plan that the part is made by.
        inputs: path → fingerprint of every file that it is made from.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> journal = Journal.begin(Path(folder.name) / "journal", "a plan", {"model.safetensors": "a fingerprint"})
    >>> journal.add([4, 0, 1, 2])
    >>> print(journal.path.read_text().splitlines()[-1])
    f68d7053 [[0,2],[4,4]]
    >>> sorted(Journal.read(journal.path).done)
    [0, 1, 2, 4]
    >>> folder.cleanup()
    """

    def __init__(self, path: Path, plan: str, inputs: Mapping[str, str]) -> None:
        self.path = path
        self.plan = plan
        self.inputs = dict(inputs)
        self.done: set[int] = set()
        self._size = 0

    @classmethod
    def begin(cls, path: Path, plan: str, inputs: Mapping[str, str]) -> Self:
        """Make the file."""
        journal = cls(path, plan, inputs)
        journal._append({"plan": plan, "inputs": journal.inputs})
        sync(path.parent)
        return journal

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return the journal as far as its lines are whole; None where the first is not, or there is no file."""
        journal: Self | None = None
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return None
        for line in lines:
            entry = _parsed(line)
            if entry is None:
                break
            if journal is None:
                journal = cls(path, entry["plan"], entry["inputs"])
            else:
                for first, last in entry:
                    journal.done.update(range(first, last + 1))
            journal._size += len(line)
        return journal

    def add(self, tensors: Iterable[int]) -> None:
        """Note tensors as finished, by their numbers in the plan, and wait until that is on the disk."""
        added = sorted(tensors)
        self._append(list(_ranges(added)))
        self.done.update(added)

    def _append(self, entry: Any) -> None:
        text = json.dumps(entry, separators=(",", ":")).encode()
        line = f"{zlib.crc32(text):08x} ".encode() + text + b"\n"
        with self.path.open("ab") as file:
            file.truncate(self._size)  # takes off a line that was torn
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(line)


def _parsed(line: bytes) -> Any:
    """Return what a line says, or None if it is not whole."""
    checksum, _, text = line.partition(b" ")
    if not text.endswith(b"\n") or checksum != f"{zlib.crc32(text[:-1]):08x}".encode():
        return None
    return json.loads(text)


def _ranges(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the runs of consecutive numbers, by their first and last."""
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield members[0], members[-1]


class Commits:
    """A context in which finished tensors are made durable: their files are synced, then the journal has them.

    A thread of its own does so about once a second, for all that were finished since, so that neither computing nor
    writing waits. The rest is done at the end of the context, also when that is an error: what is finished stays so.

    Args:
        journal: where they are noted; None for files that are only synced.
        target: the output's name, for errors.
        failed: called with the error when the disk refuses. Nothing is noted after that.
    """

    def __init__(self, journal: Journal | None, target: Path, failed: Callable[[BaseException], None]) -> None:
        self.journal = journal
        self.target = target
        self.failed = failed
        self._lock = threading.Lock()
        self._finished: list[tuple[Path, int]] = []
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="scionwood-journal")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        try:
            if self._failure is not None:
                raise self._failure
            self._commit()
        except OutputError:
            if error is None:
                raise

    def add(self, path: Path, tensor: int) -> None:
        """Take in a tensor whose bytes were all written into the file."""
        with self._lock:
            self._finished.append((path, tensor))

    def _work(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_COMMITS):
            try:
                self._commit()
            except BaseException as error:  # noqa: BLE001 - handed to the calling thread, which raises it
                self._failure = error  # after a sync that failed the next one may say that all is well
                self.failed(error)
                return

    def _commit(self) -> None:
        with self._lock:
            finished, self._finished = self._finished, []
        if finished:
            with output_errors(self.target):
                for path in dict.fromkeys(path for path, _ in finished):
                    sync(path)
                if self.journal is not None:
                    self.journal.add(tensor for _, tensor in finished)
