"""Coordinate networks: their starts, what they compute, and a photograph fitted from several starts."""

import math
from statistics import mean

import pytest
import torch
from torch import nn

import scionwood
from scionwood.errors import MethodError
from scionwood.inspect.fresh import choose
from scionwood.train.layers.coordinate import (
    Finer,
    FourierFeatures,
    FourierNetwork,
    Sine,
    Siren,
    VariableSine,
    grid,
)

SIDE = 64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def linears(network):
    return [part for part in network.layers if isinstance(part, nn.Linear)]


def test_siren_draws_within_its_bounds():
    network = Siren(2, 3, width=256, depth=3, first_frequency=60, frequency=20, generator=seeded())
    first, *others = linears(network)
    assert first.weight.abs().max().item() == pytest.approx(1 / 2, rel=0.02)
    for linear in others:
        assert linear.weight.abs().max().item() == pytest.approx(math.sqrt(6 / 256) / 20, rel=0.02)
        assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / 256) / 20, rel=0.05)
    assert first.bias.abs().max().item() == pytest.approx(math.sqrt(1 / 2), rel=0.03)
    assert [part.frequency for part in network.layers if isinstance(part, Sine)] == [60, 20, 20]


def test_siren_keeps_phases_at_their_spread():
    """Before each further sine the phase is about a standard normal, whatever the frequency."""
    network = Siren(2, 1, width=512, depth=6, frequency=15, generator=seeded())
    signal = grid(32, 32)
    for number, part in enumerate(network.layers[:-1]):
        signal = part(signal)
        if isinstance(part, nn.Linear) and number:
            assert (15 * signal).std().item() == pytest.approx(1, abs=0.2)


def test_by_hand():
    network = Siren(1, 1, width=1, depth=2, first_frequency=3, frequency=2)
    for linear, weight in zip(linears(network), (0.5, -1.0, 4.0), strict=True):
        linear.weight.data.fill_(weight), linear.bias.data.fill_(0.25)
    first = math.sin(3 * (0.5 * 0.8 + 0.25))
    expected = 4 * math.sin(2 * (-first + 0.25)) + 0.25
    assert network(torch.tensor([[0.8]])).item() == pytest.approx(expected, rel=1e-5)
    z = torch.tensor([-1.5, 0.5], requires_grad=True)
    found = VariableSine(3.0)(z)
    assert found.tolist() == pytest.approx([math.sin(-3 * 2.5 * 1.5), math.sin(3 * 1.5 * 0.5)])
    found.sum().backward()
    assert z.grad.tolist() == pytest.approx([7.5 * math.cos(-11.25), 4.5 * math.cos(2.25)], rel=1e-5)


def test_finer_spreads_its_first_biases_alone():
    plain, spread = Finer(2, 1, width=256, depth=3), Finer(2, 1, width=256, depth=3, bias=4.0)
    assert spread.layers[0].bias.abs().max().item() == pytest.approx(4, rel=0.05)
    assert plain.layers[0].bias.abs().max().item() == pytest.approx(math.sqrt(1 / 2), rel=0.05)
    assert spread.layers[2].bias.abs().max().item() == pytest.approx(1 / 16, rel=0.05)
    assert Finer(2, 1, width=8, depth=2, bias=0.0).layers[0].bias.abs().max() == 0
    assert all(isinstance(part, VariableSine) for part in spread.layers if isinstance(part, Sine))


def test_fourier_features():
    features = FourierFeatures(2, 4000, sigma=3.0, generator=seeded())
    assert features.frequencies.std().item() == pytest.approx(3, rel=0.05)
    assert not list(features.parameters())
    points = torch.tensor([[0.3, -0.2]])
    phase = 2 * math.pi * (0.3 * features.frequencies[:, 0] - 0.2 * features.frequencies[:, 1])
    assert torch.allclose(features(points)[0], torch.cat([phase.cos(), phase.sin()]), atol=1e-5)
    network = FourierNetwork(2, 3, width=64, depth=2, sigma=3.0)
    assert [type(part) for part in network.layers] == [FourierFeatures, *[nn.Linear, nn.ReLU] * 2, nn.Linear]
    assert "layers.0.frequencies" in network.state_dict()


