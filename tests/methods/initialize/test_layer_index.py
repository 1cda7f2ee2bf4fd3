"""Layer index rescaling: deviations by layer, and those of GPT-2."""

import pytest
import torch

from scionwood.methods.initialize.layer_index import layer_index
from scionwood.methods.initialize.layer_index import standard_deviation as layered
from scionwood.methods.initialize.site import Branch, Site


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inside(count: int, weights: int, *, last: bool = False) -> Branch:
    return Branch(0, count, weights - 1 if last else 0, weights, last, weights)


def test_layer_index_deviations():
    sites = [Site("w", "linear", (4, 4), layer=layer, layers=16) for layer in (1, 4, 16)]
    assert [layered(site) for site in sites] == [0.02, 0.01, 0.005]
    last = Site("o", "linear", (4, 4), layer=3, layers=16, branch=inside(32, 4, last=True))
    assert layered(last, scheme="gpt2") == pytest.approx(0.00353553, abs=5e-9)
    assert layered(sites[1], scheme="gpt2") == 0.02
    assert layered(Site("embed", "embedding", (9, 8))) == 0.02


def test_layer_index_draws_with_that_deviation():
    site = Site("w", "linear", (300, 300), layer=4, layers=16)
    assert float(layer_index(site, generator()).std()) == pytest.approx(0.01, rel=0.01)
    assert layer_index(Site("norm", "gain", (8,)), generator()) is None
