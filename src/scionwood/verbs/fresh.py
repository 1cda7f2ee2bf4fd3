"""Fresh tensors: what a target has and no source gives, initialised as the target's own class does it."""

from __future__ import annotations

import copy
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
    """Makes tensors of a model as its class initialises them, one owning module at a time.

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
            made = self._from_owner(name)
            return made if made is not None else self._from_whole(name)

    def _from_owner(self, name: str) -> Tensor | None:
        """Make the module that owns the tensor, alone; nothing, if its class does not say how."""
        if self.model.config is None:
            return None
        if self._skeleton is None:
            with torch.device("meta"):
                self._skeleton = self.model.rebuild()
        path, _, leaf = name.rpartition(".")
        owner = self._skeleton.get_submodule(path)
        # transformers' models say in _init_weights how their parts begin; the innermost one counts.
        models = [
            part
            for prefix, part in self._skeleton.named_modules()
            if hasattr(part, "_init_weights") and name.startswith(f"{prefix}." if prefix else "")
        ]
        # A twin of the module with storage of its own.
        alone = copy.copy(owner)
        for store in ("_parameters", "_buffers"):
            setattr(alone, store, {name: _unset(tensor) for name, tensor in getattr(owner, store).items()})
        reset: Callable[[], object] | None = getattr(alone, "reset_parameters", None)
        if reset is not None:
            reset()
        if models:
            cast("Any", models[-1])._init_weights(alone)
        made: Tensor | None = getattr(alone, leaf, None)
        if made is None or not made.is_floating_point() or bool(made.isnan().any()):
            return None
        return made.detach()

    def _from_whole(self, name: str) -> Tensor:
        if self._whole is None:
            torch.manual_seed(self.seed)
            self._whole = self.model.rebuild()
        return self._whole.state_dict()[name].detach()


def _unset(tensor: Tensor | None) -> Tensor | None:
    """Storage whose values are marked as not set yet."""
    if tensor is None:
        return None
    unset = float("nan") if tensor.is_floating_point() else 0
    empty = torch.full(tensor.shape, unset, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
