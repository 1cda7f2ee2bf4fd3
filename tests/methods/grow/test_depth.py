"""Depth rules: the lists of their papers, and what they do not reach."""

import importlib
import re

import pytest

from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.grow import ELSEWHERE
from scionwood.methods.grow.depth import DEPTH_RULES, EXPANSION, deeper


def blocks(rule: str, depth: int, n: int) -> list[int]:
    return [block for block, _ in deeper(rule, depth, n)]


def test_the_lists_of_the_papers() -> None:
    assert blocks("stack", 3, 6) == [0, 1, 2, 0, 1, 2]
    assert blocks("interleave", 3, 6) == [0, 0, 1, 1, 2, 2]
    assert blocks("depth_up_scaling", 32, 48) == [*range(24), *range(8, 32)]
    assert blocks("depth_up_scaling", 8, 12) == [*range(6), *range(2, 8)]
    assert blocks("stage_sharing", 4, 12) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert blocks("stage_sharing", 4, 6) == [0, 1, 2, 2, 3, 3]  # the remainder to later stages
    assert deeper("linear_expansion", 2, 3) == ((0, False),) * 3
    assert deeper("linear_expansion", 2, 2) == ((0, False),) * 2  # block 1 is a slope, never a layer
    expanded = deeper("block_expansion", 32, 40)
    assert [place for place, (_, idle) in enumerate(expanded) if idle] == [4, 9, 14, 19, 24, 29, 34, 39]
    assert blocks("block_expansion", 32, 40)[:6] == [0, 1, 2, 3, 3, 4]


@pytest.mark.parametrize("rule", [rule for rule in DEPTH_RULES if rule != EXPANSION])
@pytest.mark.parametrize(("depth", "n"), [(2, 3), (4, 6), (3, 6), (6, 6)])
def test_every_block_stays_and_the_length_is_right(rule: str, depth: int, n: int) -> None:
    found = blocks(rule, depth, n)
    assert len(found) == n
    assert set(found) == set(range(depth))


def test_what_they_do_not_reach() -> None:
    with pytest.raises(MethodError, match="9 more blocks do not go into 32 evenly") as caught:
        deeper("block_expansion", 32, 41)
    assert caught.value.hint is not None
    assert "from 32 it reaches 33, 34, 36, 40, 48, 64, 96, 128; nearest is 40" in caught.value.hint
    with pytest.raises(MethodError, match="reaches at most 8, not 9"):
        deeper("depth_up_scaling", 4, 9)
    with pytest.raises(MethodError, match="linear_expansion expands two blocks, B and A, not 3"):
        deeper("linear_expansion", 3, 6)
    with pytest.raises(MethodError, match="unknown depth rule 'stak' \\(did you mean 'stack'\\?\\)"):
        deeper("stak", 2, 4)
    with pytest.raises(MethodError, match="block 7 is not among 0 to 1"):
        deeper([0, 7, 1], 2, 3)
    with pytest.raises(MethodError, match="2 blocks, not 3"):
        deeper([0, 1], 2, 3)


@pytest.mark.parametrize(
    "name",
    [
        *DEPTH_RULES,
        "LoGAH",
        "ghn3",
        "parameter_prediction",
        "denoised",
        "tleg",
        "Net2Deeper",
    ],
)
def test_systems_that_are_no_methods_are_pointed_to(name: str) -> None:
    with pytest.raises(MethodError, match=f"^{name} is no method of grow: it ") as caught:
        registry.load(name, family="grow")
    hint = caught.value.hint or ""
    if name in DEPTH_RULES:
        assert hint == f"give --depth {name}"
    for module in re.findall(r"scionwood(?:\.\w+)+", hint):
        importlib.import_module(module)  # what the hint names is there


def test_every_system_that_is_elsewhere_names_what_is_there() -> None:
    listed = {entry.name.removeprefix("grow.") for entry in registry.listing("grow")}
    assert not listed & set(ELSEWHERE)
    for why, hint in ELSEWHERE.values():
        assert why
        named = [*re.findall(r"scionwood(?:\.\w+)+", hint), *re.findall(r"--(?:depth|method) (\w+)", hint)]
        assert named
        for each in named:
            assert importlib.import_module(each) if "." in each else each in listed | set(DEPTH_RULES)
