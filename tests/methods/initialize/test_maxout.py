"""Maxout: the constants, and twenty layers."""

import pytest
import torch

from scionwood.methods.initialize.maxout import maxout, mean_square_maximum
from scionwood.methods.initialize.site import Site


def test_worked_numbers():
    assert [mean_square_maximum(count) for count in (2, 3, 4, 5)] == pytest.approx(
        [1.0, 1.275664, 1.551329, 1.800020], abs=1e-6
    )
    published = {2: 1.0, 3: 0.78391, 4: 0.64461, 5: 0.55555}
    for count, value in published.items():
        assert 1 / mean_square_maximum(count) == pytest.approx(value, abs=1e-5)


def test_pooling_is_a_maximum_of_more_pieces():
    """The published constant before a 2 x 2 max-pooling of rank-5 maxout."""
    assert 1 / mean_square_maximum(20) == pytest.approx(0.26573, abs=5e-5)


def through(pieces, layers, factor=1.0):
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(64, 200, generator=generator)
    for _ in range(layers):
        weight = maxout(Site("w", "linear", (200 * pieces, 200)), generator, pieces=pieces) * factor**0.5
        signal = (signal @ weight.T).reshape(64, 200, pieces).amax(dim=2)
    return float(signal.square().mean())


def test_twenty_layers_keep_their_mean_square():
    assert 0.4 < through(5, 20) < 2.5
    assert 0.2 < through(2, 20) < 4
    assert through(5, 20, factor=2 * mean_square_maximum(5)) == pytest.approx(9.8e10, rel=0.9)


def test_the_head_is_linear():
    generator = torch.Generator().manual_seed(0)
    head = maxout(Site("w", "linear", (300, 300), head=True), generator)
    assert float(head.var() * 300) == pytest.approx(1.0, rel=0.02)
    pooled = maxout(Site("w", "linear", (300, 300)), generator, pooling=4)
    assert float(pooled.var() * 300) == pytest.approx(0.26573, rel=0.02)
    assert not maxout(Site("b", "bias", (4,)), generator).any()
