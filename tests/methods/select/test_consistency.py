"""What consistency is for: a residual network whose dropped channels are silent computes the same after selection."""

import torch

from scionwood.methods.select.choice import choose
from scionwood.methods.select.magnitude import accumulate, magnitude
from scionwood.methods.select.random_inconsistent import random_inconsistent
from scionwood.methods.select.uniform import uniform

WIDTH, HIDDEN = 8, 12


def teacher():
    """Two blocks x + W2 relu(W1 x), whose odd residual channels and hidden units are all zero."""
    generator = torch.Generator().manual_seed(0)
    # Small integers: sums are exact, so the order of summation cannot tell the student from the teacher.
    draw = lambda *shape: torch.randint(-3, 4, shape, generator=generator).float()  # noqa: E731
    blocks = [(draw(HIDDEN, WIDTH), draw(WIDTH, HIDDEN)) for _ in range(2)]
    for up, down in blocks:
        up[1::2], up[:, 1::2], down[1::2], down[:, 1::2] = 0, 0, 0, 0
    x = draw(5, WIDTH)
    x[:, 1::2] = 0
    return blocks, x


def run(blocks, x):
    for up, down in blocks:
        x = x + torch.relu(x @ up.T) @ down.T
    return x


def test_a_consistent_selection_of_what_is_alive_changes_nothing():
    blocks, x = teacher()
    width, hidden = uniform((WIDTH,), (WIDTH // 2,)), uniform((HIDDEN,), (HIDDEN // 2,))
    student = [(up[hidden][:, width], down[width][:, hidden]) for up, down in blocks]
    assert torch.equal(run(student, x[:, width]), run(blocks, x)[:, width])


def test_magnitude_finds_what_is_alive():
    blocks, _ = teacher()
    scores = torch.zeros(WIDTH, dtype=torch.float64)
    for up, down in blocks:
        accumulate(scores, up, 1)
        accumulate(scores, down, 0)
    assert torch.equal(magnitude((WIDTH,), (WIDTH // 2,), scores), uniform((WIDTH,), (WIDTH // 2,)))


def test_an_inconsistent_selection_does_not():
    blocks, x = teacher()
    generator = torch.Generator().manual_seed(0)
    fresh = lambda n: choose(random_inconsistent, (n,), (n // 2,), generator=generator).index  # noqa: E731
    student = [(up[fresh(HIDDEN)][:, fresh(WIDTH)], down[fresh(WIDTH)][:, fresh(HIDDEN)]) for up, down in blocks]
    width = uniform((WIDTH,), (WIDTH // 2,))
    assert not torch.equal(run(student, x[:, width]), run(blocks, x)[:, width])
