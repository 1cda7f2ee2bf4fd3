"""YAML for people: YAML 1.2's rules, a line and a column for every value, and nothing that could surprise.

``1e-3`` is a number, ``no`` and ``off`` are text, ``012`` is 12 and ``0o14`` is 12, too; dates stay text. A key written
twice is refused, and so is a tag that would make an object. Anchors, aliases and merge keys (``<<``) work, within
bounds: a short file cannot stand for a long one.
"""

import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer, ComposerError
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from scionwood.errors import RecipeError, nearest

__all__ = ["Located", "located", "parse_documents", "read_documents", "unknown_keys"]

MOST_BYTES = 10_000_000
MOST_VALUES = 200_000
MOST_LEVELS = 64


@dataclass(frozen=True)
class Located:
    """A value, and where it is written.

    Args:
        value: a scalar, a list of located values, or a mapping from text to them.
        line: the line where it begins, counted from 1; 0 for what no file holds.
        column: the column where it begins, counted from 1.
        path: the file, as it is named in errors.
        key_lines: for a mapping, the line of each of its keys.

    >>> (document,) = parse_documents("method: ties\\nweights: [1, 5e-1]", "merge.yml")
    >>> document["weights"].problem("there are too few")
    'merge.yml:2: there are too few'
    >>> document.plain()
    {'method': 'ties', 'weights': [1, 0.5]}
    """

    value: Any
    line: int = 0
    column: int = 0
    path: str = ""
    key_lines: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, key: str) -> "Located":
        return self.value[key]

    def __contains__(self, key: object) -> bool:
        return self.is_mapping and key in self.value

    @property
    def is_mapping(self) -> bool:
        """Whether it is a mapping."""
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        """Whether it is a list."""
        return isinstance(self.value, list)

    @property
    def kind(self) -> str:
        """What it is, in words.

        >>> located([1]).kind, located(None).kind, located(0.5).kind
        ('a list', 'nothing', '0.5')
        """
        if self.is_mapping:
            return "a mapping"
        if self.is_list:
            return "a list"
        return "nothing" if self.value is None else repr(self.value)

    def get(self, key: str) -> "Located | None":
        """Return what a mapping holds under a key, or None."""
        return self.value.get(key)

    def items(self) -> Iterable[tuple[str, "Located"]]:
        """Return the keys of a mapping with what it holds under them."""
        return self.value.items()

    def plain(self) -> Any:
        """Return the value without its places: dictionaries, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: value.plain() for key, value in self.value.items()}
        if isinstance(self.value, list):
            return [value.plain() for value in self.value]
        return self.value

    def problem(self, text: str, *, key: str | None = None) -> str:
        """Return a sentence about this value, or about one of its keys, with the place before it."""
        line = self.line if key is None else self.key_lines.get(key, self.line)
        place = ":".join(part for part in (self.path, str(line or "")) if part)
        return f"{place}: {text}" if place else text


def located(value: Any, path: str = "") -> Located:
    """Return plain data as if it had been read from a file, without lines.

    >>> located({"method": "ties"})["method"].value
    'ties'
    """
    if isinstance(value, Mapping):
        return Located({str(key): located(item, path) for key, item in value.items()}, path=path)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Located([located(item, path) for item in value], path=path)
    return Located(value, path=path)


def unknown_keys(mapping: Located, known: Sequence[str], what: str) -> list[str]:
    """Return a problem for every key of a mapping that is not known, with the nearest right name.

    >>> (document,) = parse_documents("model: chat", "merge.yml")
    >>> unknown_keys(document, ["method", "models"], "a merge")
    ["merge.yml:1: a merge has no 'model' (did you mean 'models'?)"]
    """
    listed = f": it has {', '.join(known)}"
    return [
        mapping.problem(f"{what} has no {key!r}{nearest(key, known) or listed}", key=key)
        for key in mapping.value
        if key not in known
    ]


def read_documents(path: str | Path) -> list[Located]:
    """Return the documents of a YAML file, each value with its place.

    Args:
        path: the file.

    Raises:
        RecipeError: it cannot be read, is not YAML, writes a key twice, makes objects, or grows beyond bounds;
            everything that can be found at once is listed.
    """
    file = Path(path)
    label = str(path)
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for a writer
            raise RecipeError(f"{label} is not a file.")
        if status.st_size > MOST_BYTES:
            raise RecipeError(f"{label} has {status.st_size:,} bytes, more than any recipe: {MOST_BYTES:,}.")
        data = file.read_bytes()
    except OSError as error:
        near = nearest(file.name, _names_beside(file))
        raise RecipeError(f"{label} cannot be read: {error.strerror}{near}.") from None
    try:
        return parse_documents(data.decode("utf-8-sig"), label)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{label} is not UTF-8 text (byte {error.start}).") from None


def parse_documents(text: str, path: str = "") -> list[Located]:
    """Return the documents of a YAML text; ``path`` names it in errors.

    >>> [document.plain() for document in parse_documents("a: 0o14\\n---\\nb: no")]
    [{'a': 12}, {'b': 'no'}]

    Raises:
        RecipeError: as ``read_documents``.
    """
    try:
        nodes = list(_composed(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Located(None, mark.line + 1 if mark else 0, path=path)
        said = " ".join(part for part in (error.context, error.problem) if part)
        raise RecipeError(f"{path or 'The text'} is not YAML.", problems=[where.problem(said)]) from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        said = Located(None, line, path=path).problem(f"the character U+{ord(text[error.position]):04X} is not allowed")
        raise RecipeError(f"{path or 'The text'} is not YAML.", problems=[said]) from None
    reader = _Reader(path)
    documents = [reader.read(node) for node in nodes]
    if reader.problems:
        raise RecipeError(f"{path or 'The text'} cannot be read as a recipe.", problems=reader.problems)
    return documents


class _Resolver(BaseResolver):
    """Which plain scalars are no text: those of YAML 1.2's core schema."""


