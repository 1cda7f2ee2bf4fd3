"""The orthogonal draw: exact, the same by the same seed, and without a preferred side."""

import math

import pytest
import torch

from scionwood.methods.initialize.orthogonal import orthogonal, thin_svd


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("draw", [orthogonal, thin_svd])
@pytest.mark.parametrize(("rows", "columns"), [(7, 7), (3, 9), (9, 3), (1, 5), (5, 1), (300, 300)])
def test_the_shorter_side_is_orthonormal(draw, rows, columns):
    q = draw(rows, columns, generator())
    assert q.dtype == torch.float64
    assert q.shape == (rows, columns)
    product = q.T @ q if rows >= columns else q @ q.T
    assert float((product - torch.eye(len(product), dtype=q.dtype)).abs().max()) < 1e-12
    assert torch.equal(q, draw(rows, columns, generator()))


def test_it_has_no_preferred_side():
    """Haar: the trace has mean 0 and mean square 1, the diagonal no sign; the raw QR of LAPACK fails on all three."""
    traces = torch.tensor([float(orthogonal(4, 4, generator(seed)).trace()) for seed in range(3000)])
    assert float(traces.mean().abs()) < 5 / math.sqrt(3000)
    assert float(traces.square().mean()) == pytest.approx(1.0, abs=0.15)
    first = torch.tensor([float(orthogonal(4, 2, generator(seed))[0, 0]) for seed in range(3000)])
    assert float((first > 0).double().mean()) == pytest.approx(0.5, abs=0.04)
    raw = torch.stack([torch.linalg.qr(torch.randn(4, 4, generator=generator(s))).Q[0, 0] for s in range(200)])
    assert bool((raw < 0).all())
