"""Where weights came from: the recipe, the parents by digest, the seed, the versions; and their parents in turn."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from scionwood.errors import SourceError

__all__ = ["Lineage", "Parent", "format_pedigree", "installed_versions"]

SCHEMA = 1
FILE_DIGEST = "file-sha256:"
VALUE_DIGEST = "value-sha256:"


def file_digest(path: Path) -> str:
    """Return what a file that is no checkpoint is known by.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return FILE_DIGEST + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None


@dataclass(frozen=True)
class Parent:
    """A checkpoint that another one was made from.

    Args:
        source: how the user named it: a path or a hub id.
        revision: the commit that a hub id resolved to.
        digest: what ``scionwood.checkpoint.digest`` gave for it.
        role: what it was for: ``"source"``, ``"base"``, ``"donor"``, ….
        license: the licence that its model card names.
        lineage: its own lineage, when it has one.
    """

    source: str
    revision: str | None = None
    digest: str | None = None
    role: str | None = None
    license: str | None = None
    lineage: "Lineage | None" = None

    @property
    def is_file(self) -> bool:
        """Whether it is a single file that is no checkpoint: a tokenizer, a text; its digest says so."""
        return (self.digest or "").startswith(FILE_DIGEST)

    @property
    def is_value(self) -> bool:
        """Whether it is numbers that were given from Python, and lie nowhere."""
        return (self.digest or "").startswith(VALUE_DIGEST)

    @classmethod
    def of_file(cls, path: Path, role: str) -> "Parent":
        """Return a file that is no checkpoint as a parent."""
        return cls(str(path), digest=file_digest(path), role=role)

    def to_dict(self) -> dict[str, Any]:
        """Return the parent as plain data, without what is not known."""
        plain = {
            "source": self.source,
            "revision": self.revision,
            "digest": self.digest,
            "role": self.role,
            "license": self.license,
            "lineage": self.lineage.to_dict() if self.lineage else None,
        }
        return {key: value for key, value in plain.items() if value is not None}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Parent":
        """Return the parent that ``to_dict`` wrote; unknown keys are passed over."""
        lineage = plain.get("lineage")
        return cls(
            source=_text(plain, "source") or "?",
            revision=_text(plain, "revision"),
            digest=_text(plain, "digest"),
            role=_text(plain, "role"),
            license=_text(plain, "license"),
            lineage=None if lineage is None else Lineage.from_dict(lineage),
        )


@dataclass(frozen=True)
class Lineage:
    """How a checkpoint was made, enough to make it again.

    Args:
        recipe: what was done, as plain data; ``recipe["verb"]`` names the operation.
        parents: what it was made from, in the order of the recipe.
        seed: the seed of everything random, or None.
        versions: package → version.

    >>> lineage = Lineage({"verb": "select", "method": "uniform"}, (Parent("acme/oak-7b", role="source"),), seed=0)
    >>> Lineage.from_json(lineage.to_json()) == lineage == Lineage.from_yaml(lineage.to_yaml())
    True
    """

    recipe: Mapping[str, Any] = field(default_factory=dict)
    parents: tuple[Parent, ...] = ()
    seed: int | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the lineage as plain data, without what is not known."""
        plain: dict[str, Any] = {"schema": SCHEMA, "recipe": dict(self.recipe)}
        if self.parents:
            plain["parents"] = [parent.to_dict() for parent in self.parents]
        if self.seed is not None:
            plain["seed"] = self.seed
        if self.versions:
            plain["versions"] = dict(self.versions)
        return plain

    @classmethod
    def from_dict(cls, plain: Any) -> "Lineage":
        """Return the lineage that ``to_dict`` wrote; unknown keys are passed over.

        Raises:
            SourceError: the data does not have the form of a lineage.
        """
        if not isinstance(plain, Mapping):
            raise SourceError(f"A lineage is a mapping, not a {type(plain).__name__}.")
        recipe, parents = plain.get("recipe", {}), plain.get("parents", [])
        seed, versions = plain.get("seed"), plain.get("versions", {})
        if not (
            isinstance(recipe, Mapping)
            and isinstance(parents, list)
            and all(isinstance(parent, Mapping) for parent in parents)
            and (seed is None or isinstance(seed, int))
            and isinstance(versions, Mapping)
        ):
            raise SourceError("A lineage has a recipe, a list of parents, a whole seed and versions; this one differs.")
        return cls(dict(recipe), tuple(Parent.from_dict(parent) for parent in parents), seed, dict(versions))

    def to_json(self) -> str:
        """Return the lineage as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Lineage":
        """Return the lineage that ``to_json`` wrote.

        Raises:
            SourceError: the text is not JSON, or not a lineage.
        """
        try:
            return cls.from_dict(json.loads(text))
        except (ValueError, RecursionError):
            raise SourceError("A lineage is not JSON.") from None

    def to_yaml(self) -> str:
        """Return the lineage as YAML, for ``scionwood.yaml``."""
        plain = json.loads(self.to_json())
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
        # PyYAML writes some rare line breaks (U+0085) as they are, and reads them as spaces.
        return text if yaml.safe_load(text) == plain else yaml.safe_dump(plain, sort_keys=False, width=120)

    @classmethod
    def from_yaml(cls, text: str) -> "Lineage":
        """Return the lineage that ``to_yaml`` wrote.

        Raises:
            SourceError: the text is not YAML, or not a lineage.
        """
        try:
            return cls.from_dict(yaml.safe_load(text))
        except (yaml.YAMLError, RecursionError):
            raise SourceError("A lineage is not YAML.") from None


