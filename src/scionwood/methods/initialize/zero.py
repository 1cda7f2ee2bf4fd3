"""ZerO: identity and Hadamard matrices instead of random numbers (Zhao et al., 2021, arXiv:2110.12661).

    out <= in: I, cut to (out, in)        out > in: the corner of H_p / sqrt(p),  p = the power of 2 that is >= out
    convolution: that at the centre tap, zero elsewhere        last weight of a residual branch: 0        biases: 0

No seed enters: two calls give the same bits. Where the width grows, identities alone would keep every later gradient in
a subspace as small as the input; the Hadamard matrix spreads it. Its corner is an isometry where ``out`` is a power of
2, and not otherwise. It hurts without residual connections as soon as widths shrink, since what is cut off is lost.

The published code has the matrix rule alone; the rules for convolutions and branches are the paper's as remembered.
A kernel of even size has no centre: tap kh // 2 is taken. Each group of a grouped convolution has a matrix of its own.
In attentions queries, keys and values follow the rule for matrices, and the output projection, which ends the branch, is
zero.
"""

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import zeros
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import method

__all__ = ["centred", "hadamard", "identity_or_hadamard", "zero"]


@method(scope="tensor", laws={"shape", "deterministic"}, paper="2110.12661")
def zero(site: Site) -> Tensor | None:
    """Return an identity, a corner of a Hadamard matrix, or zeros; biases are zero.

    >>> zero(Site("up", "linear", (3, 2)))
    tensor([[ 0.5000,  0.5000],
            [ 0.5000, -0.5000],
            [ 0.5000,  0.5000]])

    Args:
        site: the tensor.
    """
    if site.kind == "bias":
        return zeros(site)
    if not site.is_weight:
        return None
    if site.branch is not None and site.branch.last:
        return zeros(site)
    matrix = identity_or_hadamard(site.shape[0] // site.groups, site.shape[1])
    return centred(matrix.repeat(site.groups, 1), site)


def identity_or_hadamard(rows: int, columns: int) -> Tensor:
    """Return the partial identity where the width does not grow, else the corner of a Hadamard matrix.

    >>> identity_or_hadamard(2, 3)
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    if rows <= columns:
        return torch.eye(rows, columns)
    size = 1 << (rows - 1).bit_length()
    return hadamard(size)[:rows, :columns] / size**0.5


def hadamard(size: int) -> Tensor:
    """Return Sylvester's Hadamard matrix; the size is a power of 2.

    >>> hadamard(4)[3].tolist()
    [1.0, -1.0, -1.0, 1.0]
    """
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def centred(matrix: Tensor, site: Site) -> Tensor:
    """Return a matrix of (out, in) as the site's shape: at the centre tap of a kernel, with zeros around.

    >>> centred(torch.ones(1, 1), Site("w", "convolution", (1, 1, 3)))
    tensor([[[0., 1., 0.]]])
    """
    made = zeros(site)
    centre = tuple(size // 2 for size in site.shape[2:])
    made[(..., *centre)] = matrix
    return made
