"""The JSON Schema of recipes, for editors: made from the table of verbs and the methods' own signatures."""

from collections.abc import Iterator
from typing import Any

from scionwood.methods import registry
from scionwood.methods.record import Record
from scionwood.recipe.options import is_per_model
from scionwood.recipe.verbs import COMMON, VERBS, Field, Verb

__all__ = ["recipe_schema"]

_PATTERNS = {"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}


def _parts(name: str, beside: dict[str, Any]) -> dict[str, Any]:
    """A list of sources, each of which may have something beside it."""
    entry = {
        "type": "object",
        "properties": {"model": {"$ref": "#/$defs/source"}, name: beside},
        "required": ["model"],
        "additionalProperties": False,
    }
    return {"type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": "#/$defs/source"}, entry]}}


_LAYERS = {
    "description": "The first layer, and one past the last.",
    "type": "array",
    "items": {"type": "integer"},
    "minItems": 2,
    "maxItems": 2,
}
_TENSORS = {"description": "Patterns of tensors' names, such as 'encoder.*'.", "anyOf": list(_PATTERNS)}


def recipe_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that every recipe fits.

    >>> schema = recipe_schema()
    >>> schema["$defs"]["merge.slerp"]["properties"]["t"]["anyOf"][0]["default"]
    0.5
    """
    definitions: dict[str, Any] = {
        "source": {
            "description": "A path, a hub id, the name of another step, or a step.",
            "anyOf": [{"type": "string", "minLength": 1}, {"$ref": "#/$defs/step"}],
        },
        "step": {
            "type": "object",
            "required": ["verb"],
            "properties": {"verb": {"enum": list(VERBS)}},
            "allOf": [
                {"if": _is("verb", verb.name), "then": {"$ref": f"#/$defs/{verb.name}"}} for verb in VERBS.values()
            ],
        },
    }
    for verb in VERBS.values():
        definitions[verb.name] = _step(verb)
        for name in _methods(verb):
            definitions[f"{verb.family}.{name}"] = _options(f"{verb.family}.{name}")
            definitions[f"{verb.family}.{name} of a model"] = _own_options(f"{verb.family}.{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of scionwood",
        "type": "object",
        "if": {"required": ["steps"]},
        "then": {
            "properties": {
                "steps": {
                    "description": "The steps, by name.",
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {"$ref": "#/$defs/step"},
                },
                "output": {"description": "The name of the step that makes the output.", "type": "string"},
            },
            "additionalProperties": False,
        },
        "else": {
            "if": {"required": ["recipe"]},
            "then": {"properties": {"recipe": {"$ref": "#/$defs/step"}}},
            "else": {"$ref": "#/$defs/step"},
        },
        "$defs": definitions,
    }


def _is(key: str, value: str) -> dict[str, Any]:
    return {"properties": {key: {"const": value}}, "required": [key]}


def _step(verb: Verb) -> dict[str, Any]:
    properties: dict[str, Any] = {"verb": {"const": verb.name, "description": verb.summary}}
    properties |= {field.name: _field(verb, field) for field in (*verb.fields, *COMMON)}
    schema: dict[str, Any] = {
        "description": verb.summary,
        "type": "object",
        "properties": properties,
        "required": ["verb", *(field.name for field in verb.fields if field.required)],
        "additionalProperties": False,
    }
    conditions = list(_conditions(verb))
    return schema | ({"allOf": conditions} if conditions else {})


def _field(verb: Verb, field: Field) -> dict[str, Any]:
    if field.kind == "value":
        return field.option.json()
    kinds: dict[str, dict[str, Any]] = {
        "source": {"$ref": "#/$defs/source"},
        "models": {"type": "array", "minItems": 1},
        "ranges": _parts("layers", _LAYERS),
        "shares": _parts("tensors", _TENSORS),
        "config": {"type": ["string", "object"]},
        "settings": {"type": "object"},
        "method": {"enum": [*_methods(verb), *(f"{verb.family}.{name}" for name in _methods(verb))]},
        "options": {"type": "object"},
    }
    told = {"description": field.help}
    return kinds[field.kind] | told | ({"default": field.default} if field.kind == "method" else {})


def _conditions(verb: Verb) -> Iterator[dict[str, Any]]:
    """For each method of a verb, what its options are, under options and beside the models."""
    method = next((field for field in verb.fields if field.kind == "method"), None)
    for name in _methods(verb):
        full = f"{verb.family}.{name}"
        chosen: dict[str, Any] = {"properties": {"method": {"enum": [name, full]}}, "required": ["method"]}
        if method is not None and name == method.default:
            chosen = {"anyOf": [chosen, {"not": {"required": ["method"]}}]}
        held: dict[str, Any] = {"options": {"$ref": f"#/$defs/{full}"}}
        if verb.field("models") is not None:
            own = {"$ref": f"#/$defs/{full} of a model"}
            held["models"] = {"items": {"anyOf": [{"$ref": "#/$defs/source"}, own]}}
        yield {"if": chosen, "then": {"properties": held}}


def _methods(verb: Verb) -> list[str]:
    if verb.family is None:
        return []
    return [entry.name.partition(".")[2] for entry in registry.listing(verb.family)]


def _options(name: str) -> dict[str, Any]:
    """The options of a method: each a value, or rules that say where which value holds."""
    record = Record.of(registry.load(name))
    properties: dict[str, Any] = {}
    for option in record.options:
        plain = option.json()
        rules = {"type": "array", "minItems": 1, "items": _rule(plain)}
        forms = [plain, rules]
        if is_per_model(option):
            forms.append({"type": "array", "items": {"anyOf": [plain, rules]}})
        properties[option.name] = {"description": option.help, "anyOf": forms}
    required = [option.name for option in record.options if option.required]
    # What is required may stand beside the models instead.
    required = [name for name in required if not is_per_model(_named(record, name))]
    return {"type": "object", "properties": properties, "additionalProperties": False, "required": required}


def _own_options(name: str) -> dict[str, Any]:
    """A model with options of its own."""
    record = Record.of(registry.load(name))
    properties: dict[str, Any] = {"model": {"$ref": "#/$defs/source"}}
    for option in record.options:
        if is_per_model(option):
            plain = option.json()
            schema = {"description": option.help, "anyOf": [plain, {"type": "array", "items": _rule(plain)}]}
            properties |= {option.name: schema, option.name.removesuffix("s"): schema}
    return {"type": "object", "properties": properties, "required": ["model"], "additionalProperties": False}


def _named(record: Record, name: str) -> Any:
    return next(option for option in record.options if option.name == name)


def _rule(plain: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "tensors": {
                "description": "Patterns of tensors' names, such as '*.self_attn.*'.",
                "anyOf": list(_PATTERNS),
            },
            "layers": {"description": "Values from the first layer to the last.", "type": "array", "items": plain},
            "value": plain,
        },
        "oneOf": [{"required": ["value"]}, {"required": ["layers"]}],
        "additionalProperties": False,
    }
