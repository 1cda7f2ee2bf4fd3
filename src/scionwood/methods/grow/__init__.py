"""Growths: how the axes of a larger model come from those of a smaller one. One file is one method.

The contract, which ``growth`` holds and the verb relies on:

1. A growth is asked for one axis at a time: its size in the ``source`` and in the ``target``, which is larger; by name
   also its ``kind``, its ``place`` (``stream``, ``inner``, ``heads`` or ``score``) and a ``generator`` of its own.
2. It returns a ``Growth``: the source index of every target index, or -1; every source index is there at least once.
   Equal sizes are not asked about.
3. It says what new indices get in tensors that write the axis and in those that read it, whether what reads copies is
   divided by their number, and whether noise that cancels goes between them; or, for maps that are ``learned``, the
   mixtures of old indices that they begin as; or, where two models are joined, which indices are the second's. It never
   sees a tensor.
4. What lies beyond one axis is the verb's: scores of widened heads, tied embeddings, constants that depend on a width.
5. A size that cannot be served is a ``MethodError`` that names the sizes; the verb adds the tensor and the axis.

Which blocks a deeper target has is chosen apart, by a rule of ``depth``: it is an option of the verb, not a method.

Two methods map no axes, and their record says so (``generate``): ``hypernetwork`` and ``denoised_weights`` take what was
trained to give weights, which is their source, and the names and shapes of the target, and return its tensors by name.

What is no method of this family, and is looked for here, ``ELSEWHERE`` says where it is.
"""

from collections.abc import Mapping

from scionwood.methods.grow.depth import DEPTH_RULES

__all__ = ["ELSEWHERE"]

_HYPERNETWORK = (
    "is weights that a trained network predicts, which is the method hypernetwork",
    "give --method hypernetwork, and as the source what scionwood.train.growth.hypernetwork trained and saved",
)
_DENOISED = (
    "is weights that a diffusion model over a bank gives, which is the method denoised_weights",
    "give --method denoised_weights, and as the source what scionwood.train.growth.denoised learned and saved",
)
_LEARNGENE = (
    "grows the depth from a few trained blocks, which is a depth rule and goes with any method",
    "give --depth stage_sharing (SWS) or --depth linear_expansion (TLEG); scionwood.train.growth.learngene trains the blocks",
)
_MASKS = (
    "is weights, which are the method masked, and masks in training",
    "give --method masked; scionwood.train.growth.masks fades the new parts in",
)

ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "parameter_prediction": _HYPERNETWORK,
    "logah": _HYPERNETWORK,
    "ghn3": _HYPERNETWORK,
    "denoised": _DENOISED,
    "learngene": _LEARNGENE,
    "sws": _LEARNGENE,
    "tleg": _LEARNGENE,
    "masked_structural_growth": _MASKS,
    "net2deeper": (
        "inserts layers that are the identity between others, so that the model has other parts than its config says",
        "scionwood.train.growth.net2deeper inserts them into a module; --depth block_expansion adds blocks that do nothing yet",
    ),
    **{rule: ("is a depth rule, and goes with any method", f"give --depth {rule}") for rule in DEPTH_RULES},
}
"""Name of a system that is no method of this family → why, and where it is."""
