"""What each operation says about the dimensions it touches: one small function an operation, found by the operation's name.

A rule gets a :class:`~scionwood.anatomy.walk.Call` (arguments by the names of the operator's schema) and returns the result's
:class:`~scionwood.anatomy.walk.Value`. It may say that two dimensions are one (``walk.unify``), that one is not free (``walk.pin``), or
that a parameter is read along a dimension (``walk.contract``). Rules know operations, never architectures.

Pointwise operations need no rule of their own: PyTorch tags them. In-place forms (``add_``) share the rule of their plain form.
"""

from __future__ import annotations

from scionwood.anatomy.rules import contraction, convolution, indexing, pointwise, recurrent, reduction, spectral, views
from scionwood.anatomy.walk import Rule

__all__ = ["LABEL_RULES", "RULES"]

_ROOMS = (contraction, convolution, indexing, pointwise, recurrent, reduction, spectral, views)

RULES: dict[str, Rule] = {name: rule for room in _ROOMS for name, rule in room.RULES.items()}
"""Every rule by the operation's base name."""

LABEL_RULES: frozenset[str] = frozenset().union(*(getattr(room, "KEEP_LABELS", ()) for room in _ROOMS))
"""Operations that treat integer labels as names of indices, not as numbers."""
