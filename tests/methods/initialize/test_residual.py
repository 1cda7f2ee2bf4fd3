"""Fixup, ZerO, IDInit, layer index rescaling, LSUV's draw: the worked numbers of the papers and of their code."""

import itertools
import math

import pytest
import torch

from scionwood.methods.initialize.fixup import branch_factor, fixup, standard_deviation
from scionwood.methods.initialize.identity import identity, idi, idiz
from scionwood.methods.initialize.layer_index import layer_index
from scionwood.methods.initialize.layer_index import standard_deviation as layered
from scionwood.methods.initialize.lsuv import lsuv
from scionwood.methods.initialize.site import Branch, Site
from scionwood.methods.initialize.zero import hadamard, zero


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inside(count: int, weights: int, *, last: bool = False) -> Branch:
    return Branch(0, count, weights - 1 if last else 0, weights, last, weights)


def conv(out: int, into: int, kernel: int, branch: Branch | None = None) -> Site:
    return Site("conv", "convolution", (out, into, kernel, kernel), reads="relu", branch=branch)


# Fixup.


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        (conv(16, 16, 3, inside(9, 2)), 0.0392837),  # ResNet-20
        (conv(16, 16, 3, inside(27, 2)), 0.0226805),  # ResNet-56
        (conv(64, 64, 3, inside(16, 3)), 0.0294628),  # bottleneck
        (conv(64, 64, 1, inside(16, 3)), 0.0883883),
    ],
)
def test_fixup_deviations(site, expected):
    assert standard_deviation(site) == pytest.approx(expected, abs=5e-8)


def test_fixup_factors():
    assert branch_factor(Site("fc", "linear", (4, 4), branch=inside(30, 2))) == pytest.approx(0.1825742, abs=5e-8)
    assert branch_factor(Site("q", "linear", (4, 4), branch=inside(30, 4))) == pytest.approx(30 ** (-1 / 6))
    assert branch_factor(Site("stem", "linear", (4, 4))) == 1
    assert branch_factor(Site("alone", "linear", (4, 4), branch=inside(30, 1, last=True))) == 1


def test_fixup_zeros_ends_heads_and_biases_and_leaves_the_rest():
    assert not fixup(conv(8, 8, 3, inside(9, 2, last=True)), generator()).any()
    assert not fixup(Site("head", "linear", (10, 8), head=True), generator()).any()
    assert not fixup(Site("bias", "bias", (8,)), generator()).any()
    assert fixup(Site("norm", "gain", (8,)), generator()) is None
    assert fixup(Site("embed", "embedding", (9, 8)), generator()) is None


def test_fixup_takes_he_by_fan_out_before_relu_and_xavier_elsewhere():
    wide = Site("fc", "linear", (400, 100))
    assert standard_deviation(wide) == pytest.approx(math.sqrt(2 / 500))
    assert standard_deviation(Site("fc", "linear", (400, 100), reads="relu")) == pytest.approx(math.sqrt(2 / 400))
    assert float(fixup(wide, generator()).std()) == pytest.approx(math.sqrt(2 / 500), rel=0.02)


# ZerO.


def test_zero_is_not_an_isometry_off_powers_of_two():
    wide = zero(Site("up", "linear", (6, 3)))
    expected = torch.tensor([[0.75, 0, 0.25], [0, 0.75, 0], [0.25, 0, 0.75]])
    assert torch.allclose(wide.T @ wide, expected)


@pytest.mark.parametrize(("rows", "columns"), [(8, 3), (16, 16), (64, 10)])
def test_zero_is_an_isometry_at_powers_of_two(rows, columns):
    made = zero(Site("up", "linear", (rows, columns)))
    assert torch.allclose(made.T @ made, torch.eye(columns), atol=1e-6)


def test_zero_places_a_convolution_at_its_centre_and_keeps_groups_apart():
    made = zero(conv(3, 2, 5))
    assert torch.equal(made[:, :, 2, 2], zero(Site("up", "linear", (3, 2))))
    assert float(made.abs().sum()) == float(made[:, :, 2, 2].abs().sum())
    depthwise = zero(Site("dw", "convolution", (6, 1, 3, 3), groups=6))
    pixels = torch.randn(1, 6, 5, 5)
    assert torch.equal(torch.nn.functional.conv2d(pixels, depthwise, padding=1, groups=6), pixels)


def test_hadamard_is_orthogonal():
    assert torch.equal(hadamard(16) @ hadamard(16).T, 16 * torch.eye(16))


