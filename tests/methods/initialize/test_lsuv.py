"""LSUV: the draw; its pass over a batch is tested with the verb."""

import pytest
import torch

from scionwood.methods.initialize.lsuv import lsuv
from scionwood.methods.initialize.site import Site


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (6, 3, 3, 3)])
def test_lsuv_is_orthonormal_along_the_shorter_side(shape):
    made = lsuv(Site("w", "convolution" if len(shape) > 2 else "linear", shape), generator()).flatten(1)
    short = made if made.shape[0] <= made.shape[1] else made.T
    assert torch.allclose(short @ short.T, torch.eye(len(short)), atol=1e-6)
    assert lsuv(Site("w", "linear", (4, 4)), generator(), orthonormal=False) is None
