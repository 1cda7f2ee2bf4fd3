"""Show where a checkpoint came from."""


def command(source: str, /, *, json: bool = False) -> int:
    """Show where a checkpoint came from: the recipe, its parents by digest, the seed, the versions.

    Parameters
    ----------
    source
        A folder or file that scionwood wrote.
    json
        Print the lineage as JSON.
    """
    from scionwood import checkpoint
    from scionwood.cli._terminal import print_json, print_lines

    found = checkpoint.lineage(source)
    if json:
        print_json(found.to_json())
    else:
        print_lines(str(found))
    return 0
