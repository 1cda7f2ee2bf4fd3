"""Target variance rescaling: the worked matrix, one-sidedness, the schedule."""

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.train.rescaling import TargetVariance, rescaled

WEIGHT = torch.tensor([[0.04, -0.02], [0.0, 0.06]], dtype=torch.float64)


class Conv1D(nn.Module):
    """GPT-2's linear layer, by its name."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))
        self.bias = nn.Parameter(torch.ones(4))


def model(std=0.1):
    torch.manual_seed(0)
    blocks = [nn.ModuleDict({"a": nn.Linear(32, 32), "c": Conv1D(), "n": nn.LayerNorm(32)}) for _ in range(4)]
    made = nn.ModuleDict({"head": nn.Linear(32, 8), "layers": nn.ModuleList(blocks)})
    for block in blocks:
        nn.init.normal_(block["a"].weight, 0.05, std)
    return made


def test_worked_matrix():
    expected = torch.tensor([[0.0254772, 0.0090455], [0.0145228, 0.0309545]], dtype=torch.float64)
    found = rescaled(WEIGHT, 0.01)
    assert torch.allclose(found, expected, atol=1e-7)
    assert found.mean().item() == pytest.approx(0.02)
    assert found.std().item() == pytest.approx(0.01)


def test_idempotent_and_only_downwards():
    once = rescaled(WEIGHT, 0.01)
    assert rescaled(once, 0.01) is once
    assert rescaled(WEIGHT, 0.0365148 / 1.19) is WEIGHT
    assert rescaled(WEIGHT, 0.0365148 / 1.21) is not WEIGHT
    assert rescaled(WEIGHT, 10.0) is WEIGHT


def test_every_so_many_steps_and_within_the_list():
    net = model()
    head = net["head"].weight.clone()
    rescaling = TargetVariance(net, target=0.02, interval=3, by_layer=True)
    assert [len(rescaling.step()) for _ in range(6)] == [0, 0, 8, 0, 0, 0]
    for layer in (1, 4):
        weight = net["layers"][layer - 1]["a"].weight
        assert weight.std().item() == pytest.approx(0.02 / layer**0.5)
        assert weight.mean().item() == pytest.approx(0.05, abs=0.01)
    assert torch.equal(net["head"].weight, head)
    assert net["layers"][0]["c"].bias.eq(1).all()


def test_biases_are_zeroed_when_asked():
    net = model()
    TargetVariance(net, zero_bias=True).rescale()
    assert net["layers"][0]["c"].bias.eq(0).all()
    assert net["layers"][0]["a"].bias.eq(0).all()
    assert net["head"].bias.ne(0).any()


def test_the_count_is_kept():
    first = TargetVariance(model(), interval=3)
    first.step()
    second = TargetVariance(model(), interval=3)
    second.load_state_dict(first.state_dict())
    assert [bool(second.step()) for _ in range(2)] == [False, True]


def test_errors():
    with pytest.raises(MethodError, match="no linear layer in a list 'blocks'") as caught:
        TargetVariance(model(), layers="blocks")
    assert "Lists of modules here: layers." in str(caught.value)
    with pytest.raises(MethodError) as caught:
        TargetVariance(model(), target=0, threshold=0.5, interval=0)
    assert caught.value.problems == (
        "target is above 0, not 0",
        "threshold is at least 1, not 0.5",
        "interval is at least 1, not 0",
    )
