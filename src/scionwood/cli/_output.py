"""What commands that make a checkpoint have in common: they write it, or do not, and say what was done."""

from pathlib import Path

from scionwood.checkpoint import Checkpoint, write
from scionwood.cli._progress import WriteProgress
from scionwood.cli._terminal import print_json, print_lines, print_note

__all__ = ["deliver"]


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
) -> int:
    """Write a checkpoint with a progress bar, unless it is a dry run, and print its ledger."""
    if out is not None and not dry_run:
        with WriteProgress(f"writing {out}") as progress:
            write(
                made,
                out,
                shard_size=shard_size,
                dtype=dtype,
                overwrite=overwrite,
                workers=workers,
                progress=progress,
            )
    assert made.ledger is not None  # what a verb returns has one
    if json:
        print_json(made.ledger.to_json())
    else:
        print_lines(made.ledger.summary())
    print_note("nothing was written (--dry-run)" if dry_run else f"wrote {out}")
    return 0
