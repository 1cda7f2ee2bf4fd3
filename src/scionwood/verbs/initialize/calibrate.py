"""Calibration: every layer's output brought to one standard deviation in a single pass over a batch (LSUV)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scionwood.errors import MethodError, ScionwoodError
from scionwood.verbs.initialize.sites import Place

__all__ = ["calibrate"]


def calibrate(
    module: nn.Module,
    places: Sequence[Place],
    inputs: tuple[tuple[Any, ...], Mapping[str, Any]],
    *,
    std: float,
    tolerance: float,
    center: bool,
) -> dict[str, float]:
    """Divide every weight so that its layer's output has a standard deviation, in the order of execution.

    Args:
        module: whose weights are changed in place.
        places: the weights that count.
        inputs: the batch: positional arguments and named ones.
        std: what every output shall have.
        tolerance: a deviation this near is left.
        center: move biases so that outputs have mean zero.

    Returns:
        For each weight that was looked at, what its output was divided by: 1 where it was left.

    Raises:
        MethodError: the batch does not go through the model.
    """
    divisors: dict[str, float] = {}
    owners: dict[str, str] = {}
    for place in places:
        if place.site.is_weight:
            owners.setdefault(place.tensor.rpartition(".")[0], place.tensor)

    def mend(name: str) -> Any:
        def hook(layer: nn.Module, _: Any, output: Any) -> Any:
            if name in divisors or not isinstance(output, Tensor):
                return output
            weight = layer.get_parameter(name.rpartition(".")[2])
            bias = getattr(layer, "bias", None)
            found = float(output.std(correction=0))
            divisors[name] = 1.0
            wide = abs(found - std) > tolerance and found > 0
            if wide:
                divisors[name] = found / std
                weight.div_(divisors[name])
                shift = 0.0 if bias is None else _along(bias, weight, output)
                output = (output - shift) / divisors[name] + shift
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
    return divisors


def _along(bias: Tensor, weight: Tensor, output: Tensor) -> Tensor:
    """The bias as it was added: along the channels of a convolution, else along the last dimension."""
    channels = 1 if weight.dim() > 2 else -1
    shape = [1] * output.dim()
    shape[channels] = len(bias)
    return bias.view(shape)
