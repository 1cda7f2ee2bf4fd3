"""Low-rank weights: length kept, spectrum cut."""

import pytest
import torch

from scionwood.inspect.lazy import entropy_rank, participation_ratio
from scionwood.methods.initialize.low_rank import low_rank, truncated
from scionwood.methods.initialize.site import Site


def test_worked_numbers():
    """Width 100, gain 1.25; figures of another generator's draw, so within the spread of draws."""
    spectral, entropy, ratio = [], [], []
    for rank in (1, 10, 50, 100):
        site = Site("w", "linear", (100, 100))
        weight = low_rank(site, torch.Generator().manual_seed(0), rank=rank).double()
        assert float(weight.norm()) == pytest.approx(12.476, rel=0.02)
        values = torch.linalg.svdvals(weight)
        assert int((values > 1e-4).sum()) == rank
        spectral.append(float(values[0]))
        entropy.append(entropy_rank(weight))
        ratio.append(participation_ratio(weight))
    assert spectral == pytest.approx([12.476, 4.381, 2.589, 2.450], rel=0.04)
    assert entropy == pytest.approx([1.0, 9.98, 48.6, 80.0], rel=0.02)
    assert ratio == pytest.approx([1.0, 9.87, 40.8, 49.8], rel=0.03)


def test_every_rank_is_cut_from_one_draw():
    site, seed = Site("w", "linear", (30, 20)), 5
    full = low_rank(site, torch.Generator().manual_seed(seed), rank=20).double()
    low = low_rank(site, torch.Generator().manual_seed(seed), rank=3).double()
    torch.testing.assert_close(truncated(full, 3), low, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(low.norm(), full.norm(), rtol=1e-5, atol=0)


def test_a_share_of_the_smaller_side():
    weight = low_rank(Site("w", "convolution", (30, 5, 2, 2)), torch.Generator().manual_seed(0), rank=0.25)
    assert int(torch.linalg.matrix_rank(weight.reshape(30, 20))) == 5
    assert low_rank(Site("b", "bias", (5,)), torch.Generator()) is None
