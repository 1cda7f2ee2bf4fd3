"""Random node features tell apart what colour refinement cannot."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.train.layers.random_nodes import RandomNodes


def ring(*sizes):
    """Return the adjacency of cycles of these sizes."""
    total = sum(sizes)
    adjacency = torch.zeros(total, total)
    start = 0
    for size in sizes:
        for node in range(size):
            adjacency[start + node, start + (node + 1) % size] = 1
            adjacency[start + (node + 1) % size, start + node] = 1
        start += size
    return adjacency


def readout(nodes, adjacency, weights):
    """Two layers of summing over neighbours, and a sum over all nodes."""
    for weight in weights:
        nodes = torch.relu((nodes + adjacency @ nodes) @ weight)
    return nodes.sum(dim=-2)


def averaged(layer, adjacency, weights, samples):
    with torch.no_grad():
        drawn = torch.stack([layer(torch.ones(6, 3)) for _ in range(samples)])
    return readout(drawn, adjacency, weights).mean(dim=0)


@pytest.fixture
def weights():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 4, generator=generator) for _ in range(2)]


def test_a_cycle_of_six_and_two_triangles(weights):
    torch.manual_seed(0)
    plain = RandomNodes(3, 4, ratio=0.0)
    assert torch.equal(averaged(plain, ring(6), weights, 1), averaged(plain, ring(3, 3), weights, 1))
    layer = RandomNodes(3, 4, ratio=0.5)
    with torch.no_grad():
        drawn = torch.stack([layer(torch.ones(6, 3)) for _ in range(5000)])
    # Both graphs read the same draws, so that the noise of one is mostly that of the other.
    differences = readout(drawn, ring(6), weights) - readout(drawn, ring(3, 3), weights)
    errors = differences.std(dim=0) / len(drawn) ** 0.5
    assert (differences.mean(dim=0).abs() / errors).max() > 5
    assert differences.mean(dim=0).abs().max() > 1


def test_permuting_nodes_leaves_the_distribution(weights):
    layer = RandomNodes(3, 4, ratio=0.5, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    permuted = ring(6)[order][:, order]
    left, right = averaged(layer, ring(6), weights, 4000), averaged(layer, permuted, weights, 4000)
    assert torch.allclose(left, right, rtol=0.05, atol=0.3)


@pytest.mark.parametrize(
    ("distribution", "std"),
    [("normal", 1.0), ("uniform", 3**-0.5), ("xavier_normal", 0.05), ("xavier_uniform", 0.05)],
)
def test_distributions(distribution, std):
    drawn = RandomNodes(1, 400, distribution=distribution)(torch.zeros(400, 1))
    assert drawn.shape == (400, 400)
    assert drawn.std().item() == pytest.approx(std, rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=0.01)


def test_the_ratio():
    assert RandomNodes(3, 64, ratio=0.125).random == 8
    assert RandomNodes(3, 64).encoder is None
    layer = RandomNodes(3, 64, ratio=0.0)
    nodes = torch.randn(5, 3)
    assert torch.equal(layer(nodes), layer(nodes))


def test_errors():
    with pytest.raises(MethodError) as caught:
        RandomNodes(3, 4, ratio=2, distribution="cauchy")
    assert caught.value.problems == (
        "ratio is from 0 to 1, not 2",
        "the distribution is one of normal, uniform, xavier_normal, xavier_uniform, not 'cauchy'",
    )
