"""Learning: maps between the axes of two models, learned on text; which axes there are comes from their graphs alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scionwood.anatomy import AxisMap, Model
from scionwood.anatomy.layout import Layout, Slot
from scionwood.checkpoint import Checkpoint, Entry, LazyTensor
from scionwood.checkpoint.tensor import MemoryTensor
from scionwood.engine.threads import use_threads
from scionwood.errors import MethodError
from scionwood.methods.grow.ligo import depth_start
from scionwood.train.growth.learned import LinearMap, Weight, teach
from scionwood.train.text import Objective, objective_of, places_predicted, text_loss
from scionwood.verbs.fresh import FreshWeights, generator_for
from scionwood.verbs.grow.maps import Growths, alike
from scionwood.verbs.making import Maker
from scionwood.verbs.predicting import longest_piece, needed_token, pieces, state_of
from scionwood.verbs.vocabulary.inputs import read_text
from scionwood.verbs.vocabulary.tables import tables_of
from scionwood.verbs.vocabulary.tokens import Tokens, tokens_beside

__all__ = ["Learned", "Learner", "documents_of", "learn"]

HELD_OUT = 10
"""One part in so many, the end of the text, is not learned on: the loss is measured there."""

_ANY_LOSS = "scionwood.train.growth.learned.fit learns the map of any module on any loss, with axes that you name"


@dataclasses.dataclass(frozen=True)
class Learned:
    """What was learned.

    Attributes:
        tensors: tensors of the target's module, by name.
        layers: from how many layers of the source each of them is mixed.
        told: what the maps are, and what the loss on text that they did not learn on was before and after.
    """

    tensors: Mapping[str, Tensor]
    layers: Mapping[str, int]
    told: str


@dataclasses.dataclass(frozen=True)
class Learner(Maker):
    """Makes every tensor that a target with learned weights stores, and its line in the ledger."""

    learned: Learned | None = None

    def _taken(self, slot: Slot, boxes: Sequence[Slot], maps: Sequence[AxisMap]) -> tuple[LazyTensor, Entry]:
        assert self.learned is not None
        layers = self.learned.layers.get(slot.tensor, 0)
        if layers <= 1 and all(each.is_identity for each in maps):
            return super()._taken(slot, boxes, maps)
        box = tuple(slice(start, start + size) for start, size in zip(slot.start, slot.size, strict=True))
        dtype = self.checkpoint.tensors[boxes[0].name].dtype
        made = slot.fold(self.learned.tensors[slot.tensor][box]).to(dtype).contiguous()
        told = [f"{each.target} from {each.source}" for each in maps if not each.is_identity]
        told += [f"of {layers} layers"] if layers > 1 else []
        source = ", ".join(each.name for each in boxes)
        return MemoryTensor(slot.name, made), Entry(slot.name, "learned", source, ", ".join(told), made.numel())


def documents_of(method: str, text: Sequence[str | Path], *, learned: bool) -> list[str]:
    """Read the text, where the method learns from it.

    Raises:
        MethodError: it learns and there is none, or does not and there is some.
        SourceError: a file cannot be read.
    """
    if learned and not text:
        raise MethodError(
            f"{method} learns its maps on text, and has none.",
            hint=f"give --text FILE (text=…), some hundred kilobytes of what the model is for; {_ANY_LOSS}",
        )
    if text and not learned:
        raise MethodError(f"{method} learns nothing from text.", hint="leave --text out, or take --method ligo")
    return read_text(text)


def learn(
    checkpoint: Checkpoint,
    smaller: Model,
    larger: Model,
    config: Mapping[str, Any] | None,
    growths: Growths,
    read: Layout,
    fresh: FreshWeights,
    documents: Sequence[str],
    options: Mapping[str, Any],
    seed: int,
) -> Learned:
    """Learn the maps on text: the same steps, in the same order, for the same seed.

    Args:
        checkpoint: the source's weights, and its tokenizer.
        smaller: the source's model.
        larger: the target's.
        config: the target's config.
        growths: where the maps begin.
        read: where on disk the source's tensors lie.
        fresh: makes what the source does not have.
        documents: the text.
        options: of the method.
        seed: of everything random.

    Raises:
        MethodError: the model predicts no tokens, the text is too short, or the loss does not stay finite.
        MatchError: there is no tokenizer, or the models put a dimension together differently.
    """
    objective = None if config is None else objective_of(larger.module)
    if objective is None:
        raise MethodError(
            f"{type(larger.module).__name__} predicts no tokens, which is what maps are learned on", hint=_ANY_LOSS
        )
    tokens = tokens_beside(checkpoint, min(table.rows for table in tables_of(smaller, checkpoint)))
    needed = _needed(objective, larger.module, tokens, checkpoint)
    length = longest_piece(larger.module, options["length"])
    taught, held = _parted(tokens, documents, length)
    found = state_of(smaller, read, checkpoint)
    growth, layers = _map(growths, found, fresh, options["noise"], seed)

    module = larger.rebuild().eval()
    for name in growths.match.fresh:
        module.state_dict()[name].copy_(fresh.tensor(name))
    with use_threads(options["threads"]):
        module.load_state_dict(growth.materialise(), strict=False)
        before = _loss(module, held, length, objective, needed)
        teach(
            growth,
            module,
            _batches(taught, length, options["batch"], generator_for(seed, growths.record.name, "batches")),
            loss=lambda model, ids: _per_token(model, ids, objective, needed),
            steps=options["steps"],
            learning_rate=options["learning_rate"],
        )
        after = _loss(module, held, length, objective, needed)
        made = growth.materialise()
    if not math.isfinite(after):
        raise MethodError(
            f"The maps do not learn: after {options['steps']} steps the loss is {after}, before it was {before:.4g}.",
            hint=f"give a smaller learning_rate than {options['learning_rate']:g}",
        )
    numbers = sum(weight.numel() for weight in growth.parameters())
    told = (
        f"{len(list(growth.new.parameters()))} maps of axes and {len(list(growth.mixtures.parameters()))} of layers, "
        f"{numbers:,} numbers, learned in {options['steps']} steps of {options['batch']} x {length} tokens: "
        f"{before:.4f} nats a token before, {after:.4f} after, on the end of the text, which they did not learn on"
    )
    return Learned(made, layers, told)


def _needed(objective: Objective, module: nn.Module, tokens: Tokens, checkpoint: Checkpoint) -> int | None:
    """The mask of a model that fills in masks, and what the decoder of one with an encoder begins with."""
    found = needed_token(objective, module, tokens.special)
    if found is None and objective == "masked":
        raise MethodError(
            f"{checkpoint.source} fills in masks, but its tokenizer names no mask token",
            hint="say which token it is in the tokenizer's special_tokens_map.json",
        )
    if found is None and objective == "prefix":
        raise MethodError(
            f"{checkpoint.source} has a decoder, and its config does not say which token that begins with",
            hint="give the config a decoder_start_token_id",
        )
    return found


def _per_token(module: nn.Module, ids: Tensor, objective: Objective, needed: int | None) -> Tensor:
    """Nats for each token that is predicted, of pieces of one length."""
    count = len(ids) * int(places_predicted(objective, ids.shape[1]).sum())
    return text_loss(module, ids, objective, mask=needed, start=needed) / count


def _parted(tokens: Tokens, documents: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
    """The tokens to learn on, and those to measure on."""
    ids = torch.tensor(tokens.ids("\n\n".join(documents)))
    split = len(ids) - max(2, len(ids) // HELD_OUT)
    if split < length:
        raise MethodError(
            f"The text is too short: of its {len(ids):,} tokens {max(0, split):,} are to learn on, less than one piece of {length}.",
            hint="give more text, or --option length=… for shorter pieces",
        )
    return ids[:split], ids[split:]


def _batches(ids: Tensor, length: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        starts = torch.randint(len(ids) - length + 1, (batch, 1), generator=generator)
        yield ids[starts + torch.arange(length)]


def _loss(module: nn.Module, ids: Tensor, length: int, objective: Objective, needed: int | None) -> float:
    """Nats for each token that is predicted, of the beginning of a text."""
    total = predicted = 0.0
    with torch.no_grad():
        for piece in pieces(ids, length):
            total += float(text_loss(module, piece[None], objective, mask=needed, start=needed))
            predicted += int(places_predicted(objective, len(piece)).sum())
    return total / predicted


def _map(
    growths: Growths, found: Mapping[str, Tensor], fresh: FreshWeights, noise: float, seed: int
) -> tuple[LinearMap, dict[str, int]]:
    """The map as it begins, and from how many layers every tensor is mixed."""
    match, grown = growths.match, growths.grown
    new = {axis: growth.mixing for axis, growth in grown.items() if growth.mixing is not None}
    weights: dict[str, Weight] = {}
    layers: dict[str, int] = {}
    small: dict[str, list[Tensor]] = {}
    begin: dict[str, list[int]] = {}
    shapes = {each: held.shape for each, held in found.items()}
    for name, origin in match.tensors.items():
        if origin not in found:
            continue
        dims = match.target.tensors[name].dims
        for place in range(len(dims)):
            growths.along(name, place)  # says where two models put a dimension together differently
        own, names = alike(match, name, origin, shapes)
        group = " ".join(names)
        small.setdefault(group, [found[each] for each in names])
        starts = begin.setdefault(group, [])
        begins = any(axis in grown and axis not in new for dim in dims for axis in match.target.leaves(dim))
        weights[name] = Weight(group, len(starts), dims, fresh.tensor(name) if begins else None)
        layers[name] = len(names)
        starts.append(own)
    name = growths.record.name
    mixtures = {
        group: depth_start(starts, len(small[group]), noise, generator_for(seed, name, group))
        for group, starts in begin.items()
        if len(small[group]) > 1
    }
    axes = match.target.axes
    sizes = {
        axis: each.size - (int((grown[axis].index < 0).sum()) if axis in grown else 0) for axis, each in axes.items()
    }
    parts = {axis: each.parts for axis, each in axes.items() if each.parts is not None}
    return LinearMap(small, weights, mixtures, new, sizes=sizes, parts=parts), layers
