"""IDInit: the matrices of the paper, and a block that is nearly the identity and not dead."""

import torch

from scionwood.methods.initialize.identity import identity, idi, idiz
from scionwood.methods.initialize.site import Branch, Site


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inside(count: int, weights: int, *, last: bool = False) -> Branch:
    return Branch(0, count, weights - 1 if last else 0, weights, last, weights)


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
