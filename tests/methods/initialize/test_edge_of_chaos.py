"""The edge of chaos: its points, whether they hold, and how fast two inputs grow alike."""

import itertools
import math

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods.initialize.activations import ACTIVATIONS, activation
from scionwood.methods.initialize.edge_of_chaos import (
    correlations,
    doubly_critical,
    edge,
    edge_at,
    edge_of_chaos,
    note,
    point_for,
)
from scionwood.methods.initialize.moments import moments
from scionwood.methods.initialize.roots import changes
from scionwood.methods.initialize.site import Site


@pytest.mark.parametrize(
    ("name", "sigma_b", "q", "sigma_w", "chi_par"),
    [
        ("tanh", 0.2, 0.512079, 1.304146, 0.5426),
        ("tanh", 0.3, 0.763475, 1.395584, None),
        ("elu", 0.2, 1.106931, 1.229251, 0.860),
        ("silu", 0.2, 0.689453, 1.679532, 1.0987),
        ("gelu", 0.2, 0.575637, 1.547009, 1.0950),
    ],
)
def test_worked_points(name, sigma_b, q, sigma_w, chi_par):
    (point,) = edge(name, sigma_b)
    assert point.q == pytest.approx(q, abs=1e-6)
    assert point.sigma_w == pytest.approx(sigma_w, abs=1e-6)
    if chi_par is not None:
        assert point.chi_par == pytest.approx(chi_par, abs=6e-4)
        assert point.stable == (chi_par < 1)


@pytest.mark.parametrize(
    ("name", "q", "sigma_w2", "sigma_b2"),
    [("silu", 14.3202, 1.988005, 0.555143), ("gelu", 3.561553, 1.983058, 0.172922)],
)
def test_doubly_critical_points(name, q, sigma_w2, sigma_b2):
    point = doubly_critical(name)
    assert point.q == pytest.approx(q, abs=1e-4)
    assert point.sigma_w**2 == pytest.approx(sigma_w2, abs=1e-6)
    assert point.sigma_b**2 == pytest.approx(sigma_b2, abs=1e-6)
    assert point.chi_par == pytest.approx(1.0, abs=1e-9)


def test_limits():
    points = [edge("tanh", sigma_b)[0] for sigma_b in (1e-1, 1e-3, 1e-5)]
    for name, limit in (("sigma_w", 1.0), ("q", 0.0)):
        distances = [abs(getattr(point, name) - limit) for point in points]
        assert distances == sorted(distances, reverse=True)
        assert distances[-1] < 1e-3
    (relu,) = edge("relu", 0.0)
    assert relu.any_q
    assert (relu.sigma_w, relu.sigma_b) == pytest.approx((math.sqrt(2), 0.0))
    assert edge("relu", 0.2) == ()
    assert doubly_critical("relu").any_q


@pytest.mark.parametrize("name", ["tanh", "elu", "gelu", "silu", "sin", "erf", "hardtanh", "sigmoid", "mish"])
def test_every_point_solves_its_equations(name):
    for point in edge(name, 0.2):
        at = moments(name, point.q)
        assert point.sigma_b**2 + point.sigma_w**2 * at.second == pytest.approx(point.q, rel=1e-9)
        assert at.chi_perp(point.sigma_w**2) == pytest.approx(1.0, rel=1e-12)
        assert edge_at(name, point.q).sigma_b == pytest.approx(0.2, rel=1e-6)


def test_the_stable_points_hold_and_the_others_run_away():
    for name, grows in (("tanh", False), ("gelu", True)):
        (point,) = edge(name, 0.2)
        q = 1.05 * point.q
        for _ in range(20):
            q = point.sigma_b**2 + point.sigma_w**2 * moments(name, q).second
        assert (abs(q - point.q) > 0.05 * point.q) == grows


