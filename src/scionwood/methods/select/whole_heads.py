"""Whole heads: evenly spaced heads, each kept as it is (after Xu et al., 2024, arXiv:2311.18823).

The last axis of the unit is the width of a head; every axis before it (heads, or groups of query heads) is chosen by
the rule of ``uniform``, and the width by the identity. So the target's attention heads are heads of the source, where
``uniform`` on the flat dimension builds each from pieces of several. It helps where heads have distinct jobs and their
width stays; where the width must shrink too, see ``within_heads``. A unit of one axis has no heads: ``uniform``.

The paper names no such rule; it is ours, from the remark that its ``consecutive`` keeps heads whole and loses nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import method
from scionwood.methods.select.spacing import flat, outer_product
from scionwood.methods.select.uniform import uniform

__all__ = ["whole_heads"]


@method(unit="dimension", laws={"identity", "increasing", "composition", "whole"}, paper="2311.18823")
def whole_heads(source: Sequence[int], target: Sequence[int]) -> Tensor:
    """Return the indices of evenly spaced whole heads.

    >>> whole_heads((4, 3), (2, 3)).tolist()
    [0, 1, 2, 6, 7, 8]

    Raises:
        MethodError: the target is larger than the source, or its heads have another width.
    """
    flat(source, target)
    if len(source) == 1:
        return uniform(source, target)
    if len(source) != len(target) or source[-1] != target[-1]:
        raise MethodError(
            f"Whole heads keep their width: {source[-1]} in the source, {target[-1]} in the target.",
            hint="within_heads cuts the width, and uniform ignores heads.",
        )
    axes = [uniform((n,), (m,)) for n, m in zip(source[:-1], target[:-1], strict=True)]
    return outer_product([*axes, torch.arange(source[-1])], source)
