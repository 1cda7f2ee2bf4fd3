import hashlib
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scionwood.errors import MethodError
from scionwood.methods.select.uniform import uniform


def official(n, m):
    """The published rule, in its own arithmetic."""
    if n % m == 0:
        return torch.arange(m) * (n // m)
    return torch.round(torch.linspace(0, n - 1, m)).long()


@pytest.mark.parametrize(
    ("n", "m", "expected"),
    [
        (8, 4, [0, 2, 4, 6]),
        (8, 3, [0, 4, 7]),
        (6, 4, [0, 2, 3, 5]),
        (12, 5, [0, 3, 6, 8, 11]),
        (10, 4, [0, 3, 6, 9]),
        (7, 2, [0, 6]),
        (7, 1, [0]),
    ],
)
def test_worked_indices(n, m, expected):
    assert uniform((n,), (m,)).tolist() == expected


def test_worked_matrix():
    W = torch.arange(48).reshape(6, 8)
    select = lambda rows, columns: W[uniform((6,), (rows,))][:, uniform((8,), (columns,))].tolist()  # noqa: E731
    assert select(4, 4) == [[0, 2, 4, 6], [16, 18, 20, 22], [24, 26, 28, 30], [40, 42, 44, 46]]
    assert select(3, 3) == [[0, 4, 7], [16, 20, 23], [32, 36, 39]]


def test_two_steps_equal_one():
    first, second = uniform((16,), (8,)), uniform((8,), (4,))
    assert torch.equal(first[second], uniform((16,), (4,)))


def test_acts_on_the_flat_dimension():
    assert torch.equal(uniform((6, 64), (3, 64)), torch.arange(192) * 2)
    assert torch.equal(uniform((6, 64), (5, 56)), uniform((384,), (280,)))


@pytest.mark.parametrize(("n", "m", "differing"), [(384, 280, 88), (8, 6, 2)])
def test_a_fused_projection_differs_flat_and_by_part(n, m, differing):
    flat = uniform((3 * n,), (3 * m,))
    parts = torch.cat([uniform((n,), (m,)) + part * n for part in range(3)])
    assert int((flat != parts).sum()) == differing


@given(st.integers(1, 4096).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))))
def test_rounds_exactly_half_to_even(sizes):
    n, m = sizes
    if n % m:
        expected = [round(Fraction(i * (n - 1), m - 1)) for i in range(m)]
        assert uniform((n,), (m,)).tolist() == expected


def test_is_exact_where_float32_is_not():
    # 2^24 + 1 has no float32.
    index = uniform((2**24 + 2,), (4097,))
    assert index[-1] == 2**24 + 1
    assert index[2048] == round(Fraction(2048 * (2**24 + 1), 4096))


@pytest.mark.parametrize("n", [*range(1, 130), 384, 1000])
def test_agrees_with_the_official_arithmetic_but_for_halves(n):
    for m in range(1, n + 1):
        theirs, ours = official(n, m), uniform((n,), (m,))
        assert torch.equal(uniform((n,), (m,), arithmetic="float32"), theirs)
        for i in (theirs != ours).nonzero().flatten().tolist():
            exact = Fraction(i * (n - 1), m - 1)
            assert exact.denominator == 2, (n, m, i)
            assert n >= 48
            assert abs(int(theirs[i]) - int(ours[i])) == 1


def test_where_the_official_arithmetic_misses_a_half():
    # 11 * 47 / 22 = 23.5, which goes to the even 24; float32 has 23.499998.
    assert uniform((48,), (23,))[11] == 24
    assert official(48, 23)[11] == 23


def test_the_official_arithmetic_takes_an_index_twice():
    assert len(uniform((3229,), (3228,), arithmetic="float32").unique()) == 3227
    assert len(uniform((3229,), (3228,)).unique()) == 3228


@pytest.mark.parametrize(("n", "m"), [(384, 192), (1152, 576), (1536, 768), (96, 48), (192, 96), (768, 384)])
def test_equals_the_official_rule_on_the_papers_pairs(n, m):
    assert torch.equal(uniform((n,), (m,)), official(n, m))


def test_a_larger_target_is_refused_with_its_sizes():
    with pytest.raises(MethodError, match=r"6 x 64 = 384 to 8 x 64 = 512.*\n.*growing"):
        uniform((6, 64), (8, 64))


def test_indices_never_change():
    digest = hashlib.sha256()
    for n in range(1, 200):
        for m in range(1, n + 1):
            digest.update(bytes(uniform((n,), (m,)).tolist()))
    assert digest.hexdigest()[:16] == "0d5f0a50f210bfa6"
