"""Make the pages that nobody writes by hand: the catalogue of methods, the command line, the table of architectures.

`make docs` runs it; `python docs/generate.py` alone writes docs/_generated.
"""

import ast
import contextlib
import importlib
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOMS = ("train", "inspect")
"""Rooms whose files are systems too, though no methods: parts of training, and measures."""


def main(folder: Path) -> None:
    """Write every generated page; a page whose text is unchanged is left alone, so that Sphinx does not read it again."""
    pages = {
        "architectures.md": architectures(HERE / "architectures.json"),
        "catalogue/index.md": catalogue_index(),
        "command-line.md": command_line(),
        "preservation.md": preservation(HERE / "preservation.json"),
        **{f"catalogue/{family}.md": catalogue(family) for family in _families()},
        **{f"catalogue/{room}.md": parts(room) for room in ROOMS},
    }
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.md"):
        if str(path.relative_to(folder)) not in pages:
            path.unlink()


def _families() -> list[str]:
    from scionwood.methods import registry

    return registry.families()


def catalogue_index() -> str:
    """Return the page that lists the families."""
    from scionwood.methods import registry

    lines = ["# Catalogue", "", "Every method, as its own file describes it. `scionwood methods` prints the same list."]
    for family in registry.families():
        lines += ["", f"## {family}", "", *_table(("method", "what it does"), _rows(registry.listing(family), family))]
    for room in ROOMS:
        rows = [(f"[`{name}`]({room}.md#{_anchor(name)})", summary) for name, summary, _ in _files(room)]
        lines += ["", f"## {room}", "", *_table(("file", "what it holds"), rows)]
    lines += ["", "```{toctree}", ":hidden:", "", *registry.families(), *ROOMS, "```", ""]
    return "\n".join(lines)


def parts(room: str) -> str:
    """Return the page of a room whose files are systems: each file's own words, and what it offers."""
    lines = [f"# {room}", ""]
    for name, _, tree in _files(room):
        description = ast.get_docstring(tree) or ""
        lines += [f"({_anchor(name)})=", f"## {name}", "", description, ""]
        rows = [
            (f"`{node.name}`", (ast.get_docstring(node) or "").partition("\n")[0])
            for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
        ]
        lines += [*_table(("name", "what it is"), rows), ""]
    return "\n".join(lines)


