"""Repeated orthogonal start for layers of Lipschitz constant 1 (Juston et al., 2025, arXiv:2503.00240).

    outputs >= inputs: orthonormal columns        otherwise: each column one of an orthonormal basis, drawn with
    replacement and divided by the square root of how often it was drawn

AOL layers (``scionwood.train.layers.lipschitz``) rescale any parameter P to a map that lengthens nothing. From a Gaussian
P the map shrinks nearly everything, by sqrt(pi / (2 n)) in mean square for width n and, with ReLU, half of that, whatever
the spread of P: no variance mends it. Orthogonal columns are left as they are, so a signal arrives. With more inputs than outputs columns must repeat; equal columns are only shared, not shrunk.

That decay is what the paper shows; the start is that of the published code of AOL (Prach & Lampert, 2022,
arXiv:2208.03160), which draws for matrices of (inputs, outputs), transposed to those of PyTorch, as it does here.
"""

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import shaped, zeros
from scionwood.methods.initialize.orthogonal import orthogonal
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import method

__all__ = ["lipschitz", "repeated_orthogonal"]


@method(scope="tensor", laws={"shape", "deterministic"}, paper="2503.00240")
def lipschitz(site: Site, generator: torch.Generator) -> Tensor | None:
    """Return a weight with columns that are orthogonal or equal, its longest singular value 1; biases are zero.

    >>> weight = lipschitz(Site("w", "linear", (4, 9)), torch.Generator().manual_seed(0))
    >>> round(float(torch.linalg.matrix_norm(weight, 2)), 5)
    1.0

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
    """
    if site.kind == "bias":
        return zeros(site)
    if not site.is_weight:
        return None
    return shaped(site, repeated_orthogonal(site.shape[0], site.fan_in, generator))


def repeated_orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return a matrix of which two columns are equal or orthogonal, in float64.

    >>> weight = repeated_orthogonal(2, 6, torch.Generator().manual_seed(0))
    >>> torch.allclose(weight @ weight.T, torch.eye(2, dtype=torch.float64))
    True
    """
    if columns <= rows:
        return orthogonal(rows, columns, generator)
    basis = orthogonal(rows, rows, generator)
    drawn = torch.randint(rows, (columns,), generator=generator)
    counts = torch.bincount(drawn, minlength=rows)
    return (basis / counts.clamp(min=1).double().sqrt())[:, drawn]
