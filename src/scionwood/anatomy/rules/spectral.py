"""Spectral operations: a transform is a product with a table of sines, which varies along what it transforms."""

from __future__ import annotations

from scionwood.anatomy.atoms import Dim, size_of
from scionwood.anatomy.walk import Call, Value


def _transform(call: Call) -> Value:
    """A Fourier transform over some dimensions: positions matter before, and frequencies after."""
    value: Value = call["self" if "self" in call else "input"]
    rank = len(value.dims)
    asked = call.get("dim")
    if asked is None:
        places = set(range(rank))
    else:
        places = {int(place) % rank for place in (asked if isinstance(asked, (list, tuple)) else [asked])}
    dims: list[Dim] = []
    for place, (dim, size) in enumerate(zip(value.dims, call.shape, strict=True)):
        if place in places:
            call.walk.pin(dim, "positional")
        dims.append(dim if size_of(dim) == size else call.walk.fresh(size, "positional"))
    return Value(dims, constant=value.constant)


def _windows(call: Call) -> Value:
    """``stft``: time becomes frequencies and frames."""
    value: Value = call["self"]
    call.walk.pin(value.dims[-1], "positional")
    kept = value.dims[:-1]
    new = [call.walk.fresh(size, "positional") for size in call.shape[len(kept) :]]
    return Value([*kept, *new])


_TRANSFORMS = [f"fft_{name}" for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")]

RULES = {
    **dict.fromkeys(_TRANSFORMS, _transform),
    **dict.fromkeys([f"{name}{many}" for name in _TRANSFORMS for many in ("n", "2")], _transform),
    **dict.fromkeys(("fft_fftshift", "fft_ifftshift"), _transform),
    **dict.fromkeys(("stft", "istft"), _windows),
}
