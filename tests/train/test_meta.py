"""Meta-learned starts: fixed points by hand, directions, and waves that two steps fit."""

import math

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.train.meta import adapted, meta_step


class Point(nn.Module):
    def __init__(self, start=0.0):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self):
        return self.theta


class Sine(nn.Module):
    """1-32-32-1 with SIREN's own initialisation, w0 = 10."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, 32), nn.Linear(32, 32), nn.Linear(32, 1)])
        for layer in self.layers:
            bound = 1.0 if layer.in_features == 1 else math.sqrt(6 / layer.in_features) / 10
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.sin(10 * layer(x))
        return self.layers[-1](x)


def quadratic(centre):
    return lambda call: (call() - centre) ** 2 / 2


def wave(phase):
    x = torch.linspace(0, 1, 64)[:, None]
    target = torch.sin(2 * math.pi * x + phase)
    return lambda call: (call(x) - target).square().mean()


@pytest.mark.parametrize("algorithm", ["maml", "reptile"])
def test_quadratic_tasks_meet_at_the_mean(algorithm):
    model = Point(3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.2)
    for _ in range(60):
        meta_step(model, [quadratic(c) for c in (-1, 0, 4)], algorithm=algorithm, rate=0.1, steps=2)
        optimizer.step()
    assert model.theta.item() == pytest.approx(1.0, abs=1e-6)


def test_gradients_by_hand():
    """MAML: (theta - c) (1 - a)^4; Reptile: (theta - c) (1 - (1 - a)^2)."""
    for algorithm, factor in (("maml", 0.9**4), ("reptile", 1 - 0.9**2)):
        model = Point(3.0)
        meta_step(model, [quadratic(1.0)], algorithm=algorithm, rate=0.1, steps=2)
        assert model.theta.grad.item() == pytest.approx(2 * factor)
        assert model.theta.item() == 3.0


def test_one_step_of_reptile_is_the_gradient_of_the_mean():
    torch.manual_seed(0)
    model, losses = Sine(), [wave(0.0), wave(1.0)]
    meta_step(model, losses, algorithm="reptile", rate=1e-2, steps=1)
    found = [parameter.grad.clone() for parameter in model.parameters()]
    expected = torch.autograd.grad(sum(loss(model) for loss in losses) / 2, list(model.parameters()))
    for left, right in zip(found, expected, strict=True):
        assert torch.allclose(left, 1e-2 * right, atol=1e-6)


def learned(steps):
    """Return the mean losses after two inner steps, from a random start and from the one learned."""
    torch.manual_seed(0)
    model, losses = Sine(), [wave(phase) for phase in (0.0, 1.0, 2.0)]

    def after():
        total = 0.0
        for loss in losses:
            parameters = adapted(model, loss)
            total += loss(lambda x, p=parameters: torch.func.functional_call(model, p, (x,))).item()
        return total / len(losses)

    before = after()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        meta_step(model, losses)
        optimizer.step()
    return before, after()


def test_two_steps_fit_waves():
    before, now = learned(200)
    assert before / now > 20


@pytest.mark.slow
def test_two_steps_fit_waves_in_full():
    before, now = learned(1500)
    assert before / now > 20


def test_errors():
    with pytest.raises(MethodError, match="one of maml, reptile, not 'fomaml'"):
        meta_step(Point(), [quadratic(0)], algorithm="fomaml")
    with pytest.raises(MethodError, match="at least one task"):
        meta_step(Point(), [])
    with pytest.raises(MethodError, match="Point has no parameter to learn: every one is frozen"):
        meta_step(Point().requires_grad_(False), [quadratic(0)])
    with pytest.raises(MethodError, match="The loss of a task depends on no parameter"):
        adapted(Point(), lambda call: call().detach())


class Partly(nn.Module):
    """A frozen layer, a norm with running statistics, and a layer that nobody calls."""

    def __init__(self):
        super().__init__()
        self.frozen, self.norm, self.head, self.unused = (
            nn.Linear(2, 3).requires_grad_(False),
            nn.BatchNorm1d(3),
            nn.Linear(3, 1),
            nn.Linear(3, 1),
        )

    def forward(self, x):
        return self.head(self.norm(self.frozen(x)))


@pytest.mark.parametrize("algorithm", ["maml", "reptile"])
def test_what_is_frozen_unused_or_a_statistic_is_left_as_it_is(algorithm):
    torch.manual_seed(0)
    model, x = Partly(), torch.randn(8, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    meta_step(model, [lambda call: call(x).square().mean()], algorithm=algorithm)
    found = adapted(model, lambda call: call(x).square().mean())
    assert list(found) == [name for name, _ in model.named_parameters()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.frozen.weight.grad is None
    assert not model.unused.weight.grad.any()
    assert model.head.weight.grad.any()
    assert torch.equal(found["frozen.weight"], before["frozen.weight"])
    assert not torch.equal(found["head.weight"], before["head.weight"])
