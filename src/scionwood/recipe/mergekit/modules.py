"""mergekit's modules: parts of a model that are merged each by rules of its own, and the names of their tensors."""

from collections.abc import Mapping, Sequence

__all__ = ["in_order", "patterns_of"]

_VISION = (
    "vision_tower.*",
    "vision_model.*",
    "visual.*",
    "model.vision_tower.*",
    "model.vision_model.*",
    "model.visual.*",
)
_PATTERNS: Mapping[str, tuple[str, ...]] = {
    "encoder": ("encoder.*", "model.encoder.*"),
    "decoder": ("decoder.*", "model.decoder.*", "proj_out.*"),
    "shared": ("shared.*", "lm_head.*"),
    "text_decoder": (
        "language_model.*",
        "model.language_model.*",
        "model.layers.*",
        "model.embed_tokens.*",
        "model.norm.*",
        "lm_head.*",
    ),
    "multi_modal_projector": (
        "multi_modal_projector.*",
        "model.multi_modal_projector.*",
        "visual.merger.*",
        "model.visual.merger.*",
        "model.visual.deepstack_merger_list.*",
    ),
    "vision_tower": _VISION,
    "vision_model": _VISION,
}
"""The names that mergekit gives the modules of the models it knows."""


def patterns_of(module: str) -> tuple[str, ...] | None:
    """Return the patterns of the names that a module has; None for ``default``, which has the rest.

    A module of a model that mergekit does not know is called as what stands before the numbers of its layers.

    >>> patterns_of("encoder"), patterns_of("text.encoder.layers"), patterns_of("default")
    (('encoder.*', 'model.encoder.*'), ('text.encoder.layers.*',), None)
    """
    return None if module == "default" else _PATTERNS.get(module, (f"{module}.*",))


def in_order(modules: Sequence[str]) -> list[str]:
    """Return modules in the order in which they take tensors: what another one may be a part of comes after it.

    >>> in_order(["default", "vision_tower", "text_decoder", "multi_modal_projector"])
    ['text_decoder', 'multi_modal_projector', 'vision_tower', 'default']
    """
    return sorted(modules, key=lambda module: (module == "default", _PATTERNS.get(module) == _VISION))
