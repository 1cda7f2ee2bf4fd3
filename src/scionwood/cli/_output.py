"""What commands that make a checkpoint have in common: they write it, or do not, and say what was done."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from scionwood.checkpoint import Checkpoint, cast, write
from scionwood.checkpoint.folder import expanded
from scionwood.checkpoint.plan import parse_dtype, parse_size
from scionwood.checkpoint.staging import check_output
from scionwood.cli._progress import WriteProgress
from scionwood.cli._terminal import print_json, print_lines, print_note
from scionwood.engine.plan import Plan
from scionwood.errors import OutputError

__all__ = ["check_delivery", "deliver", "write_text"]


def check_delivery(
    out: Path | None,
    inputs: Iterable[str | None],
    *,
    shard_size: str,
    dtype: str | None,
    overwrite: bool,
    workers: int | None,
    memory: str | None = None,
) -> None:
    """Refuse, before anything is read, what could not be written in the end.

    Raises:
        OutputError: no such size or dtype, no workers, or a place that must not be written to.
    """
    parse_size(shard_size)
    if memory is not None:
        parse_size(memory)
    if dtype is not None:
        parse_dtype(dtype)
    if workers is not None and workers < 1:
        raise OutputError(f"{workers} workers cannot write; there must be one at least.")
    if out is not None:
        paths = [expanded(name) for name in inputs if name]
        check_output(expanded(out), [path for path in paths if os.path.lexists(path)], overwrite=overwrite)


def deliver(
    made: Checkpoint,
    out: Path | None,
    *,
    shard_size: str,
    dtype: str | None,
    overwrite: bool,
    workers: int | None,
    json: bool,
    dry_run: bool,
    restart: bool = False,
    memory: str | None = None,
    steps: Mapping[str, Checkpoint] | None = None,
) -> int:
    """Write a checkpoint with a progress bar and print its ledger; for a dry run print the ledger and the plan."""
    if dtype is not None:
        made = cast(made, dtype)
    if out is not None and not dry_run:
        with WriteProgress(f"writing {out}") as progress:
            write(
                made,
                out,
                shard_size=shard_size,
                overwrite=overwrite,
                restart=restart,
                workers=workers,
                memory=memory,
                progress=progress,
            )
    assert made.ledger is not None  # what a verb returns has one
    if json:
        print_json(made.ledger.to_json())
    else:
        print_lines(made.ledger.summary())
    if dry_run and not json:
        print_lines(["", *Plan.of(made, steps).lines(workers)])
    print_note("nothing was written (--dry-run)" if dry_run else f"wrote {out}")
    return 0


def write_text(text: str, out: Path | None) -> None:
    """Write a text to a new file, or print it where no file is named.

    Raises:
        OutputError: the file is there, or cannot be written.
    """
    if out is None:
        print_lines(text.removesuffix("\n"))
        return
    try:
        with expanded(out).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}.", hint="Write to another name.") from None
    print_note(f"wrote {out}")
