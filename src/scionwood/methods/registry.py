"""The folder is the registry: list the methods without importing them, and load one by its name.

A listing reads file names, first docstring lines and the ``paper`` of the decorator, so a help page needs no torch:

>>> [entry.name for entry in listing("select") if entry.name.endswith("uniform")]
['select.uniform']
>>> load("select.uniform")((8,), (4,)).tolist()
[0, 2, 4, 6]

Other packages add methods by entry points of the group ``scionwood.methods``, each named ``family.system``::

    [project.entry-points."scionwood.methods"]
    "merge.mine" = "my_package.mine:mine"
"""

import ast
import importlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from scionwood.errors import MethodError, nearest
from scionwood.methods.record import Record

__all__ = ["Entry", "families", "listing", "load"]

GROUP = "scionwood.methods"
ROOT = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One line of the catalogue: a method as its file tells it, not yet imported.

    Args:
        name: family and system, as ``select.uniform``.
        summary: the first line of the file's docstring.
        paper: the arXiv id, where there is one.
        location: the module and the function to import, as ``module:function``.
        distribution: the package that it comes from.
    """

    name: str
    summary: str
    paper: str | None
    location: str
    distribution: str = "scionwood"

    @property
    def family(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]


def listing(family: str | None = None) -> list[Entry]:
    """Return the methods of a family, or of all, by name, without importing any.

    Raises:
        MethodError: an unknown family, or two packages with one name for a method.
    """
    entries = _entries()
    if family is None:
        return list(entries.values())
    if family not in families():
        names = [name for name in entries if name.partition(".")[2] == family]
        hint = f"The method is named {' or '.join(names)}." if names else None
        raise _unknown("family", family, families(), hint)
    return [entry for entry in entries.values() if entry.family == family]


def families() -> list[str]:
    """Return the names of the families.

    >>> "select" in families()
    True
    """
    return sorted({entry.family for entry in _entries().values()})


def load(name: str, family: str | None = None) -> Callable[..., Any]:
    """Import a method and return its function, by its full name or by its name in a family.

    >>> load("uniform", family="select") is load("select.uniform")
    True

    Raises:
        MethodError: an unknown name, or a plug-in that does not hold what its entry point promises.
    """
    full = name if family is None or name.startswith(f"{family}.") else f"{family}.{name}"
    entries = _entries()
    if full not in entries:
        home, _, system = full.rpartition(".")
        if home in families() and (found := _elsewhere(home, system)):
            raise MethodError(f"{name} is no method of {home}: it {found[0]}.", hint=found[1])
        known = [entry.name for entry in (listing(family) if family else entries.values())]
        others = [other for other in entries if family and name in (other, other.partition(".")[2])]
        hint = (
            f"{others[0]} is a method of another family, for scionwood {others[0].partition('.')[0]}."
            if others
            else None
        )
        raise _unknown("method", name, [known_name.removeprefix(f"{family}.") for known_name in known], hint)
    entry = entries[full]
    module, _, attribute = entry.location.partition(":")
    if entry.distribution == "scionwood":
        function = getattr(importlib.import_module(module), attribute)
    else:
        try:
            function = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise MethodError(
                f"The method {full!r} of the package {entry.distribution!r} cannot be imported: {error}.",
                hint=f"Update or remove {entry.distribution}.",
            ) from error
    record = Record.of(function)
    if record.name != full:
        raise MethodError(f"The method registered as {full!r} in {entry.distribution!r} calls itself {record.name!r}.")
    return function


def _elsewhere(family: str, system: str) -> tuple[str, str] | None:
    """Why a system of the literature is no method of a family, and where it is, however it is written: MixtureGrowth."""
    if not (ROOT / family).is_dir():
        return None
    told = getattr(importlib.import_module(f"scionwood.methods.{family}"), "ELSEWHERE", {})
    plain = re.sub(r"[-_ ]", "", system).lower()
    return next((found for known, found in told.items() if known.replace("_", "") == plain), None)


def _unknown(what: str, name: str, known: list[str], hint: str | None = None) -> MethodError:
    # The nearest name is sought among the short names too: "unifrom" is near "select.uniform".
    short = {full.rpartition(".")[2]: full for full in known}
    near = nearest(name, known) or nearest(name.rpartition(".")[2], list(short))
    return MethodError(f"Unknown {what} {name!r}{near}.", hint=hint or f"Known are {', '.join(known)}.")


@cache
def _entries() -> dict[str, Entry]:
    """Read the folder and the entry points once; a running process does not gain methods."""
    entries = {
        f"{path.parent.name}.{path.stem}": entry
        for path in sorted(ROOT.glob("*/*.py"))
        if (entry := _read(path, f"{GROUP}.{path.parent.name}.{path.stem}:{path.stem}", path.parent.name))
    }
    for point in entry_points(group=GROUP):
        distribution = point.dist.name if point.dist else "an unknown package"
        if not re.fullmatch(r"[a-z]\w*\.[a-z]\w*", point.name):
            raise MethodError(f"The entry point {point.name!r} of {distribution!r} is not named family.system.")
        if taken := entries.get(point.name):
            raise MethodError(
                f"Two packages register the method {point.name!r}: {taken.distribution!r} and {distribution!r}.",
                hint="Uninstall one of them.",
            )
        entries[point.name] = _entry_of(point, distribution)
    return dict(sorted(entries.items()))


def _entry_of(point: EntryPoint, distribution: str) -> Entry:
    """Describe a plug-in from its file; where the file cannot be found without running it, by its name alone."""
    found = None
    top, *rest = point.module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is not None and spec.submodule_search_locations:
        base = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
        found = next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
    elif spec is not None and spec.origin and not rest:
        found = Path(spec.origin)
    family = point.name.partition(".")[0]
    try:
        entry = _read(found, point.value, family, distribution, point.attr) if found else None
    except SyntaxError:
        entry = None
    return entry or Entry(point.name, "", None, point.value, distribution)


def _read(
    path: Path, location: str, family: str, distribution: str = "scionwood", function: str | None = None
) -> Entry | None:
    """Read one file's line of the catalogue; nothing where it holds no method of its own name."""
    name = function or path.stem
    head, found, _ = path.read_text("utf-8").partition(f"\ndef {name}(")
    if not found:
        return None
    # The bodies are most of a file and of no interest; without them 200 files take 25 ms.
    tree = ast.parse(f"{head}\ndef {name}(): ...", filename=str(path))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).split(".")[-1] == "method":
                    words = {keyword.arg: keyword.value for keyword in decorator.keywords}
                    paper = words.get("paper")
                    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
                    return Entry(
                        f"{family}.{name}",
                        summary,
                        paper.value if isinstance(paper, ast.Constant) and isinstance(paper.value, str) else None,
                        location,
                        distribution,
                    )
    return None
