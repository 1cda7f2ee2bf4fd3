"""Virgo: the worked graph, its limits, and what a deep graph network makes of it."""

import math

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods.initialize.site import Site
from scionwood.methods.initialize.virgo import backward_variances, forward_variances, virgo


def normalised(adjacency):
    adjacency = adjacency + torch.eye(len(adjacency))
    degree = adjacency.sum(dim=1).rsqrt()
    return degree[:, None] * adjacency * degree


def path(n):
    return normalised(torch.diag(torch.ones(n - 1), 1) + torch.diag(torch.ones(n - 1), -1))


FEATURES = torch.zeros(4, 2)
FEATURES[0] = 1
GRAPH = {"operator": path(4), "features": FEATURES, "classes": 3}


def site(layer, layers=3, shape=(8, 8)):
    return Site(f"convs.{layer - 1}.weight", "linear", shape, layer=layer, layers=layers)


def test_worked_graph():
    forward = forward_variances(path(4), FEATURES, 3, 8)
    backward = backward_variances(path(4), 3, 8, 3)
    assert forward == pytest.approx([1.0, 0.338346, 0.299475], abs=1e-6)
    assert backward == pytest.approx([0.250002, 0.250069, 0.504959], abs=2e-6)
    bounds = []
    for layer, shape in ((1, (8, 2)), (2, (8, 8)), (3, (3000, 8))):
        draws = [virgo(site(layer, shape=shape), torch.Generator().manual_seed(seed), GRAPH) for seed in range(200)]
        bounds.append(float(torch.stack(draws).abs().max()))
    assert bounds == pytest.approx([1.095448, 0.928847, 1.062035], rel=1e-3)
    assert all(bound <= exact + 1e-5 for bound, exact in zip(bounds, (1.095448, 0.928847, 1.062035)))


def test_the_two_means():
    generator = torch.Generator
    harmonic, arithmetic, forward, backward = (
        virgo(site(2), generator().manual_seed(0), GRAPH, mode=mode).square().mean()
        for mode in ("harmonic", "arithmetic", "forward", "backward")
    )
    torch.testing.assert_close(arithmetic, (forward + backward) / 2)
    torch.testing.assert_close(1 / harmonic, (1 / forward + 1 / backward) / 2)


@pytest.mark.parametrize(
    "operator",
    [
        torch.eye(6),
        normalised(torch.ones(6, 6) - torch.eye(6)),
        normalised(torch.roll(torch.eye(6), 1, 0) + torch.roll(torch.eye(6), -1, 0)),
    ],
)
def test_without_edges_or_on_a_regular_graph_it_is_he(operator):
    assert forward_variances(operator, torch.ones(6, 5), 4, 16) == pytest.approx([2 / 5, 1 / 8, 1 / 8, 1 / 8])


def test_arrays_are_tensors():
    arrays = {**GRAPH, "operator": path(4).numpy(), "features": FEATURES.numpy()}
    made = [virgo(site(2), torch.Generator().manual_seed(0), graph) for graph in (GRAPH, arrays)]
    assert torch.equal(*made)


def test_sparse_operators():
    assert forward_variances(path(4).to_sparse(), FEATURES, 3, 8) == pytest.approx(
        forward_variances(path(4), FEATURES, 3, 8)
    )


def through(operator, features, seed, mode, layers=12, width=64):
    draw, signal, sizes = torch.Generator().manual_seed(seed), features, []
    for layer in range(1, layers + 1):
        shape = (width, signal.shape[1])
        graph = {"operator": operator, "features": features, "classes": 4}
        weight = virgo(site(layer, layers, shape), draw, graph)
        if mode == "he":
            weight = torch.randn(shape, generator=draw) * math.sqrt(2 / shape[1])
        signal = torch.relu(operator @ signal @ weight.T)
        sizes.append(float(signal.square().sum()))
    return math.log(sizes[-1] / sizes[0])


def test_a_deep_graph_network_keeps_its_signal():
    """Twelve layers, features at one of 40 nodes of a random graph: 0.35 of the signal is left, with He 0.06."""
    draw = torch.Generator().manual_seed(0)
    upper = (torch.rand(40, 40, generator=draw) < 0.08).float().triu(1)
    features = torch.zeros(40, 16)
    features[0] = 1
    left = {
        mode: math.exp(sum(through(normalised(upper + upper.T), features, seed, mode) for seed in range(4)) / 4)
        for mode in ("virgo", "he")
    }
    assert left["virgo"] > 0.2
    assert left["he"] < 0.1


def test_layers_by_name():
    graph = {**GRAPH, "layers": [["first.lin_l.weight", "first.lin_r.weight"], "second.weight"]}
    generator = torch.Generator().manual_seed(0)
    assert virgo(Site("first.lin_r.weight", "linear", (8, 2)), generator, graph) is not None
    assert virgo(Site("second.weight", "linear", (3, 8)), generator, graph) is not None
    assert virgo(Site("other.weight", "linear", (3, 8)), generator, graph) is None
    assert virgo(Site("head.weight", "linear", (3, 8)), generator, GRAPH) is None
    assert virgo(Site("convs.0.bias", "bias", (8,), layer=1, layers=3), generator, GRAPH) is None


def test_centred_features_are_noise_for_the_mean():
    centred = {**GRAPH, "features": torch.tensor([[1.0, -1.0]] * 4)}
    with pytest.raises(MethodError, match=r"(?s)signal is zero after some layers.*signal=square"):
        virgo(site(2), torch.Generator(), centred)
    assert virgo(site(2), torch.Generator(), centred, signal="square") is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operator": None}, "operator is missing"),
        ({"operator": "a graph"}, "operator is a str, not a tensor or an array of numbers"),
        ({"classes": 1}, "classes is 1, and the backward pass divides by one less"),
        (
            {"features": torch.ones(3, 2)},
            r"operator of shape \(4, 4\) and features of shape \(3, 2\) are not of one graph",
        ),
    ],
)
def test_what_is_no_graph(change, message):
    with pytest.raises(MethodError, match=message):
        virgo(site(1), torch.Generator(), {**GRAPH, **change})
