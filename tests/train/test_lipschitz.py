"""AOL and SLL: never longer, and how fast a signal decays."""

import math

import pytest
import torch

from scionwood.methods.initialize.lipschitz import repeated_orthogonal
from scionwood.train.layers.lipschitz import (
    AOLConv2d,
    AOLLinear,
    SLLLinear,
    aol_convolution,
    aol_variance,
    aol_weight,
    decay_report,
    sll_steps,
)


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_scale_of_the_parameter_does_not_matter():
    parameter = gaussian(12, 20)
    assert float((aol_weight(3 * parameter, 0) - aol_weight(parameter, 0)).abs().max()) < 1e-15


@pytest.mark.parametrize(
    ("n", "size", "formula", "norm"),
    [(64, 0.1362, 0.1373, 0.710), (256, 0.0726, 0.0729, 0.529), (1024, 0.0378, 0.0377, 0.387)],
)
def test_worked_numbers_of_gaussian_parameters(n, size, formula, norm):
    weight = aol_weight(gaussian(n, n), 0)
    assert n * float(weight.square().mean()) == pytest.approx(size, rel=0.03)
    assert n * aol_variance(n, n) == pytest.approx(formula, abs=1e-4)
    assert float(torch.linalg.matrix_norm(weight, 2)) == pytest.approx(norm, rel=0.06)
    assert n * aol_variance(n, n) == pytest.approx(math.sqrt(math.pi / (2 * n)), rel=0.15)


def test_variances_of_rectangles():
    for m, n in ((40, 160), (160, 40)):
        found = float(
            torch.stack([aol_weight(gaussian(m, n, seed=seed), 0).square().mean() for seed in range(5)]).mean()
        )
        assert found == pytest.approx(aol_variance(n, m), rel=0.05)


@pytest.mark.parametrize(("rows", "columns"), [(7, 7), (9, 4), (4, 9)])
def test_orthogonal_parameters_are_left_as_they_are(rows, columns):
    parameter = repeated_orthogonal(rows, columns, torch.Generator().manual_seed(0))
    torch.testing.assert_close(aol_weight(parameter, 0), parameter)


def test_worked_decay():
    """Norms of a unit vector: AOL with ReLU, 256 wide, 0.209, 0.034, 0.0065, ... 7e-8; SLL 0.947, 0.503 (10), 0.033 (50)."""
    vector = torch.nn.functional.normalize(gaussian(256, seed=99), dim=0)
    signal, norms = vector, []
    for layer in range(10):
        signal = torch.relu(aol_weight(gaussian(256, 256, seed=layer)) @ signal)
        norms.append(float(signal.norm()))
    assert norms[:3] == pytest.approx([0.209, 0.034, 0.0065], rel=0.25)
    assert norms[9] == pytest.approx(7e-8, rel=1.0)
    predicted = math.sqrt(decay_report([256] * 11)[-1].left)
    assert 0.2 < norms[9] / predicted < 5
    signal, norms = vector, []
    for layer in range(50):
        block = SLLLinear(256, generator=torch.Generator().manual_seed(layer)).double()
        with torch.no_grad():
            signal = block(signal)
        norms.append(float(signal.norm()))
    assert norms[0] == pytest.approx(0.947, abs=0.02)
    assert norms[9] == pytest.approx(0.503, rel=0.15)
    assert norms[49] == pytest.approx(0.033, rel=0.5)


def test_a_report_row_by_row():
    rows = decay_report([64, 32, 16], relu=False)
    assert [row.layer for row in rows] == [1, 2]
    assert rows[0].gain == pytest.approx(32 * aol_variance(64, 32))
    assert rows[1].left == pytest.approx(rows[0].gain * rows[1].gain)


def test_no_layer_lengthens_a_difference():
    draw = torch.Generator().manual_seed(0)
    for layer, shape in (
        (AOLLinear(20, 12), (20,)),
        (AOLLinear(12, 20), (12,)),
        (SLLLinear(16, 40), (16,)),
        (AOLConv2d(3, 5, 3), (3, 9, 9)),
    ):
        for parameter in layer.parameters():
            parameter.data = torch.randn(parameter.shape, generator=draw) * 2
        first, second = (torch.randn(64, *shape, generator=draw) for _ in range(2))
        with torch.no_grad():
            grown = (layer(first) - layer(second)).flatten(1).norm(dim=1) / (first - second).flatten(1).norm(dim=1)
        assert float(grown.max()) <= 1 + 1e-5


def test_one_unit_of_sll_is_a_reflection():
    """Where its unit is active y = x - 2 w w^T x / |w|^2: as long as x, so that the 2 of the formula is all there is."""
    layer = SLLLinear(5, 1, generator=torch.Generator().manual_seed(0)).double()
    signal = gaussian(40, 5)
    with torch.no_grad():
        active = (signal @ layer.weight[0]) > 0
        result = layer(signal)
    torch.testing.assert_close(result.norm(dim=1), signal.norm(dim=1))
    torch.testing.assert_close(result[~active], signal[~active])
    assert float((result[active] - signal[active]).abs().amax(dim=1).min()) > 0


def test_the_steepest_direction_of_sll_is_bounded():
    """The Jacobian at many points, not only differences: 1 is the bound, and it is nearly reached."""
    layer = SLLLinear(6, 30, generator=torch.Generator().manual_seed(0)).double()
    layer.log_q.data = gaussian(30, seed=3)
    norms = [
        float(torch.linalg.matrix_norm(torch.func.jacrev(layer)(gaussian(6, seed=seed)).detach(), 2))
        for seed in range(15)
    ]
    assert max(norms) <= 1 + 1e-9
    assert max(norms) > 0.9
    weight, q = layer.weight.detach(), layer.log_q.detach().exp()
    slow = [sum(float((weight[i] @ weight[j]).abs() * q[j] / q[i]) for j in range(30)) for i in range(3)]
    assert sll_steps(weight, q)[:3].tolist() == pytest.approx(slow)


def test_the_bound_of_convolutions_is_that_of_the_whole_matrix():
    """The slow way: every input image in turn, on a grid larger than the kernel; d against its own definition."""
    parameter = gaussian(4, 3, 3, 3)
    weight = aol_convolution(parameter, 0)
    eye = torch.eye(3 * 36, dtype=torch.float64).reshape(-1, 3, 6, 6)
    matrix = torch.nn.functional.conv2d(eye, weight, padding=2).flatten(1)
    assert float(torch.linalg.matrix_norm(matrix, 2)) <= 1
    free = torch.nn.functional.conv2d(eye, parameter, padding=2).flatten(1)
    gram = (free @ free.T).abs().reshape(3, 36, 3, 36)
    middle = 2 * 6 + 2  # every shift of the kernel fits around this place
    sums = gram[:, middle].sum(dim=(1, 2))
    torch.testing.assert_close(weight, parameter / sums.sqrt()[:, None, None])


def test_layers_start_where_nothing_is_lost():
    layer = AOLLinear(16, 16, generator=torch.Generator().manual_seed(0))
    signal = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(signal).norm(dim=1), signal.norm(dim=1), rtol=1e-4, atol=1e-4)
    image = torch.randn(2, 4, 7, 7, generator=torch.Generator().manual_seed(1))
    convolution = AOLConv2d(4, 6, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(convolution(image).norm(), image.norm(), rtol=1e-4, atol=1e-4)
