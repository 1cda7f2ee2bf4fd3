"""An accelerator of pretence: tensors that say they are elsewhere, and refuse what an accelerator refuses.

Its numbers lie in ordinary memory and are computed there. What it does not do is what goes wrong on a real one: an operation
on tensors of two devices (numbers of no dimension may come along), and a NumPy array of a tensor that is elsewhere.
So what a merge does on a device runs on a machine without one, to the bit as on the CPU.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("cuda", 0)
CPU = torch.device("cpu")
MOVES = {"aten::_to_copy", "aten::copy_"}
MIXED = {*MOVES, "aten::index", "aten::index_put_"}
"""What may have tensors of two devices; indices may lie on the CPU."""


class Elsewhere(Tensor):
    """A tensor of the accelerator; what it holds is an ordinary one."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=CPU
        )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:
        return DEVICE

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        return self.held.clone()

    def tolist(self) -> Any:
        return self.held.tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Elsewhere({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class Accelerator(TorchFunctionMode):
    """Lends this thread an accelerator, ``cuda``: sees what makes a tensor there or moves one there, before torch looks for it."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not any(map(_is_there, (*args, *kwargs.values()))):
            return function(*args, **kwargs)
        here = [CPU if _is_there(value) else value for value in args]
        moved = function(*here, **{name: CPU if _is_there(value) else value for name, value in kwargs.items()})
        return Elsewhere(moved) if isinstance(moved, Tensor) and not isinstance(moved, Elsewhere) else moved


def _is_there(value: Any) -> bool:
    return isinstance(value, (str, torch.device)) and str(value).partition(":")[0] == DEVICE.type


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Elsewhere)]
    here = [tensor for tensor in tensors if not isinstance(tensor, Elsewhere) and tensor.dim()]
    name = function._schema.name
    if there and here and name not in MIXED:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {DEVICE} and cpu")
    held_args, held_kwargs = tree_map_only(Elsewhere, lambda tensor: tensor.held, (args, kwargs))
    result = function(*held_args, **held_kwargs)
    stays = isinstance(args[0], Elsewhere) and kwargs.get("device") is None
    if name in MOVES and not stays:
        return result  # to the CPU, whose tensor may be the one given
    # What was changed in place is returned as it was given.
    given = {id(tensor.held): tensor for tensor in there}
    return tree_map_only(Tensor, lambda tensor: given[id(tensor)] if id(tensor) in given else Elsewhere(tensor), result)
