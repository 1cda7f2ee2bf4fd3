"""Fresh tensors: what a target has and no source gives, initialised as the target's own class does it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from scionwood.anatomy import Model

__all__ = ["FreshWeights", "generator_for"]


def generator_for(seed: int, *names: object) -> torch.Generator:
    """A generator that depends on the seed and on names alone: not on threads, order or machine.

    >>> torch.rand(1, generator=generator_for(0, "a")).equal(torch.rand(1, generator=generator_for(0, "a")))
    True
    """
    digest = hashlib.sha256("\0".join([str(seed), *map(str, names)]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class FreshWeights:
    """Makes tensors of a model as its class begins them, one at a time and without the memory of the others.

    A plain module has no class that says so: its tensors are those of the module itself.

    Args:
        model: the model whose tensors are asked for.
        seed: of everything random.
    """

    _lock = threading.Lock()

    def __init__(self, model: Model, seed: int) -> None:
        self.model = model
        self.seed = seed
        self._whole: nn.Module | None = None
        self._skeleton: nn.Module | None = None

    def tensor(self, name: str) -> Tensor:
        """The tensor of this name in the module, in the dtype the class gives it."""
        # PyTorch's initialisers draw from the global generator, so one at a time, and it is put back afterwards.
        with FreshWeights._lock, torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator_for(self.seed, "fresh", name))))
            made = self._alone(name) if self.model.config is not None else None
            return made if made is not None else self._from_whole(name)

    def _alone(self, name: str) -> Tensor | None:
        """Begin one tensor in a model whose others have no storage; nothing, if what its class does leaves it unset."""
        if self._skeleton is None:
            with torch.device("meta"):
                self._skeleton = self.model.rebuild()
        path, _, leaf = name.rpartition(".")
        owner = self._skeleton.get_submodule(path)
        ghost = getattr(owner, leaf)
        if not ghost.is_floating_point():
            return None
        real = torch.full(ghost.shape, float("nan"), dtype=ghost.dtype, device="cpu")
        real = nn.Parameter(real, requires_grad=False) if isinstance(ghost, nn.Parameter) else real
        _put(self._skeleton, ghost, real)
        try:
            _begin(self._skeleton, path)
        except (RuntimeError, NotImplementedError):
            return None  # it looks at numbers that are not there
        finally:
            _put(self._skeleton, real, ghost)
        return None if bool(real.isnan().any()) else real.detach()

    def _from_whole(self, name: str) -> Tensor:
        if self._whole is None:
            torch.manual_seed(self.seed)
            self._whole = self.model.rebuild()
        return self._whole.state_dict()[name].detach()


def _begin(model: nn.Module, path: str) -> None:
    """Do to a part of a model what making the model does: the part's own start, then what the parts around it do, innermost first.

    transformers' models say in ``_init_weights`` how any of their parts begins; the innermost model around a part counts.
    """
    reset: Callable[[], object] | None = getattr(model.get_submodule(path), "reset_parameters", None)
    if reset is not None:
        reset()
    segments = path.split(".") if path else []
    around = [model.get_submodule(".".join(segments[:end])) for end in range(len(segments) + 1)]
    for end in range(len(around), 0, -1):
        says = next((part for part in reversed(around[:end]) if hasattr(part, "_init_weights")), None)
        if says is not None:
            cast("Any", says)._init_weights(around[end - 1])


def _put(model: nn.Module, old: Tensor, new: Tensor) -> None:
    """Put one tensor in the place of another wherever a model has it."""
    for part in model.modules():
        for store in (part._parameters, part._buffers):
            for name, tensor in store.items():
                if tensor is old:
                    store[name] = cast("Any", new)
