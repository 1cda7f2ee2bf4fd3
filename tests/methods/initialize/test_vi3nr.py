"""VI3NR: gains, the condition on gradients, and depth."""

import math

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods.initialize.activations import Activation, activation
from scionwood.methods.initialize.site import Site
from scionwood.methods.initialize.vi3nr import backward, chi, gain, note, vi3nr

GAINS = {
    "relu": 1.414214, "tanh": 1.592537, "sigmoid": 1.846229, "gelu": 1.533530, "silu": 1.676532, "elu": 1.245198,
    "softplus": 1.041867, "selu": 1.0, "sin": 1.520867, "gaussian": 3**0.25,
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), GAINS.items())
def test_gains_at_unit_spread(name, value):
    assert gain(name, 1.0) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [("relu", 1.0), ("tanh", 1.177807), ("sin", 1.313035), ("gaussian", 1 / 3), ("sigmoid", 0.152827)],
)
def test_gradients_at_unit_spread(name, value):
    assert chi(name, 1.0) == pytest.approx(value, abs=1e-6)


def test_gains_elsewhere():
    assert (gain("tanh", 2.0), chi("tanh", 2.0)) == pytest.approx((2.509307, 1.611623), abs=1e-6)
    assert gain("gaussian", 2.0) == pytest.approx(3.464102, abs=1e-6)


def test_the_spread_that_keeps_gradients():
    found = backward("gaussian")
    assert found.exact
    assert found.sigma == pytest.approx(math.sqrt(1 + math.sqrt(2)), abs=1e-9)
    for s in (0.7, 1.0, 3.0):
        assert chi("gaussian", s) == pytest.approx(s**4 / (1 + 2 * s**2), rel=1e-10)
    assert backward("sigmoid").sigma == pytest.approx(6.754575, abs=1e-5)
    for name in ("sin", "tanh", "gelu"):
        found = backward(name)
        assert not found.exact
        assert found.sigma == pytest.approx(0.01)


def test_a_network_keeps_its_spread():
    """Thirty layers of 512, uniform weights, sigma 1; what the paper shows for 100 layers of 1000."""
    for name, low, high in (("tanh", 0.97, 1.03), ("sin", 0.97, 1.03), ("gaussian", 0.88, 1.1)):
        generator = torch.Generator().manual_seed(0)
        signal = torch.randn(256, 64, generator=generator)
        spreads = []
        for layer in range(30):
            site = Site("w", "linear", (512, signal.shape[1]), reads=name if layer else "input")
            read = activation(name)(signal) if layer else signal
            signal = read @ vi3nr(site, generator).T
            spreads.append(float(signal.std()))
        assert low < min(spreads), name
        assert max(spreads) < high, name


def test_gelu_drifts_as_its_variance_is_unstable():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(64, 512, generator=generator)
    spreads = []
    for _ in range(60):
        weight = vi3nr(Site("w", "linear", (512, 512), reads="gelu"), generator)
        signal = torch.nn.functional.gelu(signal) @ weight.T
        spreads.append(float(signal.square().mean().sqrt()))
    assert spreads[29] > 1.5
    assert "drifts" in note("gelu", 1.0)
    assert note("relu", 1.0) == "std 1 stays (chi_par 1.0000), squared gradients times 1 a layer"
    assert "times 0.3333" in note("gaussian", 1.0)
    assert spreads[59] > 10


def test_what_the_first_layer_reads():
    generator = torch.Generator().manual_seed(0)
    site = Site("w", "linear", (400, 400), reads="input")
    weight = vi3nr(site, generator, sigma=2.0, input_mean=0.3, input_std=0.4)
    assert float(weight.std() * 20) == pytest.approx(2.0 / 0.5, rel=0.02)
    chosen = vi3nr(site, generator, activation="gaussian", sigma="backward")
    assert float(chosen.std() * 20) == pytest.approx(1.553774, rel=0.02)


def test_the_first_layer_begins_at_the_spread_that_keeps_gradients():
    """A sigmoid net: 6.75 everywhere; where the first layer has 1, the next two have 5.5 and 6.3 and come nearer one by one."""
    for feeds, expected in (("sigmoid", [6.75] * 4), ("", [1.0, 5.5, 6.3, 6.75])):
        generator = torch.Generator().manual_seed(0)
        signal, spreads = torch.randn(256, 64, generator=generator), []
        for layer in range(4):
            site = Site("w", "linear", (512, signal.shape[1]), reads="sigmoid" if layer else "input", feeds=feeds)
            signal = (torch.sigmoid(signal) if layer else signal) @ vi3nr(site, generator, sigma="backward").T
            spreads.append(float(signal.std()))
        assert spreads == pytest.approx(expected, rel=0.08)


def test_what_reads_no_function_has_no_frequency():
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    site = Site("w", "linear", (40, 40))
    assert torch.equal(vi3nr(site, draws[0], frequency=30.0), vi3nr(site, draws[1]))


def test_a_frequency_belongs_to_the_function():
    """sin(30 x) at std 1 is as good as uniform over the wave: E = 1/2."""
    generator = torch.Generator().manual_seed(0)
    weight = vi3nr(Site("w", "linear", (400, 400), reads="sin"), generator, frequency=30.0, distribution="normal")
    assert float(weight.std() * 20) == pytest.approx(math.sqrt(2), rel=0.02)
    assert float(weight.abs().max()) > 3.5 * float(weight.std())


def test_uniform_weights_are_bounded():
    generator = torch.Generator().manual_seed(0)
    weight = vi3nr(Site("w", "linear", (100, 100), reads="relu"), generator)
    assert float(weight.abs().max()) <= math.sqrt(2) * math.sqrt(3 / 100)


def test_zeros_have_no_gain():
    with pytest.raises(MethodError, match="nothing but zeros"):
        gain(Activation(torch.zeros_like, name="nothing"), 1.0)
