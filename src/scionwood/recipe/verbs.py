"""The verbs that a recipe can name: one table, one entry for each.

An entry says where the verb's function is and what its step may hold. The reader, the runner and the JSON schema know
verbs from here alone. Nothing of a verb is imported before it runs.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scionwood.methods.options import REQUIRED, Option

__all__ = ["COMMON", "VERBS", "Field", "Verb"]

Kind = Literal["source", "models", "ranges", "shares", "config", "settings", "method", "options", "value"]


@dataclass(frozen=True)
class Field:
    """One key of a step.

    Args:
        name: the key, and the argument of the verb's function.
        kind: what stands there: a ``source`` (a path, a hub id, or a step), ``models`` (a list of sources, each with
            options of its own), ``ranges`` (a list of sources, each with its layers), ``shares`` (a list of sources, each
            with the tensors that it gives), a ``config`` (a path, or the settings themselves), ``settings`` of a config,
            the ``method``, its ``options``, or a plain ``value``.
        help: what it means.
        required: whether it must be there.
        annotation: for a value, what it may be, as options of methods say it.
        default: what holds where it is not there.
    """

    name: str
    kind: Kind
    help: str
    required: bool = False
    annotation: Any = str
    default: Any = REQUIRED

    @property
    def option(self) -> Option:
        """A value's field as an option, which converts values and describes them."""
        return Option(self.name, self.annotation, self.default, self.help)


