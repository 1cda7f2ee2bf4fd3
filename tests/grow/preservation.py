"""Whether a grown model computes what its source computed: both are built with random weights, and all outputs compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from scionwood import anatomy
from scionwood.anatomy.layout import layout_of
from scionwood.anatomy.symmetry import _calibrate, _outputs, _random_input, randomize
from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint import open as open_checkpoint
from scionwood.verbs.grow import grow

Config = dict[str, Any]


@dataclasses.dataclass
class Grown:
    """One growth, done.

    Attributes:
        difference: the largest difference over all outputs, relative to the largest output.
        checkpoint: the grown model.
        source: the source module.
        target: the target module, with the grown weights.
        again: compares anew.
    """

    difference: float
    checkpoint: Checkpoint
    source: nn.Module
    target: nn.Module
    again: Callable[[], float]

    @property
    def claims(self) -> bool:
        return any(entry.action == "preserved" for entry in self.checkpoint.ledger or ())

    @property
    def reasons(self) -> list[str]:
        return [entry.detail for entry in self.checkpoint.ledger or () if entry.action == "changed"]


def random_source(config: Config, seed: int = 0) -> tuple[nn.Module, tuple[Any, Any]]:
    """A model with random weights, norms and biases included, and random inputs."""
    built = anatomy.from_config(config)
    found = anatomy.derive(built)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # some tables stay as their class begins them
        module = built.rebuild().eval()
    randomize(module, generator, found)
    args, kwargs = pytree.tree_map_only(Tensor, lambda t: _random_input(t, found, generator), built.inputs)
    _calibrate(module, args, kwargs, generator)
    return module, (args, kwargs)


def stored(module: nn.Module, config: Config) -> Checkpoint:
    checkpoint = open_checkpoint(module)
    if checkpoint.config is None or "model_type" not in checkpoint.config:
        checkpoint = dataclasses.replace(checkpoint, config=config)
    return checkpoint


def grown(config: Config, sizes: Mapping[str, Any], *, eps: float | None = None, **how: Any) -> Grown:
    """Grow a random model of a config to other sizes, and compare."""
    module, (args, kwargs) = random_source(config)
    checkpoint = stored(module, config)
    large = grow(checkpoint, set=sizes, **how)
    built = anatomy.from_config(large.config or {})
    target = built.rebuild().eval()
    state = target.state_dict(keep_vars=True)
    slots = {slot.name: slot for slot in layout_of(built).slots}
    assert set(slots) == set(large.tensors)
    with torch.no_grad():
        for name, slot in slots.items():
            place = tuple(slice(start, start + size) for start, size in zip(slot.start, slot.size, strict=True))
            held = large[name]
            state[slot.tensor][place] = slot.unfold(held) if slot.shape else held
    if eps is not None:
        for part in [*module.modules(), *target.modules()]:
            for name in ("eps", "variance_epsilon"):
                if isinstance(getattr(part, name, None), float):
                    setattr(part, name, eps)

    def again() -> float:
        return difference(module, target, args, kwargs)

    return Grown(again(), large, module, target, again)


def difference(source: nn.Module, target: nn.Module, args: Any, kwargs: Any) -> float:
    """The largest difference over all outputs, relative to the largest; outputs along copied axes are looked at per copy."""
    theirs = _outputs(source, args, kwargs)
    mine = _outputs(target, args, kwargs)
    assert len(mine) == len(theirs)
    worst = 0.0
    for a, b in zip(mine, theirs, strict=True):
        if not b.is_floating_point():
            continue
        for dim in range(b.dim()):
            if a.shape[dim] > b.shape[dim]:
                # Old indices come first, whatever the method.
                a = a.narrow(dim, 0, b.shape[dim])  # noqa: PLW2901
        if a.shape != b.shape:
            return float("inf")
        worst = max(worst, float((a - b).abs().max() / b.abs().max().clamp(min=1e-12)))
    return worst
