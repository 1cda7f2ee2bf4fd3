"""Models as mergekit names them: ``path@revision+lora@revision``, or a mapping of these parts."""

from dataclasses import dataclass
from typing import Any

from scionwood.recipe.document import Located, unknown_keys

__all__ = ["Reference", "placed", "read_reference", "said"]


@dataclass(frozen=True)
class Reference:
    """A model, and the adapter that is put on it first, if there is one.

    Two of them are equal if they name the same.
    """

    model: str
    adapter: str | None = None

    def source(self, dtype: str | None = None) -> str | dict[str, str]:
        """Return the source of a recipe that this is.

        Args:
            dtype: what a model with an adapter on it is held in on the way.

        >>> Reference("acme/oak@v2", "acme/oak-lora").source()
        {'verb': 'apply_adapter', 'model': 'acme/oak@v2', 'adapter': 'acme/oak-lora'}
        """
        if self.adapter is None:
            return self.model
        held = {} if dtype is None else {"dtype": dtype}
        return {"verb": "apply_adapter", "model": self.model, "adapter": self.adapter, **held}

    def __str__(self) -> str:
        return self.model if self.adapter is None else f"{self.model}+{self.adapter}"


def placed(value: Any, at: Located) -> Located:
    """Return plain data with the place of something else; what has a place of its own keeps it."""
    if isinstance(value, Located):
        return value
    if isinstance(value, dict):
        value = {key: placed(each, at) for key, each in value.items()}
    elif isinstance(value, list):
        value = [placed(each, at) for each in value]
    return Located(value, at.line, at.column, at.path)


def said(mapping: Located, key: str) -> Located | None:
    """Return what a mapping holds under a key; None where it holds nothing."""
    value = mapping.get(key)
    return None if value is None or value.value is None else value


def read_reference(at: Located, problems: list[str]) -> Reference | None:
    """Return the model that is named, or None where what is wrong went to ``problems``.

    >>> from scionwood.recipe.document import located
    >>> read_reference(located("acme/oak@v2+acme/oak-lora"), [])
    Reference(model='acme/oak@v2', adapter='acme/oak-lora')
    """
    if isinstance(at.value, str) and at.value:
        parts = at.value.split("+")
        if len(parts) > 2 or not all(parts) or any(part.count("@") > 1 for part in parts):
            problems.append(at.problem(f"a model is path[@revision][+lora[@revision]], not {at.kind}"))
            return None
        return Reference(*parts)
    if not at.is_mapping or "model" not in at:
        problems.append(at.problem(f"a model is a path, a hub id, or a mapping with model, not {at.kind}"))
        return None
    begun = len(problems)
    problems += unknown_keys(at, ("model", "lora", "override_architecture"), "a model")
    if said(at, "override_architecture") is not None:
        why = "override_architecture is not taken: tensors are matched by names and shapes, whatever the architecture"
        problems.append(at.problem(why, key="override_architecture"))
    model, lora = _path(at["model"], problems), said(at, "lora")
    adapter = None if lora is None else _path(lora, problems)
    return None if model is None or len(problems) > begun else Reference(model, adapter)


def _path(at: Located, problems: list[str]) -> str | None:
    if isinstance(at.value, str) and at.value and at.value.count("@") < 2 and "+" not in at.value:
        return at.value
    path = at.get("path") if at.is_mapping else None
    if path is None or not isinstance(path.value, str) or not path.value:
        problems.append(at.problem(f"this is a path, or a mapping of path and revision, not {at.kind}"))
        return None
    problems += unknown_keys(at, ("path", "revision"), "a path with a revision")
    revision = said(at, "revision")
    return path.value if revision is None else f"{path.value}@{revision.value}"