def installed_versions(*packages: str) -> dict[str, str]:
    """Return the versions of scionwood, of torch and of these packages, without importing them.

    >>> sorted(installed_versions("safetensors"))
    ['safetensors', 'scionwood', 'torch']
    """
    return {package: importlib.metadata.version(package) for package in ("scionwood", "torch", *packages)}


def format_pedigree(lineage: Lineage, name: str = "this checkpoint") -> str:
    """Return the pedigree as a tree of text, the checkpoint first and its parents under it.

    >>> base = Parent("acme/oak-7b", revision="1f0c2d", role="base")
    >>> child = Parent("oak-small", role="source", lineage=Lineage({"verb": "select", "method": "uniform"}, (base,), 0))
    >>> print(format_pedigree(Lineage({"verb": "merge"}, (child,)), "out"))
    out  merge
    └── source: oak-small  select (method uniform, seed 0)
        └── base: acme/oak-7b@1f0c2d
    """
    lines = [f"{name}  {_made(lineage)}".rstrip()]
    _add_parents(lineage, "", lines)
    return "\n".join(lines)


def _add_parents(lineage: Lineage, indent: str, lines: list[str]) -> None:
    for index, parent in enumerate(lineage.parents):
        last = index == len(lineage.parents) - 1
        role = f"{parent.role}: " if parent.role else ""
        revision = f"@{parent.revision}" if parent.revision else ""
        digest = f"  [{parent.digest}]" if parent.digest else ""
        made = f"  {_made(parent.lineage)}" if parent.lineage else ""
        lines.append(f"{indent}{'└── ' if last else '├── '}{role}{parent.source}{revision}{made}{digest}".rstrip())
        if parent.lineage:
            _add_parents(parent.lineage, indent + ("    " if last else "│   "), lines)


def _made(lineage: Lineage) -> str:
    verb = lineage.recipe.get("verb", "")
    options = [f"{key} {_short(value)}" for key, value in lineage.recipe.items() if key != "verb" and _short(value)]
    if lineage.seed is not None:
        options.append(f"seed {lineage.seed}")
    return f"{verb} ({', '.join(options)})" if options else str(verb)


def _short(value: Any) -> str:
    """Return a value as it reads in a line, or nothing for what is too long."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if value is not None and len(text) <= (120 if isinstance(value, Mapping) else 40) else ""


def _text(plain: Mapping[str, Any], key: str) -> str | None:
    value = plain.get(key)
    if value is not None and not isinstance(value, str):
        raise SourceError(f"The {key} of a parent in a lineage is a {type(value).__name__}, not text.")
    return value
