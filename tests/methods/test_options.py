import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

import pytest

from scionwood.errors import MethodError
from scionwood.methods.options import Finite, Option, json_schema, options_of, resolve_options

Density = Annotated[float, Finite(above=0, at_most=1)]


def merge(
    deltas,
    *,
    density: Density = 0.2,
    rule: Literal["mean", "sum", 3] = "mean",
    passes: int = 1,
    normalise: bool = False,
    weights: float | Sequence[float] | Mapping[str, float] = 1.0,
    limit: Annotated[int, Finite(at_least=1)] | None = None,
    label: str,
):
    """Merge.

    Args:
        deltas: no option.
        density: the part of the entries
            that is kept.
        rule: how signs: are agreed on.
        label: a name.

    Returns:
        nothing: at all.
    """


OPTIONS = options_of(merge)


def resolve(**given):
    return resolve_options("merge.ties", OPTIONS, {"label": "x", **given})


def test_options_are_the_keyword_only_parameters_in_order():
    assert [option.name for option in OPTIONS] == [
        "density", "rule", "passes", "normalise", "weights", "limit", "label",
    ]  # fmt: skip
    assert [option.name for option in OPTIONS if option.required] == ["label"]


def test_help_is_read_from_the_docstring():
    helps = {option.name: option.help for option in OPTIONS}
    assert helps["density"] == "the part of the entries that is kept."
    assert helps["rule"] == "how signs: are agreed on."
    assert helps["passes"] == ""
    assert "nothing" not in " ".join(helps.values())


def test_defaults_fill_what_is_not_given():
    assert resolve() == {
        "density": 0.2, "rule": "mean", "passes": 1, "normalise": False, "weights": 1.0, "limit": None, "label": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("density", 1, 1.0),
        ("density", "1e-3", 1e-3),
        ("rule", "SUM", "sum"),
        ("rule", "3", 3),
        pytest.param("rule", 3, 3, id="rule-number"),
        ("passes", "7", 7),
        ("normalise", "yes", True),
        ("normalise", "off", False),
        ("limit", "none", None),
        ("limit", "5", 5),
        ("weights", 2, 2.0),
        ("weights", "1,0.5", (1.0, 0.5)),
        ("weights", "[1, 0.5]", (1.0, 0.5)),
        ("weights", [1, 2], (1.0, 2.0)),
        ("weights", "chat=1,code=0.5", {"chat": 1.0, "code": 0.5}),
        ("weights", {"chat": 1}, {"chat": 1.0}),
        ("label", "true", "true"),
    ],
)
def test_values_are_read_as_the_annotation_says(name, given, expected):
    value = resolve(**{name: given})[name]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("density", 0, "must be a finite number above 0 and at most 1, not 0"),
        ("density", 1.5, "at most 1, not 1.5"),
        ("density", math.nan, "not nan"),
        ("density", "inf", "not 'inf'"),
        ("density", "much", "not 'much'"),
        ("density", True, "not True"),
        ("density", None, "not None"),
        ("rule", "maen", r"one of mean, sum, 3, not 'maen' .did you mean 'mean'"),
        ("rule", 3.0, "not 3.0"),
        ("passes", 1.0, "a whole number, not 1.0"),
        ("passes", False, "not False"),
        ("normalise", 1, "true or false, not 1"),
        ("limit", 0, "a whole number at least 1, or none, not 0"),
        ("weights", ["a"], r"a number, or a list, each a number, or a mapping from names, each to a number"),
        ("weights", "a=b", "not 'a=b'"),
        ("label", 3, "a string, not 3"),
    ],
)
def test_values_that_do_not_fit_are_named(name, given, words):
    with pytest.raises(MethodError, match=words) as caught:
        resolve(**{name: given})
    assert f"option {name!r} must be" in str(caught.value)


def test_all_problems_come_at_once():
    with pytest.raises(MethodError) as caught:
        resolve_options("merge.ties", OPTIONS, {"densty": 1, "passes": "x", "zzz": 0})
    assert caught.value.message == "The options given to merge.ties do not fit."
    assert list(caught.value.problems) == [
        "unknown option 'densty' (did you mean 'density'?)",
        "unknown option 'zzz': it has density, rule, passes, normalise, weights, limit, label",
        "option 'passes' must be a whole number, not 'x'",
        "option 'label' is required: a string",
    ]
    with pytest.raises(MethodError, match="unknown option 'a': it has none"):
        resolve_options("select.consecutive", (), {"a": 1})


def test_a_function_is_given_from_python_alone():
    option = Option("activation", str | Callable[[float], float] | None, None)
    assert option.convert(math.sin) is math.sin
    assert option.convert("sin") == "sin"
    assert option.expects == "a string, or a function, from Python, or none"
    assert option.json() == {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
    with pytest.raises(ValueError, match="must be a string, or a function"):
        option.convert(3)


def test_json_schema():
    schema = json.loads(json.dumps(json_schema(OPTIONS)))
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["label"]
    properties = schema["properties"]
    assert properties["density"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1,
        "default": 0.2,
        "description": "the part of the entries that is kept.",
    }
    assert properties["rule"]["enum"] == ["mean", "sum", 3]
    assert properties["limit"]["anyOf"] == [{"type": "integer", "minimum": 1}, {"type": "null"}]
    assert properties["weights"]["anyOf"] == [
        {"type": "number"},
        {"type": "array", "items": {"type": "number"}},
        {"type": "object", "additionalProperties": {"type": "number"}},
    ]


def test_a_string_is_the_last_resort():
    assert Option("layers", str | int).convert("3") == 3
    assert Option("layers", str | int).convert("3a") == "3a"


def test_pairs_have_their_length():
    option = Option("range", tuple[int, int])
    assert option.convert("3, 4") == (3, 4)
    with pytest.raises(ValueError, match="range"):
        option.convert("3,4,5")
    assert option.json() == {"type": "array", "prefixItems": [{"type": "integer"}] * 2, "items": False}


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda *, a: a, "option 'a' has no annotation"),
        (lambda **options: options, r"\*\*options hides the options"),
    ],
)
def test_a_signature_that_is_no_schema_fails_when_it_is_written(function, words):
    with pytest.raises(MethodError, match=words):
        options_of(function)


def test_annotations_and_defaults_are_checked_when_they_are_written():
    def strange(*, a: object = 1, b: Density = 2.0, c: Annotated[str, Finite()] = "x"): ...

    with pytest.raises(MethodError) as caught:
        options_of(strange)
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "option 'a'", "the default is refused", "option 'c'",
    ]  # fmt: skip
