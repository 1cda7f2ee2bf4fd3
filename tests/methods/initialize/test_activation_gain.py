"""The gain from value and slope at 0: its constants, and what it does to a deep sigmoid net."""

import math

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods.initialize.activation_gain import activation_gain, variance_factor
from scionwood.methods.initialize.activations import activation
from scionwood.methods.initialize.site import Site

FACTORS = {
    "tanh": 1.0,
    "sin": 1.0,
    "sigmoid": 12.8,
    "softplus": 2.701876,
    "silu": 4.0,
    "gelu": 4.0,
    "elu": 1.0,
    "relu": 2.0,
}


@pytest.mark.parametrize(("name", "factor"), FACTORS.items())
def test_worked_numbers(name, factor):
    assert variance_factor(activation(name)) == pytest.approx(factor, abs=1e-6)


def test_constants_of_the_paper():
    assert math.sqrt(variance_factor(activation("sigmoid"))) == pytest.approx(3.5777, abs=1e-4)
    assert math.sqrt(variance_factor(activation("softplus"))) == pytest.approx(1.643738, abs=1e-6)


def test_any_corner_at_zero_takes_the_exact_moment():
    assert variance_factor(activation("leaky_relu")) == pytest.approx(2 / (1 + 0.01**2), abs=1e-9)
    assert variance_factor(activation("abs")) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", ["gaussian", "relu_squared", "cos"])
def test_a_function_flat_at_zero_is_refused(name):
    with pytest.raises(MethodError, match=f"{name} is flat at 0"):
        variance_factor(activation(name))


def test_a_deep_sigmoid_net_keeps_more_of_its_signal():
    """Ten layers of 512: the spread over a batch, 1.9e-2 with this rule and 1.9e-6 with 1 / sqrt(n)."""
    generator = torch.Generator().manual_seed(0)
    spreads = []
    for reads in ("sigmoid", "identity"):
        signal = torch.randn(256, 512, generator=generator)
        for layer in range(10):
            site = Site(f"layers.{layer}.weight", "linear", (512, 512), reads=reads if layer else "input")
            weight = activation_gain(site, generator)
            before = (torch.sigmoid(signal) if layer else signal) @ weight.T
            signal = before
        spreads.append(float(before.std(dim=0).mean()))
    assert spreads[0] == pytest.approx(1.9e-2, rel=0.35)
    assert spreads[1] == pytest.approx(1.9e-6, rel=0.5)


def test_what_it_sets():
    generator = torch.Generator().manual_seed(0)
    assert not activation_gain(Site("b", "bias", (3,)), generator).any()
    for kind in ("gain", "embedding", "table", "other"):
        assert activation_gain(Site("x", kind, (3, 3)), generator) is None
