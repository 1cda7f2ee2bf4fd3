"""ZerO: isometries, centres, and the rank of what is learned."""

import itertools

import pytest
import torch

from scionwood.methods.initialize.site import Branch, Site
from scionwood.methods.initialize.zero import hadamard, zero


def conv(out: int, into: int, kernel: int, branch: Branch | None = None) -> Site:
    return Site("conv", "convolution", (out, into, kernel, kernel), reads="relu", branch=branch)


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
