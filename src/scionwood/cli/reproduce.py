"""Make an output again from its lineage, and compare."""

from pathlib import Path

from scionwood.cli._values import Whole


def command(
    source: str,
    /,
    *,
    parent: tuple[str, ...] = (),
    out: Path | None = None,
    workers: Whole | None = None,
    json: bool = False,
) -> int:
    """Make an output again from its lineage, and compare it with what is there, tensor by tensor.

    The parents must be there and have the digests that the lineage has of them. Nothing is written unless --out is given.
    The exit code is 0 where everything is identical, and 1 where something differs.

    Parameters
    ----------
    source
        A folder or file that scionwood wrote.
    parent
        OLD=NEW, for a parent that is under another name now; may be repeated.
    out
        Write what is made again to this folder, too.
    workers
        How many read, compute and write at once; as many as there are processors, at most 8, unless given.
    json
        Print the differences as JSON.
    """
    from scionwood.cli import _values

    renamed = _values.assignments("--parent", parent)

    from scionwood.cli._output import Output, check_delivery
    from scionwood.cli._progress import WriteProgress
    from scionwood.cli._terminal import print_json, print_lines
    from scionwood.recipe.reproduce import reproduce

    check_delivery(out, [source], Output(workers=workers))
    with WriteProgress(f"making {source} again") as progress:
        found = reproduce(source, renamed=renamed, out=out, workers=workers, progress=progress)
    if json:
        print_json(found.to_json())
    else:
        print_lines(found.lines(source))
    return 0 if found.identical else 1
