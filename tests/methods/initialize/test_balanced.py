"""Balanced layers: neighbours agree, and stay so while they learn."""

import itertools

import pytest
import torch

from scionwood.methods.initialize.balanced import balanced, balanced_chain
from scionwood.methods.initialize.orthogonal import orthogonal
from scionwood.methods.initialize.site import Site


def draws(*key):
    return torch.Generator().manual_seed(sum(ord(letter) * (place + 1) for place, letter in enumerate(str(key))))


def chain(widths, values=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rank = min(widths)
    left, right = orthogonal(widths[-1], rank, generator), orthogonal(widths[0], rank, generator)
    values = torch.linspace(2, 0.5, rank, dtype=torch.float64) if values is None else values
    return left, values, right, balanced_chain(left, values, right, widths[1:-1], generator)


def imbalance(layers):
    return max(float((b.T @ b - a @ a.T).abs().max()) for a, b in itertools.pairwise(layers))


def test_a_chain_is_balanced_and_is_the_map():
    left, values, right, layers = chain((5, 8, 6, 9, 4))
    assert imbalance(layers) < 1e-12
    product = torch.linalg.multi_dot(layers[::-1])
    torch.testing.assert_close(product, left * values @ right.T)


def test_it_stays_balanced_under_gradient_flow():
    """Small steps: the imbalance that discrete steps make is of second order."""
    _, _, _, layers = chain((5, 6, 5))
    target = torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moved = {}
    for rate in (1e-3, 1e-4):
        weights = [layer.clone().requires_grad_() for layer in layers]
        for _ in range(int(0.1 / rate)):
            loss = 0.5 * (weights[1] @ weights[0] - target).square().sum()
            grads = torch.autograd.grad(loss, weights)
            with torch.no_grad():
                for place, grad in enumerate(grads):
                    weights[place] -= rate * grad
        moved[rate] = imbalance([weight.detach() for weight in weights])
    assert moved[1e-4] < 1e-3
    assert moved[1e-4] == pytest.approx(moved[1e-3] / 10, rel=0.2)


def test_twenty_orthogonal_layers_keep_every_direction():
    generator = torch.Generator().manual_seed(0)
    product, gaussian = torch.eye(32, dtype=torch.float64), torch.eye(32, dtype=torch.float64)
    for layer in range(20):
        site = Site(f"l.{layer}", "linear", (32, 32), axes=((f"h{layer + 1}",), (f"h{layer}",)))
        product = balanced(site, generator, draws).double() @ product
        gaussian = torch.randn(32, 32, generator=generator, dtype=torch.float64) / 32**0.5 @ gaussian
    assert torch.linalg.svdvals(product).tolist() == pytest.approx([1.0] * 32, abs=1e-5)
    spread = torch.linalg.svdvals(gaussian)
    assert float(spread[0] / spread[-1]) > 1e6


def test_sites_share_what_their_axes_share():
    widths = (6, 9, 7)
    weights = [
        balanced(
            Site(f"l.{layer}", "linear", (widths[layer + 1], widths[layer]), axes=((f"h{layer + 1}",), (f"h{layer}",))),
            torch.Generator().manual_seed(layer),
            draws,
            gain=1.5,
            rank=6,
        ).double()
        for layer in range(2)
    ]
    assert imbalance(weights) < 1e-5
    assert torch.linalg.svdvals(weights[1] @ weights[0]).tolist() == pytest.approx([2.25] * 6, abs=1e-5)
    no_axes = balanced(Site("w", "linear", (4, 4)), torch.Generator().manual_seed(0), draws)
    assert torch.allclose(no_axes @ no_axes.T, torch.eye(4), atol=1e-6)
    assert not balanced(Site("b", "bias", (4,)), torch.Generator(), draws).any()
    assert balanced(Site("e", "embedding", (4, 4)), torch.Generator(), draws) is None
