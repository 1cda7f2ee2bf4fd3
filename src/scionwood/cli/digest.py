"""Show a checkpoint's identity: one hash of its weights."""


def command(source: str, /, *, full: bool = False, json: bool = False) -> int:
    """Show a checkpoint's identity: one hash of its weights, as lineages name their parents by.

    Parameters
    ----------
    source
        A folder, a weight file or a hub id.
    full
        Hash every byte of every tensor, rather than what identifies the files quickly.
    json
        Print it as JSON.
    """
    from scionwood import checkpoint
    from scionwood.cli._terminal import print_json, print_lines

    found = checkpoint.digest(source, full=full)
    if json:
        print_json({"source": source, "digest": found, "full": full})
    else:
        print_lines(found)
    return 0
