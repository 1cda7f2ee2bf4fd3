"""An output that appears under its name only when it is complete."""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from scionwood.checkpoint.checkpoint import format_bytes
from scionwood.checkpoint.torch_file import TORCH_SUFFIXES
from scionwood.errors import OutputError

__all__ = ["Part", "check_free_space", "check_output", "output_errors", "remove", "staged", "sync"]

# How long the workers of a process that was killed may take to end.
SECONDS_FOR_WORKERS = 5.0


def check_output(path: Path, inputs: Iterable[Path], *, overwrite: bool) -> Path:
    """Return the resolved path of an output after checking that nothing is lost by writing it.

    Raises:
        OutputError: it is, contains, or lies in an input; or something is there that may not be overwritten.
    """
    if "\0" in str(path):
        raise OutputError(f"{str(path)!r} is not the name of a file.")
    if path.suffix in TORCH_SUFFIXES:
        raise OutputError(
            f"The output {path} has the name of a torch file, which scionwood does not write.",
            hint="Give a folder, or a file whose name ends with .safetensors.",
        )
    try:
        with output_errors(path):
            target = path.resolve()
    except RuntimeError:
        raise OutputError(f"{path} is a link that leads in a circle.") from None
    for given in inputs:
        with contextlib.suppress(OSError, RuntimeError):
            origin = given.resolve()
            if target == origin:
                raise OutputError(f"The output {path} is one of its own inputs.", hint="Write to another name.")
            if origin.is_dir() and target.is_relative_to(origin):
                raise OutputError(
                    f"The output {path} lies inside its own input {given}.", hint="Write to another folder."
                )
            if origin.is_relative_to(target):
                raise OutputError(f"The output {path} contains its own input {given}.", hint="Write to another folder.")
    with output_errors(target):
        exists = target.exists()
    if exists and target.is_dir():
        _check_folder(path, target, overwrite)
    elif exists:
        if path.suffix != ".safetensors":
            raise OutputError(f"The output {path} is a file, where a folder is to be written.")
        if not overwrite:
            raise OutputError(
                f"The output {path} exists.", hint="Write to another name, or overwrite it (--overwrite)."
            )
    return target


def _check_folder(path: Path, target: Path, overwrite: bool) -> None:
    if path.suffix == ".safetensors":
        raise OutputError(f"The output {path} is a folder, where a file is to be written.")
    names = {entry.name for entry in os.scandir(target)}
    if not names:
        return
    if not overwrite:
        raise OutputError(
            f"The output {path} exists and is not empty.", hint="Write to another name, or overwrite it (--overwrite)."
        )
    holds_model = any(
        name.endswith((".safetensors", ".bin", "config.json")) or name == "scionwood.yaml" for name in names
    )
    if Path.cwd().is_relative_to(target) or ".git" in names or not holds_model:
        reason = "is not a model's folder"
        if ".git" in names:
            reason = "holds a git repository"
        elif Path.cwd().is_relative_to(target):
            reason = "is, or contains, the current folder"
        raise OutputError(f"The output {path} {reason}, and is not overwritten.", hint="Write to another name.")


def check_free_space(target: Path, needed: int) -> None:
    """Raise an OutputError that names what is needed and what is free, unless ``needed`` bytes fit beside the target.

    What an unfinished run left there counts as free: it is gone on with, or removed.
    """
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free + _allocated(part_of(target))
    if needed > free:
        raise OutputError(
            f"The output {target} needs {format_bytes(needed)}, but {parent} has {format_bytes(free)} free.",
            hint="Free some space, or write to another disk.",
        )


def part_of(target: Path) -> Path:
    """Return the hidden folder in which a target is made."""
    return target.with_name(f".{target.name}.part")


