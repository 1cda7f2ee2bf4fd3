"""Generating: a target's weights from what was trained to give weights, and how its other tensors begin."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scionwood import anatomy as anatomies
from scionwood.anatomy.layout import Slot, layout_of
from scionwood.checkpoint import (
    Checkpoint,
    ComputedTensor,
    Entry,
    LazyTensor,
    Ledger,
    Lineage,
    MemoryTensor,
    Source,
    installed_versions,
    parent_of,
    told,
)
from scionwood.checkpoint import open as open_checkpoint
from scionwood.engine.threads import use_threads
from scionwood.errors import MethodError
from scionwood.methods.record import Record
from scionwood.train.growth import saved
from scionwood.train.growth.denoised import BlockDiffusion
from scionwood.train.growth.hypernetwork import LowRankHyperNet, named_layers
from scionwood.verbs.fresh import FreshWeights, generator_for
from scionwood.verbs.pair import told_target
from scionwood.verbs.target import Target, config_of, target_config, with_dtype

__all__ = ["check_model", "generate"]

TRAINED: Mapping[str, Callable[[Source], Any]] = {"network": LowRankHyperNet.load, "diffusion": BlockDiffusion.load}
"""The input of a method → what reads it from a file."""

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def generate(
    function: Callable[..., dict[str, Tensor]],
    source: Source,
    like: Target | None,
    changes: Mapping[str, Any] | None,
    options: Mapping[str, Any],
    seed: int,
) -> Checkpoint:
    """Return a checkpoint of the target with the weights that a method gives it.

    They are made when this is called, on one thread: how many there are shows in the last bits.

    Args:
        function: a method that generates.
        source: what was trained and saved.
        like: the target.
        changes: settings of its config.
        options: of the method, resolved.
        seed: of everything random.

    Raises:
        SourceError: the source is no saved predictor of the method's kind.
        MatchError: the target has nothing that weights are given for, or is not what the source was trained on.
        MethodError: there is no target, or it is larger than the source was trained for.
    """
    record = Record.of(function)
    method = record.name.removeprefix("grow.")
    if like is None:
        raise MethodError(
            f"{method} gives weights to a target, and there is none: its source is no model, and has no config",
            hint="give --like (like=…): a folder or a file with a config, or from Python a module",
        )
    checkpoint = open_checkpoint(source)
    trained = {name: load(checkpoint) for name, load in TRAINED.items() if name in record.inputs}
    like = _as_config(like)
    target = _target(like, changes, seed)
    at_hand = {**trained, "generator": generator_for(seed, record.name)}
    if "layers" in record.inputs:
        at_hand["layers"] = target.layers
    if "shapes" in record.inputs:
        at_hand["shapes"] = target.shapes(trained["diffusion"].packing.names)
    with use_threads(1), torch.no_grad():
        made = function(*(at_hand[name] for name in record.inputs), **options)
    tensors, ledger = target.stored(made)
    recipe: dict[str, Any] = {"verb": "grow", "source": told(checkpoint), "like": told_target(like), "set": changes}
    recipe |= {"method": method, "options": options}
    return Checkpoint(
        tensors=tensors,
        ties=dict(target.ties(tensors)),
        config=None if target.config is None else with_dtype(target.config, _floating(tensors.values())),
        source=f"grow({checkpoint.source})",
        lineage=Lineage(
            {name: value for name, value in recipe.items() if value},
            (parent_of(checkpoint, "source"),),
            seed,
            installed_versions("transformers"),
        ),
        ledger=ledger,
    )


def check_model(checkpoint: Checkpoint, method: str) -> None:
    """Refuse to grow what is no model.

    Raises:
        MethodError: it is a saved predictor, and the method takes a model.
    """
    if kind := saved.kind_of(checkpoint):
        raise MethodError(
            f"{checkpoint.source} is no model that {method} can grow: it was saved for the method {kind}",
            hint=f"give --method {kind}",
        )


@dataclasses.dataclass(frozen=True)
class _Target:
    """What gets weights.

    Attributes:
        state: its tensors by the module's names; names that are tied have one tensor.
        slots: what of them is stored, and where.
        begin: gives a tensor's first values.
        begins: how that is done, in words.
        module: the module; nothing, where a file of weights tells names and shapes alone.
        config: its config, where it has one.
    """

    state: Mapping[str, Tensor]
    slots: Sequence[Slot]
    begin: Callable[[str], Tensor]
    begins: str
    module: nn.Module | None = None
    config: dict[str, Any] | None = None

    @cached_property
    def buffers(self) -> frozenset[str]:
        """The names of its buffers."""
        return frozenset() if self.module is None else frozenset(name for name, _ in self.module.named_buffers())

    @property
    def layers(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the weights of its Linears and convolutions, by the layers' names."""
        if self.module is None:
            raise MethodError(
                "a file of weights does not say which of its tensors are layers, and in which order they come",
                hint="give a config, or from Python the module: like=module",
            )
        return {name: tuple(layer.weight.shape) for name, layer in named_layers(self.module).items()}

    def shapes(self, known: Collection[str]) -> dict[str, tuple[int, ...]]:
        """The shapes of its tensors, but for buffers and second names of tied tensors that are not among those known.

        They go by the names that its files have, where those known do, and by the module's otherwise.
        """
        files = {slot.name: slot for slot in self.slots}
        if sum(name in files for name in known) > sum(name in self.state for name in known):
            return {
                name: slot.shape for name, slot in files.items() if name in known or slot.tensor not in self.buffers
            }
        held = {id(self.state[name]) for name in known if name in self.state}
        return {
            name: tuple(tensor.shape)
            for name, tensor in self.state.items()
            if name in known or not (id(tensor) in held or name in self.buffers)
        }

    def stored(self, made: Mapping[str, Tensor]) -> tuple[dict[str, LazyTensor], Ledger]:
        """Return its tensors as they are stored, and the ledger.

        Args:
            made: what a method gave, by the module's names or those of its files; biases that layers do not have are
                passed over.
        """
        by_tensor: dict[int, Tensor] = {}
        for name, tensor in made.items():
            if name in self.state:
                by_tensor.setdefault(id(self.state[name]), tensor)
        tensors: dict[str, LazyTensor] = {}
        entries: list[Entry] = []
        floating = _floating(made.values())
        for slot in self.slots:
            own = self.state[slot.tensor]
            whole = by_tensor.get(id(own))
            given = made.get(slot.name) if whole is None else slot.fold(whole[_box(slot)])
            if given is None:
                dtype = floating if self.config is not None and own.is_floating_point() else own.dtype
                tensors[slot.name] = self._fresh(slot, dtype)
                entries.append(Entry(slot.name, "fresh", None, self._why(slot.tensor), math.prod(slot.shape)))
                continue
            # A module and a file say what their tensors are.
            values = given.to(given.dtype if self.config is not None else own.dtype).contiguous()
            tensors[slot.name] = MemoryTensor(slot.name, values)
            entries.append(Entry(slot.name, "predicted", None, "", values.numel()))
        return tensors, Ledger(entries)

    def ties(self, tensors: Collection[str]) -> Iterator[tuple[str, str]]:
        """Names that are not stored, each with the stored one that has its tensor."""
        kept = {id(self.state[slot.tensor]): slot.name for slot in self.slots if slot.name == slot.tensor}
        for name, tensor in self.state.items():
            if name not in tensors and id(tensor) in kept:
                yield name, kept[id(tensor)]

    def _fresh(self, slot: Slot, dtype: torch.dtype) -> LazyTensor:
        if self.module is not None and self.state[slot.tensor].is_meta:
            raise MethodError(
                f"{slot.tensor} of the target is not predicted, and has no values",
                hint="give the module with storage: module.to_empty(device='cpu') and its first weights",
            )

        def make(start: int, stop: int) -> Tensor:
            values = slot.fold(self.begin(slot.tensor)[_box(slot)]).to(dtype)
            return values[start:stop] if slot.shape else values

        return ComputedTensor(slot.name, slot.shape, dtype, make, whole=True)

    def _why(self, tensor: str) -> str:
        """Why a tensor is not predicted, and how it begins."""
        if self.module is None or tensor in self.buffers:
            return f"not predicted: {self.begins}"
        owner = self.module.get_submodule(tensor.rpartition(".")[0])
        reason = f"{type(owner).__name__} is no Linear and no convolution"
        if isinstance(owner, nn.Linear | nn.Conv2d):
            reason = "the weight beside it is that of another layer"
        return f"{reason}: {self.begins}"


