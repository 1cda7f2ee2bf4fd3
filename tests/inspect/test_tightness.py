"""Tightness of interval bounds: by hand, against products of matrices, and in expectation."""

import math

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.inspect.tightness import propagation_tightness

HALF = torch.full((1, 2), 0.5, dtype=torch.float64)


def stack(*weights):
    layers = [nn.Linear(weight.shape[1], weight.shape[0], bias=False) for weight in weights]
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.data = weight.double()
    return layers


def test_by_hand():
    network = nn.Sequential(*stack(torch.tensor([[1, -1], [1, 1]]), torch.tensor([[1, 1]])))
    assert propagation_tightness(network, HALF, epsilon=0.1, mode="global").item() == pytest.approx(0.5)


def test_one_layer_and_nonnegative_weights_are_exact_and_scales_do_not_matter():
    torch.manual_seed(0)
    inputs = torch.rand(3, 5, dtype=torch.float64)
    one = nn.Sequential(*stack(torch.randn(4, 5)))
    assert torch.allclose(propagation_tightness(one, inputs), torch.ones(3, 4, dtype=torch.float64))
    weights = [torch.randn(8, 5), torch.randn(8, 8), torch.randn(4, 8)]
    positive = nn.Sequential(*stack(*(weight.abs() for weight in weights)))
    assert torch.allclose(propagation_tightness(positive, inputs), torch.ones(3, 4, dtype=torch.float64))
    plain, scaled = nn.Sequential(*stack(*weights)), nn.Sequential(*stack(*(7 * weight for weight in weights)))
    tight = propagation_tightness(plain, inputs, epsilon=0.1)
    assert tight.max() < 1
    assert torch.allclose(tight, propagation_tightness(scaled, inputs, epsilon=0.1))


@pytest.mark.parametrize("mode", ["local", "global"])
def test_against_products_of_matrices(mode):
    """With a BatchNorm, boxes clipped at the range, and margins."""
    torch.manual_seed(0)
    first, second = stack(torch.randn(6, 5), torch.randn(3, 6))
    norm = nn.BatchNorm1d(6).double().eval()
    norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2), norm.weight.data.normal_(), norm.bias.data.normal_()
    inputs, labels = torch.rand(4, 5, dtype=torch.float64), torch.tensor([0, 2, 1, 2])
    network = nn.Sequential(nn.Sequential(first, norm), nn.ReLU(), nn.Dropout(), second)
    found = propagation_tightness(network, inputs, epsilon=0.3, mode=mode)
    margins = propagation_tightness(network, inputs, epsilon=0.3, mode=mode, labels=labels)
    gain = torch.diag(norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    w1, w2 = first.weight.detach(), second.weight.detach()
    for row, example in enumerate(inputs):
        width = ((example + 0.3).clamp(max=1) - (example - 0.3).clamp(min=0)) / 2
        active = norm(first(example[None]))[0] > 0 if mode == "local" else torch.ones(6)
        mask = torch.diag(active.double())
        bound = mask @ gain.abs() @ w1.abs() @ width
        expected = ((w2 @ mask @ gain @ w1).abs() @ width) / (w2.abs() @ bound)
        assert torch.allclose(found[row], expected)
        contrast = torch.stack([w2[labels[row]] - w2[other] for other in range(3) if other != labels[row]])
        expected = ((contrast @ mask @ gain @ w1).abs() @ width) / (contrast.abs() @ bound)
        assert torch.allclose(margins[row], expected)


def test_convolutions_are_their_matrices():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, stride=2, padding=1).double()
    last = nn.Linear(12, 4).double()
    images = torch.rand(2, 2, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        matrix = torch.stack(
            [
                conv._conv_forward(unit.reshape(1, 2, 4, 4), conv.weight, None).flatten()
                for unit in torch.eye(32, dtype=torch.float64)
            ],
            dim=1,
        )
    found = propagation_tightness(
        nn.Sequential(conv, nn.Flatten(), last), images, epsilon=10.0, low=-100, high=100, mode="global"
    )
    weight = last.weight.detach()
    expected = (weight @ matrix).abs().sum(dim=1) / (weight.abs() @ matrix.abs()).sum(dim=1)
    assert torch.allclose(found, expected.expand(2, 4))


@pytest.mark.parametrize(("width", "figure"), [(1, 1.0), (4, 0.5890486), (16, 0.3084739), (100, 0.1250185)])
def test_gaussian_layers_in_expectation(width, figure):
    """E numerator / E denominator = sqrt(pi) Gamma((d + 1) / 2) / (d Gamma(d / 2))."""
    closed = math.sqrt(math.pi) * math.gamma((width + 1) / 2) / (width * math.gamma(width / 2))
    assert closed == pytest.approx(figure, abs=1e-7)
    torch.manual_seed(0)
    first, second = torch.randn(width, 200), torch.randn(200, width)
    tight = propagation_tightness(nn.Sequential(*stack(first, second)), torch.full((1, 200), 0.5).double(), epsilon=0.1)
    wide = second.abs() @ first.abs().sum(dim=1)
    assert ((tight[0] * wide).sum() / wide.sum()).item() == pytest.approx(figure, rel=0.05)


def test_depth_and_width_lower_it():
    torch.manual_seed(0)
    inputs = torch.full((1, 32), 0.5).double()

    def mean(width, depth):
        weights = [torch.randn(width, 32), *[torch.randn(width, width) for _ in range(depth)], torch.randn(32, width)]
        return propagation_tightness(nn.Sequential(*stack(*weights)), inputs, mode="global").mean()

    assert mean(16, 0) > mean(128, 0)
    assert mean(32, 0) > mean(32, 1) > mean(32, 3)


def test_errors():
    with pytest.raises(MethodError) as caught:
        propagation_tightness(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Tanh())), HALF)
    assert caught.value.problems == ("module 1.0: Tanh",)
    with pytest.raises(MethodError, match="one of global, local, not 'box'"):
        propagation_tightness(nn.Sequential(nn.Linear(2, 2)), HALF, mode="box")
    norm = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False).double())
    with pytest.raises(MethodError, match="without running statistics"):
        propagation_tightness(norm, HALF)
    with pytest.raises(MethodError, match="Margins join a last linear layer, not a ReLU"):
        propagation_tightness(
            nn.Sequential(*stack(torch.eye(2)), nn.ReLU()), HALF, mode="global", labels=torch.tensor([0])
        )
