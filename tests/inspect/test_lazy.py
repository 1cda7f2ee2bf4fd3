"""Rich and lazy: the measures, and that low rank is richer."""

import pytest
import torch
from torch import nn

from scionwood.inspect.lazy import (
    entropy_rank,
    participation_ratio,
    representation_alignment,
    sign_similarity,
    tangent_alignment,
    tangent_kernel,
    weight_change,
)
from scionwood.methods.initialize.low_rank import low_rank
from scionwood.methods.initialize.site import Site


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nothing_changed():
    states = torch.randn(9, 5, generator=generator())
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    weights = dict(model.named_parameters())
    inputs = torch.randn(5, 4, generator=generator(1))
    assert weight_change(weights, weights) == 0
    assert representation_alignment(states, states) == pytest.approx(1.0)
    assert tangent_alignment(model, inputs, weights, weights) == pytest.approx(1.0)
    assert sign_similarity(states, states) == 1


def test_scale_does_not_matter_but_centring_would():
    states = torch.randn(9, 5, generator=generator())
    other = torch.randn(9, 5, generator=generator(1))
    assert representation_alignment(3 * states, 0.1 * other) == pytest.approx(representation_alignment(states, other))
    assert representation_alignment(states + 10, other + 10) > 0.99
    a, b = states.double() @ states.double().T, other.double() @ other.double().T
    assert representation_alignment(states, other) == pytest.approx(float((a * b).sum() / (a.norm() * b.norm())))


def test_the_tangent_kernel_is_made_of_gradients():
    """The slow way: one output at a time."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs = torch.randn(3, 3, generator=generator(), dtype=torch.float64)
    rows = []
    for output in model(inputs).reshape(-1):
        grads = torch.autograd.grad(output, list(model.parameters()), retain_graph=True)
        rows.append(torch.cat([grad.flatten() for grad in grads]))
    slow = torch.stack(rows) @ torch.stack(rows).T
    torch.testing.assert_close(tangent_kernel(model, inputs), slow)
    part = {"0.weight": model[0].weight}
    assert float(tangent_kernel(model, inputs, part).trace()) < float(slow.trace())


def test_ranks():
    matrix = torch.diag(torch.tensor([2.0, 1.0, 1.0, 0.0]))
    shares = torch.tensor([0.5, 0.25, 0.25])
    assert entropy_rank(matrix) == pytest.approx(float((-(shares * shares.log()).sum()).exp()), rel=1e-6)
    assert participation_ratio(matrix) == pytest.approx(36 / 18)
    assert sign_similarity(torch.tensor([1.0, -2.0, 3.0, -4.0]), torch.tensor([1.0, 2.0, 3.0, -1.0])) == 0.75


def student(rank):
    """Two linear layers of 40, 400 samples of a linear teacher, full-batch descent; kernels before and after."""
    n, draw = 40, generator(3)
    inputs = torch.randn(400, n, generator=draw, dtype=torch.float64)
    targets = inputs @ (torch.randn(n, 1, generator=draw, dtype=torch.float64) / n**0.5)
    model = nn.Sequential(nn.Linear(n, n, bias=False), nn.Linear(n, 1, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(low_rank(Site("w", "linear", (n, n)), generator(0), rank=rank, gain=1.0))
        model[1].weight.copy_(torch.randn(1, n, generator=generator(1), dtype=torch.float64) / n**0.5)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(1500):
        loss = 0.5 * (model(inputs) - targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return tangent_alignment(model, inputs[:100], before, after), weight_change(before, after), float(loss.detach())


def test_low_rank_is_richer_by_the_tangent_kernel():
    found = {rank: student(rank) for rank in (1, 5, 40)}
    assert max(loss for _, _, loss in found.values()) < 1e-2
    assert found[1][0] < found[5][0] < found[40][0]
    assert found[40][0] > 0.95
