"""Gaussian moments against closed forms, where the usual rule of quadrature fails: at kinks, and at large variances."""

import math

import pytest
import torch

from scionwood.anatomy.flow import functions
from scionwood.errors import MethodError
from scionwood.methods.initialize.activations import ACTIVATIONS, Activation, activation, reading
from scionwood.methods.initialize.moments import correlated, expectation, moments
from scionwood.methods.initialize.site import Site


def cdf(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("q", [1e-6, 0.3, 1.0, 50.0, 1e6])
def test_closed_forms_at_any_variance(q):
    s = math.sqrt(q)
    relu = moments("relu", q)
    assert (relu.mean, relu.second, relu.slope, relu.cross) == pytest.approx(
        (s / math.sqrt(2 * math.pi), q / 2, 0.5, s / 2), rel=1e-12
    )
    sin = moments("sin", q)
    assert sin.second == pytest.approx(-math.expm1(-2 * q) / 2, rel=1e-9)
    assert sin.slope == pytest.approx((1 + math.exp(-2 * q)) / 2, rel=1e-9)
    bell = moments("gaussian", q)
    assert bell.mean == pytest.approx(1 / math.sqrt(1 + q), rel=1e-12)
    assert bell.second == pytest.approx(1 / math.sqrt(1 + 2 * q), rel=1e-12)
    assert bell.slope == pytest.approx(q / (1 + 2 * q) ** 1.5, rel=1e-12)
    hard = moments("hardtanh", q)
    inside = 2 * cdf(1 / s) - 1
    density = math.exp(-0.5 / q) / math.sqrt(2 * math.pi)
    assert hard.slope == pytest.approx(inside, rel=1e-12)
    assert hard.second == pytest.approx(q * (inside - 2 * density / s) + 1 - inside, rel=1e-8)
    erf = moments("erf", q)
    assert erf.second == pytest.approx(2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-9)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_cross_is_the_derivative_of_the_second_moment(name):
    q, step = 2.3, 1e-4
    slope = (moments(name, q + step).second - moments(name, q - step).second) / (2 * step)
    assert moments(name, q).chi_par(1.0) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_a_kink_nobody_told_of_is_found_by_halving():
    bent = Activation(lambda x: torch.relu(x - 0.123), name="bent")
    told = Activation(bent.function, (0.123,), "bent")
    assert moments(bent, 1.0).second == pytest.approx(moments(told, 1.0).second, rel=1e-10)
    assert moments(bent, 1.0).slope == pytest.approx(1 - cdf(0.123), rel=1e-8)


def test_a_constant_has_no_slope():
    flat = moments(torch.ones_like, 2.0)
    assert (flat.mean, flat.second, flat.slope, flat.cross) == pytest.approx((1.0, 1.0, 0.0, 0.0))


def test_a_gated_function_counts_both_factors():
    """Against a plain simulation of silu(U) V."""
    generator = torch.Generator().manual_seed(0)
    u, v = (math.sqrt(2) * torch.randn(4_000_000, generator=generator) for _ in range(2))
    gated = moments("gated silu", 2.0)
    assert gated.second == pytest.approx(float((torch.nn.functional.silu(u) * v).square().mean()), rel=0.01)
    step = 1e-4
    growth = (moments("gated silu", 2 + step).second - moments("gated silu", 2 - step).second) / (2 * step)
    assert gated.chi_par(1.0) == pytest.approx(growth, rel=1e-7)


@pytest.mark.parametrize("correlation", [-1.0, -0.9, 0.0, 0.3, 0.99, 0.999999, 1.0])
def test_correlated_moments_have_the_closed_forms(correlation):
    angle = math.acos(correlation)
    relu = (math.sqrt(1 - correlation**2) + correlation * (math.pi - angle)) / (2 * math.pi)
    assert correlated("relu", 3.0, correlation) == pytest.approx(3 * relu, abs=1e-12)
    assert correlated("erf", 2.0, correlation) == pytest.approx(2 / math.pi * math.asin(0.8 * correlation), abs=1e-12)


def test_what_lies_beyond_twelve_is_nothing():
    assert float(expectation(lambda z: torch.ones_like(z)[None])) == pytest.approx(1.0, abs=1e-14)


def test_names_are_checked():
    with pytest.raises(MethodError, match=r"no activation function 'gleu' \(did you mean 'gelu'\?\)"):
        activation("gleu")
    with pytest.raises(MethodError, match="known are identity, relu"):
        activation("???")


def test_a_product_of_two_functions_counts_both():
    """Against a plain simulation of tanh(U) sigmoid(V), and of three factors."""
    generator = torch.Generator().manual_seed(0)
    u, v, w = (math.sqrt(2) * torch.randn(1_000_000, generator=generator) for _ in range(3))
    both = moments("tanh * sigmoid", 2.0)
    assert both.second == pytest.approx(float((u.tanh() * v.sigmoid()).square().mean()), rel=0.01)
    step = 1e-4
    growth = (moments("tanh * sigmoid", 2 + step).second - moments("tanh * sigmoid", 2 - step).second) / (2 * step)
    assert both.chi_par(1.0) == pytest.approx(growth, rel=1e-7)
    three = moments("gated tanh * sigmoid", 2.0).second
    assert three == pytest.approx(float((u.tanh() * v.sigmoid() * w).square().mean()), rel=0.02)
    written = moments("add(clamp(x, None, 1.0), 1) * Sigmoid", 2.0).second
    assert written == pytest.approx(float(((u.clamp(max=1.0) + 1) * v.sigmoid()).square().mean()), rel=0.01)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("leaky_relu(0.5)", lambda x: torch.where(x > 0, x, 0.5 * x)),
        ("leaky_relu(x, 0.5)", lambda x: torch.where(x > 0, x, 0.5 * x)),
        ("hardtanh(-0.3, 2)", lambda x: x.clamp(-0.3, 2)),
        ("clamp(None, 3)", lambda x: x.clamp(max=3)),
        ("elu(2.0)", lambda x: torch.nn.functional.elu(x, 2.0)),
        ("softplus(2.0, 10.0)", lambda x: torch.nn.functional.softplus(x, 2.0, 10.0)),
        ("mul(x, exp(neg(x)))", lambda x: x * torch.exp(-x)),
        ("where(gt(x, 0), x, full_like(x, 0.0))", torch.relu),
        ("sub(x, tanh(x), alpha=0.5)", lambda x: x - 0.5 * torch.tanh(x)),
    ],
)
def test_a_name_may_have_numbers_or_be_written_out(name, function):
    points = torch.linspace(-4, 4, 33, dtype=torch.float64)
    assert torch.allclose(activation(name)(points), function(points))
    assert moments(name, 1.3).second == pytest.approx(moments(function, 1.3).second, rel=1e-9)
    assert activation(name) is activation(name)