def rank_of_what_is_learned(expand) -> list[int]:
    """The rank of W3 - I of a ReLU net 16-16-64-64-4 at 200, 1000 and 3000 steps, trained on a teacher's labels."""
    torch.manual_seed(0)
    sizes = (16, 16, 64, 64, 4)
    teacher = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4))
    weights = [expand(b, a).clone().requires_grad_() for a, b in itertools.pairwise(sizes)]
    ranks = []
    for step in range(3000):
        x = torch.randn(64, 16)
        labels = teacher(x).argmax(1)
        for weight in weights[:-1]:
            x = torch.relu(x @ weight.T)
        torch.nn.functional.cross_entropy(x @ weights[-1].T, labels).backward()
        with torch.no_grad():
            for weight in weights:
                weight.sub_(0.1 * weight.grad)
                weight.grad = None
        if step + 1 in (200, 1000, 3000):
            ranks.append(int(torch.linalg.matrix_rank(weights[2].detach() - torch.eye(64), tol=1e-4)))
    return ranks


def test_identities_alone_learn_in_a_subspace_of_the_inputs_width_and_hadamards_do_not():
    partial = rank_of_what_is_learned(torch.eye)
    full = rank_of_what_is_learned(lambda rows, columns: zero(Site("w", "linear", (rows, columns))))
    assert max(partial) <= 16
    assert min(full) > 16


# IDInit.


def test_idinit_matrices():
    assert idi(5, 2, 1.0).tolist() == [[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]]
    assert idi(2, 5, 1.0).tolist() == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert idiz(2, 4, 1.0).tolist() == [[1, 0, -1, 0], [0, 1, 0, -1]]
    assert idiz(4, 2, 1.0).tolist() == [[1, -1], [-1, 1], [1, -1], [-1, 1]]
    assert idiz(3, 3, 1.0).tolist() == [[1, -1, 0], [0, 1, -1], [-1, 0, 1]]
    assert idiz(2, 3, 1.0).tolist() == [[1, 0, -1], [0, 1, -1]]
    assert idiz(3, 1, 1.0).tolist() == [[1], [-1], [1]]


def test_an_idinit_block_is_nearly_the_identity_and_not_dead():
    first = identity(Site("1", "linear", (12, 6), branch=inside(1, 2)), generator()).requires_grad_()
    last = identity(Site("2", "linear", (6, 12), branch=inside(1, 2, last=True)), generator())
    x = torch.randn(32, 6, generator=generator(1))
    y = x + torch.relu(x @ first.T) @ last.T
    assert float((y - x).detach().abs().max()) <= 2e-6 * float(x.abs().max())
    y.square().sum().backward()
    assert first.grad is not None
    assert bool(first.grad.any())


def test_idinit_leaves_embeddings_and_heads():
    assert identity(Site("embed", "embedding", (9, 8)), generator()) is None
    assert identity(Site("head", "linear", (9, 8), head=True), generator()) is None


# Layer index rescaling.


def test_layer_index_deviations():
    sites = [Site("w", "linear", (4, 4), layer=layer, layers=16) for layer in (1, 4, 16)]
    assert [layered(site) for site in sites] == [0.02, 0.01, 0.005]
    last = Site("o", "linear", (4, 4), layer=3, layers=16, branch=inside(32, 4, last=True))
    assert layered(last, scheme="gpt2") == pytest.approx(0.00353553, abs=5e-9)
    assert layered(sites[1], scheme="gpt2") == 0.02
    assert layered(Site("embed", "embedding", (9, 8))) == 0.02


def test_layer_index_draws_with_that_deviation():
    site = Site("w", "linear", (300, 300), layer=4, layers=16)
    assert float(layer_index(site, generator()).std()) == pytest.approx(0.01, rel=0.01)
    assert layer_index(Site("norm", "gain", (8,)), generator()) is None


# LSUV's draw.


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 3, 3, 3)])
def test_lsuv_is_orthonormal_along_the_shorter_side(shape):
    made = lsuv(Site("w", "convolution" if len(shape) > 2 else "linear", shape), generator()).flatten(1)
    short = made if made.shape[0] <= made.shape[1] else made.T
    assert torch.allclose(short @ short.T, torch.eye(len(short)), atol=1e-6)
    assert lsuv(Site("w", "linear", (4, 4)), generator(), orthonormal=False) is None
