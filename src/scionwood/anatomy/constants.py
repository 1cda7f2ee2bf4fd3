"""Constants along an axis: which indices of two models' axes they are the same along."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["among", "standing"]

_RELATIVE, _ABSOLUTE = 1e-6, 1e-7


def standing(few: Sequence[Tensor], many: Sequence[Tensor]) -> Tensor | None:
    """Return where every index of the smaller axis stands in the larger: where all constants are the same.

    Rotary frequencies b^(-2i / d) of a head are every k-th of those of a head k times as wide, and so are the slopes of heads:

    >>> frequencies = {d: 10000 ** (-torch.arange(0, d, 2)[:, None] / d) for d in (4, 6, 8)}
    >>> standing([frequencies[4]], [frequencies[8]])
    tensor([0, 2])
    >>> standing([frequencies[4]], [frequencies[6]]) is None
    True

    Args:
        few: the profiles of the smaller axis, as :attr:`Axis.profiles` holds them: (size, any) each.
        many: those of the larger, in the same order.

    Returns:
        One index of the larger axis for each of the smaller, all different; nothing, if there are none, or constants cannot be compared.
    """
    if not few or [profile.shape[1] for profile in few] != [profile.shape[1] for profile in many]:
        return None
    mine, theirs = torch.cat(list(few), dim=1), torch.cat(list(many), dim=1)
    distance = torch.cdist(mine, theirs, p=float("inf"), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.argmin(dim=1)
    # Low frequencies are tiny beside high ones: each number is compared with itself.
    same = torch.isclose(theirs[nearest], mine, rtol=_RELATIVE, atol=_ABSOLUTE)
    return nearest if bool(same.all()) and len(nearest.unique()) == len(nearest) else None


def among(old: Tensor, new: Tensor) -> bool:
    """Whether a table is a part of another: the same, or along the one dimension that differs all its rows are among the other's."""
    if old.numel() <= 1 or old.dim() != new.dim() or not old.is_floating_point():
        return True  # single numbers are factors
    differ = [dim for dim in range(old.dim()) if old.shape[dim] != new.shape[dim]]
    if len(differ) > 1:
        return True
    dim = differ[0] if differ else 0
    rows = [table.movedim(dim, 0).reshape(table.shape[dim], -1).double().clamp(-1e9, 1e9) for table in (old, new)]
    if not differ:
        return torch.allclose(*rows, rtol=1e-5, atol=1e-6)
    distance = torch.cdist(*rows, p=float("inf"), compute_mode="donot_use_mm_for_euclid_dist")
    return torch.allclose(rows[0], rows[1][distance.argmin(dim=1)], rtol=1e-5, atol=1e-6)