_TAG = "tag:yaml.org,2002:"
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

for _name, _pattern, _first in (
    ("null", r"(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", rf"({'|'.join((*_TRUE, *_FALSE))})$", list("tTfF")),
    ("int", rf"({_INTEGER.pattern})$", list("-+0123456789")),
    ("float", rf"({_FLOAT.pattern})$", list("-+.0123456789")),
    ("merge", r"<<$", ["<"]),
):
    _Resolver.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)


class _Composer(Reader, Scanner, Parser, Composer, _Resolver):
    """PyYAML's loader without its constructor, which would make objects."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        _Resolver.__init__(self)
        self.levels = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.levels += 1
        if self.levels > MOST_LEVELS:
            mark = self.peek_event().start_mark
            raise ComposerError(None, None, f"it is nested more than {MOST_LEVELS} levels deep", mark)
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


def _composed(text: str) -> Iterator[yaml.Node]:
    composer = _Composer(text)
    while composer.check_node():
        node = composer.get_node()
        assert node is not None
        yield node


class _Reader:
    """Turns nodes into located values, and gathers what is wrong with them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[str] = []
        self.done: dict[int, tuple[yaml.Node, Located, int]] = {}
        self.open: set[int] = set()

    def read(self, node: yaml.Node) -> Located:
        """Return a node's value; a node with several aliases is read once."""
        value, size = self._read(node)
        if size > MOST_VALUES:
            self.problems.append(value.problem(f"its aliases stand for {size:,} values, more than {MOST_VALUES:,}"))
        return value

    def _read(self, node: yaml.Node) -> tuple[Located, int]:
        if id(node) in self.done:
            return self.done[id(node)][1:]
        if id(node) in self.open:
            self._refuse(node, "it holds itself")
            return self._place(node, None), 1
        self.open.add(id(node))
        value, size = self._value(node)
        self.open.discard(id(node))
        self.done[id(node)] = (node, value, size)
        return value, size

    def _value(self, node: yaml.Node) -> tuple[Located, int]:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            parts = [self._read(child) for child in node.value]
            return self._place(node, [part for part, _ in parts]), 1 + sum(size for _, size in parts)
        if isinstance(node, yaml.ScalarNode):
            return self._place(node, self._scalar(node)), 1
        self._refuse_tag(node)
        return self._place(node, None), 1

    def _mapping(self, node: yaml.MappingNode) -> tuple[Located, int]:
        own: dict[str, Located] = {}
        merged: dict[str, Located] = {}
        lines: dict[str, int] = {}
        total = 1
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(key_node, "a key is text, not a list or a mapping")
                continue
            key, line = key_node.value, key_node.start_mark.line + 1
            if key in lines:
                self._refuse(key_node, f"the key {key!r} is written twice, first in line {lines[key]}")
                continue
            lines[key] = line
            value, size = self._read(value_node)
            total += size
            if key_node.tag == _TAG + "merge":
                # A key of the mapping itself goes before those that are merged in, and the first of these before others.
                for part in value.value if value.is_list else [value]:
                    if part.is_mapping:
                        merged = {**part.value, **merged}
                    else:
                        self._refuse(value_node, f"'<<' takes a mapping or a list of them, not {part.kind}")
                continue
            own[key] = value
        places = {key: value.line for key, value in merged.items()} | lines
        return self._place(node, {**merged, **own}, places), total

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind in ("str", "merge"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and text in (*_TRUE, *_FALSE):
            return text in _TRUE
        if kind == "int" and _INTEGER.fullmatch(text):
            if len(text) > 300:
                self._refuse(node, f"a number of {len(text):,} digits is more than a recipe needs")
                return None
            return int(text, 0 if text.startswith(("0o", "0x")) else 10)
        if kind == "float" and _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if kind in ("bool", "int", "float"):
            self._refuse(node, f"{text!r} is tagged !!{kind} and is none")
        else:
            self._refuse_tag(node)
        return None

    def _place(self, node: yaml.Node, value: Any, key_lines: Mapping[str, int] | None = None) -> Located:
        mark = node.start_mark
        return Located(value, mark.line + 1, mark.column + 1, self.path, key_lines or {})

    def _refuse_tag(self, node: yaml.Node) -> None:
        tag = f"!!{node.tag.removeprefix(_TAG)}" if node.tag.startswith(_TAG) else node.tag
        self._refuse(
            node, f"the tag {tag} is not allowed: a recipe holds text, numbers, lists and mappings, no objects"
        )

    def _refuse(self, node: yaml.Node, text: str) -> None:
        self.problems.append(self._place(node, None).problem(text))


def _names_beside(file: Path) -> list[str]:
    try:
        return [other.name for other in file.parent.iterdir()]
    except OSError:
        return []