@pytest.mark.parametrize(
    "name",
    ["relu_(x)", "bernoulli(x)", "dropout(x, 0.5, True)", "relu(x).real", "open(x)", "x", "1", "relu(0.3)", "relu("],
)
def test_nothing_but_elementwise_operations_is_read(name):
    with pytest.raises(MethodError, match="There is no activation function"):
        activation(name)


def test_a_function_must_be_defined_everywhere():
    with pytest.raises(MethodError, match=r"log\(x\) is not a finite number for every number"):
        activation("log(x)")


def test_the_graph_and_the_methods_mean_the_same_by_a_name():
    points = torch.linspace(-9, 9, 73, dtype=torch.float64)
    for name, function in functions._KNOWN.items():
        assert torch.allclose(ACTIVATIONS[name](points), function(points)), name


def test_a_site_reads_what_it_reads():
    assert reading(Site("a", "linear", (2, 2), reads="input")).name == "identity"
    assert reading(Site("a", "linear", (2, 2), reads="gated silu")).gated
    assert reading(Site("a", "linear", (2, 2), reads="gelu"), "relu").name == "relu"
    with pytest.raises(
        MethodError, match=r"(?s)a\.b reads 'wave'.*Say which one to count with, .*activation="
    ) as caught:
        reading(Site("a.b", "linear", (2, 2), reads="wave"))
    assert "\nHint:" in str(caught.value)


def test_randomised_slopes_stand_for_their_mean():
    assert ACTIVATIONS["rrelu"].slope(-1.0) == pytest.approx((1 / 8 + 1 / 3) / 2)
    assert ACTIVATIONS["prelu"].slope(-1.0) == torch.nn.PReLU().weight.item()
