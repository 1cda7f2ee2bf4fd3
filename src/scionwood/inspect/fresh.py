"""FreSh: which start of a coordinate network has its target's frequencies (Kania et al., 2024, arXiv:2410.05050).

    S_f = sum over frequencies with |fx| + |fy| = f of sum over channels |FFT(signal)|,    f = 1 .. size;  f = 0 is dropped
    W = sum_f |cumsum(S_target / sum) - cumsum(S_model / sum)|,   averaged over several draws of the untrained network

and the candidate with the smallest W. No candidate is trained: each costs a few renderings on the target's grid. The
candidates differ in what sets their frequencies; the published code's grids are 10, 20, .. 200 for SIREN's first layer
and for FINER's, 1 .. 20 for the sigma of Fourier features, 0, 0.1, .. 3 for FINER's bias, ten draws each. Its sizes: 64
for SIREN, 128 otherwise, half for radiance fields.

Videos and sets of views are compared frame by frame, on frames drawn at random: 10 in the published code.

Mode ``abs`` adds up frequencies of every direction. Mode ``official`` is the published code's: it adds up over the sum
of unshifted indices in a triangle of them, so that a wave (3, -4) of 32 samples lies at 31 rather than 7.

Choices are close: of SIRENs on 32 by 32 with frequencies of 2 to 100 a wave at 2 chooses 10 (W 4.01; 5 has 4.03 and 20
4.98), one at 6 chooses 20 (3.33; 10 has 3.54 and 30 3.58). With biases drawn as PyTorch does the first chooses 5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, get_args

import torch
from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["Choice", "Mode", "choose", "distance", "spectrum"]

Mode = Literal["abs", "official"]
Key = TypeVar("Key")


def spectrum(signal: Tensor, *, size: int | None = None, mode: Mode = "abs") -> Tensor:
    """Return how much of each frequency a signal has; the first entry is frequency 1.

    >>> wave = torch.cos(2 * torch.pi * 3 * torch.arange(8) / 8).expand(8, 8)
    >>> spectrum(wave, size=4).round(decimals=3)
    tensor([ 0.,  0., 32.,  0.])

    Args:
        signal: (channels, ...) of two or three dimensions more, or one image without channels; every side alike.
        size: how many frequencies are kept; all of them by default.
        mode: abs, or the published code's official.

    Raises:
        MethodError: an unknown mode, a shape of another kind, or a size below 1.
    """
    if mode not in get_args(Mode):
        raise MethodError(f"The mode is one of {', '.join(get_args(Mode))}, not {mode!r}.")
    if size is not None and size < 1:
        raise MethodError(f"A spectrum keeps at least 1 frequency, not {size}.")
    signal = signal[None] if signal.dim() == 2 else signal
    side = signal.shape[-1]
    if signal.dim() not in (3, 4) or set(signal.shape[1:]) != {side}:
        raise MethodError(
            f"A spectrum is of a square or a cube, not of {tuple(signal.shape[1:])}.",
            hint="crop or resize it; the published code resizes to the shorter side, at most 1024",
        )
    dims = signal.dim() - 1
    found = torch.fft.fftn(signal, dim=tuple(range(1, dims + 1))).abs().sum(dim=0)
    if mode == "official":
        found = found * _official_mask(side, dims).to(found)
        index = torch.arange(side)
    else:
        # Of a wave and its mirror image one half is kept: those whose first index that is not 0 is positive.
        found = found * _half(side, dims).to(found)
        index = torch.fft.fftfreq(side, 1 / side).abs().round().long()
    total = _sums(index, dims).to(found.device)
    sums = torch.zeros(int(total.max()) + 1, dtype=found.dtype, device=found.device)
    sums.index_add_(0, total.flatten(), found.flatten())
    return sums[1:] if size is None else sums[1 : size + 1]


def distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the 1-Wasserstein distance of two spectra, each taken as a distribution on 0, 1, 2, ...

    >>> distance(torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 1.0]))
    tensor(1.5000)

    Raises:
        MethodError: spectra of different length, or one that is 0.
    """
    if first.shape != second.shape or first.dim() != 1:
        raise MethodError(f"Spectra are vectors of one length, not {tuple(first.shape)} and {tuple(second.shape)}.")
    if not (bool(first.sum() > 0) and bool(second.sum() > 0)):
        raise MethodError("A signal without frequencies is at no distance from another; is it constant?")
    # On a line the cheapest transport moves, between neighbours, what lies beyond: the difference of cumulative sums.
    return (first / first.sum() - second / second.sum()).cumsum(0).abs().sum()


