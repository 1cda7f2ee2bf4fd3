"""The hypernetwork: low rank, the scale of a first weight, the same for the same net, and unseen nets of digits."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

import scionwood
from scionwood.engine.threads import use_threads
from scionwood.errors import MatchError, MethodError
from scionwood.train.growth.hypernetwork import (
    LowRankHyperNet,
    forward_perceptron,
    initialize_,
    layer_shapes,
    meta_train,
)

UNSEEN = ([40], [56, 20], [64, 64, 64])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shapes_of(widths):
    return [(outputs, inputs) for inputs, outputs in itertools.pairwise([64, *widths, 10])]


def perceptron(widths):
    layers = [nn.Linear(inputs, outputs) for outputs, inputs in shapes_of(widths)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])


def test_weights_have_the_shapes_asked_for_and_low_rank():
    network = LowRankHyperNet(rank=3)
    shapes = [(64, 64), (10, 64), (12, 7, 3, 3), (5, 4, 1, 1)]
    for shape, layer in zip(shapes, network(shapes)):
        assert tuple(layer.weight.shape) == shape
        assert tuple(layer.bias.shape) == shape[:1]
        assert layer.bias.abs().max() < 1
        matrix = layer.weight
        if len(shape) == 4:
            matrix = matrix.transpose(1, 2).reshape(shape[0] * shape[2], shape[1] * shape[3])
        assert torch.linalg.matrix_rank(matrix.detach(), rtol=1e-4) <= 3


@pytest.mark.parametrize("shape", [(64, 64), (64, 16), (16, 64), (20, 20, 3, 3)])
def test_factors_whose_product_has_unit_variance_give_the_variance_of_a_rectifier(shape):
    network = LowRankHyperNet()

    class Normal(nn.Module):
        def forward(self, x):
            # Products of eight pairs add up to unit variance.
            return torch.randn(*x.shape[:-1], network.largest) * network.rank**-0.25

    network.factors = Normal()
    drawn = torch.stack([network([shape])[0].weight for _ in range(40)])
    fan_in = shape[1:][0] * (9 if len(shape) == 4 else 1)
    assert float(drawn.detach().std()) == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


def test_equal_nets_get_equal_weights_whatever_else_is_asked():
    network = LowRankHyperNet()
    nets = [shapes_of(widths) for widths in UNSEEN]
    forwards = [network(net) for net in nets]
    backwards = [network(net) for net in reversed(nets)]
    for one, other in zip(forwards, reversed(backwards)):
        for left, right in zip(one, other):
            assert torch.equal(left.weight, right.weight)
            assert torch.equal(left.bias, right.bias)
    # A layer's weights depend on the whole net.
    assert not torch.equal(forwards[0][0].weight[:20], network(shapes_of([40, 20]))[0].weight[:20])


def test_a_module_is_filled_with_what_is_predicted():
    network, net = LowRankHyperNet(), perceptron([56, 20])
    assert layer_shapes(net) == shapes_of([56, 20])
    initialize_(net, network)
    x = torch.randn(5, 64)
    torch.testing.assert_close(net(x), forward_perceptron(network(layer_shapes(net)), x))
    images = nn.Sequential(nn.Conv2d(1, 8, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10))
    initialize_(images, network)
    assert torch.equal(images[0].weight, network(layer_shapes(images))[0].weight)


def test_a_weight_used_twice_is_predicted_once():
    first, second = nn.Linear(16, 16), nn.Linear(16, 16)
    second.weight = first.weight
    assert layer_shapes(nn.Sequential(first, nn.ReLU(), second)) == [(16, 16)]


def test_what_cannot_be_predicted_is_said():
    network = LowRankHyperNet()
    with pytest.raises(MethodError) as caught:
        network([(65, 3), (3, 3, 3), (8, 8, 3, 5), (30, 1, 3, 3)])
    assert caught.value.problems == (
        "layer 0: (65, 3) has a side over 64",
        "layer 1: (3, 3, 3) is neither a Linear's nor a square convolution's",
        "layer 2: (8, 8, 3, 5) is neither a Linear's nor a square convolution's",
        "layer 3: (30, 1, 3, 3) has a side over 64",
    )
    for count in (0, 9):
        with pytest.raises(MethodError, match=f"{count} layers, from 1 to 8 are known"):
            network([(3, 3)] * count)
    with pytest.raises(MatchError, match="the net has no Linear"):
        initialize_(nn.ReLU(), network)
    with pytest.raises(MethodError, match="the batches ended after 0 of 1 steps"):
        meta_train(network, [], lambda: [(10, 64)], steps=1)


# ------------------------------------------------------------------------------------------------- digits


def meta_trained(digits, steps):
    """A predictor trained on nets of one to three hidden layers, those of ``UNSEEN`` left out."""
    images, labels = digits
    network, generator = LowRankHyperNet(), torch.Generator().manual_seed(0)

    def architectures():
        while True:
            count = int(torch.randint(1, 4, (), generator=generator))
            widths = torch.randint(16, 65, (count,), generator=generator).tolist()
            if widths not in UNSEEN:
                return shapes_of(widths)

    def batches():
        while True:
            rows = torch.randint(0, 1200, (64,), generator=generator)
            yield images[rows], labels[rows]

    return network, meta_train(network, batches(), architectures, steps=steps)


def accuracies(net, digits, after=(0, 20, 50)):
    """Per cent of test digits told right after some steps of plain gradient descent."""
    (images, labels), generator, found = digits, torch.Generator().manual_seed(0), []
    optimizer = torch.optim.SGD(net.parameters(), 0.05)
    for step in range(max(after) + 1):
        if step in after:
            with torch.no_grad():
                found.append(100 * float((net(images[1200:]).argmax(-1) == labels[1200:]).float().mean()))
        rows = torch.randint(0, 1200, (64,), generator=generator)
        loss = functional.cross_entropy(net(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


def test_a_little_meta_training_is_felt_by_nets_not_seen(digits, tmp_path):
    """By the module, and by the verb from what was saved: the same bits."""
    network, losses = meta_trained(digits, 160)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    net, grown = perceptron([40]), perceptron([40])
    with use_threads(1):
        initialize_(net, network)
    network.save(tmp_path / "network.safetensors")
    made = scionwood.grow(tmp_path / "network.safetensors", like=grown, method="hypernetwork")
    grown.load_state_dict(dict(made))
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in grown.state_dict().items())
    assert accuracies(grown, digits, after=(0,))[0] > 20


@pytest.mark.slow
def test_predicted_weights_of_unseen_nets_are_a_good_start(digits):
    network, _ = meta_trained(digits, 1200)
    wanted = {(40,): (76, 88, 90), (56, 20): (83, 88, 90), (64, 64, 64): (89, 89, 91)}
    for widths, expected in wanted.items():
        net = perceptron(list(widths))
        random = copy.deepcopy(net)
        for layer in random[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        initialize_(net, network)
        found = accuracies(net, digits)
        assert found == pytest.approx(expected, abs=10)
        assert accuracies(random, digits, after=(0,))[0] < 25
