"""The verb: a module initialised in place, or a lazy checkpoint of a model that a config describes."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from scionwood import anatomy as anatomies
from scionwood.anatomy import Model
from scionwood.anatomy.layout import Slot, layout_of
from scionwood.checkpoint import (
    Checkpoint,
    ComputedTensor,
    Entry,
    LazyTensor,
    Ledger,
    Lineage,
    Parent,
    installed_versions,
)
from scionwood.errors import AnatomyError, MethodError
from scionwood.methods import registry
from scionwood.methods.record import Record, resolve
from scionwood.verbs.fresh import FreshWeights
from scionwood.verbs.initialize.calibrate import calibrate, said, unfit
from scionwood.verbs.initialize.drawing import Drawing
from scionwood.verbs.initialize.inputs import read_inputs
from scionwood.verbs.target import config_of, with_dtype

__all__ = ["drawing_of", "initialize"]

IN_MEMORY = "a batch in memory"
"""What the lineage says of inputs that no file holds: whoever makes it again is told that there is no such file."""

OUTPUTS = "outputs"
"""The statistic that the verb itself measures, by passing a batch through the model."""


@overload
def initialize(
    target: nn.Module,
    *,
    method: str = "layer_index",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    inputs: object = None,
    statistics: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
) -> Ledger: ...
@overload
def initialize(
    target: str | Path | Mapping[str, Any] | Checkpoint,
    *,
    method: str = "layer_index",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    inputs: object = None,
    statistics: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
) -> Checkpoint: ...


def initialize(
    target: Any,
    *,
    method: str = "layer_index",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    inputs: object = None,
    statistics: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
) -> Checkpoint | Ledger:
    """Give a model its first weights, each by what it is in the model's graph: its fans, its depth, its branch, its attention.

    Args:
        target: a module, which is changed in place; or a config (a folder, a file, a hub id, a mapping), of which a
            checkpoint is made.
        method: a method of the family initialize; ``scionwood methods initialize`` lists them.
        options: the method's own options.
        seed: of everything random.
        inputs: for plain modules, example inputs: a tensor, a tuple or a dict; for ``lsuv`` the batch it measures. Either
            may be a file: a ``.safetensors`` or torch file of inputs by name, or one array as ``.npy``.
        statistics: what a method needs beside the model, by name: for ``virgo`` the graph.
        only: patterns of tensor names, as ``"*.mlp.*"``; other tensors are left as they are.

    Returns:
        For a module its ledger: every parameter that was initialised or left, and why. For a config a lazy checkpoint
        in the layout that the class saves; what the method leaves begins as the class itself begins it.

    Raises:
        SourceError: the config cannot be read.
        AnatomyError: the model cannot be built or traced.
        MethodError: an unknown method or option, or what it needs is missing.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> ledger = initialize(net, method="zero", inputs=torch.zeros(1, 4))
        >>> ledger, net[2].weight.detach()[0].tolist()
        (Ledger(4 initialized), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """
    given = str(inputs) if isinstance(inputs, (str, Path)) else None if inputs is None else IN_MEMORY
    if isinstance(target, nn.Module):
        _check_filled(target)
    inputs = read_inputs(inputs) if isinstance(inputs, (str, Path)) else inputs
    model = _model(target, inputs)
    drawing = drawing_of(model, method, options, seed, statistics, only)
    if isinstance(target, nn.Module):
        return _in_place(target, model, drawing, inputs)
    unsaid = [name for name, value in drawing.options.items() if callable(value)]
    if unsaid:
        raise MethodError(
            f"The lineage of a checkpoint cannot say a function: {', '.join(unsaid)}",
            hint="give its name, or write it out, as in 'mul(x, sigmoid(x))'; a module that is changed in place takes functions",
        )
    return _checkpoint(target, model, drawing, method, inputs, given, only)


def drawing_of(
    model: Model,
    method: str,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    statistics: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
) -> Drawing:
    """Ask a method about a model.

    Raises:
        MethodError: an unknown method or option, statistics that are missing, or a pattern that fits nothing.
    """
    function = registry.load(method, family="initialize")
    resolved = resolve(function, dict(options or {}))
    record = Record.of(function)
    given = dict(statistics or {})
    missing = sorted(record.statistics - {OUTPUTS} - set(given))
    if missing:
        raise MethodError(
            f"{method} needs what no config says: {', '.join(missing)}",
            hint=f"from Python: initialize(…, statistics={{{', '.join(f'{name!r}: …' for name in missing)}}}); "
            f"scionwood methods initialize.{method} describes them",
        )
    return Drawing(model, anatomies.derive(model), function, resolved, seed, given, only)


def _model(target: Any, inputs: object) -> Model:
    if isinstance(target, nn.Module):
        if type(target).__module__.startswith("transformers."):
            config = copy.deepcopy(cast("Any", target.config))
            config.architectures = [type(target).__name__]
            return anatomies.from_config(config, type(target).__name__)
        if inputs is None:
            raise MethodError(
                f"{type(target).__name__} is a plain module, whose graph needs example inputs",
                hint="give inputs=…: a tensor, a tuple or a dict that its forward takes",
            )
        return anatomies.from_module(target, inputs)
    if isinstance(target, (str, Path)):
        return anatomies.model(str(target))
    return anatomies.from_config(config_of(target))


def _needs_outputs(drawing: Drawing) -> bool:
    return OUTPUTS in drawing.record.statistics


def _in_place(module: nn.Module, model: Model, drawing: Drawing, inputs: object) -> Ledger:
    state = {name: tensor.detach() for name, tensor in module.state_dict(keep_vars=True).items()}
    if _needs_outputs(drawing) and inputs is None:
        raise MethodError(
            f"{drawing.record.name.partition('.')[2]} measures the outputs of layers, and has no batch",
            hint="give inputs=…: a batch of real data, of about unit variance",
        )
    _check_described(module, model)
    with torch.no_grad():
        for name in drawing.tensors:
            drawing.fill(name, state[name])
    notes: dict[str, str] = {}
    if _needs_outputs(drawing):
        # A plain module was exported for the batch itself.
        notes = _calibrated(module, model if model.config is None else _exported(module, inputs), drawing)
    names = list(dict.fromkeys(name for name, _ in module.named_parameters()))
    return Ledger(_noted(drawing.entries(names, {name: state[name].numel() for name in names}), notes))


def _check_filled(module: nn.Module) -> None:
    """Refuse a module without storage, before anything is made of it."""
    ghosts = [name for name, tensor in module.state_dict(keep_vars=True).items() if tensor.is_meta]
    if ghosts:
        more = f" and {len(ghosts) - 4} more" if len(ghosts) > 4 else ""
        raise MethodError(
            f"{type(module).__name__} has tensors without values: {', '.join(ghosts[:4])}{more}",
            hint="give the config instead, or module.to_empty(device='cpu') first",
        )


def _check_described(module: nn.Module, model: Model) -> None:
    """Refuse a module that was changed after its config had made it."""
    real, seen = (
        {name: tuple(each.shape) for name, each in part.state_dict(keep_vars=True).items()}
        for part in (module, model.module)
    )
    problems = [f"{name} is not in the config's model" for name in real if name not in seen]
    problems += [f"{name} is missing" for name in seen if name not in real]
    problems += [
        f"{name} is {real[name]}, and {seen[name]} by its config"
        for name in real
        if seen.get(name, real[name]) != real[name]
    ]
    if problems:
        raise MethodError(
            f"{type(module).__name__} is not what its config describes.",
            problems=problems,
            hint="put the sizes into its config",
        )


def _calibrated(module: nn.Module, model: Model, drawing: Drawing) -> dict[str, str]:
    """Run the pass over the batch that a model was exported for; what is to be said of each weight."""
    told = {name: drawing.options[name] for name in ("std", "tolerance", "attempts", "center")}
    weights = dict.fromkeys(place.tensor for place in drawing.chosen if place.site.is_weight)
    return {name: said(outcomes) for name, outcomes in calibrate(module, model, weights, **told).items()}


def _exported(module: nn.Module, inputs: object) -> Model:
    """A module, exported for a batch."""
    try:
        return anatomies.from_module(module, inputs)
    except AnatomyError as error:
        raise unfit(error.message) from error


def _noted(entries: Any, notes: Mapping[str, str]) -> list[Entry]:
    return [
        Entry(
            entry.name,
            "initialized",
            None,
            ", ".join(filter(None, [_said(entry), notes[entry.name]])),
            entry.parameters,
        )
        if entry.name in notes
        else entry
        for entry in entries
    ]


def _said(entry: Entry) -> str:
    return entry.detail if entry.action == "initialized" else ""


def _checkpoint(
    target: Any, model: Model, drawing: Drawing, method: str, inputs: object, given: str | None, only: Sequence[str]
) -> Checkpoint:
    layout = layout_of(model)
    state = model.module.state_dict(keep_vars=True)
    notes: dict[str, str] = {}
    made: Mapping[str, Tensor] | None = None
    if _needs_outputs(drawing):
        made, notes = _whole(model, drawing, inputs)
    fresh = FreshWeights(model, drawing.seed)
    touched = drawing.tensors
    covered = {name for name in touched if _covered(drawing, name)}

    def whole(name: str) -> Tensor:
        if made is not None:
            return made[name]
        tensor = torch.empty(state[name].shape) if name in covered else fresh.tensor(name).clone()
        if name in touched:
            drawing.fill(name, tensor)
        return tensor

    def part(slot: Slot, dtype: torch.dtype, start: int, stop: int) -> Tensor:
        box = tuple(slice(begin, begin + size) for begin, size in zip(slot.start, slot.size, strict=True))
        folded = slot.fold(whole(slot.tensor)[box]).to(dtype)
        return folded[start:stop] if slot.shape else folded

    tensors: dict[str, LazyTensor] = {}
    entries: list[Entry] = []
    told = {
        entry.name: entry
        for entry in _noted(drawing.entries(list(layout), {name: state[name].numel() for name in layout}), notes)
    }
    for slot in layout.slots:
        dtype = torch.float32 if state[slot.tensor].is_floating_point() else state[slot.tensor].dtype
        tensors[slot.name] = ComputedTensor(slot.name, slot.shape, dtype, partial(part, slot, dtype), whole=True)
        entry = told[slot.tensor]
        detail = entry.detail if entry.action == "initialized" else f"{entry.detail}: begins as its class begins it"
        entries.append(Entry(slot.name, entry.action, None, detail, math.prod(slot.shape)))
    config = None if model.config is None else with_dtype(config_of(model.config), torch.float32)
    name = str(target) if isinstance(target, (str, Path)) else model.source
    recipe: dict[str, Any] = {
        "verb": "initialize",
        "target": str(target) if isinstance(target, (str, Path)) else config,
        "method": method,
        "options": drawing.options,
        "only": list(only),
        "inputs": given if _needs_outputs(drawing) else None,
    }
    aliases = {alias: kept for alias, kept in anatomies.derive(model).ties.items() if kept in tensors}
    return Checkpoint(
        tensors=tensors,
        ties={alias: kept for alias, kept in aliases.items() if alias not in tensors},
        config=config,
        source=f"initialize({name})",
        lineage=Lineage(
            {key: value for key, value in recipe.items() if value},
            () if given in (None, IN_MEMORY) else (Parent.of_file(Path(given).expanduser(), "batch"),),
            drawing.seed,
            installed_versions("transformers"),
        ),
        ledger=Ledger(entries),
    )


def _covered(drawing: Drawing, name: str) -> bool:
    """Whether a method sets all of a tensor, so that nothing of the class's own start is left."""
    here = [place for place in drawing.places if place.tensor == name]
    chosen = set(drawing.chosen)
    return all(place in chosen and drawing.kind(place.site) is not None for place in here)


def _whole(model: Model, drawing: Drawing, inputs: object) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The whole model in memory, for a method that must see what its layers put out."""
    fresh = FreshWeights(model, drawing.seed)
    module = model.rebuild()
    state = {name: tensor.detach() for name, tensor in module.state_dict(keep_vars=True).items()}
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.is_floating_point():
                tensor.copy_(fresh.tensor(name))
        for name in drawing.tensors:
            drawing.fill(name, state[name])
    if inputs is None:
        warnings.warn(
            f"{drawing.record.name.partition('.')[2]} measures on made-up inputs: give a batch of real ones "
            "(inputs=…, --data FILE)",
            stacklevel=4,
        )
    args, kwargs = model.inputs
    return state, _calibrated(module, _exported(module, (kwargs or args) if inputs is None else inputs), drawing)
