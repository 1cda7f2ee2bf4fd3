"""The one place where the demos call the library: select, write, once for every method and seed."""

from dataclasses import dataclass, field
from pathlib import Path

import scionwood

__all__ = ["Selections"]


@dataclass
class Selections:
    """Students selected from one source, written on first use; those of an earlier run are replaced.

    Args:
        source: the folder of the source.
        like: the folder of the student's config.
        out: the folder below which the students are written.
    """

    source: Path
    like: Path
    out: Path
    _written: set[str] = field(default_factory=set)

    def folder(self, method: str, seed: int) -> Path:
        """Return the folder of a student, an ordinary Hugging Face folder; only random methods depend on the seed."""
        name = f"{method}-{seed}" if method.startswith("random") else method
        folder = self.out / name
        if name not in self._written:
            student = scionwood.select(self.source, like=self.like, method=method, depth="first", seed=seed)
            scionwood.write(student, folder, overwrite=True)
            self._written.add(name)
        return folder
