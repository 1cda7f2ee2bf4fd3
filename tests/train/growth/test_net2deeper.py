"""Net2DeeperNet: inserted layers change nothing, and where they would it is said."""

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.train.growth.net2deeper import is_idempotent, net2deeper, undoing_batch_norm


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(), nn.Identity()])
def test_a_linear_layer_inserted_leaves_outputs_equal(activation):
    layer, head = nn.Linear(6, 7), nn.Linear(7, 3)
    x = 10 * torch.randn(20, 6)
    before = nn.Sequential(layer, activation, head)
    after = nn.Sequential(layer, activation, net2deeper(layer, activation), head)
    assert torch.equal(before(x), after(x))


@pytest.mark.parametrize(
    ("layer", "shape", "size"),
    [
        (nn.Conv1d(3, 5, 3, padding=1, groups=1), (2, 3, 9), None),
        (nn.Conv2d(4, 8, 3, stride=2, groups=2), (2, 4, 9, 9), None),
        (nn.Conv2d(3, 5, 4, bias=False), (2, 3, 9, 9), None),
        (nn.Conv2d(3, 5, 1), (2, 3, 9, 9), 5),
        (nn.Conv3d(2, 3, 3), (2, 2, 5, 5, 5), None),
    ],
)
def test_a_convolution_inserted_leaves_outputs_equal(layer, shape, size):
    hidden = nn.ReLU()(layer(torch.randn(shape)))
    added = net2deeper(layer, nn.ReLU(), kernel_size=size)
    assert torch.equal(added(hidden), hidden)
    assert (added[0].bias is None) == (layer.bias is None)


def test_the_inserted_layer_is_trained_like_any():
    layer, relu = nn.Linear(6, 7), nn.ReLU()
    added = net2deeper(layer, relu)
    added(relu(layer(torch.randn(20, 6)))).square().sum().backward()
    assert added[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("shape", [(30, 6), (8, 6, 5), (8, 6, 4, 4), (4, 6, 3, 3, 3)])
def test_a_norm_undoes_itself_in_both_modes(shape):
    sample = torch.randn(shape) * 3 + 1
    norm = undoing_batch_norm(sample)
    torch.testing.assert_close(norm.train()(sample), sample, atol=1e-5, rtol=1e-5)
    norm = undoing_batch_norm(sample).eval()
    other = torch.randn(shape) - 4
    torch.testing.assert_close(norm(other), other, atol=1e-5, rtol=1e-5)


def test_with_a_norm_the_whole_is_the_identity_when_evaluated():
    layer, relu = nn.Conv2d(3, 5, 3), nn.ReLU()
    hidden = relu(layer(torch.randn(8, 3, 6, 6)))
    added = net2deeper(layer, relu, sample=hidden).eval()
    other = relu(layer(torch.randn(8, 3, 6, 6)))
    torch.testing.assert_close(added(other), other, atol=1e-5, rtol=1e-5)
    assert isinstance(added[1], nn.BatchNorm2d)
    # In training mode another batch has other statistics: only the measured one passes unchanged.
    added.train()
    torch.testing.assert_close(added(hidden), hidden, atol=1e-5, rtol=1e-5)
    assert (added(other) - other).abs().max() > 1e-3


def test_a_channel_that_is_always_zero_stays_zero():
    sample = torch.cat([torch.rand(9, 2), torch.zeros(9, 1)], 1)
    assert torch.equal(undoing_batch_norm(sample)(sample)[:, 2], torch.zeros(9))


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.Tanh(), nn.Softmax(0), nn.LeakyReLU()])
def test_an_activation_that_is_not_idempotent_is_refused(activation):
    assert not is_idempotent(activation)
    with pytest.raises(MethodError, match=f"before {type(activation).__name__} is no identity"):
        net2deeper(nn.Linear(2, 2), activation)


def test_what_cannot_be_deepened_is_said():
    with pytest.raises(MethodError, match="a LayerNorm has no identity"):
        net2deeper(nn.LayerNorm(3), nn.ReLU())
    with pytest.raises(MethodError, match="kernel_size must be odd"):
        net2deeper(nn.Conv2d(3, 3, 3), nn.ReLU(), kernel_size=4)
    with pytest.raises(MethodError, match="a Linear has no kernel"):
        net2deeper(nn.Linear(3, 3), nn.ReLU(), kernel_size=3)
    with pytest.raises(MethodError, match="it has 4 channels"):
        net2deeper(nn.Linear(3, 4), nn.ReLU(), sample=torch.zeros(9, 3))
    with pytest.raises(MethodError, match="has no statistics"):
        undoing_batch_norm(torch.zeros(1, 3))
