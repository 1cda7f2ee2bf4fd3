"""What a checkpoint is computed from: the files at the ends of its tensors' sources, and whether they are still the same."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from scionwood.checkpoint.checkpoint import Checkpoint
from scionwood.checkpoint.mapping import MappedFile
from scionwood.checkpoint.tensor import CastTensor, FileTensor, LazyTensor, MemoryTensor
from scionwood.errors import SourceError

__all__ = ["Inputs"]


class Inputs:
    """The files that the tensors of a checkpoint are read from, however deep they lie.

    Args:
        checkpoint: what is to be written.

    >>> from scionwood.checkpoint import open
    >>> inputs = Inputs(open({}))
    >>> inputs.files, inputs.repeatable
    ([], True)
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        tensors = list(_reached(checkpoint.tensors.values()))
        ends = [tensor for tensor in tensors if isinstance(tensor, FileTensor | MemoryTensor)]
        files = {id(tensor.file): tensor.file for tensor in ends if tensor.file is not None}
        self.files: list[MappedFile] = list(files.values())
        # What lies in memory is not known to be the same another time; what is computed, only by its recipe.
        in_memory = any(tensor.file is None for tensor in ends)
        computed = any(not isinstance(tensor, FileTensor | MemoryTensor | CastTensor) for tensor in tensors)
        self.repeatable = not in_memory and not (computed and checkpoint.lineage is None)

    def check(self) -> None:
        """See that every file is still the one that was opened.

        Raises:
            SourceError: some are not; all of them are listed.
        """
        changed = sorted({file.label for file in self.files if file.changed})
        if changed:
            raise SourceError(
                f"{len(changed)} of the files that are read changed after they were opened.",
                problems=changed,
                hint="Run again once nothing writes to them.",
            )

    @property
    def changed(self) -> bool:
        """Whether some file is no longer the one that was opened."""
        return any(file.changed for file in self.files)

    def fingerprints(self) -> dict[Path, str]:
        """Return what a later process knows every file by."""
        return {file.path: file.fingerprint() for file in self.files}


def _reached(tensors: Iterable[LazyTensor]) -> Iterator[LazyTensor]:
    """Yield the tensors, and those that they are computed from in turn, each once."""
    waiting = list(tensors)
    seen: set[int] = set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) not in seen:
            seen.add(id(tensor))
            yield tensor
            waiting += tensor.sources
