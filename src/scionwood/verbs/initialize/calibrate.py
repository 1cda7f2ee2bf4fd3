"""Calibration: every layer's output brought to one standard deviation in a single pass over a batch (LSUV)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scionwood.errors import MethodError, ScionwoodError
from scionwood.verbs.initialize.sites import Place

__all__ = ["Outcome", "calibrate"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one weight.

    Args:
        found: the deviation of its layer's output before.
        divisor: what it was divided by; 1 where it was left.
    """

    found: float
    divisor: float

    def __str__(self) -> str:
        if self.divisor != 1:
            return f"divided by {self.divisor:.4g}"
        if self.found == 0:
            return "not rescaled: its output is zero"
        if not math.isfinite(self.found):
            return "not rescaled: its output is not finite"
        return f"its output's std was near enough: {self.found:.4g}"


def calibrate(
    module: nn.Module,
    places: Sequence[Place],
    inputs: tuple[tuple[Any, ...], Mapping[str, Any]],
    *,
    std: float,
    tolerance: float,
    attempts: int,
    center: bool,
) -> dict[str, Outcome]:
    """Divide every weight so that its layer's output has a standard deviation, in the order of execution.

    Args:
        module: whose weights are changed in place.
        places: the weights that count.
        inputs: the batch: positional arguments and named ones.
        std: what every output shall have.
        tolerance: a deviation this near is left.
        attempts: divisions of one weight at most: without a bias one is exact.
        center: move biases so that outputs have mean zero.

    Returns:
        For each weight whose module was called: the deviation that was found, and what the weight was divided by.

    Raises:
        MethodError: the batch does not go through the model.
    """
    outcomes: dict[str, Outcome] = {}
    owners: dict[str, str] = {}
    for place in places:
        if place.site.is_weight:
            owners.setdefault(place.tensor.rpartition(".")[0], place.tensor)

    def mend(name: str) -> Any:
        def hook(layer: nn.Module, _: Any, output: Any) -> Any:
            if name in outcomes or not isinstance(output, Tensor):
                return output
            weight = layer.get_parameter(name.rpartition(".")[2])
            bias = getattr(layer, "bias", None)
            shift = 0.0 if bias is None else _along(bias, weight, output)
            found = first = _deviation(output)
            divisor = 1.0
            for _ in range(attempts):
                if abs(found - std) <= tolerance or not 0 < found < math.inf:
                    break
                step = found / std
                divisor *= step
                output = (output - shift) / step + shift
                found = _deviation(output)
            weight.div_(divisor)
            outcomes[name] = Outcome(first, divisor)
            if center and bias is not None:
                mean = output.mean()
                bias.sub_(mean)
                output = output - mean
            return output

        return hook

    training = {part: part.training for part in module.modules()}
    hooks = [module.get_submodule(path).register_forward_hook(mend(name)) for path, name in owners.items()]
    args, kwargs = inputs
    try:
        module.eval()
        with torch.no_grad():
            module(*args, **kwargs)
    except ScionwoodError:
        raise
    except Exception as error:
        raise MethodError(
            f"The batch does not go through the model: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            hint="give inputs as the model's forward takes them: a tensor, a tuple, or a mapping by name",
        ) from error
    finally:
        for handle in hooks:
            handle.remove()
        for part, mode in training.items():
            part.training = mode
    return outcomes


def _deviation(output: Tensor) -> float:
    return float(output.std(correction=0, dim=None)) if output.numel() else 0.0


def _along(bias: Tensor, weight: Tensor, output: Tensor) -> Tensor:
    """The bias as it was added: along the channels of a convolution, else along the last dimension."""
    channels = 1 if weight.dim() > 2 else -1
    shape = [1] * output.dim()
    shape[channels] = len(bias)
    return bias.view(shape)