@pytest.mark.parametrize("kind", [Siren, Finer, FourierNetwork])
def test_a_generator_decides_all_draws(kind):
    first, again, other = (kind(2, 1, width=16, depth=2, generator=seeded(seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    assert all(tensor.isfinite().all() for tensor in first.values())


def photograph():
    """The middle square of one of scikit-learn's, at 64 by 64, from -1 to 1."""
    images = pytest.importorskip("sklearn.datasets")
    pytest.importorskip("PIL")
    picture = torch.tensor(images.load_sample_image("china.jpg")).float()
    margin = (picture.shape[1] - picture.shape[0]) // 2
    square = picture[:, margin : margin + picture.shape[0]].permute(2, 0, 1)
    return nn.functional.interpolate(square[None], (SIDE, SIDE), mode="area")[0] / 127.5 - 1


def siren(seed, first_frequency=30.0):
    return Siren(2, 3, width=64, depth=3, first_frequency=first_frequency, generator=seeded(seed))


def fitted(network, image, shown=None):
    """Return the signal-to-noise ratio in decibels after 300 steps of Adam, on the pixels shown and on the others."""
    points, values = grid(SIDE, SIDE), image.flatten(1).T
    shown = torch.ones(len(points)).bool() if shown is None else shown
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.mse_loss(network(points[shown]), values[shown]).backward()
        optimizer.step()
    with torch.no_grad():
        error = (network(points) - values).square().mean(dim=1) / 4
    return [-10 * math.log10(error[part].mean()) for part in (shown, ~shown) if bool(part.any())]


def spread(network, seed, sigma, only=()):
    """VI3NR, with phases of std sigma before each sine."""
    options = {"activation": "sin", "frequency": 30.0, "sigma": sigma / 30, "input_std": 0.586}
    scionwood.initialize(network, method="vi3nr", inputs=grid(2, 2), options=options, seed=seed, only=only)
    return network


@pytest.mark.slow
def test_a_photograph_from_several_starts():
    image, points = photograph(), grid(SIDE, SIDE)

    def renders(frequency):
        return lambda seed: siren(seed, frequency)(points).T.reshape(3, SIDE, SIDE)

    choice = choose(image, {frequency: renders(frequency) for frequency in range(10, 210, 10)}, size=SIDE)
    assert choice.best == 50
    hidden, seeds = ("layers.2.*", "layers.4.*"), range(3)
    starts = {
        "own": siren,
        "fresh": lambda seed: siren(seed, choice.best),
        "vi3nr 1": lambda seed: spread(siren(seed), seed, 1.0),
        "vi3nr 2": lambda seed: spread(siren(seed), seed, 2.0),
        "vi3nr hidden 1": lambda seed: spread(siren(seed), seed, 1.0, hidden),
        "vi3nr hidden 2": lambda seed: spread(siren(seed), seed, 2.0, hidden),
        "vi3nr hidden 4": lambda seed: spread(siren(seed), seed, 4.0, hidden),
        "fresh, vi3nr hidden 2": lambda seed: spread(siren(seed, choice.best), seed, 2.0, hidden),
    }
    found = {name: mean(fitted(start(seed), image)[0] for seed in seeds) for name, start in starts.items()}
    figures = {
        "own": 39.1,
        "fresh": 40.0,
        "vi3nr 1": 26.7,
        "vi3nr 2": 29.2,
        "vi3nr hidden 1": 39.1,
        "vi3nr hidden 2": 40.0,
        "vi3nr hidden 4": 31.4,
        "fresh, vi3nr hidden 2": 39.4,
    }
    for name, figure in figures.items():
        assert found[name] == pytest.approx(figure, abs=0.7), name
    assert min(found["fresh"], found["vi3nr hidden 2"]) > found["own"] + 0.4
    half = torch.rand(len(points), generator=seeded(7)) < 0.5
    unseen = {
        name: mean(fitted(starts[name](seed), image, half)[1] for seed in seeds)
        for name in ("own", "fresh", "vi3nr hidden 2")
    }
    unseen["slow"] = mean(fitted(siren(seed, 10.0), image, half)[1] for seed in seeds)
    for name, figure in {"own": 23.0, "fresh": 20.5, "vi3nr hidden 2": 21.8, "slow": 24.3}.items():
        assert unseen[name] == pytest.approx(figure, abs=0.7), name
    assert unseen["slow"] > unseen["own"] > unseen["fresh"] + 1


def test_errors():
    with pytest.raises(MethodError) as caught:
        Siren(2, 0, width=0, frequency=0.0)
    assert caught.value.problems == (
        "outputs is at least 1, not 0",
        "width is at least 1, not 0",
        "frequency is above 0, not 0.0",
    )
    with pytest.raises(MethodError, match=r"first biases is at least 0, not -1\.0"):
        Finer(2, 1, bias=-1.0)
    with pytest.raises(MethodError, match="in pairs: 7 is odd"):
        FourierFeatures(2, 7)
    with pytest.raises(MethodError) as caught:
        FourierNetwork(2, 1, width=8, depth=0)
    assert caught.value.problems == ("depth is at least 1, not 0",)
    with pytest.raises(MethodError) as caught:
        FourierFeatures(2, 8, sigma=0.0)
    assert caught.value.problems == ("sigma is above 0, not 0.0",)
