"""What commands that make a checkpoint have in common: the flags that say how it is written, and the writing."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from scionwood.cli._values import Whole
from scionwood.errors import OutputError

if TYPE_CHECKING:
    from scionwood.checkpoint import Checkpoint

__all__ = ["Output", "Storing", "check_delivery", "deliver", "write_text"]


@dataclass(frozen=True, kw_only=True)
class Storing:
    """How a checkpoint is written.

    Parameters
    ----------
    dtype
        Store the weights as float32, float16 or bfloat16; they keep their own type unless asked.
    shard_size
        The largest file to write.
    overwrite
        Replace OUT where a model is there already; without it, an OUT that is not empty is refused.
    restart
        Begin anew, where a run that was interrupted would be gone on with.
    workers
        How many read, compute and write at once; as many as there are processors, at most 8, unless given.
    memory
        Most that tensors which must be held whole may take at once, like 8GB; 1 GiB more than the largest needs, unless
        given.
    """

    dtype: str | None = None
    shard_size: str = "5GB"
    overwrite: bool = False
    restart: bool = False
    workers: Whole | None = None
    memory: str | None = None


@dataclass(frozen=True, kw_only=True)
class Telling:
    """What is said of a checkpoint, and whether that is all.

    Parameters
    ----------
    json
        Print the ledger, every tensor and why, as JSON.
    dry_run
        Print the ledger and write nothing.
    """

    json: bool = False
    dry_run: bool = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Output(Telling, Storing):
    """The flags of every command that writes a checkpoint, but for --out, which each lists where it belongs.

    Fields stand in the help in the order in which the bases give them, the last base first. Where a command means
    something else by a flag, its docstring says so of ``output.FLAG``.
    """


def check_delivery(out: Path | None, inputs: Iterable[str | None], output: Storing) -> None:
    """Refuse, before anything is read, what could not be written in the end.

    Raises:
        OutputError: no such size or dtype, no workers, or a place that must not be written to.
    """
    from scionwood.checkpoint.folder import expanded
    from scionwood.checkpoint.plan import parse_dtype, parse_size
    from scionwood.checkpoint.staging import check_output

    parse_size(output.shard_size)
    if output.memory is not None:
        parse_size(output.memory)
    if output.dtype is not None:
        parse_dtype(output.dtype)
    if output.workers is not None and output.workers < 1:
        raise OutputError(f"{output.workers} workers cannot write; there must be one at least.")
    if out is not None:
        paths = [expanded(name) for name in inputs if name]
        check_output(expanded(out), [path for path in paths if os.path.lexists(path)], overwrite=output.overwrite)


def deliver(
    made: "Checkpoint", out: Path | None, output: Output, *, steps: "Mapping[str, Checkpoint] | None" = None
) -> int:
    """Write a checkpoint with a progress bar and print its ledger; for a dry run print the ledger and the plan."""
    from scionwood.checkpoint import cast, write
    from scionwood.cli._progress import WriteProgress
    from scionwood.cli._terminal import print_json, print_lines, print_note
    from scionwood.engine.plan import Plan

    if output.dtype is not None:
        made = cast(made, output.dtype)
    if out is not None and not output.dry_run:
        with WriteProgress(f"writing {out}") as progress:
            write(
                made,
                out,
                shard_size=output.shard_size,
                overwrite=output.overwrite,
                restart=output.restart,
                workers=output.workers,
                memory=output.memory,
                progress=progress,
            )
    assert made.ledger is not None  # what a verb returns has one
    if output.json:
        print_json(made.ledger.to_json())
    else:
        print_lines(made.ledger.summary())
    if output.dry_run and not output.json:
        print_lines(["", *Plan.of(made, steps).lines(output.workers)])
    print_note("nothing was written (--dry-run)" if output.dry_run else f"wrote {out}")
    return 0


def write_text(text: str, out: Path | None) -> None:
    """Write a text to a new file, or print it where no file is named.

    Raises:
        OutputError: the file is there, or cannot be written.
    """
    from scionwood.checkpoint.folder import expanded
    from scionwood.cli._terminal import print_lines, print_note

    if out is None:
        print_lines(text.removesuffix("\n"))
        return
    try:
        with expanded(out).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error.strerror}.", hint="Write to another name.") from None
    print_note(f"wrote {out}")
