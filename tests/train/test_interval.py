"""Interval bounds and the terms on them: by hand, against sampled inputs, at the initialiser's start, in training."""

import math

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.methods.initialize.interval import interval
from scionwood.methods.initialize.site import Site
from scionwood.train.regularizers.interval import Bounds, Interval, IntervalBounds, relu_balance, tightness, warmup


def box(lower, upper):
    lower, upper = torch.tensor(lower), torch.tensor(upper)
    return Interval((lower + upper) / 2, lower, upper)


class Residual(nn.Module):
    """Two convolutions beside the stream, a sum, and a head: what intervals must be able to follow."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(16, 3)

    def forward(self, images):
        stream = torch.relu(self.norm(self.first(images)))
        stream = torch.nn.functional.relu(stream + self.branch(stream))
        pooled = self.pool(stream)
        return self.head(pooled.view(pooled.size(0), -1))


@pytest.mark.parametrize("training", [False, True])
def test_bounds_hold_every_input_of_the_box(training):
    torch.manual_seed(0)
    network = Residual().double().train(training)
    network.norm.running_mean.normal_(), network.norm.running_var.uniform_(0.5, 2), network.norm.weight.data.normal_()
    images = torch.rand(3, 2, 4, 4).double()
    running = network.norm.running_mean.clone()
    bounds = IntervalBounds(network)(images, 0.1, low=0, high=1)
    assert torch.equal(network.norm.running_mean, running)
    assert len(bounds.before_relu) == 3
    assert bounds.input.lower.min() >= 0
    assert bounds.input.upper.max() <= 1
    expected = network(images)
    assert torch.allclose(bounds.output.value, expected)
    if training:
        # The statistics are the clean batch's: other inputs are looked at with those.
        mean = network.first(images).mean((0, 2, 3))
        variance = network.first(images).var((0, 2, 3), correction=0)
        network.norm.running_mean.copy_(mean.detach()), network.norm.running_var.copy_(variance.detach())
        network.eval()
    widest = torch.zeros_like(expected)
    for _ in range(300):
        corners = torch.where(torch.rand_like(images) > 0.5, bounds.input.lower, bounds.input.upper)
        found = network(corners)
        assert (found >= bounds.output.lower - 1e-9).all()
        assert (found <= bounds.output.upper + 1e-9).all()
        widest = torch.maximum(widest, (found - expected).abs())
    assert (widest > 0.05 * bounds.output.half_width).all()


def test_an_affine_layer_is_exact():
    layer = nn.Linear(4, 3).double()
    inputs = torch.randn(1, 4).double()
    bounds = IntervalBounds(layer)(inputs, 0.2)
    corners = inputs + 0.2 * torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4).double()
    found = layer(corners)
    assert torch.allclose(bounds.output.lower[0], found.amin(dim=0))
    assert torch.allclose(bounds.output.upper[0], found.amax(dim=0))


def test_a_norm_that_turns_signs_is_exact():
    norm = nn.BatchNorm1d(2).double().eval()
    norm.weight.data = torch.tensor([-2.0, 3.0]).double()
    norm.running_mean.fill_(1.0)
    inputs = torch.tensor([[0.5, 0.5]]).double()
    bounds = IntervalBounds(norm)(inputs, 0.1)
    low, high = norm(inputs - 0.1), norm(inputs + 0.1)
    assert torch.allclose(bounds.output.lower, torch.minimum(low, high))
    assert torch.allclose(bounds.output.upper, torch.maximum(low, high))
    assert torch.allclose(bounds.output.value, norm(inputs))


def test_a_residual_sum_by_hand():
    """Both sides' intervals add up, though they go against each other: x - 2 x from -1 to 1 is taken to be -3 to 3."""

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1, bias=False)

        def forward(self, inputs):
            return torch.add(inputs + self.layer(inputs), 5)

    network = Sum()
    network.layer.weight.data.fill_(-2.0)
    output = IntervalBounds(network)(torch.zeros(1, 1), 1.0).output
    assert (output.lower.item(), output.value.item(), output.upper.item()) == (2.0, 5.0, 8.0)


class Picked(nn.Module):
    """Some of the units, and a sum that weighs one side."""

    def __init__(self, alpha=None):
        super().__init__()
        self.first, self.alpha = nn.Linear(2, 4), alpha

    def forward(self, x):
        y = self.first(x)
        return y[:, 1:3] + x if self.alpha is None else torch.add(y[:, 1:3], x, alpha=self.alpha)


def test_units_may_be_picked_and_a_weighed_sum_is_refused():
    network, inputs = Picked(), torch.randn(3, 2)
    found = IntervalBounds(network)(inputs, 0.5)
    whole = IntervalBounds(network.first)(inputs, 0.5).output
    assert torch.equal(found.output.lower, whole.lower[:, 1:3] + (inputs - 0.5))
    assert torch.equal(found.output.upper, whole.upper[:, 1:3] + (inputs + 0.5))
    with pytest.raises(MethodError) as caught:
        IntervalBounds(Picked(2.0))
    assert caught.value.problems == ("call of add with alpha",)


