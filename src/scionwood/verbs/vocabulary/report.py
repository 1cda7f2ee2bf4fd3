"""The report: every method side by side on one model, one new tokenizer and one text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import nn

from scionwood import anatomy as anatomies
from scionwood.anatomy import Model
from scionwood.anatomy.layout import layout_on_disk
from scionwood.checkpoint import Checkpoint
from scionwood.errors import MethodError, nearest
from scionwood.methods import registry
from scionwood.methods.record import Record, resolve
from scionwood.methods.vocabulary.cw2v import step_work
from scionwood.methods.vocabulary.rows import Rows, Status
from scionwood.train.text import Objective, objective_of, places_predicted, text_loss
from scionwood.verbs.predicting import longest_piece, needed_token, pieces, state_of
from scionwood.verbs.vocabulary.inputs import read_text
from scionwood.verbs.vocabulary.overlap import Match
from scionwood.verbs.vocabulary.tokens import Tokens
from scionwood.verbs.vocabulary.vocabulary import Setting, check_inputs

__all__ = ["Line", "Report", "report"]

WORK = 10**12
"""How many multiplications CW2V may learn by where it is not named: about half a minute on one processor."""

SMALL: dict[str, Any] = {"hidden": 64, "context": 32, "learning_rate": 3e-3, "steps": 120}
"""HyperOFA's network where it is not named: the published one takes 9 s a round, of 300, for 741 tokens of 32 words at most."""

LENGTH = 128
"""Of the pieces that the text is cut into to measure the loss on."""


@dataclass(frozen=True)
class Line:
    """One method.

    Args:
        method: its name.
        counts: how many rows were copied, mixed, made and drawn.
        bits: per byte of text that the model begins with; nothing for a model that predicts no tokens.
        note: why the method could not be asked, why there is no loss though the model has one, or what it did not learn.
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
        shared: how many of them the source has, too, by what counts as the same text.
        overlaps: the same by every way to match: exact, and fuzzy.
        fertility: tokens a word, by the source's tokenizer and by the target's.
        bytes_per_token: of the text, likewise.
        loss: what the model predicts, by which it is measured; nothing for a model that predicts no tokens.
        before: bits per byte of the model as it is, with its own tokenizer.
        lines: the methods.
    """

    tokens: int
    shared: int
    overlaps: Mapping[Match, int]
    fertility: tuple[float, float]
    bytes_per_token: tuple[float, float]
    loss: Objective | None
    before: float | None
    lines: tuple[Line, ...]