@dataclass(frozen=True)
class Choice(Generic[Key]):
    """The candidate that was chosen, and what all of them got.

    Args:
        best: the candidate.
        distances: of each, the mean over draws.
        errors: the standard error of each mean.
    """

    best: Key
    distances: dict[Key, float]
    errors: dict[Key, float]


@torch.no_grad()
def choose(
    target: Tensor,
    candidates: Mapping[Key, Callable[[int], Tensor]],
    *,
    size: int = 64,
    draws: int = 10,
    mode: Mode = "abs",
    frames: int | None = None,
) -> Choice[Key]:
    """Return the candidate whose untrained outputs have the target's spectrum most nearly.

    >>> position = torch.arange(16) / 16
    >>> wave = lambda frequency: torch.cos(2 * torch.pi * frequency * position).expand(16, 16)
    >>> choice = choose(wave(3), {at: lambda seed, at=at: wave(at) for at in (1, 2, 5)}, size=8, draws=1)
    >>> choice.best, {at: round(value, 3) for at, value in choice.distances.items()}
    (2, {1: 2.0, 2: 1.0, 5: 2.0})

    Args:
        target: the signal, as of ``spectrum``.
        candidates: by name or setting, what renders a fresh network of it on the target's grid, given a seed.
        size: how many frequencies are compared; published are 64 for SIREN and 128 otherwise, half for radiance fields.
        draws: how many networks of each.
        mode: of the spectra.
        frames: the target and what is rendered are (frames, channels, ...), and are compared on so many of the frames,
            the same for every candidate; all, where there are fewer.

    Raises:
        MethodError: no candidate, no draw, no frame, a rendering of another size than the target, or what ``spectrum``
            raises.
    """
    if not candidates or draws < 1 or (frames is not None and (frames < 1 or len(target) < 1)):
        raise MethodError(
            "Choosing needs at least one candidate, one draw of each, and one frame where there are frames."
        )
    sides = target.shape[-2:] if frames is None else (len(target), *target.shape[-2:])
    place = None if frames is None else torch.randperm(len(target), generator=torch.Generator().manual_seed(0))[:frames]

    def spectra(signal: Tensor) -> list[Tensor]:
        parts = [signal] if place is None else list(signal[place.to(signal.device)])
        return [spectrum(part, size=size, mode=mode) for part in parts]

    wanted = spectra(target)
    distances: dict[Key, float] = {}
    errors: dict[Key, float] = {}
    for key, render in candidates.items():
        values = []
        for seed in range(draws):
            output = render(seed)
            found = output.shape[-2:] if frames is None else (len(output), *output.shape[-2:])
            if found != sides:
                raise MethodError(
                    f"Candidate {key!r} renders {tuple(found)}, the target is {tuple(sides)}: "
                    "spectra of different grids do not compare."
                )
            pairs = zip(spectra(output), wanted, strict=True)
            values.append(torch.stack([distance(own, other.to(own)) for own, other in pairs]).mean())
        total = torch.stack(values)
        distances[key] = float(total.mean())
        errors[key] = float(total.std(correction=0)) / draws**0.5
    return Choice(min(distances, key=distances.__getitem__), distances, errors)


def _sums(index: Tensor, dims: int) -> Tensor:
    """Return the sum of indices at every place of a square or cube."""
    axes = torch.meshgrid(*[index] * dims, indexing="ij")
    return torch.stack(axes).sum(dim=0)


def _half(side: int, dims: int) -> Tensor:
    """Return where the first of each pair of mirrored frequencies lies, and those that are their own mirror images."""
    place = torch.arange(side**dims).reshape([side] * dims)
    mirror = place
    for axis in range(dims):
        mirror = mirror.index_select(axis, -torch.arange(side) % side)
    return place <= mirror


def _official_mask(side: int, dims: int) -> Tensor:
    """Return which unshifted indices the published code keeps, one of each pair too."""
    half = side // 2
    index = torch.arange(side)
    i, j = torch.meshgrid(index, index, indexing="ij")
    flat = (i + j < side) | ((i + j == side) & (i >= 1) & (i <= half))
    flat &= ~((j == 0) & (i > half)) & ~((i == 0) & (j > half))
    if dims == 2:
        return flat
    i, j, k = torch.meshgrid(index, index, index, indexing="ij")
    even = side % 2 == 0
    kept = j + k < side + half - i + ((i < half) | (not even)).long()
    if even:
        kept |= (i == half) & (j + k == side) & (k >= half)
    kept[0], kept[:, 0], kept[:, :, 0] = flat, flat, flat
    return kept