def test_correlations_follow_the_closed_form_and_the_published_rates():
    start, relu = 0.1, [0.1]
    for _ in range(5):
        c = relu[-1]
        relu.append((math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi)
    (point,) = edge("relu", 0.0)
    assert correlations("relu", point, start, 5) == pytest.approx(relu, abs=1e-12)

    # 1 - c goes like 1 / l^2 for ReLU, with 9 pi^2 / 2 on top; like 1 / l for smooth functions.
    path = correlations("relu", point, 0.9, 30)
    assert (1 - path[30]) ** -0.5 - (1 - path[29]) ** -0.5 == pytest.approx(math.sqrt(2) / (3 * math.pi), rel=0.05)
    path = correlations("tanh", edge("tanh", 0.2)[0], 0.3, 40)
    steps = [1 / (1 - after) - 1 / (1 - before) for before, after in itertools.pairwise(path)]
    assert steps[39] == pytest.approx(steps[19], rel=0.1)


def test_what_is_taken_where_the_point_is_unstable():
    gelu = activation("gelu")
    assert point_for(gelu, 0.2) == doubly_critical("gelu")
    assert point_for(gelu, 0.2, "keep") == edge("gelu", 0.2)[0]
    with pytest.raises(MethodError, match=r"sigma_b = 0.2 the variance runs away .* of gelu: chi_par is 1.0950"):
        point_for(gelu, 0.2, "refuse")
    assert "runs away" in note(gelu, 0.2, "keep")
    assert "doubly critical" in note(gelu, 0.2)
    assert note(activation("tanh"), 0.2) == "sigma_w 1.3041, sigma_b 0.2"
    assert note(activation("relu"), 0.2) == "sigma_w 1.4142, sigma_b 0"


def test_a_variance_may_be_asked_for_instead():
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    bias = Site("b", "bias", (50,), reads="tanh")
    by_variance = edge_of_chaos(bias, draws[0], variance=0.763475)
    assert torch.allclose(by_variance, edge_of_chaos(bias, draws[1], sigma_b=0.3), rtol=1e-4)
    assert point_for(activation("gelu"), 0.2, variance=9.0).q == pytest.approx(9.0)
    assert point_for(activation("gelu"), 0.2, variance=1.0) == doubly_critical("gelu")
    with pytest.raises(MethodError, match="At variance = 1 the variance runs away"):
        point_for(activation("gelu"), 0.2, "refuse", variance=1.0)
    assert note(activation("tanh"), 0.2, variance=0.763475) == "sigma_w 1.3956, sigma_b 0.3"
    assert edge_of_chaos(Site("w", "linear", (4, 4), reads="relu"), draws[0], variance=5.0) is not None


def test_functions_without_a_point_are_refused():
    with pytest.raises(MethodError, match=r"softplus has no edge of chaos at sigma_b = 0.2\.\nHint: .*vi3nr"):
        point_for(activation("softplus"), 0.2)
    with pytest.raises(MethodError, match=r"softplus has no edge of chaos at the variance 1: sigma_b\^2 would be -"):
        edge_at("softplus", 1.0)


def test_weights_and_biases_have_the_spread_of_the_point():
    generator = torch.Generator().manual_seed(0)
    weight = edge_of_chaos(Site("w", "linear", (500, 500), reads="tanh"), generator)
    assert float(weight.std() * math.sqrt(500)) == pytest.approx(1.304146, rel=0.01)
    bias = edge_of_chaos(Site("b", "bias", (50_000,), reads="gelu"), generator)
    assert float(bias.var()) == pytest.approx(0.172922, rel=0.03)
    assert not edge_of_chaos(Site("b", "bias", (5,), reads="relu"), generator).any()
    assert not edge_of_chaos(Site("b", "bias", (5,), reads="identity"), generator).any()
    for feeds, std in (("tanh", 0.3), ("gelu", 0.172922**0.5), ("relu", 0.0), ("", 0.0)):
        first = edge_of_chaos(Site("b", "bias", (50_000,), reads="input", feeds=feeds), generator, sigma_b=0.3)
        assert float(first.std()) == pytest.approx(std, rel=0.03), feeds
    norm = Site("norm.bias", "bias", (5,), norm=True)
    assert not edge_of_chaos(norm, generator, activation="tanh").any()
    assert edge_of_chaos(Site("x", "gain", (3,)), generator) is None


def test_a_deep_net_stays_near_its_fixed_point():
    """Forty layers of 512 with GELU, five draws: within a factor of 4 at the doubly critical point, of 500 at the other."""
    spread = {}
    for unstable in ("doubly", "keep"):
        point = point_for(activation("gelu"), 0.2, unstable)
        ends = []
        for seed in range(5):
            generator = torch.Generator().manual_seed(seed)
            signal = torch.randn(16, 512, generator=generator) * math.sqrt(point.q)
            for _ in range(40):
                weight = edge_of_chaos(Site("w", "linear", (512, 512), reads="gelu"), generator, unstable=unstable)
                bias = edge_of_chaos(Site("b", "bias", (512,), reads="gelu"), generator, unstable=unstable)
                signal = torch.nn.functional.gelu(signal) @ weight.T + bias
            ends.append(float(signal.square().mean()))
        spread[unstable] = max(ends) / min(ends)
    assert spread["doubly"] < 8
    assert spread["keep"] > 100


# Near 0 tanhshrink is nothing but rounding errors, which the quadrature halves in vain.
SLOW = {"tanhshrink"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in sorted(ACTIVATIONS)]
)
def test_every_function_has_a_point_or_a_refusal(name):
    try:
        point = point_for(ACTIVATIONS[name], 0.2)
    except MethodError:
        return
    assert point.sigma_w > 0
    assert point.stable


def test_roots_at_the_grid_itself():
    assert changes(lambda x: x - 1, 1.0, 100.0)[0] == 1.0
    assert changes(lambda x: 1e-12, 1.0, 100.0) == []