def _files(room: str) -> list[tuple[str, str, ast.Module]]:
    """The files of a room: module name, first line of the docstring, and what is in it."""
    home = HERE.parent / "src" / "scionwood" / room
    found = []
    for path in sorted(home.rglob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = ".".join((room, *path.relative_to(home).with_suffix("").parts))
        found.append((name, (ast.get_docstring(tree) or "").partition("\n")[0], tree))
    return found


def _rows(entries: Iterable[Any], family: str) -> list[tuple[str, str]]:
    return [(f"[`{entry.name}`]({family}.md#{_anchor(entry.name)})", entry.summary) for entry in entries]


def _anchor(name: str) -> str:
    return name.replace(".", "-").replace("_", "-")


def catalogue(family: str) -> str:
    """Return one family's page: every method's own words, its options and what its record says."""
    from scionwood.methods import registry
    from scionwood.methods.laws import LAWS
    from scionwood.methods.record import Record

    lines = [f"# {family}", ""]
    for entry in registry.listing(family):
        function = registry.load(entry.name)
        record = Record.of(function)
        description = importlib.import_module(function.__module__).__doc__ or function.__doc__ or ""
        lines += [f"({_anchor(entry.name)})=", f"## {entry.name}", "", description.strip(), ""]
        if record.options:
            rows = [
                (
                    f"`{option.name}`",
                    option.expects,
                    "required" if option.required else f"`{option.default}`",
                    option.help,
                )
                for option in record.options
            ]
            lines += [*_table(("option", "takes", "default", "what it does"), rows), ""]
        facts = [f"Law *{law}*: {LAWS[law]}." for law in sorted(record.laws)]
        if record.scores:
            facts.append(f"Ranks by *{record.scores}* scores.")
        if record.statistics:
            facts.append(f"Needs the statistics {', '.join(sorted(record.statistics))}.")
        if not record.consistent:
            facts.append("Draws anew for every tensor: a control, not a method to use.")
        facts += _agreement(entry.name)
        if entry.paper:
            facts.append(f"Paper: [arXiv:{entry.paper}](https://arxiv.org/abs/{entry.paper}).")
        lines += [*(f"- {fact}" for fact in facts), ""]
    return "\n".join(lines)


def _agreement(method: str) -> list[str]:
    """What the page of parity measured for a merge, in its own words: the table there is the only source."""
    from scionwood.recipe.mergekit.methods import METHODS

    found = []
    for row in (HERE / "parity.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        if len(cells) < 10 or cells[0] in ("configuration", "---"):
            continue
        known = [METHODS[name] for name in cells[1].split(", ") if name in METHODS]
        if method in [f"merge.{each.method}" for each in known]:
            equal = f"{cells[4]} of the elements equal, {cells[5]} steps at most: " if cells[4] else ""
            found.append(f"  - {cells[0]}, {cells[2]}: {equal}{cells[9]}")
    return ["\n".join(["Measured beside mergekit 0.1.5 ([how](../../parity.md)):", "", *found])] if found else []


def command_line() -> str:
    """Return the help of every command, as the command itself prints it."""
    from scionwood.cli import command_names, run

    lines = ["# Command line", ""]
    for name in ["", *command_names()]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            run([*name.split(), "--help"])
        lines += [f"## scionwood {name}".rstrip(), "", "```text", printed.getvalue().rstrip(), "```", ""]
    return "\n".join(lines)


def architectures(source: Path) -> str:
    """Return the table of architectures: a row for each family of the JSON file, a column for each of its figures.

    The file maps a family's name to its figures, ``{"Llama": {"parameters": 1234, "coarse": 0.0, …}, …}``.
    """
    lines = ["# Architectures", ""]
    if not source.is_file():
        return "\n".join([*lines, "The table is made from measured anatomies; this build had none.", ""])
    families: dict[str, dict[str, Any]] = json.loads(source.read_text(encoding="utf-8"))
    columns = list(dict.fromkeys(name for figures in families.values() for name in figures))
    rows = [(family, *(_figure(figures.get(column)) for column in columns)) for family, figures in families.items()]
    lines += [
        "Every family here is derived from the model's own graph; no rule names an architecture. It counts when",
        "permuting every free axis leaves all outputs unchanged.",
        "",
        *_table(("family", *(column.replace("_", " ") for column in columns)), rows),
        "",
    ]
    return "\n".join(lines)


def preservation(source: Path) -> str:
    """Return the table of what growing preserves: for every method a row for each family, a column for each dimension.

    The file maps a family to its methods, these to dimensions, and these to what was measured:
    ``{"Llama": {"hypercloning": {"hidden": {"preserved": true, "difference": 9e-07}, …}, …}, …}``.
    """
    lines = ["# What growing preserves", ""]
    if not source.is_file():
        return "\n".join([*lines, "The table is made from models that were grown; this build had none.", ""])
    families: dict[str, dict[str, dict[str, dict[str, Any]]]] = json.loads(source.read_text(encoding="utf-8"))
    lines += [
        "Tiny models with random weights, norms and biases included, are grown by the anatomy alone, and all outputs of the",
        "two compared in float32. A number is the largest difference, relative to the largest output, where the ledger says",
        "that the function is preserved; two numbers are with the norms' eps as it is, and with none. Otherwise a letter",
        "says why not; where nothing stands, the family lacks the dimension, or it was not measured. `make preservation` measures anew.",
    ]
    for method in dict.fromkeys(name for methods in families.values() for name in methods):
        own = {family: methods[method] for family, methods in families.items() if method in methods}
        found = dict.fromkeys(name for dimensions in own.values() for name in dimensions)
        columns = sorted(found, key=lambda name: name == "all")
        reasons: dict[str, str] = {}
        rows = [
            (family, *(_preserved(dimensions.get(column), reasons) for column in columns))
            for family, dimensions in own.items()
        ]
        lines += ["", f"## {method}", "", *_table(("family", *columns), rows)]
        lines += ["", *(f"- **{letter}** {reason}" for reason, letter in reasons.items())] if reasons else []
    return "\n".join([*lines, ""])


def _preserved(found: dict[str, Any] | None, reasons: dict[str, str]) -> str:
    if found is None:
        return ""
    if found["preserved"]:
        exact = f", {found['without_eps']:.0e}" if "without_eps" in found else ""
        return f"{found['difference']:.0e}{exact}"
    # Which block or module it was first is not the point; what happens there is.
    reason = re.sub(r"^[\w.]+: ", "", found["reason"])
    reason = re.sub(r"[\w.]+\.(weight|bias|layer_scale_parameter)", r"a \1", reason)
    reason = re.sub(r"^[\w.]+ has blocks", "a list has blocks", re.sub(r"\d+", "…", reason))
    return f"**{reasons.setdefault(reason, chr(ord('a') + len(reasons)))}**"


def _figure(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "**no**"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.3g}"
        case list():
            return ", ".join(str(item) for item in value)
        case _:
            return str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in cells]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "_generated")
