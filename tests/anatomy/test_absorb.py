"""Absorbing a factor: the value is multiplied, nothing else changes, and what cannot be done is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scionwood.anatomy import from_module
from scionwood.anatomy.absorb import Absorber, AbsorbError
from scionwood.anatomy.nodes import operation


class Net(nn.Module):
    """Parts that forwards below put together."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.fused = nn.Linear(8, 24)
        self.one = nn.Linear(8, 8)
        self.two = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.gain = nn.Parameter(torch.randn(8))
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.batch = nn.BatchNorm1d(8)


def absorbed(forward: Any, alpha: float = 0.5) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
    """Absorb a factor into what the marked value (the operand of tanh) is computed from; compare what comes out."""
    torch.manual_seed(0)

    class Case(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return forward(self, x)

    case = Case().eval()
    x = torch.randn(3, 8)
    model = from_module(case, x)
    absorber = Absorber(model, {})
    (marked,) = [node.args[0] for node in model.program.graph.nodes if operation(node) == "tanh"]
    absorber.absorb(marked, alpha, users=set(marked.users))
    before = [tensor.detach().clone() for tensor in case(x)]
    with torch.no_grad():
        for name, correction in absorber.corrections.items():
            parameter = case.get_parameter(name)
            parameter.copy_(parameter * correction.scale + correction.shift)
    after = [tensor.detach() for tensor in case(x)]
    return {name: c.scale for name, c in absorber.corrections.items()}, before, after


@pytest.mark.parametrize(
    ("forward", "parameters"),
    [
        (lambda m, x: m.one(x), {"one.weight", "one.bias"}),
        (lambda m, x: -m.one(x).view(3, 2, 4).transpose(1, 2).flatten(1), {"one.weight", "one.bias"}),
        (lambda m, x: m.one(x) + m.two(x), {"one.weight", "one.bias", "two.weight", "two.bias"}),
        (lambda m, x: torch.cat([m.one(x), m.two(x)]), {"one.weight", "one.bias", "two.weight", "two.bias"}),
        (lambda m, x: torch.relu(m.one(x)) * 3.0, {"one.weight", "one.bias"}),
        (lambda m, x: torch.sigmoid(m.one(x)) * m.two(x), {"two.weight", "two.bias"}),
        (lambda m, x: m.norm(x), {"norm.weight", "norm.bias"}),
        (lambda m, x: x / x.norm() * (1 + m.gain), {"gain"}),
        (lambda m, x: m.conv(x.t()[None]), {"conv.weight", "conv.bias"}),
        (lambda m, x: m.batch(x), {"batch.weight", "batch.bias"}),
        (lambda m, x: m.fused(x).chunk(3, -1)[1], {"fused.weight", "fused.bias"}),
        (lambda m, x: rotated(m.fused(x)[:, :8]), {"fused.weight", "fused.bias"}),
    ],
)
def test_the_value_is_multiplied(forward: Any, parameters: set[str]) -> None:
    def marked(module: Net, x: Tensor) -> tuple[Tensor, ...]:
        value = forward(module, x)
        return torch.tanh(value), module.fused(x)[:, 16:] if "fused.weight" not in parameters else x

    scales, before, after = absorbed(marked)
    assert set(scales) == parameters
    assert torch.allclose(torch.atanh(after[0]), torch.atanh(before[0]) * 0.5, atol=1e-5)
    assert torch.allclose(after[1], before[1])


def rotated(value: Tensor) -> Tensor:
    """Rotary positions, as models write them."""
    halves = torch.cat([-value[:, 4:], value[:, :4]], -1)
    return value * torch.cos(torch.arange(8.0)) + halves * torch.sin(torch.arange(8.0))


def test_a_part_of_a_fused_projection_is_a_part() -> None:
    scales, _, _ = absorbed(lambda m, x: (torch.tanh(m.fused(x).chunk(3, -1)[1]),))
    assert scales["fused.weight"].flatten().tolist() == [1.0] * 8 + [0.5] * 8 + [1.0] * 8


def test_queries_and_keys_share() -> None:
    scales, before, after = absorbed(lambda m, x: (torch.tanh(m.one(x) @ m.two(x).t() / 9),), 0.25)
    assert {float(scale.flatten()[0]) for scale in scales.values()} == {0.5}
    assert torch.allclose(torch.atanh(after[0]), torch.atanh(before[0]) * 0.25, atol=1e-5)


def passed_on(value: Tensor) -> tuple[Tensor, ...]:
    return torch.tanh(value * 2), value


def overlapping(value: Tensor) -> tuple[Tensor, ...]:
    return torch.tanh(value[:, :4]), torch.cos(value[:, 2:])


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: (torch.tanh(x),), "it comes from the model's input"),
        (lambda m, x: (torch.tanh(torch.sigmoid(m.one(x))),), "sigmoid is not linear"),
        (lambda m, x: (torch.tanh(m.one(x) + 1),), "add adds a constant"),
        (lambda m, x: passed_on(m.one(x)), "linear in one is also used by output"),
        (lambda m, x: (m.one(x), torch.tanh(m.one(x + 1))), "one.weight is also used by linear in one"),
        (lambda m, x: (torch.tanh(m.one(x)[:, :4] * m.one(x)[:, 4:]),), "would take|also used"),
        (lambda m, x: overlapping(m.one(x)), "is also used by slice"),
    ],
)
def test_what_cannot_be_done(forward: Any, reason: str) -> None:
    with pytest.raises(AbsorbError, match=reason):
        absorbed(forward)
