"""MixtureGrowth: where the members stand, and which directions new coefficients take."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods.grow.growth import grow
from scionwood.methods.grow.mixture_growth import joining_coefficients, mixture_growth, orthogonal_coefficients
from scionwood.methods.record import Record


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_second_member_stands_after_the_first():
    growth = grow(mixture_growth, 3, 6, options={})
    assert growth.index.tolist() == [0, 1, 2, 0, 1, 2]
    assert growth.second.tolist() == [False] * 3 + [True] * 3
    assert Record.of(mixture_growth).joins


@pytest.mark.parametrize("target", [5, 7, 9])
def test_any_other_size_is_refused(target):
    with pytest.raises(MethodError, match="two members side by side make 6") as caught:
        mixture_growth(3, target)
    assert "twice the source's sizes" in (caught.value.hint or "")


@pytest.mark.parametrize("seed", [None, 0, 1])
def test_orthogonal_coefficients(seed):
    previous = torch.tensor([[1.0, 0, 0.5, 0], [0, 1, 0, 0.5]])
    found = orthogonal_coefficients(previous, None if seed is None else generator(seed))
    assert float(found.norm()) == pytest.approx(1)
    assert float((previous @ found).abs().max()) < 1e-6
    # The null space of these two is spanned by (-.4472, 0, .8944, 0) and (0, -.4472, 0, .8944).
    space = torch.tensor([[-0.4472136, 0, 0.8944272, 0], [0, -0.4472136, 0, 0.8944272]])
    assert float((space @ found).norm()) == pytest.approx(1, abs=1e-6)


def test_the_direction_drawn_is_that_of_the_generator_whatever_the_basis():
    previous = torch.eye(6)[:2]
    found = orthogonal_coefficients(previous, generator(3))
    assert torch.equal(found, orthogonal_coefficients(previous, generator(3)))
    assert not torch.equal(found, orthogonal_coefficients(previous, generator(4)))
    drawn = torch.randn(6, generator=generator(3), dtype=torch.float64)
    drawn[:2] = 0
    torch.testing.assert_close(found, (drawn / drawn.norm()).float())


@pytest.mark.parametrize("seed", [None, 0])
def test_two_templates_leave_only_the_weakest_direction(seed):
    previous = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    found = orthogonal_coefficients(previous, None if seed is None else generator(seed))
    assert found.abs().tolist() == pytest.approx([1, 0])


def test_one_template_has_one_direction():
    found = joining_coefficients("orthogonal", torch.ones(2, 1), 0, 0.5, generator())
    assert found.abs().tolist() == [0.5]


def test_the_other_coefficients():
    members = torch.eye(3)[:2]
    assert joining_coefficients("zero", members, 0, 1.0, None).tolist() == [0, 0, 0]
    noisy = joining_coefficients("copy", members, 1, 0.25, generator())
    assert float((noisy - members[1]).norm()) == pytest.approx(0.25)
    drawn = joining_coefficients("random", members, 1, 2.0, generator())
    assert 0 <= drawn.min() <= drawn.max() <= 2
    with pytest.raises(MethodError, match="no such coefficients: 'ones'"):
        joining_coefficients("ones", members, 0, 1.0, None)
