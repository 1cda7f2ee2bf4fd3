"""Lineage and ledger: there and back, and as people read them."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scionwood.checkpoint import Entry, Ledger, Lineage, Parent, format_pedigree
from scionwood.errors import SourceError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TEXT = st.none() | st.text(max_size=8)


def lineages(depth: int = 2) -> st.SearchStrategy[Lineage]:
    above = st.none() | lineages(depth - 1) if depth else st.none()
    parents = st.lists(st.builds(Parent, st.text(min_size=1, max_size=9), TEXT, TEXT, TEXT, TEXT, above), max_size=2)
    recipes = st.dictionaries(st.text(max_size=6), PLAIN, max_size=4)
    versions = st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=2)
    return st.builds(Lineage, recipes, parents.map(tuple), st.none() | st.integers(0, 2**63), versions)


@given(lineages())
def test_a_lineage_comes_back_from_json_and_from_yaml(lineage: Lineage) -> None:
    assert Lineage.from_json(lineage.to_json()) == lineage
    assert Lineage.from_yaml(lineage.to_yaml()) == lineage
    assert json.loads(lineage.to_json()) == lineage.to_dict()
    assert "\n" not in lineage.to_json()


def test_the_order_of_a_recipe_stays() -> None:
    lineage = Lineage({"verb": "z", "b": 1, "a": 1e-3})
    assert lineage.to_yaml() == "schema: 1\nrecipe:\n  verb: z\n  b: 1\n  a: 0.001\n"
    assert list(Lineage.from_yaml(lineage.to_yaml()).recipe) == ["verb", "b", "a"]


def test_keys_of_a_later_version_are_passed_over() -> None:
    plain = {"schema": 9, "recipe": {}, "parents": [{"source": "a", "mood": "good"}], "weather": "fine"}
    assert Lineage.from_json(json.dumps(plain)) == Lineage({}, (Parent("a"),))


@pytest.mark.parametrize(
    "plain",
    [
        [],
        3,
        {"recipe": 3},
        {"parents": {}},
        {"parents": [3]},
        {"seed": "x"},
        {"versions": []},
        {"parents": [{"source": 3}]},
    ],
)
def test_what_is_no_lineage_is_refused(plain: object) -> None:
    for read, text in ((Lineage.from_json, json.dumps(plain)), (Lineage.from_yaml, yaml.safe_dump(plain))):
        with pytest.raises(SourceError, match="[Ll]ineage"):
            read(text)


def test_yaml_that_would_make_objects_is_refused() -> None:
    with pytest.raises(SourceError, match="A lineage is not YAML"):
        Lineage.from_yaml("recipe: !!python/object/apply:os.getcwd []")


def test_a_pedigree_of_several_parents() -> None:
    old = Lineage({"verb": "select", "method": "uniform", "sizes": {"hidden_size": list(range(50))}}, (Parent("c"),), 3)
    tree = format_pedigree(Lineage({"verb": "merge"}, (Parent("a", lineage=old), Parent("b", "r1", "sha256:1"))), "out")
    assert tree.splitlines() == [
        "out  merge",
        "├── a  select (method uniform, seed 3)",
        "│   └── c",
        "└── b@r1  [sha256:1]",
    ]


# ------------------------------------------------------------------------------------------------ ledger


def test_layers_fold_only_where_nothing_but_their_numbers_differs() -> None:
    ledger = Ledger(
        [
            *(Entry(f"layers.{n}.mlp.weight", "copied", f"layers.{n}.mlp.weight") for n in (0, 1, 2, 5)),
            Entry("layers.3.mlp.weight", "copied", "layers.3.mlp.weight", "tied"),
            Entry("layers.4.mlp.weight", "copied", None),
            *(Entry(f"experts.{n}.{m}.w1", "copied", f"experts.{n}.{m}.w1") for n in (0, 1) for m in (0, 1)),
            Entry("conv2d.weight", "copied", "conv1d.weight"),
        ]
    )
    assert ledger.summary()[1:] == [
        "  layers.{0-2,5}.mlp.weight",
        "  layers.3.mlp.weight: tied",
        "  layers.4.mlp.weight",
        "  experts.{0-1}.{0-1}.w1",
        "  conv2d.weight  from conv1d.weight",
    ]


def test_a_long_summary_counts_the_rest() -> None:
    ledger = Ledger([Entry(f"{chr(97 + n)}.weight", "fresh", parameters=2) for n in range(20)])
    lines = ledger.summary(lines_per_action=3)
    assert lines == [
        "fresh  20 tensors, 40 parameters",
        "  a.weight",
        "  b.weight",
        "  c.weight",
        "  … and 17 more kinds of tensors",
    ]


def test_counts_are_by_action_in_order() -> None:
    ledger = Ledger(
        [Entry("a", "fresh", None, "", 3), Entry("b", "copied", "b", "", 4), Entry("c", "fresh", None, "", 5)]
    )
    assert ledger.counts() == {"fresh": (2, 8), "copied": (1, 4)}
    assert list(ledger.counts()) == ["fresh", "copied"]
    assert [entry.name for entry in ledger.of("fresh")] == ["a", "c"]
    assert repr(ledger) == "Ledger(2 fresh, 1 copied)"
    assert repr(Ledger()) == "Ledger(empty)"
    assert Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
