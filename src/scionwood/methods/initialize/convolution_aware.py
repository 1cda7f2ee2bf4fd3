"""Convolution aware initialisation: filters from orthogonal bases of the spectrum (Aghajanyan, 2017, arXiv:1702.06295).

    for each filter: rows of random orthogonal matrices, one a channel, taken as its half spectra
    W = irfft(spectra) + N(0, noise);   W <- W sqrt((2 / fan_in) / var(W))

The spectra of one filter's channels are orthogonal to each other, s of them at a time where s is the size of a half
spectrum (6 for 3 x 3), and the whole has the variance of He initialisation. What is no convolution takes an orthogonal
matrix. The rows are real, and the inverse transform keeps only what is Hermitian of the columns of frequency 0: so it is
the spectra that are orthogonal, not the filters in space, in the published code as here. That code swaps in and out axes
of images, harmless where they are equal and not repeated.
"""

import math
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.initialize.drawing import shaped
from scionwood.methods.initialize.orthogonal import orthogonal
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Finite, method

__all__ = ["convolution_aware", "from_half_spectrum", "spectra"]


@method(scope="tensor", laws={"shape", "deterministic"}, paper="1702.06295")
def convolution_aware(
    site: Site, generator: torch.Generator, *, noise: Annotated[float, Finite(at_least=0)] = 0.05
) -> Tensor | None:
    """Return filters whose spectra are orthogonal over the channels, with the variance 2 / fan_in.

    >>> weight = convolution_aware(Site("w", "convolution", (8, 16, 3, 3)), torch.Generator().manual_seed(0))
    >>> round(float(weight.var(correction=0)), 7), round(2 / 144, 7)
    (0.0138889, 0.0138889)

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        noise: std of what is added to the filters to break their symmetry; the default of the published code.
    """
    if site.kind == "linear":
        return shaped(site, orthogonal(site.shape[0], site.shape[1], generator))
    if site.kind != "convolution":
        return None
    filters, channels, *kernel = site.shape
    half = (*kernel[:-1], kernel[-1] // 2 + 1)
    found = spectra(filters, channels, math.prod(half), generator, noise=noise)
    weight = from_half_spectrum(found.reshape(filters, channels, *half), kernel)
    weight = weight + noise * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    spread = weight.var(correction=0)
    return shaped(site, weight * torch.sqrt(2 / site.fan_in / spread) if spread > 0 else weight)


def spectra(filters: int, channels: int, size: int, generator: torch.Generator, *, noise: float = 0.05) -> Tensor:
    """Return (filters, channels, size): each ``size`` channels of a filter are orthonormal.

    They are the left singular vectors of random symmetric matrices. A spectrum of size 1 is noise.

    >>> found = spectra(2, 6, 6, torch.Generator().manual_seed(0))
    >>> torch.allclose(found @ found.mT, torch.eye(6, dtype=torch.float64).expand(2, 6, 6))
    True
    """
    if size == 1:
        return noise * torch.randn(filters, channels, 1, generator=generator, dtype=torch.float64)
    blocks = channels // size + 1
    drawn = torch.randn(filters, blocks, size, size, generator=generator, dtype=torch.float64)
    symmetric = drawn + drawn.mT - torch.diag_embed(drawn.diagonal(dim1=-2, dim2=-1))
    left = torch.linalg.svd(symmetric).U
    return left.mT.reshape(filters, blocks * size, size)[:, :channels]


def from_half_spectrum(values: Tensor, kernel: list[int]) -> Tensor:
    """Return the real array of a half spectrum; of columns that ought to be Hermitian, what is so.

    >>> array = torch.tensor([[1.0, 2.0, 5.0], [4.0, 0.0, 6.0]], dtype=torch.float64)
    >>> torch.allclose(from_half_spectrum(torch.fft.rfftn(array), [2, 3]), array)
    True
    """
    taps = len(kernel)
    values = values.to(torch.complex128)
    if taps > 1:
        values = torch.fft.ifftn(values, dim=tuple(range(-taps, -1)))
    # A transform of real numbers has no imaginary part at frequency 0, nor at half the rate: libraries differ in what
    # they make of one.
    real = [0, kernel[-1] // 2] if kernel[-1] % 2 == 0 else [0]
    values = values.clone()
    values[..., real] = values[..., real].real.to(values.dtype)
    return torch.fft.irfft(values, n=kernel[-1], dim=-1)
