"""Worked numbers of the selections that have few; uniform, ranking and depth have files of their own."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods.record import Record
from scionwood.methods.select.bignas import bignas
from scionwood.methods.select.choice import choose
from scionwood.methods.select.consecutive import consecutive
from scionwood.methods.select.llminit import column_variance, llminit, popular_rows, user_embedding
from scionwood.methods.select.random import random
from scionwood.methods.select.random_inconsistent import random_inconsistent
from scionwood.methods.select.subcloning import subcloning
from scionwood.methods.select.uniform import uniform
from scionwood.methods.select.whole_heads import whole_heads
from scionwood.methods.select.within_heads import within_heads


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_consecutive():
    assert consecutive((8,), (3,)).tolist() == [0, 1, 2]
    assert consecutive((6, 64), (3, 64)).tolist() == list(range(192))


def test_random_draws_every_subset_equally():
    generator = seeded()
    counts = torch.zeros(5)
    for _ in range(3000):
        counts[random((5,), (2,), generator)] += 1
    # Each index has p = 2/5: 1200 expected, standard deviation 27.
    assert bool(((counts - 1200).abs() < 120).all())


def test_random_depends_on_the_generator_alone():
    torch.manual_seed(1)
    first = random((100,), (50,), seeded(3))
    torch.manual_seed(2)
    assert torch.equal(first, random((100,), (50,), seeded(3)))
    assert not torch.equal(first, random((100,), (50,), seeded(4)))


def test_the_control_is_random_but_for_its_record():
    assert torch.equal(random_inconsistent((9,), (4,), seeded()), random((9,), (4,), seeded()))
    assert Record.of(random).consistent
    assert not Record.of(random_inconsistent).consistent


# Heads.


def test_whole_heads():
    assert whole_heads((6, 4), (3, 4)).view(3, 4)[:, 0].tolist() == [0, 8, 16]
    assert whole_heads((4, 2, 3), (2, 2, 3)).view(2, 2, 3)[:, :, 0].tolist() == [[0, 3], [12, 15]]
    assert torch.equal(whole_heads((8,), (3,)), uniform((8,), (3,)))


def test_whole_heads_refuses_another_width():
    with pytest.raises(MethodError, match="64 in the source, 32 in the target"):
        whole_heads((6, 64), (6, 32))


def test_within_heads_thins_each_head():
    assert within_heads((2, 4), (2, 3)).tolist() == [*uniform((4,), (3,)).tolist(), *(uniform((4,), (3,)) + 4).tolist()]


def test_within_heads_equals_uniform_where_everything_divides():
    assert torch.equal(within_heads((6, 64), (3, 64)), uniform((384,), (192,)))
    assert torch.equal(within_heads((4, 12), (2, 12)), uniform((48,), (24,)))


def test_within_heads_joins_queries_as_it_joins_their_keys():
    keys = within_heads((4, 6), (2, 6)) // 6
    queries = within_heads((4, 3, 6), (2, 3, 6)).view(2, 3, 6)
    assert torch.equal(queries // 18, keys.view(2, 1, 6).expand(2, 3, 6))  # the key heads they belong to
    assert torch.equal(queries // 6 % 3, torch.arange(3).view(1, 3, 1).expand(2, 3, 6))  # the place in the group


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ((6, 64), (4, 64), "6 heads do not come together in 4"),
        ((6, 64), (2, 64), "3 source heads cannot share a target head of width 64"),
        ((6, 4), (3, 10), "larger than the source"),
        ((6, 4), (2, 3, 2), "the source has 1 axes of heads, the target 2"),
    ],
)
def test_within_heads_refuses_uneven_shares(source, target, words):
    with pytest.raises(MethodError, match=words):
        within_heads(source, target)


# BigNAS.


def test_bignas():
    assert bignas((7,), (3,), "kernel").tolist() == [2, 3, 4]
    assert bignas((5,), (3,), "kernel").tolist() == [1, 2, 3]
    assert bignas((7,), (5,), "kernel").tolist() == [1, 2, 3, 4, 5]
    assert bignas((4,), (2,), "kernel").tolist() == [1, 2]
    assert bignas((64,), (24,)).tolist() == list(range(24))
    assert Record.of(bignas).resizes == {"free", "kernel"}


# LLMInit.

TABLE = torch.tensor([[0, 1, 5, 2], [2, 1, -5, 2.5], [1, 1, 3, 2.2], [9, -9, 0, 0]])


def test_llminit_uniform_drops_the_tail():
    assert llminit((10,), (4,)).tolist() == [0, 2, 4, 6]
    assert llminit((384,), (128,)).tolist() == list(range(0, 384, 3))


def test_llminit_variance_is_decided_by_the_popular_rows():
    variances = column_variance(TABLE, torch.tensor([0, 1, 2]))
    assert torch.allclose(variances, torch.tensor([1, 0, 28, 0.0633]), atol=1e-4)
    assert llminit((4,), (2,), scores=variances, rule="variance").tolist() == [0, 2]
    # Over all rows the rare item decides.
    assert llminit((4,), (2,), scores=column_variance(TABLE), rule="variance").tolist() == [1, 2]


def test_popular_rows():
    assert popular_rows(torch.tensor([3, 9, 1, 9, 5, 0, 0, 0, 0, 0])).tolist() == [1, 3]
    assert popular_rows(torch.tensor([3, 9, 1])).tolist() == [0, 1]  # a fifth of three is none: two at least


def test_user_embedding():
    touched = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    items = TABLE[:, [0, 2]]
    expected = [[1, 0], [5, 1.5], [0, 0]]
    assert user_embedding(touched, items).tolist() == expected
    assert user_embedding(touched.to_sparse(), items).tolist() == expected


def test_llminit_random_with_and_without_replacement():
    without = llminit((20,), (20,), seeded(), rule="random")
    assert without.tolist() == list(range(20))
    with_replacement = llminit((20,), (20,), seeded(), rule="random", replace=True)
    assert len(with_replacement.unique()) < 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rule": "random"}, "needs a generator"),
        ({"rule": "variance"}, "needs the variance of every column"),
        ({"replace": True}, "Only the rule random draws"),
    ],
)
def test_llminit_says_what_it_lacks(options, words):
    with pytest.raises(MethodError, match=words):
        llminit((8,), (4,), **options)


# The contract.


def test_choose_says_which_input_is_missing():
    with pytest.raises(MethodError, match=r"select\.random needs a generator, and was given none"):
        choose(random, (8,), (4,))
    with pytest.raises(MethodError, match=r"select\.subcloning needs scores \(activation\)"):
        choose(subcloning, (8,), (4,))


def test_choose_refuses_what_is_no_index():
    from scionwood.methods.record import method

    @method(family="select", unit="axis")
    def broken(source, target):
        return torch.arange(target[0]) + source[0]

    with pytest.raises(MethodError, match=r"select\.broken gave no index of 2 of 4"):
        choose(broken, (4,), (2,))
