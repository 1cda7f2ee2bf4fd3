"""Fixup: deviations of the paper and of its code, and what is zero."""

import math

import pytest
import torch

from scionwood.methods.initialize.fixup import branch_factor, fixup, standard_deviation
from scionwood.methods.initialize.site import Branch, Site


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inside(count: int, weights: int, *, last: bool = False) -> Branch:
    return Branch(0, count, weights - 1 if last else 0, weights, last, weights)


def conv(out: int, into: int, kernel: int, branch: Branch | None = None) -> Site:
    return Site("conv", "convolution", (out, into, kernel, kernel), reads="relu", branch=branch)


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (conv(16, 16, 3, inside(9, 2)), 0.0392837),  # ResNet-20
        (conv(16, 16, 3, inside(27, 2)), 0.0226805),  # ResNet-56
        (conv(64, 64, 3, inside(16, 3)), 0.0294628),  # bottleneck
        (conv(64, 64, 1, inside(16, 3)), 0.0883883),
    ],
)
def test_fixup_deviations(site, expected):
    assert standard_deviation(site) == pytest.approx(expected, abs=5e-8)


def test_fixup_factors():
    assert branch_factor(Site("fc", "linear", (4, 4), branch=inside(30, 2))) == pytest.approx(0.1825742, abs=5e-8)
    assert branch_factor(Site("q", "linear", (4, 4), branch=inside(30, 4))) == pytest.approx(30 ** (-1 / 6))
    assert branch_factor(Site("stem", "linear", (4, 4))) == 1
    assert branch_factor(Site("alone", "linear", (4, 4), branch=inside(30, 1, last=True))) == 1


def test_fixup_zeros_ends_heads_and_biases_and_leaves_the_rest():
    assert not fixup(conv(8, 8, 3, inside(9, 2, last=True)), generator()).any()
    assert not fixup(Site("head", "linear", (10, 8), head=True), generator()).any()
    assert not fixup(Site("bias", "bias", (8,)), generator()).any()
    assert fixup(Site("norm", "gain", (8,)), generator()) is None
    assert fixup(Site("embed", "embedding", (9, 8)), generator()) is None


def test_fixup_takes_he_by_fan_out_before_relu_and_xavier_elsewhere():
    wide = Site("fc", "linear", (400, 100))
    assert standard_deviation(wide) == pytest.approx(math.sqrt(2 / 500))
    assert standard_deviation(Site("fc", "linear", (400, 100), reads="relu")) == pytest.approx(math.sqrt(2 / 400))
    assert float(fixup(wide, generator()).std()) == pytest.approx(math.sqrt(2 / 500), rel=0.02)
