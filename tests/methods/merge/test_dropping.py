"""The merges that draw: what they keep, by which factor, and that the expectation is what it should be."""

import pytest
import torch

from scionwood.methods import registry
from scionwood.methods.merge.dropping import Drawn, magnitudes
from scionwood.methods.merge.whole import merge_tensors

DARE, DELLA = registry.load("merge.dare"), registry.load("merge.della")
TENTHS = torch.arange(1, 11) / 10


def drawn_to_keep(indices, size=10):
    """Random numbers by which exactly these are kept."""
    numbers = torch.ones(size)
    numbers[indices] = 0.0
    return numbers


@pytest.mark.parametrize(
    ("rescale", "expected"),
    [
        ("l1", [0.189655, 0, 0.568966, 0.758621, 0.948276, 0, 1.327586, 0, 1.706897, 0]),
        ("inverse_density", [0.2, 0, 0.6, 0.8, 1.0, 0, 1.4, 0, 1.8, 0]),
        (None, [0.1, 0, 0.3, 0.4, 0.5, 0, 0.7, 0, 0.9, 0]),
    ],
)
def test_the_three_rescalings_of_dare(rescale, expected):
    drawn = drawn_to_keep([0, 2, 3, 4, 6, 8])
    lengths = magnitudes([TENTHS], [TENTHS * (drawn < 0.5)]) if rescale == "l1" else None
    made = DARE([TENTHS], [Drawn(drawn)], lengths, density=0.5, rescale=rescale)
    torch.testing.assert_close(made, torch.tensor(expected), rtol=0, atol=1e-6)


def test_della_keeps_the_sum_of_magnitudes_as_mergekit_does():
    delta = TENTHS.reshape(2, 5)
    drawn = drawn_to_keep([2, 3, 4, 8, 9]).reshape(2, 5)
    lengths = magnitudes([delta], [delta * (drawn < 0.5)])
    made = DELLA([delta], [Drawn(drawn)], lengths, rescale="l1", consensus=False, normalize=False)
    expected = [[0, 0, 0.532258, 0.709677, 0.887097], [0, 0, 0, 1.596774, 1.774194]]
    torch.testing.assert_close(made, torch.tensor(expected), rtol=0, atol=1e-6)


def test_dare_ties_by_the_sum_of_magnitudes():
    # The masks behind the numbers that mergekit gives with its seed 0: three of the first, two of the second.
    deltas = [torch.tensor([1.0, 2, 3, 4]), torch.tensor([-1.0, 2, -3, 4])]
    drawn = [drawn_to_keep([0, 2, 3], 4), drawn_to_keep([0, 2], 4)]
    lengths = magnitudes(deltas, [delta * (draw < 0.5) for delta, draw in zip(deltas, drawn, strict=True)])
    made = DARE(deltas, [Drawn(draw) for draw in drawn], lengths, density=0.5, rescale="l1", consensus=True)
    torch.testing.assert_close(made, torch.tensor([-2.5, 0, -7.5, 5]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", [DARE, DELLA])
def test_rescaling_by_magnitudes_keeps_their_sum(method):
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(7, 30, generator=generator)
    options = {"density": 0.5, "rescale": "l1"}
    made = merge_tensors(method, [delta], torch.zeros(7, 30), options, generator)
    torch.testing.assert_close(made.abs().sum(), delta.abs().sum())
    kept = made != 0
    ratio = made[kept] / delta[kept]
    assert 0.4 < kept.float().mean() < 0.6
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_della_keeps_large_entries_more_often_and_keeps_the_expectation():
    delta = torch.tensor([[0.3, -0.1, 0.5, -0.2, 0.4]])
    generator = torch.Generator().manual_seed(0)
    runs = torch.stack([merge_tensors(DELLA, [delta], torch.zeros(1, 5), generator=generator) for _ in range(2000)])
    shares = (runs != 0).float().mean(0)[0]
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.35, 0.65, 0.425, 0.575]), rtol=0, atol=0.04)
    assert bool(((runs.mean(0) - delta).abs() <= 4 * runs.std(0) / 2000**0.5).all())


def test_della_without_a_window_is_dare():
    # Of ascending rows: the number that decides on an entry is that of its rank.
    deltas = [torch.rand(6, 8, generator=torch.Generator().manual_seed(n)).sort().values for n in (1, 2)]
    plain = {"density": 0.4, "consensus": False, "normalize": False}
    one = merge_tensors(DELLA, deltas, torch.zeros(6, 8), plain | {"epsilon": 0.0}, torch.Generator().manual_seed(3))
    other = merge_tensors(DARE, deltas, torch.zeros(6, 8), plain, torch.Generator().manual_seed(3))
    torch.testing.assert_close(one, other)


def test_a_row_of_one_is_kept_with_the_density():
    delta = torch.ones(2000, 1)
    generator = torch.Generator().manual_seed(0)
    made = merge_tensors(DELLA, [delta], torch.zeros(2000, 1), {"density": 0.5}, generator)
    assert torch.isfinite(made).all()
    assert 0.45 < (made != 0).float().mean() < 0.55
