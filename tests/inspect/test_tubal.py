"""The t-product by hand, against the circulant definition, and what the scale of a start selects."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.inspect.tubal import t_identity, t_product, t_transpose, tubal_experiment


def slow_product(left, right):
    """Slice l is the sum over i of A_i B_(l - i), indices around the end."""
    depth = left.shape[2]
    slices = [sum(left[:, :, i] @ right[:, :, (at - i) % depth] for i in range(depth)) for at in range(depth)]
    return torch.stack(slices, dim=2)


def test_worked_product():
    a = torch.arange(1.0, 9.0, dtype=torch.float64).reshape(2, 2, 2)
    expected = torch.tensor([[[30, 70], [70, 174]], [[28, 68], [68, 172]]], dtype=torch.float64)
    assert torch.allclose(t_product(a, t_transpose(a)).permute(2, 0, 1), expected)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_against_the_definition(depth):
    generator = torch.Generator().manual_seed(depth)
    left = torch.randn(3, 4, depth, generator=generator, dtype=torch.float64)
    right = torch.randn(4, 2, depth, generator=generator, dtype=torch.float64)
    product = t_product(left, right)
    assert torch.allclose(product, slow_product(left, right))
    assert torch.allclose(t_transpose(product), t_product(t_transpose(right), t_transpose(left)))
    assert torch.allclose(t_product(t_identity(3, depth, left.dtype), left), left)
    assert torch.allclose(t_product(left, t_identity(4, depth, left.dtype)), left)


def test_small_starts_find_the_target():
    small = tubal_experiment(1e-5, rate=0.15, steps=1500)
    middle = tubal_experiment(1e-2, rate=0.15, steps=1500)
    assert small.error < 1e-3 < middle.error < 0.03
    assert small.ratio < 1e-3 < middle.ratio < 0.03


@pytest.mark.slow
def test_three_scales():
    """8000 steps: errors about 1e-4, 7e-3, 0.4."""
    small, middle, large = (tubal_experiment(scale) for scale in (1e-5, 1e-2, 1.0))
    assert small.error < 1e-3
    assert 2e-3 < middle.error < 0.03
    assert 0.15 < large.error < 0.8
    assert small.ratio < 1e-3 < middle.ratio < 0.03
    assert large.ratio > 0.1
    assert large.residual < 0.05


def test_shapes_that_do_not_fit():
    with pytest.raises(MethodError, match=r"\(n, r, k\) and \(r, m, k\), not \(2, 3, 4\) and \(2, 3, 4\)"):
        t_product(torch.ones(2, 3, 4), torch.ones(2, 3, 4))
