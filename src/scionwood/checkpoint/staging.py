"""An output that appears under its name only when it is complete."""

import contextlib
import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from scionwood.checkpoint.checkpoint import format_bytes
from scionwood.checkpoint.torch_file import TORCH_SUFFIXES
from scionwood.errors import OutputError

__all__ = ["check_free_space", "check_output", "output_errors", "staged", "sync"]


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
    """Raise an OutputError that names what is needed and what is free, unless ``needed`` bytes fit beside the target."""
    parent = target.parent
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise OutputError(
            f"The output {target} needs {format_bytes(needed)}, but {parent} has {format_bytes(free)} free.",
            hint="Free some space, or write to another disk.",
        )


@contextlib.contextmanager
def staged(target: Path, *, folder: bool, overwrite: bool) -> Iterator[Path]:
    """Make a hidden folder or file beside the target; rename it to the target at the end, remove it on any failure.

    What a killed process left behind for the same target is removed. An existing target is renamed out of the way
    first, and deleted last.

    Raises:
        OutputError: the place cannot be written to.
    """
    made: list[Path] = []
    part = target.with_name(f".{target.name}.part-{secrets.token_hex(4)}")
    lock: int | None = None
    try:
        with output_errors(target):
            _make_parents(target.parent, made)
            _remove_abandoned(target)
            part.mkdir() if folder else part.touch(exist_ok=False)
            lock = _lock(part)
        yield part
        with output_errors(target):
            try:
                _swap(part, target, overwrite)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                raise OutputError(
                    f"The output {target} was made by another process in the meantime, and is left as it is."
                ) from None
    except BaseException:
        _remove(part)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise
    finally:
        if lock is not None:
            os.close(lock)


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


def _swap(part: Path, target: Path, overwrite: bool) -> None:
    old = part.with_name(part.name.replace(".part-", ".old-"))
    if overwrite and target.exists():
        try:
            target.rename(old)
            part.rename(target)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
    elif target.is_file():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    else:
        # Over a folder that another process has filled in the meantime this fails, as it should.
        part.rename(target)
    sync(target.parent)
    _remove(old)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _remove_abandoned(target: Path) -> None:
    """Remove the parts whose writer is dead: the system lets go of a lock when its process ends, however it ends."""
    for part in target.parent.glob(f".{glob.escape(target.name)}.part-????????"):
        lock = _lock(part)
        if lock is not None:
            _remove(part)
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock on a file or folder, or None if another one holds it or none is to be had."""
    descriptor: int | None = None
    try:
        descriptor = os.open(path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor
