"""The JSON Schema takes every recipe that can be read, and refuses what cannot."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.recipe.test_read import TWO

from scionwood.cli import run
from scionwood.errors import RecipeError
from scionwood.recipe.document import parse_documents
from scionwood.recipe.read import parse_recipe
from scionwood.recipe.schema import recipe_schema

DOCS = Path(__file__).parents[2] / "docs" / "guide"
TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value fits a schema: the words of JSON Schema that ours uses, and no others."""

    def sub(key: str) -> bool:
        return fits(value, schema[key], root)

    def one_type(name: str) -> bool:
        if name in ("number", "integer"):
            return isinstance(value, (int, float) if name == "number" else int) and not isinstance(value, bool)
        return isinstance(value, TYPES[name])

    entries = value if isinstance(value, dict) else {}
    items = value if isinstance(value, list) else []
    number = value if isinstance(value, int | float) else None
    properties = schema.get("properties", {})
    checks = {
        "$ref": lambda ref: fits(value, root["$defs"][ref.removeprefix("#/$defs/")], root),
        "type": lambda types: any(one_type(name) for name in ([types] if isinstance(types, str) else types)),
        "const": lambda const: value == const,
        "enum": lambda choices: value in choices,
        "required": lambda names: not isinstance(value, dict) or all(name in entries for name in names),
        "properties": lambda each: all(fits(entries[name], each[name], root) for name in each if name in entries),
        "additionalProperties": lambda rest: all(
            rest is not False and fits(entries[name], rest, root) for name in entries if name not in properties
        ),
        "minProperties": lambda count: len(entries) >= count,
        "items": lambda each: all(fits(item, each, root) for item in items),
        "maxItems": lambda count: not isinstance(value, list) or len(items) <= count,
        "minItems": lambda count: not isinstance(value, list) or len(items) >= count,
        "minLength": lambda count: not isinstance(value, str) or len(value) >= count,
        "minimum": lambda bound: number is None or number >= bound,
        "maximum": lambda bound: number is None or number <= bound,
        "exclusiveMinimum": lambda bound: number is None or number > bound,
        "exclusiveMaximum": lambda bound: number is None or number < bound,
        "anyOf": lambda parts: any(fits(value, part, root) for part in parts),
        "allOf": lambda parts: all(fits(value, part, root) for part in parts),
        "oneOf": lambda parts: sum(fits(value, part, root) for part in parts) == 1,
        "not": lambda part: not fits(value, part, root),
        "if": lambda part: (
            (sub("then") if "then" in schema else True)
            if fits(value, part, root)
            else (sub("else") if "else" in schema else True)
        ),
    }
    silent = {"$schema", "$defs", "title", "description", "default", "then", "else"}
    assert set(schema) <= set(checks) | silent, set(schema) - set(checks) - silent
    return all(check(schema[word]) for word, check in checks.items() if word in schema)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return recipe_schema()


def documented() -> list[str]:
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    return re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)


GOOD = [
    TWO,
    "verb: merge\nmodels: [a, b]",
    "verb: merge\nmethod: merge.ties\nbase: c\nmodels: [{model: a, density: [{layers: [0.5, 1]}]}, b]",
    "verb: merge\nmodels: [a, b]\noptions: {weights: [{tensors: '*.up.*', value: 2}, {value: 1}]}",
    "verb: merge\nmodels: [a, b]\noptions: {weights: [1, [{value: 1}]]}",
    "verb: select\nsource: {verb: merge, models: [a, b]}\nset: {hidden_size: 8}\ndepth: [0, 2]\nhead: fresh",
    "verb: select\nsource: a\nlike: {model_type: llama}\ndepth: {layers: even}",
    "verb: stack\nparts: [{model: a, layers: [0, 3]}, {model: {verb: merge, models: [a, b]}, layers: [1, 4]}, a]",
    "verb: stack\nparts: [a, a]\nwithin: ['decoder.*']",
    "verb: join\nparts: [{model: a, tensors: 'encoder.*'}, {model: b, tensors: ['decoder.*', 'shared.*']}, c]",
    "verb: apply_adapter\nmodel: a\nadapter: b\ndtype: bfloat16",
    "schema: 1\nrecipe: {verb: write, source: a}\nparents: []\nversions: {}\nseed: 0",
    "steps:\n  a: {verb: merge, models: [x]}\noutput: a",
]
BAD = [
    "verb: mrege\nmodels: [a]",
    "verb: merge",
    "verb: merge\nmodels: []",
    "verb: merge\nmodels: [3]",
    "verb: merge\nmodels: [a]\nbasse: b",
    "verb: merge\nmodels: [a]\nmethod: tis",
    "verb: merge\nmodels: [a]\noptions: {weigths: 1}",
    "verb: merge\nmodels: [a]\noptions: {weights: [{value: 1, layers: [1]}]}",
    "verb: merge\nmethod: ties\nbase: b\nmodels: [{model: a, density: 2}]",
    "verb: merge\nmethod: slerp\nmodels: [{model: a, t: 1}, b]",
    "verb: select\nsource: a\nhead: old",
    "verb: stack\nparts: [{model: a, layers: [0, 3, 4]}]",
    "verb: stack\nparts: [{model: a, layer: [0, 3]}]",
    "verb: join\nparts: [{model: a, layers: [0, 3]}]",
    "verb: join\nparts: [{model: a, tensors: []}]",
    "steps: {}",
    "steps: {a: {verb: merge, models: [x]}}\nout: a",
]


@pytest.mark.parametrize("text", [*GOOD, *documented()])
def test_every_recipe_fits(schema, text):
    (document,) = parse_documents(text)
    assert parse_recipe(document).steps
    assert fits(document.plain(), schema, schema)


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused_does_not_fit(schema, text):
    (document,) = parse_documents(text)
    with pytest.raises(RecipeError):
        parse_recipe(document)
    assert not fits(document.plain(), schema, schema)


def test_the_command_prints_it(capsys, schema):
    assert run(["recipe", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(schema))
