"""List the methods, or those of one family."""


def command(family: str | None = None, /, *, json: bool = False) -> int:
    """List the methods, or those of one family, a line each.

    Parameters
    ----------
    family
        A family: select, …; all of them unless given.
    json
        Print the list as JSON.
    """
    from dataclasses import asdict

    from rich.table import Table

    from scionwood.cli._terminal import print_json, print_renderable
    from scionwood.methods import registry

    entries = registry.listing(family)
    if json:
        print_json([asdict(entry) for entry in entries])
        return 0
    table = Table("method", "what it does", "paper", box=None, pad_edge=False)
    for entry in entries:
        table.add_row(entry.name, entry.summary, f"arXiv:{entry.paper}" if entry.paper else "")
    print_renderable(table)
    return 0
