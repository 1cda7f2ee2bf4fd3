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
    from scionwood.errors import SourceError

    found = checkpoint.lineage(source)
    if found is None:
        message = f"{source} has no lineage: scionwood did not write it, or what was written over it dropped it"
        raise SourceError(message, hint="`scionwood digest` names any checkpoint by its weights")
    if json:
        print_json(found.to_dict())
    else:
        print_lines(checkpoint.format_pedigree(found, source))
    return 0
