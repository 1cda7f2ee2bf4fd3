"""FreSh: spectra of waves, distances by hand, and which network it chooses."""

import math

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.inspect.fresh import choose, distance, spectrum

SIDE = 32
GRID = torch.stack(torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")).double() / SIDE


def wave(x, y):
    return torch.cos(2 * math.pi * (x * GRID[1] + y * GRID[0]))


@pytest.mark.parametrize("mode", ["abs", "official"])
def test_waves_are_spikes(mode):
    for x, y, position in ((0, 5, 4), (5, 0, 4), (3, 4, 6)):
        found = spectrum(wave(x, y), size=16, mode=mode)
        expected = torch.zeros(16).double()
        expected[position] = 512
        assert torch.allclose(found, expected, atol=1e-9)
    slanted = spectrum(wave(3, -4), mode=mode)
    assert slanted.argmax().item() == (6 if mode == "abs" else 30)
    assert slanted.max().item() == pytest.approx(512)


@pytest.mark.parametrize("mode", ["abs", "official"])
def test_distances_of_waves(mode):
    def between(first, second):
        return distance(spectrum(first, size=16, mode=mode), spectrum(second, size=16, mode=mode)).item()

    assert between(wave(0, 5), wave(3, 4)) == pytest.approx(2)
    assert between(wave(0, 5), wave(0, 9)) == pytest.approx(4)
    assert between(wave(0, 5), 7 * wave(0, 5) + 3) == pytest.approx(0, abs=1e-9)
    both = torch.stack([wave(0, 5), wave(0, 9)])
    assert between(both, wave(0, 5)) == pytest.approx(2)


def test_the_distance_is_that_of_scipy():
    wasserstein_distance = pytest.importorskip("scipy.stats").wasserstein_distance
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        first, second = torch.rand(2, 20, generator=generator).double().square()
        positions = list(range(20))
        assert distance(first, second).item() == pytest.approx(
            wasserstein_distance(positions, positions, first.numpy(), second.numpy())
        )


@pytest.mark.parametrize("shape", [(4, 4), (5, 5), (8, 8), (4, 4, 4), (5, 5, 5), (8, 8, 8)])
def test_each_pair_of_mirrored_frequencies_counts_once(shape):
    """In both modes: all sums together are half the transform's, and those of its own mirror images."""
    signal = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).double()
    dims = tuple(range(1, signal.dim()))
    whole = torch.fft.fftn(signal, dim=dims).abs().sum(dim=0)
    alone = whole[
        torch.meshgrid(*[torch.tensor([0, side // 2] if side % 2 == 0 else [0]) for side in shape], indexing="ij")
    ]
    expected = (whole.sum() + alone.sum()) / 2 - whole.flatten()[0]
    for mode in ("abs", "official"):
        assert spectrum(signal, mode=mode).sum().item() == pytest.approx(expected.item())


def test_sums_of_indices_by_hand():
    """Against loops over every index, of a square and of a cube."""
    square = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    transform = torch.fft.fft2(square[0]).abs()
    expected = torch.zeros(7).double()
    for i in range(6):
        for j in range(6):
            weight = 1 if (-i % 6, -j % 6) == (i, j) else 0.5
            expected[min(i, 6 - i) + min(j, 6 - j)] += weight * transform[i, j]
    assert torch.allclose(spectrum(square), expected[1:])
    index = torch.arange(6).double() / 6
    cube = torch.cos(2 * math.pi * (index[:, None, None] + 2 * index[:, None] + 2 * index)) + torch.zeros(6, 6, 6)
    assert spectrum(cube[None]).argmax().item() == 4
    assert spectrum(cube[None], mode="official").argmax().item() == 4


def siren(first, seed):
    """Three sine layers of 64 and a linear one, hidden frequency 30, on coordinates from -1 to 1."""
    generator = torch.Generator().manual_seed(seed)
    line = torch.linspace(-1, 1, SIDE)
    signal = torch.stack(torch.meshgrid(line, line, indexing="ij")).flatten(1).T
    for layer, (fan_in, width) in enumerate(((2, 64), (64, 64), (64, 64), (64, 1))):
        bound = 1 / fan_in if layer == 0 else math.sqrt(6 / fan_in) / 30
        weight, bias = ((2 * torch.rand(size, generator=generator) - 1) * bound for size in ((width, fan_in), (width,)))
        signal = nn.functional.linear(signal, weight, bias)
        signal = signal if layer == 3 else torch.sin((first if layer == 0 else 30) * signal)
    return signal.T.reshape(1, SIDE, SIDE)


@pytest.mark.parametrize(("mode", "figures"), [("abs", (4.01, 3.33)), ("official", (3.64, 3.45))])
def test_higher_targets_choose_higher_frequencies(mode, figures):
    candidates = {first: lambda seed, first=first: siren(first, seed) for first in (2, 5, 10, 20, 30, 60, 100)}
    low = choose((wave(2, 0) + wave(0, 2)).float(), candidates, size=16, mode=mode)
    high = choose((wave(6, 0) + wave(0, 6)).float(), candidates, size=16, mode=mode)
    assert low.best == 10
    assert high.best == 20
    assert low.distances[10] == pytest.approx(figures[0], abs=0.15)
    assert high.distances[20] == pytest.approx(figures[1], abs=0.15)
    assert low.distances[100] > low.distances[10] + 1
    assert high.distances[100] > high.distances[20] + 1


def test_a_candidate_with_the_targets_frequencies_is_at_no_distance():
    choice = choose(wave(0, 5), {"same": lambda seed: (seed + 1) * wave(0, 5), "other": lambda seed: wave(0, 6 + seed)})
    assert choice.best == "same"
    assert choice.distances["same"] == pytest.approx(0, abs=1e-9)
    assert choice.distances["other"] == pytest.approx(5.5)
    assert choice.errors["other"] == pytest.approx(math.sqrt(99 / 12) / math.sqrt(10))


def test_frames_are_compared_one_by_one():
    """Frames at 2 and at 8 are not a picture at 5: the distances of frames are averaged, not their spectra."""
    film = torch.stack([wave(0, 2), wave(0, 8)])
    candidates = {"same": lambda seed: film, "middle": lambda seed: torch.stack([wave(0, 5)] * 2)}
    choice = choose(
        film[:, None], {name: lambda seed, own=own: own(seed)[:, None] for name, own in candidates.items()}, frames=10
    )
    assert choice.distances == pytest.approx({"same": 0, "middle": 3}, abs=1e-9)
    seen = choose(
        torch.cat([film[:1]] * 7 + [film[1:]])[:, None],
        {"low": lambda seed: film[:1].repeat(8, 1, 1)[:, None]},
        frames=8,
    )
    assert seen.distances["low"] == pytest.approx(6 / 8)
    with pytest.raises(MethodError, match=r"renders \(1, 32, 32\), the target is \(2, 32, 32\)"):
        choose(film[:, None], {"short": lambda seed: film[:1, None]}, frames=2)
    with pytest.raises(MethodError, match="one frame where there are frames"):
        choose(film[:, None], {"same": lambda seed: film}, frames=0)


def test_errors():
    with pytest.raises(MethodError, match="one of abs, official, not 'power'"):
        spectrum(wave(1, 1), mode="power")
    with pytest.raises(MethodError, match=r"square or a cube, not of \(4, 6\)"):
        spectrum(torch.zeros(4, 6))
    with pytest.raises(MethodError, match="at least 1 frequency, not 0"):
        spectrum(wave(1, 1), size=0)
    with pytest.raises(MethodError, match=r"one length, not \(3,\) and \(4,\)"):
        distance(torch.ones(3), torch.ones(4))
    with pytest.raises(MethodError, match="is it constant"):
        distance(torch.ones(3), torch.zeros(3))
    with pytest.raises(MethodError, match="at least one candidate"):
        choose(wave(1, 1), {})
    with pytest.raises(MethodError, match=r"Candidate 'small' renders \(16, 16\), the target is \(32, 32\)"):
        choose(wave(1, 1), {"small": lambda seed: torch.rand(1, 16, 16)})
