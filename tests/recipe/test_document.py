"""YAML read strictly: YAML 1.2's scalars, places, and what is refused."""

import math

import pytest

from scionwood.errors import RecipeError
from scionwood.recipe.document import located, parse_documents, read_documents, unknown_keys


def one(text):
    (document,) = parse_documents(text, "file.yml")
    return document


def problems(text):
    with pytest.raises(RecipeError) as caught:
        parse_documents(text, "file.yml")
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("+7", 7),
        ("-0", 0),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("off", "off"),
        ("No", "No"),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("~", None),
        ("null", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("!!float 1", 1.0),
        ("!!int '0o7'", 7),
        (".e5", ".e5"),
        ("0b11", "0b11"),
        ("=", "="),
    ],
)
def test_a_plain_scalar_is_what_yaml_1_2_says(text, value):
    found = one(f"key: {text}")["key"].value
    assert (type(found), found) == (type(value), value)


def test_nan_is_a_number():
    assert math.isnan(one("key: .NaN")["key"].value)


def test_every_value_knows_its_place():
    document = one("a: 1\nmodels:\n  - model: chat\n    weight: 0.5\n  - math\n")
    weight = document["models"].value[0]["weight"]
    assert (weight.line, weight.column, weight.path) == (4, 13, "file.yml")
    assert document["models"].value[1].line == 5
    assert document.problem("here", key="models") == "file.yml:2: here"
    assert document["models"].problem("here") == "file.yml:3: here"
    assert located({"a": 1}).problem("here", key="a") == "here"
    assert located({"a": 1}, "out")["a"].problem("here") == "out: here"


def test_several_documents_are_read_and_lines_go_on():
    first, second = parse_documents("a: 1\n---\nb: 2\n", "file.yml")
    assert first.plain() == {"a": 1}
    assert second["b"].line == 3


def test_every_key_that_is_written_twice_is_named_with_both_lines():
    assert problems("a: 1\nb: {c: 1, c: 2}\na: 3\n") == [
        "file.yml:2: the key 'c' is written twice, first in line 2",
        "file.yml:3: the key 'a' is written twice, first in line 1",
    ]


def test_keys_are_text_as_written():
    assert one("1: a\nno: b\n0.50: c\nnull: d").plain() == {"1": "a", "no": "b", "0.50": "c", "null": "d"}
    assert problems("? [a]\n: 1") == ["file.yml:1: a key is text, not a list or a mapping"]


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system", "!!binary", "!!set", "!mine", "!!timestamp", "!!python/name:os.system"]
)
def test_a_tag_that_makes_an_object_is_refused(tag):
    (problem,) = problems(f"a: 1\nb: {tag} ['echo']\n")
    assert problem.startswith(f"file.yml:2: the tag {tag} is not allowed")


def test_a_tag_that_does_not_fit_is_refused():
    assert problems("a: !!int x") == ["file.yml:1: 'x' is tagged !!int and is none"]
    assert problems("a: !!bool 1") == ["file.yml:1: '1' is tagged !!bool and is none"]


def test_merge_keys_fill_in_what_a_mapping_does_not_say_itself():
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {z: 3, <<: [*a, *b]}\nd:\n  <<: *a\n  x: 4\n"
    document = one(text)
    assert document["c"].plain() == {"x": 1, "y": 1, "z": 3}
    assert document["d"].plain() == {"x": 4, "y": 1}
    assert document["d"].problem("here", key="x") == "file.yml:6: here"
    assert problems("a: {<<: 3}") == ["file.yml:1: '<<' takes a mapping or a list of them, not 3"]


def test_aliases_are_bounded():
    levels = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    (problem,) = problems("\n".join(levels))
    assert "aliases stand for" in problem
    assert problems("a: &a [*a]") == ["file.yml:1: it holds itself"]
    assert one("a: &a [1]\nb: *a").plain() == {"a": [1], "b": [1]}


def test_depth_and_digits_are_bounded():
    (problem,) = problems("[" * 5000)
    assert "nested more than 64 levels" in problem
    assert one("[" * 60 + "]" * 60).is_list
    (problem,) = problems("9" * 5000)
    assert "5,000 digits" in problem


def test_what_is_no_yaml_names_its_line():
    (problem,) = problems("a: 1\nb: [1, 2\nc: 3\n")
    assert problem.startswith("file.yml:3: ")
    (problem,) = problems("a: 1\nb: *missing\n")
    assert problem.startswith("file.yml:2: ")
    (problem,) = problems("a: 1\nb: \x07\n")
    assert problem == "file.yml:2: the character U+0007 is not allowed"


def test_a_file_is_read_or_refused(tmp_path):
    path = tmp_path / "merge.yml"
    path.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\n")
    assert [document.plain() for document in read_documents(path)] == [{"a": "é"}]
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(RecipeError, match="not UTF-8 text \\(byte 3\\)"):
        read_documents(path)
    with pytest.raises(RecipeError, match="did you mean 'merge.yml'"):
        read_documents(tmp_path / "merg.yml")
    with pytest.raises(RecipeError, match="is not a file"):
        read_documents(tmp_path)


def test_unknown_keys_have_the_nearest_name():
    assert unknown_keys(one("model: a\n\nxyz: b"), ["models", "method"], "a merge") == [
        "file.yml:1: a merge has no 'model' (did you mean 'models'?)",
        "file.yml:3: a merge has no 'xyz': it has models, method",
    ]