def test_tight_by_hand():
    one, four, three = box([-1.0], [1.0]), box([-4.0], [4.0]), box([0.0], [3.0])
    assert tightness(Bounds(one, (four,), four)).item() == pytest.approx(0.5)
    assert tightness(Bounds(one, (three,), three)).item() == 0
    assert tightness(Bounds(one, (four, three), three)).item() == pytest.approx(0.25)
    assert tightness(Bounds(one, (four,), four), tau=0.8).item() == pytest.approx(1 - 1 / (0.8 * 4))


def test_relu_by_hand():
    """Centres 1 and 3 surely active, -1 surely inactive, 0 either: means 4/4 to 1/4, squares about 3/4."""
    interval_ = box([0.5, 2.5, -1.5, -1.0], [1.5, 3.5, -0.5, 1.0])
    bounds = Bounds(interval_, (interval_,), interval_)
    r_mean, r_var = 1 / 4, (1.75**2) / (0.25**2 + 2.25**2)
    expected = ((0.75 - r_mean) + (0.75 - r_var)) / 0.75
    assert relu_balance(bounds, tau=0.75).item() == pytest.approx(expected)
    mirrored = box([-1.5, -3.5, 0.5, -1.0], [-0.5, -2.5, 1.5, 1.0])
    assert relu_balance(Bounds(mirrored, (mirrored,), mirrored), tau=0.75).item() == pytest.approx(expected)


def test_a_layer_without_sure_units_adds_nothing_and_no_nan_to_gradients():
    layer = nn.Linear(3, 4)
    layer.weight.data *= 10
    bounds = IntervalBounds(nn.Sequential(layer, nn.ReLU()))(torch.rand(2, 3), 10.0)
    assert relu_balance(bounds).item() == 0
    (relu_balance(bounds) + tightness(bounds)).backward()
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad.abs().sum() > 0


def test_warmup_fades():
    one, four = box([-1.0], [1.0]), box([-4.0], [4.0])
    bounds = Bounds(one, (four,), four)
    assert warmup(bounds, 0.0, 1.0).item() == pytest.approx(0.25)
    assert warmup(bounds, 0.5, 1.0).item() == pytest.approx(0.125)
    assert warmup(bounds, 1.0, 1.0).item() == 0
    assert warmup(bounds, 2.0, 1.0).item() == 0
    assert warmup(bounds, 0.0, 1.0, tight=False, relu=False).item() == 0
    assert warmup(bounds, 0.0, 1.0, weight=2.0).item() == pytest.approx(1.0)


def start(kind, width=256, depth=7):
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    for layer in layers:
        site = Site("w", "linear", (width, width), reads="relu")
        kaiming = torch.randn(width, width, generator=generator) * math.sqrt(2 / width)
        layer.weight.data = interval(site, generator) if kind == "interval" else kaiming
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())])


def test_the_start_keeps_half_widths():
    inputs = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        kept = IntervalBounds(start("interval"))(inputs, 0.1)
        grown = IntervalBounds(start("kaiming"))(inputs, 0.1)
    for signal in kept.before_relu:
        assert (signal.half_width.mean() / 0.1).item() == pytest.approx(2.0, abs=0.05)
    widths = [(signal.half_width.mean() / 0.1).item() for signal in grown.before_relu]
    for found, figure in zip(widths[:3], (18.0, 163, 1479), strict=True):
        assert found == pytest.approx(figure, rel=0.05)
    assert widths[-1] == pytest.approx(9.8e6, rel=0.1)
    assert tightness(kept).item() < 0.05
    assert tightness(grown).item() > 0.9


def test_training_on_the_terms_tightens_and_balances():
    torch.manual_seed(0)
    inputs = torch.rand(64, 16)
    network = nn.Sequential(
        nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU()
    )
    intervals = IntervalBounds(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    terms = []
    for _ in range(60):
        bounds = intervals(inputs, 0.02)
        terms.append((tightness(bounds).item(), relu_balance(bounds).item()))
        optimizer.zero_grad()
        warmup(bounds, 0.02, 1.0).backward()
        optimizer.step()
    assert terms[0][0] > 0.5
    assert terms[-1][0] < 0.1
    assert terms[-1][1] <= terms[0][1] + 0.05


def test_errors():
    with pytest.raises(MethodError) as caught:
        IntervalBounds(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Tanh())))
    assert caught.value.problems == ("module 1.0: Tanh",)

    class Product(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, inputs):
            return self.layer(inputs) * inputs

    with pytest.raises(MethodError) as caught:
        IntervalBounds(Product())
    assert caught.value.problems == ("call of mul",)

    class Branching(Product):
        def forward(self, inputs):
            return self.layer(inputs) if inputs.sum() > 0 else inputs

    with pytest.raises(MethodError, match=r"torch\.fx cannot trace this Branching"):
        IntervalBounds(Branching())
    one = box([-1.0], [1.0])
    with pytest.raises(MethodError, match="no ReLU"):
        tightness(Bounds(one, (), one))
    with pytest.raises(MethodError, match="epsilon above 0, not 0"):
        warmup(Bounds(one, (one,), one), 0.0, 0.0)
