"""Fixup's scalars: a bias before and after every weight, a multiplier after the last of a branch (Zhang et al., 2019, arXiv:1901.09321).

    inside a branch    y = layer(x + before) + after          its last weight    y = layer(x + before) * scale + after
    stem               y = layer(x) + after                   head               y = layer(x + before)

``before`` and ``after`` begin as 0 and ``scale`` as 1, so nothing changes when they are added. With
``initialize(..., method="fixup")`` every branch begins as zero; these scalars are what lets it leave there as a net with
norms does. The paper learns them at a tenth of the rate and without decay (``parameter_groups``). Layers keep the bias
that they have; those of the paper have none. Which weight is in which branch is read off the model's graph. Where there
are norms, or no residual sums, nothing is gained.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from scionwood.anatomy import Model, from_module
from scionwood.anatomy.flow import Use, flow
from scionwood.errors import MethodError

__all__ = ["FixupLayer", "add_scalars", "parameter_groups"]


class FixupLayer(nn.Module):
    """A layer between Fixup's scalars.

    >>> import torch
    >>> layer = FixupLayer(nn.Linear(2, 2), before=True, scale=True, after=True)
    >>> x = torch.ones(1, 2)
    >>> torch.equal(layer(x), layer.layer(x))
    True

    Args:
        layer: what it computes.
        before: add a scalar to what the layer reads.
        scale: multiply what the layer gives by a scalar.
        after: add a scalar to that.
    """

    def __init__(self, layer: nn.Module, *, before: bool, scale: bool, after: bool) -> None:
        super().__init__()
        self.layer = layer
        weight = next(layer.parameters())

        def scalar(wanted: bool, value: float) -> nn.Parameter | None:
            return nn.Parameter(weight.new_full((1,), value)) if wanted else None

        self.before, self.scale, self.after = scalar(before, 0.0), scalar(scale, 1.0), scalar(after, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, shifted and scaled."""
        y = self.layer(x if self.before is None else x + self.before)
        y = y if self.scale is None else y * self.scale
        return y if self.after is None else y + self.after


def add_scalars(module: nn.Module, inputs: object) -> list[str]:
    """Put Fixup's scalars around the linear maps and convolutions of a residual net, in place.

    >>> import torch
    >>> class Block(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
    ...     def forward(self, x):
    ...         return x + self.second(torch.relu(self.first(x)))
    >>> add_scalars(nn.Sequential(nn.Linear(3, 4), Block(), nn.Linear(4, 2)), torch.zeros(1, 3))
    ['0', '1.first', '1.second', '2']

    Args:
        module: the net; its layers are modules with one input.
        inputs: example inputs, as the module's forward takes them: a tensor, a tuple or a dict.

    Returns:
        The paths of the layers that have scalars now, in the order of execution.

    Raises:
        MethodError: the model has no residual branch, or layers that are no modules of their own.
    """
    model = from_module(module, inputs)
    uses = [use for use in flow(model).uses if use.kind in ("linear", "convolution")]
    if not any(use.branch for use in uses):
        raise MethodError(
            f"{type(module).__name__} has no residual branch, and Fixup's scalars are for those",
            hint="initialize(..., method='lsuv') is for plain nets",
        )
    strange = [use.tensor for use in uses if not isinstance(_layer(model, use), nn.Linear | nn.modules.conv._ConvNd)]
    if strange:
        raise MethodError(
            f"{type(module).__name__} has weights that belong to no linear layer or convolution.",
            problems=strange,
            hint="scionwood.train.layers.fixup.FixupLayer wraps any module that takes one tensor",
        )
    paths = []
    for use in uses:
        if use.branch is None and not use.head and use.reads != "input":
            continue  # on the stream itself: the projection of a block that changes the number of channels
        path = use.tensor.rpartition(".")[0]
        inside = use.branch is not None
        wrapped = FixupLayer(
            module.get_submodule(path),
            before=inside or use.head,
            scale=inside and bool(use.branch and use.branch.last),
            after=inside or not use.head,
        )
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, wrapped)
        paths.append(path)
    return paths


def parameter_groups(module: nn.Module, rate: float, *, decay: float = 0.0, ratio: float = 0.1) -> list[dict[str, Any]]:
    """Return groups for an optimiser: Fixup's scalars learn slower and do not decay.

    >>> layer = FixupLayer(nn.Linear(2, 2), before=True, scale=False, after=True)
    >>> [(len(group["params"]), group["lr"], group["weight_decay"]) for group in parameter_groups(layer, 0.5, decay=0.1)]
    [(2, 0.5, 0.1), (2, 0.05, 0.0)]

    Args:
        module: a model with scalars.
        rate: the learning rate of everything else.
        decay: the weight decay of everything else.
        ratio: of the scalars' rate to the other; the paper's a tenth.
    """
    layers = [part for part in module.modules() if isinstance(part, FixupLayer)]
    scalars = {id(own): own for layer in layers for own in (layer.before, layer.scale, layer.after) if own is not None}
    others = [parameter for parameter in module.parameters() if id(parameter) not in scalars]
    return [
        {"params": others, "lr": rate, "weight_decay": decay},
        {"params": list(scalars.values()), "lr": rate * ratio, "weight_decay": 0.0},
    ]


def _layer(model: Model, use: Use) -> nn.Module:
    return model.module.get_submodule(use.tensor.rpartition(".")[0])
