"""Fixup's scalars, and what the whole of Fixup promises: logits of zero, blocks that are identities, gradients that wake up."""

import math

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.train.layers.fixup import FixupLayer, add_scalars, parameter_groups
from scionwood.verbs.initialize import initialize


class Block(nn.Module):
    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(into, out, 3, padding=1, bias=False)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.projection = nn.Conv2d(into, out, 1, bias=False) if into != out else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.second(torch.relu(self.first(x)))
        return torch.relu(branch + (x if self.projection is None else self.projection(x)))


class Residual(nn.Module):
    """A residual net without norms: four blocks, two widths."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.blocks = nn.Sequential(Block(8, 8), Block(8, 8), Block(8, 16), Block(16, 16))
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(torch.relu(self.stem(x))).mean((2, 3)))


PIXELS = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def net(*, scalars_first: bool = False) -> Residual:
    made = Residual()
    if scalars_first:
        add_scalars(made, PIXELS)
    initialize(made, method="fixup", inputs=PIXELS)
    if not scalars_first:
        add_scalars(made, PIXELS)
    return made


@pytest.mark.parametrize("scalars_first", [False, True])
def test_logits_are_zero_and_blocks_are_the_identity_of_what_is_positive(scalars_first):
    made = net(scalars_first=scalars_first)
    logits = made(PIXELS)
    assert not logits.any()
    loss = nn.functional.cross_entropy(logits, torch.arange(4))
    assert float(loss.detach()) == pytest.approx(math.log(10))
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(made.blocks[0](x), torch.relu(x))
    # L = 4 branches of m = 2 weights: He's deviation by fan-out, divided by sqrt 4.
    inner = made.blocks[1].first
    assert isinstance(inner, FixupLayer)
    assert float(inner.layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / 72) / 2, rel=0.1)


def test_the_first_weights_of_branches_wake_up_once_the_ends_have_moved():
    made = net()
    optimizer = torch.optim.SGD(parameter_groups(made, 0.1))
    norms = []
    for _ in range(4):
        loss = nn.functional.cross_entropy(made(PIXELS), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(made.blocks[0].first.layer.weight.grad.norm()))
        optimizer.step()
    # The head moves first, then the ends of branches, then what is before them.
    assert norms[:2] == [0.0, 0.0]
    assert norms[2] > 0


def test_scalars_stand_where_the_paper_has_them_and_change_nothing():
    plain = Residual()
    before = plain(PIXELS)
    paths = add_scalars(plain, PIXELS)
    assert paths == [
        "stem", "blocks.0.first", "blocks.0.second", "blocks.1.first", "blocks.1.second",
        "blocks.2.first", "blocks.2.second", "blocks.3.first", "blocks.3.second", "head",
    ]  # fmt: skip
    assert plain.training
    assert plain.blocks[0].first.layer.training
    assert torch.equal(plain(PIXELS), before)
    kinds = {
        path: tuple(getattr(plain.get_submodule(path), name) is not None for name in ("before", "scale", "after"))
        for path in ("stem", "blocks.0.first", "blocks.0.second", "head")
    }
    assert kinds == {
        "stem": (False, False, True),
        "blocks.0.first": (True, False, True),
        "blocks.0.second": (True, True, True),
        "head": (True, False, False),
    }
    assert isinstance(plain.blocks[2].projection, nn.Conv2d)


def test_a_layer_is_shifted_and_scaled_as_the_paper_says():
    layer = FixupLayer(nn.Linear(3, 2, bias=False), before=True, scale=True, after=True)
    with torch.no_grad():
        for name, value in (("before", 0.5), ("scale", 3.0), ("after", -1.0)):
            getattr(layer, name).fill_(value)
    x = torch.randn(4, 3)
    assert torch.allclose(layer(x), (x + 0.5) @ layer.layer.weight.T * 3 - 1)


def test_scalars_learn_at_a_tenth_without_decay():
    made = net()
    others, scalars = parameter_groups(made, 0.1, decay=0.01)
    assert (others["lr"], others["weight_decay"]) == (0.1, 0.01)
    assert (scalars["lr"], scalars["weight_decay"]) == (pytest.approx(0.01), 0.0)
    assert all(parameter.shape == (1,) for parameter in scalars["params"])
    assert len(scalars["params"]) == 1 + 4 * (2 + 3) + 1
    assert len(others["params"]) + len(scalars["params"]) == len(list(made.parameters()))


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x @ self.weight


def test_refusals():
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(MethodError, match="Sequential has no residual branch"):
        add_scalars(plain, torch.zeros(1, 4))
    with pytest.raises(MethodError, match="weights that belong to no linear layer") as caught:
        add_scalars(Odd(), torch.zeros(1, 4))
    assert caught.value.problems == ("weight",)