def report(
    setting: Setting,
    methods: Sequence[str] = (),
    *,
    options: Mapping[str, Any] | None = None,
    text: Sequence[str | Path] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Ask every method for its rows, and measure the loss that the model begins with.

    Methods that learn for minutes or hours learn less where they are not named, and their lines say so: CW2V takes as many
    steps as ``WORK`` allows, which is all of them for small models, and HyperOFA a small network, ``SMALL``. Named, they
    learn as published.

    Args:
        setting: the model, both tokenizers, and the text that methods learn from.
        methods: by name; all of the family unless given.
        options: each for every one of the methods that has it.
        text: files of the text to measure on; that of the setting unless given, which methods have seen then.
        progress: called before every method with its name, its number and how many there are.

    Raises:
        MethodError: there is no text, or there are unknown methods, options or inputs; all of them.
        SourceError: a file cannot be read, or tables hold NaN or infinity.
    """
    documents = read_text(text) or setting.inputs.documents
    if not documents:
        raise MethodError("A report measures on a text, and has none.", hint="give --report FILE")
    functions = _loaded(methods or [entry.name.partition(".")[2] for entry in registry.listing("vocabulary")])
    check_inputs(setting.inputs.given, list(functions.values()))
    short = {} if methods else {name: _less(name, setting) for name in functions}
    resolved = _resolved(functions, options or {}, short)
    model = _Model(setting)
    measured = "\n\n".join(documents)
    before = model.before(measured)
    lines = []
    for number, (name, function) in enumerate(functions.items(), start=1):
        if progress is not None:
            progress(name, number, len(functions))
        less = {option: value for option, value in short.get(name, {}).items() if option not in (options or {})}
        if less and model.objective is None:
            note = f"learns for long, and no loss would show it: name it (--method {name}) to have its rows counted"
            lines.append(Line(name, {}, None, note))
            continue
        try:
            made = setting.rows(function, resolved[name])
        except MethodError as error:
            lines.append(Line(name, {}, None, error.message + (f" ({error.hint})" if error.hint else "")))
            continue
        first = next(iter(made.values()))
        lines.append(Line(name, first.counts, model.after(made, measured), model.lacking or _said(name, less, first)))
    overlaps = {way: int((setting.inputs.overlap_by(way) >= 0).sum()) for way in get_args(Match)}
    return Report(
        tokens=len(setting.target.used),
        shared=overlaps[setting.inputs.match],
        overlaps=overlaps,
        fertility=(_fertility(setting.source, measured), _fertility(setting.target, measured)),
        bytes_per_token=(_bytes_per_token(setting.source, measured), _bytes_per_token(setting.target, measured)),
        loss=model.objective,
        before=before,
        lines=tuple(lines),
    )


def _loaded(names: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """The methods by name; before any of them runs, every name is known to be one."""
    found: dict[str, Callable[..., Any]] = {}
    problems: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = registry.load(name, family="vocabulary")
        except MethodError as error:
            problems[error.message] = error.hint
    if problems:
        raise MethodError("A report is of methods.", problems=problems, hint=next(iter(problems.values())))
    return found


def _resolved(
    functions: Mapping[str, Callable[..., Any]], options: Mapping[str, Any], short: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Every method's options: those that are asked for where it has them, then what it learns less by."""
    own = {name: [option.name for option in Record.of(function).options] for name, function in functions.items()}
    known = list(dict.fromkeys(option for each in own.values() for option in each))
    problems = [
        f"no method of the report has an option {option!r}{nearest(option, known)}"
        for option in options
        if option not in known
    ]
    found = {}
    for name, function in functions.items():
        asked = {option: value for option, value in options.items() if option in own[name]}
        try:
            found[name] = resolve(function, {**short.get(name, {}), **asked})
        except MethodError as error:
            problems += [f"{name}: {problem}" for problem in error.problems]
    if problems:
        raise MethodError("The options given to the report do not fit.", problems=problems)
    return found


def _less(name: str, setting: Setting) -> dict[str, Any]:
    """The options of a method that would take too long for a report."""
    if name == "hyperofa":
        return SMALL
    if name != "cw2v":
        return {}
    matrices = [table.read(1) for table in setting.tables.values() if table.role != "bias"][:2]
    new = int((setting.inputs.overlap < 0).sum())
    work = len(matrices) * step_work(setting.source.size, new, matrices[0].shape[1])
    return {"steps": WORK // max(1, work)}


def _said(name: str, less: Mapping[str, Any], made: Rows) -> str:
    """What is to be said of a method that learned less than it would, where it did."""
    other = [f"{option} {value}" for option, value in less.items() if option != "steps"]
    said = [*([f"a small network ({', '.join(other)})"] if other else []), *([made.note] if made.note else [])]
    return f"{', '.join(said)}; --method {name} has all" if said else ""


def _fertility(tokens: Tokens, text: str) -> float:
    return len(tokens.ids(text)) / max(1, len(text.split()))


def _bytes_per_token(tokens: Tokens, text: str) -> float:
    return len(text.encode()) / max(1, len(tokens.ids(text)))


class _Model:
    """A model that is run with one vocabulary after another.

    Args:
        setting: the model and both tokenizers.
    """

    def __init__(self, setting: Setting) -> None:
        checkpoint = setting.checkpoint
        self.setting = setting
        self.built = anatomies.from_config(checkpoint.config or {}, checkpoint.source)
        self.objective: Objective | None = objective_of(self.built.module)

    def before(self, text: str) -> float | None:
        """Bits per byte with the model's own tokenizer."""
        return self._bits(self.built, self.setting.checkpoint, self.setting.source, self._own_token, text)

    def after(self, made: Mapping[str, Rows], text: str) -> float | None:
        """Bits per byte with the new one, and with these rows."""
        if self.objective is None:
            return None
        checkpoint = self.setting.checkpoint
        checkpoint = replace(checkpoint, tensors={**checkpoint.tensors, **self.setting.tensors(made)})
        return self._bits(self._changed, checkpoint, self.setting.target, self._new_token, text)

    @cached_property
    def lacking(self) -> str:
        """Why there is no loss under the new tokenizer, where there is none though the model predicts tokens."""
        if self.objective in (None, "causal") or self._new_token is not None:
            return ""
        purpose = "mask" if self.objective == "masked" else "bos"
        return f"no loss: nothing says which of the new tokens serves as {purpose} (--special {purpose}=TOKEN)"

    @cached_property
    def _changed(self) -> Model:
        """The model of the new vocabulary."""
        checkpoint = self.setting.checkpoint
        config = self.setting.numbers().resized(checkpoint.config or {}, self.setting.count)
        return anatomies.from_config(config, f"{checkpoint.source} under the new tokenizer")

    @cached_property
    def _own_token(self) -> int | None:
        """The token that the objective needs."""
        objective = self.objective
        return objective and needed_token(objective, self.built.module, self.setting.source.special)

    @cached_property
    def _new_token(self) -> int | None:
        """The same among the new tokens."""
        numbers = self.setting.numbers()
        if self.objective == "masked":
            return numbers.purposes.get("mask")
        moved = numbers.moved({"decoder_start_token_id": self._own_token})["decoder_start_token_id"]
        return None if numbers.problems else moved

    def _longest(self, module: nn.Module) -> int:
        """How long a piece may be; less by what positions that begin behind the padding token's number begin later."""
        if not self.setting.from_padding:
            return longest_piece(module, LENGTH)
        numbers = [cast("Any", each).config.pad_token_id or 0 for each in (self.built.module, module)]
        later = max(0, numbers[1] - numbers[0])
        return min(LENGTH, longest_piece(module, LENGTH + later) - later)

    def _bits(
        self, model: Model, checkpoint: Checkpoint, tokens: Tokens, needed: int | None, text: str
    ) -> float | None:
        """Bits per byte of the text's beginning; nothing where the model predicts no tokens, or lacks what it needs to."""
        if self.objective is None or (needed is None and self.objective != "causal"):
            return None
        layout = layout_on_disk(model, {name: tensor.shape for name, tensor in checkpoint.tensors.items()})
        module = model.rebuild().eval()
        held = module.state_dict(keep_vars=True)
        lost, predicted = 0.0, 0
        with torch.no_grad():
            for name, tensor in state_of(model, layout, checkpoint).items():
                held[name].copy_(tensor)
            for ids in pieces(torch.tensor(tokens.ids(text)), self._longest(module)):
                lost += float(text_loss(module, ids[None], self.objective, mask=needed, start=needed))
                told = ids[places_predicted(self.objective, len(ids))]
                predicted += sum(len(tokens.spelled.get(number, b"")) or 1 for number in told.tolist())
        return lost / math.log(2) / max(1, predicted)
