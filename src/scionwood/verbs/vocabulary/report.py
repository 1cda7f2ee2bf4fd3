"""The report: every method side by side on one model, one new tokenizer and one text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scionwood import anatomy as anatomies
from scionwood.anatomy.layout import layout_on_disk
from scionwood.checkpoint import Checkpoint
from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.record import resolve
from scionwood.methods.vocabulary.rows import Status
from scionwood.verbs.vocabulary.tokens import Tokens
from scionwood.verbs.vocabulary.vocabulary import Setting

__all__ = ["Line", "Report", "report"]

TRAINED = frozenset({"cw2v", "hyperofa"})
"""Methods that train for minutes on real text: a report has them where they are named."""

BUDGET = 4096
"""How many tokens of the text the loss is measured on."""

LENGTH = 128
"""Of the pieces that the text is cut into for that."""

EVERY = 7
"""Every so manieth token is masked for models that fill in masks: about the 15 % that they are trained with."""


@dataclass(frozen=True)
class Line:
    """One method.

    Args:
        method: its name.
        counts: how many rows were copied, mixed, made and drawn.
        bits: per byte of text that the model begins with; nothing for a model that predicts no tokens.
        note: why the method could not be asked, where it could not.
    """

    method: str
    counts: Mapping[Status, int]
    bits: float | None
    note: str = ""


@dataclass(frozen=True)
class Report:
    """What a change of vocabulary would do.

    Args:
        tokens: how many the target has.
        shared: how many of them the source has, too.
        fertility: tokens a word, by the source's tokenizer and by the target's.
        bytes_per_token: of the text, likewise.
        before: bits per byte of the model as it is, with its own tokenizer.
        lines: the methods.
    """

    tokens: int
    shared: int
    fertility: tuple[float, float]
    bytes_per_token: tuple[float, float]
    before: float | None
    lines: tuple[Line, ...]


def report(setting: Setting, methods: Sequence[str] = ()) -> Report:
    """Ask every method for its rows, and measure the loss that the model begins with.

    Args:
        setting: the model, both tokenizers, and the text to measure on.
        methods: by name; all of the family unless given, but for those that train for minutes.

    Raises:
        MethodError: there is no text.
    """
    documents = setting.inputs.documents
    if not documents:
        raise MethodError("A report measures on a text, and has none.", hint="give --report FILE")
    names = list(methods) or [entry.name.partition(".")[2] for entry in registry.listing("vocabulary")]
    model = _Model(setting.checkpoint)
    text = "\n\n".join(documents)
    before = model.bits(model.state(setting.checkpoint, {}), setting.source, text)
    lines = []
    for name in names:
        function = registry.load(name, family="vocabulary")
        if name in TRAINED and not methods:
            lines.append(Line(name, {}, None, "trains for minutes: name it (--method) to have it here"))
            continue
        try:
            made = setting.rows(function, resolve(function, {}))
        except MethodError as error:
            lines.append(Line(name, {}, None, error.message))
            continue
        tables = {key: rows.apply(setting.tables[key].read(setting.source.size)) for key, rows in made.items()}
        first = next(iter(made.values()))
        state = model.state(setting.checkpoint, tables)
        lines.append(Line(name, first.counts, model.bits(state, setting.target, text, setting.target.size)))
    return Report(
        tokens=setting.target.size,
        shared=int((setting.inputs.overlap >= 0).sum()),
        fertility=(_fertility(setting.source, text), _fertility(setting.target, text)),
        bytes_per_token=(_bytes_per_token(setting.source, text), _bytes_per_token(setting.target, text)),
        before=before,
        lines=tuple(lines),
    )


def _fertility(tokens: Tokens, text: str) -> float:
    return len(tokens.ids(text)) / max(1, len(text.split()))


def _bytes_per_token(tokens: Tokens, text: str) -> float:
    return len(text.encode()) / max(1, len(tokens.ids(text)))


class _Model:
    """A model that is run with one vocabulary after another.

    Args:
        checkpoint: its weights and its config.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        config = dict(checkpoint.config or {})
        self.config = config
        self.built = anatomies.from_config(config, checkpoint.source)
        self.layout = layout_on_disk(self.built, {name: tensor.shape for name, tensor in checkpoint.tensors.items()})
        name = next(iter(config.get("architectures") or [type(self.built.module).__name__]))
        self.kind = "causal" if "CausalLM" in name or "LMHead" in name else "masked" if "MaskedLM" in name else None

    def state(self, checkpoint: Checkpoint, tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The module's tensors, with some stored ones in other rows."""
        shapes = self.built.module.state_dict(keep_vars=True)
        found: dict[str, Tensor] = {}
        for slot in self.layout.slots:
            if slot.name in tables:
                rows = tables[slot.name]
                wide = list(shapes[slot.tensor].shape)
                place = slot.order[0]
                wide[place] = len(rows)
                found[slot.tensor] = rows.reshape(wide) if place == 0 else rows.movedim(0, place)
                continue
            whole = found.setdefault(slot.tensor, torch.empty(shapes[slot.tensor].shape))
            box = tuple(slice(start, start + size) for start, size in zip(slot.start, slot.size, strict=True))
            whole[box] = slot.unfold(checkpoint.tensors[slot.name].read()).to(whole.dtype)
        return found

    def bits(self, state: Mapping[str, Tensor], tokens: Tokens, text: str, size: int | None = None) -> float | None:
        """Bits per byte of the text's beginning; nothing where the model predicts no tokens."""
        if self.kind is None:
            return None
        config = self.config if size is None else _resized(self.config, size)
        module = anatomies.from_config(config, "the model").rebuild().eval()
        held = module.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, tensor in state.items():
                held[name].copy_(tensor)
            pieces = list(_pieces(tokens, text))
            mask = tokens.special.get("mask")
            if self.kind == "masked" and mask is None:
                return None
            lost = sum(_loss(module, ids, mask if self.kind == "masked" else None) for ids in pieces)
        predicted = sum(_predicted(tokens, ids, masked=self.kind == "masked") for ids in pieces)
        return lost / math.log(2) / max(1, predicted)


def _resized(config: Mapping[str, object], size: int) -> dict[str, object]:
    changed = {
        key: _resized(value, size) if isinstance(value, Mapping) and "vocab_size" in value else value
        for key, value in config.items()
    }
    return {**changed, **({"vocab_size": size} if "vocab_size" in config else {}), "pad_token_id": None}


def _pieces(tokens: Tokens, text: str) -> Iterator[Tensor]:
    ids = torch.tensor(tokens.ids(text)[:BUDGET])
    for piece in ids.split(LENGTH):
        if len(piece) > 1:
            yield piece


def _loss(module: nn.Module, ids: Tensor, mask: int | None) -> float:
    """The sum over predicted tokens of -log p, in nats."""
    given = ids.clone()
    if mask is not None:
        given[::EVERY] = mask
    logits = module(input_ids=given[None]).logits[0].float()
    if mask is not None:
        return float(nn.functional.cross_entropy(logits[::EVERY], ids[::EVERY], reduction="sum"))
    return float(nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="sum"))


def _predicted(tokens: Tokens, ids: Tensor, *, masked: bool) -> int:
    """How many bytes of text the predicted tokens are."""
    chosen = ids[::EVERY] if masked else ids[1:]
    return sum(len(tokens.spelled.get(number, b"")) or 1 for number in chosen.tolist())
