"""The repeated orthogonal start."""

import pytest
import torch

from scionwood.methods.initialize.lipschitz import lipschitz, repeated_orthogonal
from scionwood.methods.initialize.site import Site


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (9, 4), (4, 9), (3, 40), (1, 5)])
def test_columns_are_equal_or_orthogonal(rows, columns):
    weight = repeated_orthogonal(rows, columns, torch.Generator().manual_seed(0))
    cosines = torch.nn.functional.normalize(weight, dim=0)
    cosines = cosines.T @ cosines
    assert bool(((cosines.abs() < 1e-9) | ((cosines - 1).abs() < 1e-9)).all())
    values = torch.linalg.svdvals(weight)
    assert bool(((values - 1).abs() < 1e-9).logical_or(values < 1e-9).all())


def test_what_it_sets():
    generator = torch.Generator().manual_seed(0)
    kernel = lipschitz(Site("w", "convolution", (8, 4, 3, 3)), generator)
    assert float(torch.linalg.matrix_norm(kernel.reshape(8, 36), 2)) == pytest.approx(1.0, abs=1e-6)
    assert not lipschitz(Site("b", "bias", (4,)), generator).any()
    assert lipschitz(Site("g", "gain", (4,)), generator) is None
