"""Convolution aware filters: their variance, and the bases of their spectra; numpy's transform is the oracle."""

import numpy as np
import pytest
import torch

from scionwood.methods.initialize.convolution_aware import convolution_aware, from_half_spectrum, spectra
from scionwood.methods.initialize.site import Site


@pytest.mark.parametrize("shape", [(8, 16, 3, 3), (4, 5, 7), (3, 2, 3, 3, 3), (6, 4, 1, 1), (5, 9, 4, 2)])
def test_the_variance_is_exact(shape):
    site = Site("w", "convolution", shape)
    weight = convolution_aware(site, torch.Generator().manual_seed(0))
    assert float(weight.double().var(correction=0)) == pytest.approx(2 / site.fan_in, rel=1e-5)
    if shape == (8, 16, 3, 3):
        assert 2 / site.fan_in == pytest.approx(0.0138889, abs=1e-7)
        assert abs(float(weight.mean())) < 0.03


def test_spectra_are_orthonormal_in_blocks():
    found = spectra(4, 6, 6, torch.Generator().manual_seed(0))
    assert torch.allclose(found @ found.mT, torch.eye(6, dtype=torch.float64).expand(4, 6, 6), atol=1e-10)
    many = spectra(2, 14, 6, torch.Generator().manual_seed(0))
    gram = many @ many.mT
    for start in (0, 6, 12):
        block = gram[:, start : start + 6, start : start + 6]
        assert torch.allclose(block, torch.eye(block.shape[1], dtype=torch.float64).expand_as(block), atol=1e-10)
    assert float(gram[:, :6, 6:12].abs().max()) > 0.1


@pytest.mark.parametrize("kernel", [[5], [3, 3], [4, 2], [3, 4], [3, 2, 3]])
def test_the_inverse_transform_is_numpys(kernel):
    half = (*kernel[:-1], kernel[-1] // 2 + 1)
    values = torch.randn(2, *half, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    axes = tuple(range(1, 1 + len(kernel)))
    expected = np.fft.irfftn(values.numpy(), s=kernel, axes=axes)
    np.testing.assert_allclose(from_half_spectrum(values, kernel).numpy(), expected, atol=1e-12)


def test_without_noise_the_filters_are_the_transformed_bases():
    site = Site("w", "convolution", (2, 6, 3, 3))
    weight = convolution_aware(site, torch.Generator().manual_seed(0), noise=0.0)
    bases = spectra(2, 6, 6, torch.Generator().manual_seed(0))
    filters = torch.from_numpy(np.fft.irfft2(bases.reshape(2, 6, 3, 2).numpy(), s=(3, 3)))
    ratio = weight.double() / filters
    assert torch.allclose(ratio, ratio.flatten()[0].expand_as(ratio), rtol=1e-4)


def test_other_sites():
    generator = torch.Generator().manual_seed(0)
    linear = convolution_aware(Site("w", "linear", (4, 9)), generator)
    assert torch.allclose(linear @ linear.T, torch.eye(4), atol=1e-6)
    assert convolution_aware(Site("b", "bias", (4,)), generator) is None
    assert not convolution_aware(Site("w", "convolution", (2, 2, 1)), generator, noise=0.0).any()
