"""Target variance rescaling: weights that grew too large are pulled back (Owen et al., 2025, arXiv:2503.17500).

    where std(w) / target > threshold:   w <- (w - mean) target / std(w) + mean;     target, or target / sqrt(layer)

To be stepped after an optimiser's step; it acts every so many of them, and never enlarges. The mean stays. The paper
joins it with ``initialize.layer_index``: for Llama, a start of 0.006 and a target of 0.01. The optimiser's moments are
left alone, and so are norms and biases unless asked: the published code zeroes the bias of what it rescales, which does
no harm to Llama, having none.
"""

import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from scionwood.errors import MethodError

__all__ = ["TargetVariance", "rescaled"]


def rescaled(weight: Tensor, target: float, threshold: float = 1.2) -> Tensor:
    """Return a weight with its standard deviation pulled back to a target, or as it is where that is near enough.

    >>> rescaled(torch.tensor([[0.04, -0.02], [0.0, 0.06]]), 0.01)
    tensor([[0.0255, 0.0090],
            [0.0145, 0.0310]])

    Args:
        weight: the weight.
        target: its standard deviation, over all entries.
        threshold: how many times the target is too much.
    """
    mean, std = weight.mean(), weight.std()
    return (weight - mean) / std * target + mean if std > threshold * target else weight


class TargetVariance:
    """Pull the weights of linear layers back to a target, every so many steps.

    >>> model = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(64, 64)])})
    >>> rescaling = TargetVariance(model, target=0.01, interval=2)
    >>> rescaling.step(), rescaling.step()
    ([], ['layers.0.weight'])
    >>> round(model["layers"][0].weight.std().item(), 4)
    0.01

    Args:
        model: whose weights.
        layers: the path of the list of layers; what lies outside of it is left alone.
        target: the standard deviation.
        threshold: how many times the target is too much.
        interval: how many steps from one rescaling to the next.
        by_layer: divide the target of layer l (from 1) by sqrt(l).
        zero_bias: set the bias of what is rescaled to 0, as the published code does.

    Raises:
        MethodError: a value out of its range, or no linear layer at that path.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layers: str = "layers",
        target: float = 0.02,
        threshold: float = 1.2,
        interval: int = 50,
        by_layer: bool = False,
        zero_bias: bool = False,
    ) -> None:
        problems = []
        if not target > 0:
            problems.append(f"target is above 0, not {target}")
        if not threshold >= 1:
            problems.append(f"threshold is at least 1, not {threshold}")
        if interval < 1:
            problems.append(f"interval is at least 1, not {interval}")
        if problems:
            raise MethodError("Weights cannot be rescaled so.", problems=problems)
        self.threshold, self.interval, self.zero_bias, self.steps = threshold, interval, zero_bias, 0
        pattern = re.compile(rf"{re.escape(layers)}\.(\d+)(\.|$)")
        self._targets: list[tuple[str, nn.Module, float]] = []
        for name, module in model.named_modules():
            if (found := pattern.match(name)) and _is_linear(module):
                layer = int(found[1]) + 1
                self._targets.append((name, module, target / layer**0.5 if by_layer else target))
        if not self._targets:
            lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
            raise MethodError(
                f"There is no linear layer in a list {layers!r}.",
                hint=f"Lists of modules here: {', '.join(lists) or 'none'}.",
            )

    @torch.no_grad()
    def step(self) -> list[str]:
        """Count a step of the optimiser; return the names of the weights rescaled after it."""
        self.steps += 1
        return self.rescale() if self.steps % self.interval == 0 else []

    @torch.no_grad()
    def rescale(self) -> list[str]:
        """Rescale now; return the names of the weights that were."""
        changed = []
        for name, module, target in self._targets:
            weight, bias = module.weight, module.bias
            assert isinstance(weight, Tensor)
            new = rescaled(weight, target, self.threshold)
            if new is weight:
                continue
            weight.copy_(new)
            changed.append(f"{name}.weight")
            if self.zero_bias and isinstance(bias, Tensor):
                bias.zero_()
        return changed

    def state_dict(self) -> dict[str, int]:
        """Return the count of steps."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take up a count of steps."""
        self.steps = state["steps"]


def _is_linear(module: nn.Module) -> bool:
    """Say whether a module is a linear layer: PyTorch's, or GPT-2's, which keeps its weight transposed."""
    kinds: Iterable[str] = (kind.__name__ for kind in type(module).__mro__)
    return isinstance(module, nn.Linear) or ("Conv1D" in kinds and not isinstance(module, nn.Conv1d))
