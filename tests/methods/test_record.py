import dataclasses

import pytest

from scionwood.errors import MethodError
from scionwood.methods.record import Record, method, resolve, schema
from scionwood.methods.select.bignas import bignas
from scionwood.methods.select.llminit import llminit
from scionwood.methods.select.uniform import uniform


def test_the_function_is_the_one_that_was_written():
    def plain(source, target): ...

    assert method(family="select", unit="axis")(plain) is plain


def test_a_record_says_what_a_verb_must_know():
    record = Record.of(llminit)
    assert record.name == "select.llminit"
    assert record.family == "select"
    assert record.shape == "re-axis"
    assert record.inputs == ("source", "target", "generator", "scores")
    assert record.needs == {"source", "target"}
    assert record.scores == "variance"
    assert record.unit == "axis"
    assert Record.of(bignas).resizes == {"free", "kernel"}
    assert Record.of(uniform).resizes == {"free"}


def test_a_record_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Record.of(uniform).name = "x"  # type: ignore[misc]


def test_options_of_a_method_are_resolved_and_described():
    assert resolve(uniform, {}) == {"arithmetic": "exact"}
    assert resolve(llminit, {"rule": "random", "replace": "true"}) == {"rule": "random", "replace": True}
    with pytest.raises(MethodError, match=r"unknown option 'rul' .did you mean 'rule'"):
        resolve(llminit, {"rul": "random"})
    assert schema(uniform)["properties"]["arithmetic"]["enum"] == ["exact", "float32"]
    assert "halves to even" in schema(uniform)["properties"]["arithmetic"]["description"]


def test_a_plain_function_is_no_method():
    with pytest.raises(MethodError, match="is no method"):
        Record.of(len)


def test_every_problem_of_a_record_is_named_at_once():
    with pytest.raises(MethodError) as caught:

        @method(family="select", space="wweight", scope="eelement", laws={"identiti"}, resizes=("fre",))  # type: ignore[arg-type]
        def wrong(source, ttarget, scores): ...

    assert list(caught.value.problems) == [
        "unknown space 'wweight' (did you mean 'weight'?)",
        "unknown scope 'eelement' (did you mean 'element'?)",
        "unknown law 'identiti' (did you mean 'identity'?)",
        "unknown kind of axis 'fre' (did you mean 'free'?)",
        "unknown input 'ttarget' (did you mean 'target'?)",
        "a method that maps axes needs unit='axis' or 'dimension'",
        "it takes scores, but does not say which",
    ]


def test_shape_follows_from_the_family_or_must_be_given():
    @method(family="prune", shape="factor", scope="tensor")
    def wanda(tensor, statistics): ...

    assert Record.of(wanda).shape == "factor"
    with pytest.raises(MethodError, match="its shape is not known from its family"):
        method(family="prune")(lambda tensor: tensor)
    with pytest.raises(MethodError, match="it has no family"):
        method(shape="factor")(lambda tensor: tensor)
    with pytest.raises(MethodError, match="unit is for methods that map axes"):
        method(family="merge", unit="axis")(lambda deltas: deltas)
