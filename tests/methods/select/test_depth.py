import pytest

from scionwood.errors import MethodError
from scionwood.methods.select.depth import DEPTH_RULES, blocks


@pytest.mark.parametrize(
    ("rule", "source", "target", "expected"),
    [
        ("first", 12, 6, [0, 1, 2, 3, 4, 5]),
        ("last", 12, 3, [9, 10, 11]),
        ("even", 12, 6, [0, 2, 4, 7, 9, 11]),  # DistilBERT's list is the generic rule
        ("even", 6, 1, [0]),
        ("stride", 12, 6, [0, 2, 4, 6, 8, 10]),
        ("stride", 12, 5, [0, 2, 4, 6, 8]),
        ("without_middle", 6, 4, [0, 1, 4, 5]),
        ("without_middle", 6, 3, [0, 1, 5]),
        ([0, 5, 11], 12, 3, [0, 5, 11]),
        ((0, 2), 3, 2, [0, 2]),
    ],
)
def test_worked_lists(rule, source, target, expected):
    assert blocks(rule, source, target) == expected


@pytest.mark.parametrize("rule", DEPTH_RULES)
def test_every_rule_increases_within_the_source_and_keeps_equal_depths(rule):
    for source in range(1, 20):
        assert blocks(rule, source, source) == list(range(source))
        for target in range(1, source + 1):
            chosen = blocks(rule, source, target)
            assert len(chosen) == target
            assert chosen == sorted(set(chosen))
            assert 0 <= chosen[0] <= chosen[-1] < source


def test_refusals():
    with pytest.raises(MethodError, match=r"Unknown depth rule 'evn' .did you mean 'even'"):
        blocks("evn", 12, 6)
    with pytest.raises(MethodError, match="larger than the source"):
        blocks("first", 6, 12)
    with pytest.raises(MethodError) as caught:
        blocks([3, 3, 12, -1], 12, 3)
    assert [problem.split(",")[0] for problem in caught.value.problems] == [
        "it names 4 blocks",
        "blocks [12",
        "the numbers must increase; a block taken twice is growing",
    ]
