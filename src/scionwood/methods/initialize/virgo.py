"""Virgo: weights of graph networks whose variance follows the graph (Li et al., 2023, arXiv:2312.02622).

    forward   h_0 = mean of each node's features, h_l = A h_(l-1), s_l = |h_l|^2:   v_1 = 2 / m_0,  v_l = (2 / m_1) s_(l-1) / s_l
    backward  g_0 = 1, g_l = A g_(l-1), t_l = |g_l|^2:   b_L = n / ((C - 1) t_1),  b_(L-l+1) = (2 / m_1) t_(l-1) / t_l
    W_l ~ U(-a, a),   a = sqrt(3 var),   var = 2 / (1 / v + 1 / b)

A is the normalised operator of the graph, X its features, C the number of classes, m_0 and m_1 the widths of input and
hidden layers. Without edges v is He's 2 / fan_in. Averages over neighbours shrink a signal; the variance makes up for what
this graph takes from forward and backward passes. It helps deep graph networks without norms. It hurts where features
are centred: their mean over a node is then noise, and ``signal="square"`` takes the root mean square instead, which the
paper does not have. The first layer's v ignores the graph, as published. Hidden widths are taken to be equal.

The statistics are given by whoever calls: ``operator`` (n, n), a tensor, dense or sparse, or an array; ``features``
(n, m_0), likewise; ``classes``; and
where layers are no list of blocks ``layers``, the names of weights from first to last, each one or several.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.initialize.drawing import uniform
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import method

__all__ = ["backward_variances", "forward_variances", "virgo"]


@method(
    scope="tensor",
    laws={"shape", "deterministic"},
    paper="2312.02622",
    statistics=("operator", "features", "classes"),
)
def virgo(
    site: Site,
    generator: torch.Generator,
    statistics: Mapping[str, Any],
    *,
    mode: Literal["harmonic", "arithmetic", "forward", "backward"] = "harmonic",
    signal: Literal["mean", "square"] = "mean",
) -> Tensor | None:
    """Return uniform weights for the layers of a graph network; biases, and weights outside of its layers, are left.

    >>> graph = {"operator": torch.eye(3), "features": torch.ones(3, 4), "classes": 3}
    >>> site = Site("convs.1.lin.weight", "linear", (8, 8), layer=2, layers=3)
    >>> weight = virgo(site, torch.Generator().manual_seed(0), graph, mode="forward")
    >>> bool(weight.abs().max() < math.sqrt(3 * 2 / 8))
    True

    Args:
        site: the tensor.
        generator: the torch.Generator to draw from.
        statistics: the graph: operator, features, classes, and layers where they are not known.
        mode: how the variances of the two passes make one, or which of them is taken.
        signal: a node's first value in the forward pass, the mean of its features or their root mean square.

    Raises:
        MethodError: part of the graph is missing, or it has fewer than two classes.
    """
    place = _place(site, statistics)
    if not site.is_weight or place is None:
        return None
    layer, layers = place
    operator, features = _graph(statistics)
    hidden = site.shape[0] if layer == 1 else site.fan_in
    ahead = forward_variances(operator, features, layers, hidden, signal=signal)[layer - 1]
    back = backward_variances(operator, layers, hidden, int(statistics["classes"]))[layer - 1]
    variance = {
        "harmonic": 2 / (1 / ahead + 1 / back),
        "arithmetic": (ahead + back) / 2,
        "forward": ahead,
        "backward": back,
    }[mode]
    return uniform(site, math.sqrt(3 * variance), generator)


def forward_variances(
    operator: Tensor, features: Tensor, layers: int, hidden: int, *, signal: Literal["mean", "square"] = "mean"
) -> list[float]:
    """Return v of every layer, from first to last.

    >>> forward_variances(torch.eye(2), torch.ones(2, 5), 3, 8)
    [0.4, 0.25, 0.25]

    Raises:
        MethodError: the signal dies in the graph.
    """
    features = features.double()
    start = features.mean(dim=1) if signal == "mean" else features.square().mean(dim=1).sqrt()
    sizes = _sizes(operator, start, layers)
    return [
        2 / features.shape[1],
        *(2 / hidden * before / after for before, after in itertools.pairwise(sizes)),
    ]


def backward_variances(operator: Tensor, layers: int, hidden: int, classes: int) -> list[float]:
    """Return b of every layer, from first to last.

    >>> backward_variances(torch.eye(2), 3, 8, 3)
    [0.25, 0.25, 0.5]
    """
    nodes = operator.shape[0]
    sizes = _sizes(operator, torch.ones(nodes, dtype=torch.float64), layers)
    found = [nodes / ((classes - 1) * sizes[0])]
    found += [2 / hidden * before / after for before, after in itertools.pairwise(sizes)]
    return found[::-1]


def _sizes(operator: Tensor, start: Tensor, steps: int) -> list[float]:
    sizes, values = [], start[:, None]
    for _ in range(steps):
        values = operator.double() @ values
        sizes.append(float(values.square().sum()))
    if not min(sizes) > 0:
        raise MethodError(
            "The graph's signal is zero after some layers: its features cancel, or its operator does.",
            hint="signal=square takes the root mean square of each node's features.",
        )
    return sizes


def _place(site: Site, statistics: Mapping[str, Any]) -> tuple[int, int] | None:
    listed = statistics.get("layers")
    if listed is not None:
        rows = [[names] if isinstance(names, str) else list(names) for names in listed]
        found = [number for number, names in enumerate(rows, 1) if site.name in names]
        return (found[0], len(rows)) if found else None
    return None if site.layer is None else (site.layer, site.layers)


def _graph(statistics: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The operator and the features, checked."""
    problems: list[str] = []
    found: dict[str, Tensor] = {}
    for name in ("operator", "features", "classes"):
        try:
            found[name] = torch.as_tensor(statistics[name])
        except (KeyError, TypeError, ValueError, RuntimeError):
            kind = type(statistics.get(name)).__name__
            absent = statistics.get(name) is None
            problems.append(
                f"{name} is missing" if absent else f"{name} is a {kind}, not a tensor or an array of numbers"
            )
    if not problems:
        operator, features = found["operator"], found["features"]
        if (
            operator.ndim != 2
            or operator.shape[0] != operator.shape[1]
            or features.ndim != 2
            or features.shape[0] != operator.shape[0]
        ):
            problems.append(
                f"operator of shape {tuple(operator.shape)} and features of shape {tuple(features.shape)} are not of one graph"
            )
        if int(statistics["classes"]) < 2:
            problems.append(f"classes is {statistics['classes']}, and the backward pass divides by one less")
    if problems:
        raise MethodError(
            "The graph that initialize.virgo counts with is not whole.",
            problems=problems,
            hint="Give operator (n, n), features (n, width) and classes.",
        )
    return found["operator"], found["features"]
