"""CAST: speech tokens start from the features of their frames (Rohanian & Krauthammer, 2025, arXiv:2509.26276).

    c_u = mean of the features of the frames of unit u;   z_u = (c_u - mean c) V_m Q,   Q orthonormal, drawn
    e_u = mean(E) + scale z_u,   scale = std(E) / std(z)

V_m are the principal directions of the c, as many as fit into d. A rotation keeps the cosines between units, so that
what sounds alike starts alike. It helps where speech tokens join a model of text; the paper finds better acoustic
consistency, and probes more content and less prosody. It hurts where the features do not tell units apart. Units that
no frame shows are drawn. What keeps the rows near while they train stands in ``scionwood.train.vocabulary``.

The paper publishes weights but no training code; its abstract says that tokens are initialised from self-supervised
features, and the map above is scionwood's. Statistics leave out the hundredth of the source's rows with the
largest and the smallest lengths: padding and tokens never trained distort them.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.making import with_rows
from scionwood.methods.vocabulary.rows import Rows

__all__ = ["speech_tokens", "trimmed"]

CHUNK = 1 << 16
"""How many frames are held in float64 at once."""


@method(unit="axis", resizes=("input", "output"), paper="2509.26276")
def speech_tokens(
    table: Tensor,
    overlap: Tensor,
    units: Tensor,
    frames: Tensor,
    generator: torch.Generator,
    *,
    scale: Literal["whole", "dimension"] = "whole",
    trim: Annotated[float, Finite(at_least=0, below=0.5)] = 0.01,
) -> Rows:
    """Return copies of what is shared, and rows made of features.

    Args:
        table: the rows of the source's tokens, (Vs, d).
        overlap: for each target token the source token with the same text, or -1.
        units: for each frame the target token it belongs to, or -1; (frames,).
        frames: self-supervised features, (frames, F).
        generator: to draw from.
        scale: one factor for the whole keeps the cosines; one for each dimension matches each dimension's spread.
        trim: the share of the source's rows at either end of the lengths that the statistics leave out.

    Raises:
        MethodError: units and frames do not fit, or are no ids and no features; or fewer than two new tokens have frames.
    """
    _fit(units, frames, len(overlap))
    sums = torch.zeros((len(overlap), frames.shape[1]), dtype=torch.float64)
    known = units >= 0
    for some, their in zip(frames.split(CHUNK), units.split(CHUNK), strict=True):
        sums.index_add_(0, their[their >= 0], some[their >= 0].double())
    counts = torch.bincount(units[known], minlength=len(overlap))
    tokens = torch.nonzero((counts > 0) & (overlap < 0)).flatten()
    if len(tokens) < 2:
        raise MethodError(
            f"Rows are made of how the features of new tokens differ; {len(tokens)} of them have frames.",
            hint="Units must be the ids of the new tokens, in the target's vocabulary.",
        )
    turned = _turned(sums[tokens] / counts[tokens, None], table.shape[1], generator)
    inliers = trimmed(table, trim).double()
    centre = inliers.mean(0)
    if scale == "dimension":
        factor = inliers.std(0) / turned.std(0)
    else:
        factor = ((inliers - centre).square().sum(1).mean() / turned.square().sum(1).mean()).sqrt()
    made = (centre + turned * factor).to(table.dtype)
    return with_rows(table, overlap, tokens, made, generator, statistics=trimmed(table, trim))


def trimmed(table: Tensor, share: float) -> Tensor:
    """Return the rows without the share with the largest and that with the smallest lengths.

    >>> trimmed(torch.tensor([[0.0], [3.0], [-1.0], [90.0]]), 0.25).flatten().tolist()
    [3.0, -1.0]
    """
    order = table.norm(dim=1).argsort(stable=True)
    left_out = int(len(table) * share)
    return table[order[left_out : len(order) - left_out].sort().values]


def _fit(units: Tensor, frames: Tensor, size: int) -> None:
    """Refuse units that are no tokens, and frames that are no features of theirs; all that is wrong at once."""
    whole = not (units.is_floating_point() or units.is_complex() or units.dtype == torch.bool)
    problems = []
    if units.dim() != 1 or not whole:
        problems.append(f"units are one whole number for each frame, not {_said(units)}")
    elif len(units) and not -1 <= int(units.min()) <= int(units.max()) < size:
        problems.append(
            f"units are ids of the {size:,} target tokens, or -1; these reach from {int(units.min())} to {int(units.max())}"
        )
    if frames.dim() != 2 or frames.is_complex() or not frames.shape[1]:
        problems.append(f"frames are a row of features for each frame, not {_said(frames)}")
    elif not bool(frames.isfinite().all()):
        problems.append(f"{int((~frames.isfinite()).any(1).sum()):,} of the frames have features that are not finite")
    if not problems and len(units) != len(frames):
        problems.append(f"there are {len(units)} units for {len(frames)} frames; each frame belongs to one")
    if problems:
        raise MethodError("The units and frames of speech do not fit.", problems=problems)


def _said(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of the shape {tuple(tensor.shape)}"


def _turned(means: Tensor, dim: int, generator: torch.Generator) -> Tensor:
    """Return the means around zero, in their principal directions, spread over ``dim`` dimensions."""
    centred = means - means.mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    kept = centred @ directions[:dim].T
    spread = torch.linalg.qr(torch.randn((dim, kept.shape[1]), generator=generator, dtype=torch.float64)).Q
    return kept @ spread.T
