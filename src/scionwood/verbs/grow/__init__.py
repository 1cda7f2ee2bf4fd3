"""Grow: a larger model's weights out of a smaller model's, through the anatomy alone.

``maps`` says how every dimension of every tensor grows, axis by axis (``along``); ``making`` turns that into tensors to be computed
when they are written; ``learning`` learns maps on text, for methods that say so; ``blocks`` says which blocks
a deeper target has, ``joining`` puts two models side by side, ``generating`` is the way of methods that
predict weights and map no axes; ``grow`` is the verb. What lies beyond one axis (scores, ties, constants of a width) is
corrected by ``anatomy.corrections``.
"""

from scionwood.verbs.grow.grow import grow

__all__ = ["grow"]