class Part:
    """The hidden folder beside a target in which it is made, locked for as long as a process works on it.

    =============  ================================================================================================
    ``output``     what becomes the target: a folder or a file
    ``journal``    what in it is finished
    ``replaced``   an old target, between leaving its name and its removal
    ``writer``     the process that works on it; the lock is on this file, and goes when the process does
    =============  ================================================================================================

    Args:
        target: what is to be written.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = part_of(target)
        self.output = self.folder / "output"
        self.journal = self.folder / "journal"
        self.replaced = self.folder / "replaced"
        self.writer = self.folder / "writer"
        self.kept: Callable[[], str | None] = lambda: None
        """What is to be said of it when the run fails, if it is to stay then; None if it is not."""
        self._lock: int | None = None

    def take(self) -> None:
        """Make the folder, or take over the one that an unfinished run has left, and lock it.

        Raises:
            OutputError: another process works on it, or something else has its name.
        """
        deadline = time.monotonic() + SECONDS_FOR_WORKERS
        while self._lock is None:
            with contextlib.suppress(FileExistsError):
                self.folder.mkdir()
            self._check_names()
            try:
                descriptor = os.open(self.writer, os.O_RDWR | os.O_CREAT, 0o666)
            except FileNotFoundError:
                continue  # its last process has removed it just now
            if self._is_locked(descriptor, deadline):
                self._lock = descriptor
            else:
                os.close(descriptor)
        if self.journal.exists():
            self.kept = lambda: ""  # an earlier run's, and good until it is known not to be
        with contextlib.suppress(OSError):  # on a full disk it does without a name
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, str(os.getpid()).encode(), 0)
        if self.replaced.exists() and not self.target.exists():
            self.replaced.rename(self.target)  # a process ended between the two renames

    def clear(self) -> None:
        """Remove what is in it; the journal first, so that it never vouches for what is gone."""
        self.kept = lambda: None
        for path in (self.journal, self.output, self.replaced):
            remove(path)

    def remove(self) -> None:
        """Remove it; the lock last, so that whoever takes the name meanwhile finds it empty. Another's stays."""
        if self._lock is not None:
            self.clear()
            remove(self.writer)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def release(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_names(self) -> None:
        """Refuse to work in, and to remove, what no run has left."""
        known = {self.output.name, self.journal.name, self.replaced.name, self.writer.name}
        try:
            others = self.folder.is_symlink() or set(os.listdir(self.folder)) - known
        except FileNotFoundError:
            return
        if others:
            raise OutputError(
                f"The output {self.target} is made in {self.folder}, but that holds something else.",
                hint="Move it away, or write to another name.",
            )

    def _is_locked(self, descriptor: int, deadline: float) -> bool:
        """Lock the file and return True, or False if that is to be tried again.

        It may lose its name just before. And where a process was killed its workers, who hold the lock with it, go only
        a little later; one that lives on another machine is not alive here, so there is a deadline.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            number = os.pread(descriptor, 20, 0).decode("ascii", errors="replace")
            if number.isdecimal() and not _is_alive(int(number)) and time.monotonic() < deadline:
                time.sleep(0.01)
                return False
            os.close(descriptor)
            who = f"process {number}" if number.isdecimal() else "another process"
            raise OutputError(
                f"The output {self.target} is being written by {who}.",
                hint="Wait until it is done, or write to another name.",
            ) from None
        except OSError:
            return True  # a file system without locks: two runs at once are not noticed there
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.writer))
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def staged(target: Path, *, overwrite: bool) -> Iterator[Part]:
    """Make a target in a hidden folder beside it; its ``output`` is renamed to the target at the end.

    On a failure the folder is removed, unless its ``kept`` says what it holds for another run to go on with, which is
    noted on the error. An existing target is renamed out of the way first, and deleted last.

    Raises:
        OutputError: the place cannot be written to, or another process writes there.
    """
    made: list[Path] = []
    part = Part(target)
    try:
        with output_errors(target):
            _make_parents(target.parent, made)
            part.take()
        yield part
        with output_errors(target):
            try:
                _swap(part, overwrite)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                raise OutputError(
                    f"The output {target} was made by another process in the meantime, and is left as it is.",
                    hint="Write to another name, or overwrite it (--overwrite).",
                ) from None
        part.remove()
    except BaseException as error:
        note = part.kept()
        if note is None:
            part.remove()
        elif note:
            error.add_note(note)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    finally:
        part.release()


@contextlib.contextmanager
def output_errors(target: Path) -> Iterator[None]:
    """Turn the system's refusals to write into an OutputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"{target} cannot be written: the disk is full ({reason}); nothing is left under its name.",
                hint="Free some space, or write to another disk.",
            ) from None
        raise OutputError(f"{target} cannot be written: {reason}; nothing is left under its name.") from None


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems do not sync folders, and have no need to.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def _make_parents(parent: Path, made: list[Path]) -> None:
    """Make the missing parents, and note those made, innermost first."""
    missing: list[Path] = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    for folder in reversed(missing):
        folder.mkdir()
        made.insert(0, folder)


def _swap(part: Part, overwrite: bool) -> None:
    target = part.target
    remove(part.replaced)
    if overwrite and target.exists():
        try:
            target.rename(part.replaced)
            part.output.rename(target)
        except BaseException:
            if part.replaced.exists() and not target.exists():
                part.replaced.rename(target)
            raise
    elif target.is_file():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    else:
        # Over a folder that another process has filled in the meantime this fails, as it should.
        part.output.rename(target)
    sync(target.parent)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, as far as that can be done."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _allocated(path: Path) -> int:
    """Return how many bytes of the disk the files under a path take."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(Path(folder) / name).st_blocks * 512
    return total
