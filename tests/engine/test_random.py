"""Random numbers by element: uniform, the same wherever a draw begins, different for every seed, tensor and model."""

import pytest
import torch

from scionwood.engine.random import Uniforms


def numbers(seed, name, model, start, stop):
    return Uniforms(seed, name, model).draw(start, (stop - start,)).numbers


def test_every_draw_is_a_part_of_one_sequence():
    whole = numbers(3, "w", 0, 0, 1000)
    for start, stop in [(0, 1), (1, 2), (3, 9), (7, 16), (8, 16), (511, 700), (997, 1000)]:
        assert torch.equal(numbers(3, "w", 0, start, stop), whole[start:stop])


def test_the_key_is_seed_tensor_and_model():
    draws = [numbers(*key, 0, 50) for key in [(0, "w", 0), (1, "w", 0), (0, "v", 0), (0, "w", 1)]]
    assert len({tuple(draw.tolist()) for draw in draws}) == 4


@pytest.mark.parametrize("probability", [0.0, 1e-6, 0.003, 0.1, 0.5, 1 / 3, 1 - 2.0**-24, 1.0])
def test_a_comparison_is_that_of_the_whole_numbers(probability):
    drawn = Uniforms(0, "w", 0).draw(5, (64, 1024))
    assert torch.equal(drawn.below(probability), drawn.numbers.double() < probability)


def test_every_column_may_have_a_probability_of_its_own():
    ramp = torch.linspace(0, 1, 1024)
    drawn = Uniforms(0, "w", 0).draw(3, (256, 1024))
    below = drawn.below(ramp)
    assert torch.equal(below, drawn.numbers < ramp)
    assert not below[:, 0].any()
    assert below[:, -1].all()


def test_they_are_uniform():
    drawn = numbers(0, "w", 0, 0, 1 << 22).double()
    assert 0 <= float(drawn.min()) < 1e-6
    assert 1 - 1e-6 < float(drawn.max()) < 1
    count = len(drawn)
    for share in (1e-4, 0.01, 0.1, 0.5, 0.9):
        deviation = (share * (1 - share) / count) ** 0.5
        assert abs(float((drawn < share).double().mean()) - share) < 4 * deviation, share
    # Eight numbers share a word, and their lower bits are mixed from all of it: neither shows.
    lower = drawn * 256 % 1
    for centred in (drawn - 0.5, lower - 0.5):
        assert abs(float(centred.mean())) * 12**0.5 < 4 / count**0.5
        for lag in range(1, 9):
            assert abs(float((centred[lag:] * centred[:-lag]).mean()) * 12) < 4 / count**0.5
    assert abs(float(((drawn - 0.5) * (lower - 0.5)).mean()) * 12 - 1 / 256) < 4 / count**0.5
