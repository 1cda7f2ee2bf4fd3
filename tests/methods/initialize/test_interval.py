"""IBP initialisation: its std, and what intervals do through seven layers."""

import math

import pytest
import torch

from scionwood.methods.initialize.interval import interval
from scionwood.methods.initialize.site import Site


@pytest.mark.parametrize(("shape", "std"), [((2000, 100), 0.02506628), ((2000, 64, 3, 3), 0.00435179)])
def test_worked_numbers(shape, std):
    kind = "linear" if len(shape) == 2 else "convolution"
    weight = interval(Site("w", kind, shape), torch.Generator().manual_seed(0))
    assert float(weight.std()) == pytest.approx(std, rel=0.01)
    assert math.sqrt(2 * math.pi) / math.prod(shape[1:]) == pytest.approx(std, abs=1e-8)


def widths(scale):
    generator = torch.Generator().manual_seed(0)
    lower = torch.rand(16, 256, generator=generator) - 0.1
    upper = lower + 0.2
    found = []
    for _ in range(7):
        weight = scale(interval(Site("w", "linear", (256, 256)), generator))
        centre, half = (lower + upper) / 2 @ weight.T, (upper - lower) / 2 @ weight.abs().T
        found.append(float(half.mean()) / 0.1)
        lower, upper = torch.relu(centre - half), torch.relu(centre + half)
    return found


def test_intervals_keep_their_width():
    """2.00 +- 0.05 after each affine map; with He initialisation 18, 163, 1479, ... 9.8e6."""
    assert widths(lambda weight: weight) == [pytest.approx(2.0, abs=0.1)] * 7
    he = widths(lambda weight: weight * math.sqrt(256 / math.pi))
    assert he[:3] == [pytest.approx(18.0, rel=0.05), pytest.approx(163, rel=0.1), pytest.approx(1479, rel=0.15)]
    assert he[6] == pytest.approx(9.8e6, rel=0.4)


def test_the_relu_of_a_residual_sum_is_twice_as_wide():
    plain, rectified, summed = (
        interval(Site("w", "linear", (9, 9), reads=reads, reads_sum=flag), torch.Generator().manual_seed(0))
        for reads, flag in (("relu", False), ("relu", True), ("identity", True))
    )
    assert torch.equal(plain / 2, rectified)
    assert torch.equal(plain, summed)


@pytest.mark.parametrize(
    "site", [Site("w", "linear", (4, 4), head=True), Site("b", "bias", (4,)), Site("g", "gain", (4,))]
)
def test_what_is_left(site):
    assert interval(site, torch.Generator().manual_seed(0)) is None
