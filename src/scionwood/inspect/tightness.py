"""Propagation tightness: how much wider interval bounds are than need be (Mao et al., 2023, arXiv:2306.10426).

    tau = (|W_L ... W_1| e) / (|W_L| ... |W_1| e)    for each input and output; e: half-widths of the clipped box of inputs

Of networks without activations (mode ``global``), or with each ReLU fixed as it is at the input (mode ``local``). 1 says
that interval propagation is exact: one layer, or no negative weight. At a random start depth and width lower it, by
about sqrt(pi / (2 width)) for two Gaussian layers; training with interval bounds raises it. Rescaling a layer changes
nothing. The numerator needs no product of matrices: the gradient of an output with respect to e is its row of the product.
"""

from collections.abc import Iterator
from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from scionwood.errors import MethodError

__all__ = ["Mode", "propagation_tightness"]

Mode = Literal["global", "local"]
_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_PASSIVE = (nn.Flatten, nn.Identity, nn.Dropout)


def propagation_tightness(
    network: nn.Sequential,
    inputs: Tensor,
    *,
    epsilon: float = 1e-5,
    mode: Mode = "local",
    low: float = 0.0,
    high: float = 1.0,
    labels: Tensor | None = None,
) -> Tensor:
    """Return the tightness (batch, outputs).

    >>> network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    >>> network[0].weight.data, network[1].weight.data = torch.tensor([[1.0, -1.0], [1.0, 1.0]]), torch.ones(1, 2)
    >>> propagation_tightness(network, torch.tensor([[0.5, 0.5]]), epsilon=0.1)
    tensor([[0.5000]])

    Args:
        network: linear layers, convolutions, BatchNorm, ReLU, Flatten, Identity and Dropout in a row.
        inputs: (batch, ...), within the range.
        epsilon: half-width of the box around an input, before it is clipped to the range.
        mode: global drops every ReLU; local keeps those units that are active at the input.
        low: of the range of the inputs.
        high: of that range.
        labels: (batch,) classes; the outputs are then the margins of the true class over the others.

    Raises:
        MethodError: an unknown mode, a module of another kind, a BatchNorm without statistics, margins of what is not linear.
    """
    if mode not in get_args(Mode):
        raise MethodError(f"The mode is one of {', '.join(get_args(Mode))}, not {mode!r}.")
    modules = list(_flat(network))
    known = (*_AFFINE, *_NORMS, *_PASSIVE, nn.ReLU)
    if problems := [f"module {name}: {type(module).__name__}" for name, module in modules if type(module) not in known]:
        raise MethodError(
            "Tightness is of linear layers, convolutions, BatchNorm and ReLU in a row.", problems=problems
        )
    steps = [module for _, module in modules if not isinstance(module, (nn.Identity, nn.Dropout))]
    with torch.no_grad():
        masks = _masks(steps, inputs) if mode == "local" else None
        width = ((inputs + epsilon).clamp(max=high) - (inputs - epsilon).clamp(min=low)) / 2
        wide = _linear(steps, width, masks, absolute=True)
        # With labels the margins join the last layer, whose absolute values are then those of the product.
        margins = None if labels is None else _margins(labels, wide.shape[1]).to(wide)
        if margins is not None:
            if not isinstance(steps[-1], nn.Linear):
                raise MethodError(f"Margins join a last linear layer, not a {type(steps[-1]).__name__}.")
            before = _linear(steps[:-1], width, masks, absolute=True)
            wide = torch.einsum("bmi,bi->bm", (margins @ steps[-1].weight).abs(), before)
    start = width.clone().requires_grad_()
    with torch.enable_grad():
        outputs = _linear(steps, start, masks)
        if margins is not None:
            outputs = torch.einsum("bmo,bo->bm", margins, outputs)
        rows = [torch.autograd.grad(out.sum(), start, retain_graph=True)[0] for out in outputs.unbind(dim=1)]
    tight = torch.stack([(row.abs() * width).flatten(1).sum(dim=1) for row in rows], dim=1)
    return tight.clamp(min=1e-8) / wide.clamp(min=1e-8)


def _flat(network: nn.Sequential, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of nested sequences, in order."""
    for name, module in network.named_children():
        if isinstance(module, nn.Sequential):
            yield from _flat(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module


def _masks(steps: list[nn.Module], inputs: Tensor) -> list[Tensor]:
    """Return which units each ReLU lets through at the inputs."""
    masks, signal = [], inputs
    for step in steps:
        if isinstance(step, nn.ReLU):
            masks.append(signal > 0)
            signal = signal * masks[-1]
        elif isinstance(step, _NORMS):
            signal = _normed(step, signal) + _shaped(_offset(step), signal)
        else:
            signal = step(signal)
    return masks


def _linear(steps: list[nn.Module], signal: Tensor, masks: list[Tensor] | None, absolute: bool = False) -> Tensor:
    """Send a signal through the linear parts alone, or through their absolute values."""
    count = 0
    for step in steps:
        if isinstance(step, nn.ReLU):
            signal = signal if masks is None else signal * masks[count]
            count += 1
        elif isinstance(step, _NORMS):
            signal = _normed(step, signal, absolute)
        elif isinstance(step, nn.Flatten):
            signal = step(signal)
        else:
            weight = cast("Tensor", step.weight).detach()
            weight = weight.abs() if absolute else weight
            if isinstance(step, nn.Linear):
                signal = F.linear(signal, weight)
            else:
                signal = cast("nn.Conv2d", step)._conv_forward(signal, weight, None)
    return signal


def _gain(norm: nn.Module) -> Tensor:
    """Return what a BatchNorm multiplies its channels by, in evaluation."""
    variance, weight = norm.running_var, norm.weight
    if not isinstance(variance, Tensor):
        raise MethodError("A BatchNorm without running statistics has no fixed gain; give it some.")
    gain = (variance + cast("float", norm.eps)).rsqrt()
    return gain if weight is None else gain * cast("Tensor", weight).detach()


def _offset(norm: nn.Module) -> Tensor:
    bias = norm.bias
    mean = -cast("Tensor", norm.running_mean) * _gain(norm)
    return mean if bias is None else mean + cast("Tensor", bias).detach()


def _shaped(vector: Tensor, signal: Tensor) -> Tensor:
    return vector.reshape(-1, *[1] * (signal.dim() - 2))


def _normed(norm: nn.Module, signal: Tensor, absolute: bool = False) -> Tensor:
    gain = _gain(norm)
    return signal * _shaped(gain.abs() if absolute else gain, signal)


def _margins(labels: Tensor, classes: int) -> Tensor:
    """Return (batch, classes - 1, classes): the true class minus each other, in order."""
    eye = torch.eye(classes, device=labels.device)
    others = torch.stack([torch.cat([eye[:at], eye[at + 1 :]]) for at in labels.tolist()])
    return eye[labels][:, None] - others
