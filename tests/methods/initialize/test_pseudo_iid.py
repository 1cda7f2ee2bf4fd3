"""Pseudo-iid weights: what each matrix is, and the common limit of wide networks."""

import math

import pytest
import torch

from scionwood.methods.initialize.pseudo_iid import _grid, block_sparse, pseudo_iid
from scionwood.methods.initialize.site import Site


def draw(ensemble, seed=0, **options):
    site = Site("w", "linear", (256, 256), reads="tanh")
    return pseudo_iid(site, torch.Generator().manual_seed(seed), ensemble=ensemble, **options)


def test_what_each_ensemble_is():
    low = draw("low_rank", sigma_w=1.0)
    assert int(torch.linalg.matrix_rank(low)) == 64
    assert float(low.square().mean() * 256) == pytest.approx(1.0, abs=0.05)
    sparse = draw("block_sparse", sigma_w=1.0)
    assert float(sparse.square().mean() * 256) == pytest.approx(1.0, abs=0.3)
    assert float((sparse == 0).double().mean()) == 0.75
    orthogonal = draw("orthogonal", sigma_w=1.0)
    assert float(orthogonal.double().square().mean() * 256) == pytest.approx(1.0, abs=1e-6)
    assert torch.allclose(orthogonal @ orthogonal.T, torch.eye(256), atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 32), (8, 32), (32, 8), (3, 64), (1, 7), (40, 72), (16, 16), (256, 80)])
@pytest.mark.parametrize("density", [0.05, 0.25, 0.6, 1.0])
def test_no_row_and_no_column_of_blocks_is_empty(shape, density):
    side, high, wide, kept = _grid(*shape, density, 16)
    assert kept == round(density * high * wide) or side == 1
    squares = []
    for seed in range(40):
        matrix = block_sparse(*shape, density, 16, torch.Generator().manual_seed(seed))
        assert bool((matrix != 0).any(0).all())
        assert bool((matrix != 0).any(1).all())
        squares.append(float(matrix.square().mean() * shape[1]))
    found = torch.tensor(squares)
    assert float(found.mean()) == pytest.approx(1.0, abs=5 * float(found.std()) / 40**0.5)


def test_blocks_are_shuffled_but_still_blocks():
    matrix = block_sparse(48, 80, 0.5, 16, torch.Generator().manual_seed(3))
    assert int(torch.unique(matrix == 0, dim=0).shape[0]) <= 3
    assert int(torch.unique(matrix == 0, dim=1).shape[1]) <= 5
    assert bool((matrix[:15] == 0).any(dim=0).logical_and((matrix[:15] != 0).any(dim=0)).any())


def test_all_reach_the_variance_of_the_theory():
    """tanh, sigma_b 0.2, 256 wide, layer 20, mean of 20 draws: 0.512 by theory, whatever the matrix."""
    found = {}
    for ensemble in ("orthogonal", "low_rank", "block_sparse"):
        squares = []
        for seed in range(20):
            generator = torch.Generator().manual_seed(seed)
            signal = torch.randn(256, generator=generator) * math.sqrt(0.512)
            for _ in range(20):
                weight = pseudo_iid(Site("w", "linear", (256, 256), reads="tanh"), generator, ensemble=ensemble)
                bias = pseudo_iid(Site("b", "bias", (256,), reads="tanh"), generator, ensemble=ensemble)
                signal = weight @ torch.tanh(signal) + bias
            squares.append(float(signal.square().mean()))
        found[ensemble] = sum(squares) / len(squares)
    assert found["orthogonal"] == pytest.approx(0.512, rel=0.05)
    assert found["low_rank"] == pytest.approx(0.512, rel=0.1)
    assert found["block_sparse"] == pytest.approx(0.512, rel=0.12)  # 16 blocks a row: the slowest to its limit


def test_biases_and_others():
    generator = torch.Generator().manual_seed(0)
    bias = pseudo_iid(Site("b", "bias", (50_000,), reads="tanh"), generator, sigma_w=1.0, sigma_b=0.1)
    assert float(bias.std()) == pytest.approx(0.1, rel=0.03)
    assert not pseudo_iid(Site("b", "bias", (5,), reads="relu"), generator).any()
    assert not pseudo_iid(Site("norm.bias", "bias", (5,), norm=True), generator, sigma_w=1.0).any()
    assert pseudo_iid(Site("x", "embedding", (5, 5)), generator) is None
