"""Real text with real labels that every Python has: sentences from docstrings, and the module each comes from."""

import ast
import hashlib
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["MODULES", "Sentence", "sentences", "split_of"]

# Modules of the standard library with a hundred docstrings or so; decimal's are in its Python twin.
MODULES = {
    "asyncio": "asyncio",
    "decimal": "_pydecimal.py",
    "email": "email",
    "importlib": "importlib",
    "logging": "logging",
    "multiprocessing": "multiprocessing",
    "unittest": "unittest",
    "xml": "xml",
}
MOST_PER_MODULE = 130
LEAST_WORDS = 4


class Sentence(NamedTuple):
    """The first paragraph of a docstring, the number of its module, and the name of its function or class."""

    text: str
    label: int
    function: str


def sentences(library: Path | None = None) -> list[Sentence]:
    """Return the sentences of all modules, in an order that does not depend on where they stand.

    A text that occurs in two modules is left out, one that occurs twice in a module counts once; letters' case and
    white space do not tell texts apart. Of a module with many texts some are taken, by their hash.

    Args:
        library: the folder of the standard library; that of this Python unless given.
    """
    library = Path(sysconfig.get_path("stdlib")) if library is None else library
    seen: dict[str, Sentence] = {}
    ambiguous = set()
    for label, place in enumerate(MODULES.values()):
        for text, function in _docstrings(library / place):
            known = seen.setdefault(text.lower(), Sentence(text, label, function))
            if known.label != label:
                ambiguous.add(text.lower())
    kept = sorted((key for key in seen if key not in ambiguous), key=_digest)
    found: list[Sentence] = []
    for label in range(len(MODULES)):
        found += [seen[key] for key in kept if seen[key].label == label][:MOST_PER_MODULE]
    return sorted(found, key=lambda sentence: _digest(sentence.text))


def split_of(function: str) -> str:
    """Return the split of everything that functions of this name say: ``train``, ``validation`` or ``test``.

    ``Decimal.sqrt`` and ``Context.sqrt`` say nearly the same: by going with the name, nothing leaks to the test.

    >>> split_of("sqrt") == split_of("sqrt"), {split_of(str(number)) for number in range(99)} == {
    ...     "train", "validation", "test"}
    (True, True)
    """
    share = int(_digest(function)[:8], 16) / 16**8
    return "train" if share < 0.5 else "validation" if share < 0.7 else "test"


def _docstrings(place: Path) -> Iterator[tuple[str, str]]:
    """Yield the first paragraphs of a module's docstrings, each as one line, with the name of what they describe."""
    files = [place] if place.suffix else sorted(place.rglob("*.py"))
    for file in files:
        if not file.exists() or {"test", "tests"} & set(file.relative_to(place.parent).parts[:-1]):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n", maxsplit=1)[0].split())
                if len(text.split()) >= LEAST_WORDS:
                    yield text, node.name


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
