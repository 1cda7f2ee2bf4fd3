"""List the methods, those of one family, or describe one."""


def command(name: str | None = None, /, *, json: bool = False) -> int:
    """List the methods, those of one family, or describe one with its options.

    Parameters
    ----------
    name
        A family (select) or a method (select.uniform); every method is listed unless given.
    json
        Print it as JSON; of one method, its record with the JSON schema of its options.
    """
    from dataclasses import asdict

    from rich.table import Table

    from scionwood.cli._terminal import print_json, print_lines, print_renderable
    from scionwood.methods import registry

    if name is not None and "." in name:
        function = registry.load(name)
        if json:
            from scionwood.methods.record import schema

            print_json({"name": name, "options": schema(function)})
        else:
            print_lines(_description(name))
        return 0
    entries = registry.listing(name)
    if json:
        print_json([asdict(entry) for entry in entries])
        return 0
    table = Table("method", "what it does", "paper", box=None, pad_edge=False)
    for entry in entries:
        table.add_row(entry.name, entry.summary, f"arXiv:{entry.paper}" if entry.paper else "")
    print_renderable(table)
    return 0


def _description(name: str) -> list[str]:
    """Return a method's own words and its options, a line each."""
    import inspect

    from scionwood.methods import registry
    from scionwood.methods.record import Record

    function = registry.load(name)
    lines = [name, "", inspect.getdoc(inspect.getmodule(function)) or inspect.getdoc(function) or ""]
    for option in Record.of(function).options:
        default = "required" if option.required else f"default {option.default}"
        flag = "--set" if name.startswith("merge.") else "--option"
        lines += ["", f"{flag} {option.name}=…   {option.expects} ({default})", f"    {option.help}"]
    return lines