def _as_config(like: Any) -> Any:
    """A module of transformers as the config that makes it again; everything else as it is."""
    if isinstance(like, nn.Module) and hasattr(getattr(like, "config", None), "to_json_string"):
        return {**config_of(like), "architectures": [type(like).__name__]}
    return like


def _target(like: Any, changes: Mapping[str, Any] | None, seed: int) -> _Target:
    stored = isinstance(like, (str, Path)) and str(like).endswith(WEIGHTS)
    if stored or isinstance(like, nn.Module) or (isinstance(like, Checkpoint) and not like.config):
        if changes:
            raise MethodError(
                f"{', '.join(changes)} cannot be set: the target has no config", hint="set changes what a config says"
            )
        return _of_module(like) if isinstance(like, nn.Module) else _of_weights(open_checkpoint(like))
    config = target_config({}, like, changes, "first")
    model = anatomies.from_config(config, str(like) if isinstance(like, (str, Path)) else "the target")
    state = model.module.state_dict(keep_vars=True)
    begin = FreshWeights(model, seed).tensor
    return _Target(state, layout_of(model).slots, begin, "begins as its class begins it", model.module, config)


def _of_module(module: nn.Module) -> _Target:
    state = module.state_dict(keep_vars=True)
    first: dict[int, str] = {}
    for name, tensor in state.items():
        first.setdefault(id(tensor), name)
    slots = [_whole(name, tuple(state[name].shape)) for name in first.values()]
    return _Target(state, slots, lambda name: state[name].detach(), "stays as the module has it", module)


def _of_weights(checkpoint: Checkpoint) -> _Target:
    """Names and shapes of a file alone; what it holds is not looked at."""
    state = {
        name: torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        for name, tensor in checkpoint.tensors.items()
    }
    slots = [_whole(name, tuple(tensor.shape)) for name, tensor in state.items()]
    tied = {alias: state[kept] for alias, kept in checkpoint.ties.items()}
    return _Target({**state, **tied}, slots, checkpoint.__getitem__, "stays as the file has it")


def _whole(name: str, shape: tuple[int, ...]) -> Slot:
    return Slot(name, name, (0,) * len(shape), shape, tuple(range(len(shape))))


def _box(slot: Slot) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(slot.start, slot.size, strict=True))


def _floating(tensors: Collection[Any]) -> torch.dtype:
    """The floating dtype that most of the numbers have."""
    held: Counter[torch.dtype] = Counter()
    for tensor in tensors:
        if tensor.dtype.is_floating_point:
            held[tensor.dtype] += math.prod(tensor.shape)
    return held.most_common(1)[0][0] if held else torch.float32
