"""mergekit's methods: what they are called here, and what their parameters are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["IGNORED", "METHODS", "Method", "Parameter"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of one of mergekit's methods.

    Args:
        option: the option that it is here.
        kind: what it holds.
        per_model: whether each model has its own.
        required: whether a configuration must give it.
        default: what mergekit takes where nothing is given, as the option writes it.
        same: whether the option's own default is the same, so that it need not be written.
        told: for true and false, what the option says instead.
    """

    option: str
    kind: Literal["number", "whole", "truth"] = "number"
    per_model: bool = False
    required: bool = False
    default: Any = None
    same: bool = True
    told: Mapping[bool, Any] = field(default_factory=lambda: {True: True, False: False})


@dataclass(frozen=True)
class Method:
    """One of mergekit's methods.

    Args:
        method: what it is here.
        base: ``needed`` or ``welcome`` as the base of differences; the ``first`` of two models; or a ``member`` like all.
        parameters: by mergekit's names.
        options: what is said beside them, so that the method does what mergekit's does.
        least: how many models it takes at least, the base not counted unless it is a member.
        most: how many at most, if there is a limit.
    """

    method: str
    base: Literal["needed", "welcome", "first", "member"]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    least: int = 1
    most: int | None = None


IGNORED = ("int8_mask", "residual_weight")
"""What saves memory or does nothing in mergekit, whatever the method."""

_WEIGHT = Parameter("weights", per_model=True, required=True)
_DENSITY = Parameter("density", per_model=True, default=1.0, same=False)
_SCALE = Parameter("scale", default=1.0)
_L1 = {True: "l1", False: None}


def _truth(option: str, *, default: bool, same: bool = True) -> Parameter:
    return Parameter(option, "truth", default=default, same=same)


def _rescale(*, default: bool, same: bool = False) -> Parameter:
    return Parameter("rescale", "truth", default=_L1[default], same=same, told=_L1)


def _differences(
    method: str, *, normalize: bool, own: Mapping[str, Parameter], same: bool = True, **options: Any
) -> Method:
    """A method of differences, cut down before they are added."""
    parameters = {"weight": _WEIGHT, **own, "normalize": _truth("normalize", default=normalize, same=same)}
    return Method(method, "needed", {**parameters, "lambda": _SCALE}, options)


_RAM = {"epsilon": Parameter("epsilon", default=1e-5)}
_RANDOM = {"density": _DENSITY, "rescale": _rescale(default=True)}
_CRUMBS = {
    "density": _DENSITY,
    "gamma": Parameter("gamma", per_model=True, default=0.01),
    "rescale": _rescale(default=False, same=True),
}
_BY_RANK = {**_RANDOM, "epsilon": Parameter("epsilon", per_model=True, default=0.15)}

METHODS: Mapping[str, Method] = {
    "linear": Method("linear", "member", {"weight": _WEIGHT, "normalize": _truth("normalize", default=True)}),
    "slerp": Method("slerp", "first", {"t": Parameter("t", required=True)}, most=1),
    "nuslerp": Method(
        "nuslerp",
        "welcome",
        {
            "weight": _WEIGHT,
            "nuslerp_flatten": _truth("arc", default=True),
            "nuslerp_row_wise": _truth("arc", default=False, same=False),
        },
        least=2,
        most=2,
    ),
    "multislerp": Method(
        "multislerp",
        "welcome",
        {
            "weight": _WEIGHT,
            "normalize_weights": _truth("normalize", default=True),
            "eps": Parameter("eps", default=1e-8),
        },
    ),
    "karcher": Method(
        "karcher",
        "member",
        {"max_iter": Parameter("max_iter", "whole", default=10), "tol": Parameter("tol", default=1e-5)},
    ),
    "task_arithmetic": _differences("task_arithmetic", normalize=False, own={}),
    "ties": Method(
        "ties",
        "needed",
        {
            "weight": _WEIGHT,
            "density": _DENSITY,
            "normalize": Parameter("function", "truth", default="mean", told={True: "mean", False: "sum"}),
            "rescale": _rescale(default=False, same=True),
            "lambda": _SCALE,
        },
    ),
    "dare_linear": _differences("dare", normalize=False, own=_RANDOM, consensus=False),
    "dare_ties": _differences("dare", normalize=False, own=_RANDOM, consensus=True),
    "breadcrumbs": _differences("breadcrumbs", normalize=False, own=_CRUMBS, consensus=False),
    "breadcrumbs_ties": _differences("breadcrumbs", normalize=False, own=_CRUMBS, consensus=True),
    "della": _differences("della", normalize=True, own=_BY_RANK, consensus=True),
    "della_linear": _differences("della", normalize=False, own=_BY_RANK, same=False, consensus=False),
    "sce": Method("sce", "needed", {"select_topk": Parameter("select_topk", default=1.0)}, {"least_energy": 1e-6}),
    "ram": Method("ram", "needed", _RAM),
    "ramplus_tl": Method(
        "ram",
        "needed",
        {**_RAM, "r": Parameter("r", default=0.1, same=False), "alpha": Parameter("alpha", default=0.2)},
        {"scope": "tensor"},
    ),
    "model_stock": Method(
        "model_stock", "needed", {"filter_wise": _truth("filter_wise", default=False)}, {"clamp": False}, least=2
    ),
    "nearswap": Method("nearswap", "needed", {"t": Parameter("t", required=True)}, most=1),
    "arcee_fusion": Method("arcee_fusion", "needed", {}, {"precision": "float32"}, most=1),
    "passthrough": Method("passthrough", "member", {"scale": Parameter("scale", per_model=True)}, most=1),
}
"""mergekit's name → the method."""
