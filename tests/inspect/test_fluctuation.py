"""Fluctuations of Gaussian and of orthogonal networks."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.inspect.fluctuation import fluctuation
from scionwood.methods.initialize.orthogonal_critical import orthogonal_critical
from scionwood.methods.initialize.site import Site


def gaussian(width, layer, generator):
    return torch.randn(width, width, generator=generator, dtype=torch.float64) / width**0.5


def orthogonal(width, layer, generator):
    return orthogonal_critical(Site("w", "linear", (width, width), reads="tanh"), generator)


def test_orthogonal_networks_stay_together():
    """32 wide, tanh, 400 draws of 20 layers: Gaussian 1.96, 5.05, 7.71, 16.7 at 1, 5, 10, 20; orthogonal at most 0.17."""
    rows = fluctuation(gaussian, torch.tanh, width=32, layers=20, networks=400)
    assert [rows[layer - 1].relative for layer in (1, 5, 10, 20)] == [
        pytest.approx(figure, rel=0.35) for figure in (1.96, 5.05, 7.71, 16.7)
    ]
    assert [rows[layer - 1].mean for layer in (1, 20)] == [
        pytest.approx(0.984, rel=0.05),
        pytest.approx(0.024, rel=0.3),
    ]
    rows = fluctuation(orthogonal, torch.tanh, width=32, layers=20, networks=200)
    assert rows[0].relative < 1e-9
    assert max(row.relative for row in rows) < 0.3
    assert [rows[layer - 1].mean for layer in (1, 20)] == [pytest.approx(1.0), pytest.approx(0.029, rel=0.1)]


@pytest.mark.slow
def test_forty_layers():
    rows = fluctuation(gaussian, torch.tanh, width=32, layers=40, networks=400)
    assert (rows[39].relative, rows[39].mean) == (pytest.approx(37.7, rel=0.5), pytest.approx(0.0096, rel=0.3))
    rows = fluctuation(orthogonal, torch.tanh, width=32, layers=40, networks=400)
    assert (rows[39].relative, rows[39].mean) == (pytest.approx(0.04, abs=0.03), pytest.approx(0.0138, rel=0.1))


def test_without_an_activation_nothing_fluctuates():
    rows = fluctuation(orthogonal, lambda x: x, width=16, layers=6, networks=20)
    assert max(row.relative for row in rows) < 1e-9
    with pytest.raises(MethodError, match="at least two networks, not 1"):
        fluctuation(orthogonal, torch.tanh, width=4, layers=1, networks=1)
