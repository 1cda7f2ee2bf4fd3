"""Random numbers by element: uniform, the same wherever a draw begins, different for every seed, tensor and model."""

import torch

from scionwood.engine.random import Uniforms


def test_every_draw_is_a_part_of_one_sequence():
    whole = Uniforms(3, "w", 0).draw(0, 1000)
    for start, stop in [(0, 1), (1, 2), (3, 9), (4, 8), (511, 700), (997, 1000)]:
        assert torch.equal(Uniforms(3, "w", 0).draw(start, stop), whole[start:stop])


def test_the_key_is_seed_tensor_and_model():
    draws = [Uniforms(*key).draw(0, 50) for key in [(0, "w", 0), (1, "w", 0), (0, "v", 0), (0, "w", 1)]]
    assert len({tuple(draw.tolist()) for draw in draws}) == 4


def test_they_are_uniform():
    numbers = Uniforms(0, "w", 0).draw(0, 1 << 22).double()
    assert 0 <= float(numbers.min()) < 1e-6
    assert 1 - 1e-6 < float(numbers.max()) < 1
    count = len(numbers)
    for share in (1e-4, 0.01, 0.1, 0.5, 0.9):
        deviation = (share * (1 - share) / count) ** 0.5
        assert abs(float((numbers < share).double().mean()) - share) < 4 * deviation, share
    # Neighbours share bits, but too low to show.
    centred = numbers - 0.5
    for lag in (1, 2, 3, 4):
        assert abs(float((centred[lag:] * centred[:-lag]).mean()) * 12) < 4 / count**0.5
