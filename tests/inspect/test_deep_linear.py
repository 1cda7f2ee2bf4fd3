"""Learning curves of deep linear networks, against descent itself."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.inspect.deep_linear import half_time, mode_strength, time_to, trajectory
from scionwood.methods.initialize.balanced import balanced_chain
from scionwood.methods.initialize.orthogonal import orthogonal


def test_worked_numbers():
    assert half_time(3.0, 0.001) == pytest.approx(1.334339, abs=1e-6)
    assert mode_strength(1.0, 3.0, 0.001) == pytest.approx(0.355712, abs=1e-6)
    assert mode_strength(2.0, 3.0, 0.001) == pytest.approx(2.945721, abs=1e-6)
    a = 0.001**0.5
    for _ in range(10_000):
        a += 1e-4 * a * (3 - a * a)
    assert a * a == pytest.approx(0.355712, abs=3e-4)  # descent in small steps lags behind the flow
    assert mode_strength(1e6, 3.0, 0.001) == pytest.approx(3.0)
    assert mode_strength(time_to(2.5, 3.0, 0.001, tau=2.0), 3.0, 0.001, tau=2.0) == pytest.approx(2.5)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_the_curve_of_any_depth_solves_its_equation(layers):
    times = torch.linspace(0, 2, 9)
    found = trajectory(times, 2.0, 0.1, layers=layers)
    u, slow, step = 0.1, [0.1], 1e-5
    for _ in range(8):
        for _ in range(25_000):
            u += step * layers * u ** (2 - 2 / layers) * (2 - u)
        slow.append(u)
    assert found.tolist() == pytest.approx(slow, rel=1e-3)


@pytest.mark.parametrize("layers", [2, 3])
def test_descent_from_a_balanced_start_follows_the_curves(layers):
    """Three modes of a task, whitened inputs: each follows its own curve."""
    draw = torch.Generator().manual_seed(0)
    strengths = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    left, right = orthogonal(4, 3, draw), orthogonal(5, 3, draw)
    target = left * strengths @ right.T
    start = torch.full((3,), 0.05, dtype=torch.float64)
    weights = balanced_chain(left, start, right, (6,) * (layers - 1), draw)
    weights = [weight.requires_grad_() for weight in weights]
    rate, steps = 1e-3, 1000
    for _ in range(steps):
        product = weights[0]
        for weight in weights[1:]:
            product = weight @ product
        grads = torch.autograd.grad(0.5 * (product - target).square().sum(), weights)
        with torch.no_grad():
            for place, grad in enumerate(grads):
                weights[place] -= rate * grad
    found = (left.T @ product.detach() @ right).diagonal()
    expected = [
        float(trajectory(torch.tensor([rate * (steps - 1)]), float(strength), 0.05, layers=layers)[0])
        for strength in strengths
    ]
    assert found.tolist() == pytest.approx(expected, rel=0.01)


def test_refusals():
    with pytest.raises(MethodError, match=r"(?s)not 3 and 0\..*From 0 it never starts"):
        mode_strength(1.0, 3.0, 0.0)
    with pytest.raises(MethodError, match="goes from 0.1 to 3 never has the strength 4"):
        time_to(4.0, 3.0, 0.1)
    with pytest.raises(MethodError, match="at least one layer, not 0"):
        trajectory(torch.tensor([1.0]), 1.0, 0.1, layers=0)
