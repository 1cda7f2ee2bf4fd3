"""Orthogonal weights at criticality."""

import math

import pytest
import torch

from scionwood.methods.initialize.activations import activation
from scionwood.methods.initialize.orthogonal_critical import critical_variance, orthogonal_critical
from scionwood.methods.initialize.site import Site


@pytest.mark.parametrize(
    ("name", "value"),
    [("tanh", 1.0), ("erf", math.pi / 4), ("sin", 1.0), ("relu", 2.0), ("hardtanh", 1.0), ("identity", 1.0)],
)
def test_critical_variances(name, value):
    assert critical_variance(activation(name)) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("shape", [(12, 12), (6, 15), (15, 6), (8, 3, 3, 3)])
def test_rows_or_columns_are_orthogonal_with_the_entry_variance(shape):
    site = Site("w", "convolution" if len(shape) > 2 else "linear", shape, reads="relu")
    weight = orthogonal_critical(site, torch.Generator().manual_seed(0)).double().reshape(shape[0], -1)
    assert float(weight.square().mean()) == pytest.approx(2 / site.fan_in, rel=1e-6)
    rows, columns = weight.shape
    product = weight.T @ weight if rows >= columns else weight @ weight.T
    scale = 2 * max(1, rows / columns)
    assert torch.allclose(product, scale * torch.eye(min(rows, columns), dtype=torch.float64), atol=1e-6)


def test_groups_are_maps_of_their_own():
    site = Site("w", "convolution", (8, 4, 1), groups=2, reads="tanh")
    weight = orthogonal_critical(site, torch.Generator().manual_seed(0)).reshape(2, 4, 4)
    assert torch.allclose(weight @ weight.mT, torch.eye(4).expand(2, 4, 4), atol=1e-6)


def test_ends_may_be_gaussian():
    generator = torch.Generator().manual_seed(0)
    first = orthogonal_critical(Site("w", "linear", (64, 64), reads="input"), generator, ends="gaussian")
    assert float((first @ first.T - torch.eye(64)).abs().max()) > 0.1
    last = orthogonal_critical(Site("w", "linear", (64, 64), reads="tanh", head=True), generator, ends="gaussian")
    assert float((last @ last.T - torch.eye(64)).abs().max()) > 0.1
    inner = orthogonal_critical(Site("w", "linear", (64, 64), reads="tanh"), generator, ends="gaussian")
    assert torch.allclose(inner @ inner.T, torch.eye(64), atol=1e-5)
    assert not orthogonal_critical(Site("b", "bias", (4,)), generator).any()
    assert orthogonal_critical(Site("b", "gain", (4,)), generator) is None
    assert float(
        orthogonal_critical(Site("w", "linear", (4, 4)), generator, c_w=9.0).square().mean()
    ) * 4 == pytest.approx(9)