@dataclass(frozen=True)
class Verb:
    """One verb.

    Args:
        name: what a step names it by.
        summary: what it does, in one line.
        function: where it is, as ``module:function``.
        family: the family that its methods are of; nothing for a verb without methods.
        fields: what its step may hold, beside what every step may.
    """

    name: str
    summary: str
    function: str
    family: str | None
    fields: tuple[Field, ...]

    def field(self, name: str) -> Field | None:
        """Return the field of a name, its own or a common one."""
        return next((field for field in (*self.fields, *COMMON) if field.name == name), None)

    @property
    def keys(self) -> Sequence[str]:
        """The keys that its step may hold."""
        return ["verb", *(field.name for field in (*self.fields, *COMMON))]

    def load(self) -> Callable[..., Any]:
        """Import the verb's function."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)


COMMON = (Field("dtype", "value", "What the step's result is stored as; the type of its source unless given."),)
"""What every step may hold."""

_SEED = Field("seed", "value", "Of methods that draw at random.", annotation=int, default=0)
_METHOD_OPTIONS = Field("options", "options", "The method's own options.")

_DEPTH = str | Sequence[int] | Mapping[str, str | Sequence[int]]

VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "merge",
            "One model out of several of one shape.",
            "scionwood.verbs.merge:merge",
            "merge",
            (
                Field("method", "method", "How tensors are merged.", default="linear"),
                Field("models", "models", "What is merged, in this order.", required=True),
                Field("base", "source", "What the models were fine-tuned from, for methods that merge differences."),
                _METHOD_OPTIONS,
                _SEED,
                Field(
                    "allow_nonfinite",
                    "value",
                    "Merge NaN and infinity as they come.",
                    annotation=bool,
                    default=False,
                ),
                Field(
                    "tokenizer",
                    "value",
                    "For different vocabularies: union, base, or the model whose tokenizer it is.",
                ),
                Field("tokens", "settings", "With a tokenizer, where the rows come from that models lack, by token."),
                Field(
                    "pad_to_multiple_of",
                    "value",
                    "With a tokenizer, rows are added up to a multiple of it.",
                    annotation=int | None,
                    default=None,
                ),
                Field(
                    "chat_template",
                    "value",
                    "Of the result: auto, the name of a known one, or a Jinja template.",
                    annotation=str | None,
                    default=None,
                ),
                Field(
                    "merge_space",
                    "value",
                    "For PEFT adapters, what of them is merged.",
                    annotation=Literal["product", "factors", "weight"] | None,
                    default=None,
                ),
                Field("rank", "value", "For PEFT adapters, of the merged one.", annotation=int | None, default=None),
                Field("device", "value", "Where the arithmetic is done.", default="cpu"),
                Field(
                    "differences",
                    "value",
                    "What not all models have is refused; common merges it among those that have it.",
                    annotation=Literal["common"] | None,
                    default=None,
                ),
            ),
        ),
        Verb(
            "select",
            "A smaller model out of a larger one.",
            "scionwood.verbs.select:select",
            "select",
            (
                Field("source", "source", "The larger model.", required=True),
                Field("like", "config", "The smaller model's shape: a folder or a file with a config, or a config."),
                Field("set", "settings", "Sizes of the target, by their names in the config."),
                Field("method", "method", "How indices are chosen along every axis.", default="uniform"),
                Field("depth", "value", "Which layers stay.", annotation=_DEPTH, default="first"),
                Field(
                    "head",
                    "value",
                    "Whether the classifier is selected, too, or made anew.",
                    annotation=Literal["selected", "fresh"],
                    default="selected",
                ),
                Field(
                    "rescale",
                    "value",
                    "Multiply what reads a cut axis by sqrt(old size / new size).",
                    annotation=Literal["variance"] | None,
                    default=None,
                ),
                _METHOD_OPTIONS,
                _SEED,
            ),
        ),
        Verb(
            "initialize",
            "First weights for a model that has no donor.",
            "scionwood.verbs.initialize:initialize",
            "initialize",
            (
                Field("target", "config", "The model: a folder or a file with a config, or a config.", required=True),
                Field("method", "method", "How weights are drawn.", default="layer_index"),
                Field(
                    "only", "value", "Patterns of tensor names; others are left.", annotation=Sequence[str], default=()
                ),
                Field(
                    "inputs",
                    "value",
                    "A file with a batch, for a method that measures.",
                    annotation=str | None,
                    default=None,
                ),
                _METHOD_OPTIONS,
                _SEED,
            ),
        ),
        Verb(
            "grow",
            "A larger model out of a smaller one.",
            "scionwood.verbs.grow:grow",
            "grow",
            (
                Field(
                    "source",
                    "source",
                    "The smaller model, or the saved predictor of a method that predicts.",
                    required=True,
                ),
                Field("like", "config", "The larger model's shape: a folder or a file with a config, or a config."),
                Field("set", "settings", "Sizes of the target, by their names in the config."),
                Field("method", "method", "How every axis grows.", default="hypercloning"),
                Field(
                    "depth",
                    "value",
                    "Which layers a deeper target has; block_expansion, or stack where maps are learned, unless given.",
                    annotation=_DEPTH | None,
                    default=None,
                ),
                Field("text", "value", "Files that a method learns on.", annotation=Sequence[str], default=()),
                Field("second", "source", "Another model of the source's shape, for a method that joins two."),
                _METHOD_OPTIONS,
                _SEED,
            ),
        ),
        Verb(
            "stack",
            "One model out of ranges of the layers of others, one after another.",
            "scionwood.verbs.stack:stack",
            None,
            (
                Field("parts", "ranges", "The models, each with the layers [first, one past the last].", required=True),
                Field(
                    "within",
                    "value",
                    "Patterns of the layers' names, for models with several lists of layers.",
                    annotation=str | Sequence[str] | None,
                    default=None,
                ),
            ),
        ),
        Verb(
            "join",
            "One model of parts of others, told apart by the names of their tensors.",
            "scionwood.verbs.join:join",
            None,
            (
                Field(
                    "parts",
                    "shares",
                    "The models, each with patterns of the tensors that it gives; all the rest without any.",
                    required=True,
                ),
            ),
        ),
        Verb(
            "vocabulary",
            "A model under another tokenizer.",
            "scionwood.verbs.vocabulary:vocabulary",
            "vocabulary",
            (
                Field("source", "source", "The model, with its own tokenizer beside it.", required=True),
                Field(
                    "tokenizer",
                    "value",
                    "The new one: a folder, a tokenizer.json, a model, or a hub id.",
                    required=True,
                ),
                Field("method", "method", "How rows for new tokens are made.", default="mean_subword"),
                Field("text", "value", "Files that methods learn from.", annotation=Sequence[str], default=()),
                Field("vectors", "value", "Files of word vectors, one or two.", annotation=Sequence[str], default=()),
                Field(
                    "dictionary",
                    "value",
                    "A file of word pairs, by which one of two files of vectors is turned into the other.",
                    annotation=str | None,
                    default=None,
                ),
                Field(
                    "inputs",
                    "value",
                    "A safetensors file of what only the user can give: units and frames of speech, anchors.",
                    annotation=str | None,
                    default=None,
                ),
                Field(
                    "pad_to_multiple_of",
                    "value",
                    "Rows are added up to a multiple of it.",
                    annotation=int | None,
                    default=None,
                ),
                Field("special", "settings", "Purpose, such as eos, → the new token that serves it."),
                Field(
                    "match",
                    "value",
                    "Which tokens keep their rows.",
                    annotation=Literal["exact", "fuzzy"],
                    default="exact",
                ),
                _METHOD_OPTIONS,
                _SEED,
            ),
        ),
        Verb(
            "apply_adapter",
            "A PEFT adapter put on the model that it was made for.",
            "scionwood.verbs.adapter:apply_adapter",
            None,
            (
                Field("model", "source", "The model that the adapter was made for.", required=True),
                Field("adapter", "source", "The adapter.", required=True),
            ),
        ),
        Verb(
            "write",
            "A checkpoint as it is, or in another dtype.",
            "scionwood.checkpoint:open",
            None,
            (Field("source", "source", "The checkpoint.", required=True),),
        ),
    )
}
"""Name → verb, in the order in which they are listed. A new verb adds one entry."""
