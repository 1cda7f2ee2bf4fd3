"""What the house must know of a method before it reads a byte: the decorator ``@method`` and the frozen ``Record``.

A method is a pure function and stays one: the decorator attaches a record and hands the same function back.

* Its **positional parameters** are what a verb hands it: tensors, sizes, a generator. Their names come from ``INPUTS``,
  so that a verb sees from the record what to prepare, and a misspelt name fails when the file is imported.
* Its **keyword-only parameters** are its options (see ``scionwood.methods.options``).

>>> from collections.abc import Sequence
>>> from typing import Annotated
>>> @method(family="merge", scope="element", space="delta", paper="2212.04089")
... def task_arithmetic(deltas: Sequence[object], *, scale: Annotated[float, Finite()] = 1.0) -> object:
...     "Return the scaled sum of the deltas."
>>> record = Record.of(task_arithmetic)
>>> record.name, record.shape, record.inputs, record.options[0].name
('merge.task_arithmetic', 'combine', ('deltas',), 'scale')
>>> resolve(task_arithmetic, {"scale": "0.3"})
{'scale': 0.3}
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from scionwood.errors import MethodError, nearest
from scionwood.methods.laws import LAWS
from scionwood.methods.options import Finite, Option, json_schema, options_of, resolve_options

if TYPE_CHECKING:  # summaries are of tensors, and a listing does without torch
    from scionwood.methods.summary import Summary

__all__ = ["INPUTS", "Finite", "Kind", "Record", "Scope", "Shape", "Space", "Unit", "method", "resolve", "schema"]

Shape = Literal["re-axis", "combine", "generate", "factor", "measure"]
Scope = Literal["element", "row", "tensor", "group", "model"]
Space = Literal["weight", "delta", "product", "activation", "logit"]
Unit = Literal["axis", "dimension"]
Kind = Literal["free", "input", "output", "positional", "part", "kernel", "coarse"]

SHAPES: dict[str, Shape] = {
    "align": "re-axis",
    "grow": "re-axis",
    "select": "re-axis",
    "vocabulary": "re-axis",
    "merge": "combine",
    "initialize": "generate",
    "adapt": "factor",
    "quantize": "factor",
}
"""The shape of function that the methods of a family have unless they say otherwise."""

INPUTS: dict[str, str] = {
    "source": "the sizes of the source's axes, outermost first",
    "target": "the sizes of the target's axes, outermost first",
    "kind": "the kind of the axis",
    "place": "where the axis is: the stream that blocks share, one block's own, heads, or contracted with itself",
    "scores": "the importance of every source index",
    "generator": "the torch.Generator to draw from",
    "tensor": "the tensor to work on",
    "tensors": "one tensor from each model, in the order written",
    "deltas": "one difference to the base from each model, in the order written",
    "base": "the base's tensor",
    "uniforms": "for each model, what compares random numbers in [0, 1), one for each element, with probabilities",
    "gram": "the inner products of the inputs with each other, over the whole tensor",
    "thresholds": "for each input, the magnitude that the largest elements reach",
    "lengths": "for each input, the sum of its magnitudes and what the mask leaves of it",
    "energies": "for each input, the sum of its squares where it is kept",
    "counts": "for each input, how many of its elements are of a kind",
    "columns": "for each column, sums over its elements",
    "sums": "for each input, the sum of its elements",
    "squares": "for each input and what is made of them, the sum of squares",
    "limits": "for each input, further magnitudes that its largest elements reach",
    "majority": "the sum of the elected signs: which of them most elements have",
    "shape": "the shape of the whole tensor, where a method is given parts of it",
    "statistics": "what a calibration pass has measured, by name",
    "site": "what the tensor is in its model: shape, kind, fans, depth, branch",
    "draws": "gives the torch.Generator of a key, for what several tensors have in common",
    "table": "the rows of the source's tokens",
    "overlap": "for each target token the source token with the same text, or -1",
    "pieces": "for each target token the source's tokens of its text",
    "source_vectors": "static vectors of the source's tokens",
    "target_vectors": "static vectors of the target's tokens",
    "counts_of_tokens": "how often each target token occurs in the text",
    "text": "the token ids of the text by the target's tokenizer",
    "special": "whether each target token is a special one",
    "wordless": "whether each row of the source stands for no text: special tokens, and numbers without a token",
    "anchors": "which shared tokens may be mixed from",
    "dictionary": "vectors of words of one meaning, the source's and the target's",
    "word_vectors": "static vectors of words",
    "source_words": "for each source token the words it occurs in",
    "target_words": "for each target token the words it occurs in",
    "tables": "the rows of the input embedding and of the head, or of one table where they are tied",
    "role": "what the table is: input, output or bias",
    "kept": "what a method has learned for one table of a model and keeps for the next, by name; empty at first",
    "units": "for each frame the target token it belongs to, or -1",
    "frames": "features of speech, a row for each frame",
    "network": "what was trained to predict weights from the shapes of layers",
    "layers": "for each layer of the target, by name, the shape of its weight",
    "diffusion": "what has learned the weights of a bank of models under conditions",
    "shapes": "for each tensor of the target, by name, its shape",
}
"""What a verb can hand to a method, by the name of the positional parameter; a verb that can give more adds a line."""

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a verb and the engine must know of a method.

    Args:
        name: family and system, as ``select.uniform``.
        shape: which of the five shapes of function it is: it maps axes (``re-axis``), makes one tensor from several
            (``combine``), draws one (``generate``), splits one (``factor``), or gives numbers (``measure``).
        space: what its tensors are: weights, differences to a base, products of factors, activations, logits.
        scope: how much it must see at once; ``element`` may be cut into tiles.
        inputs: the names of its positional parameters, in order.
        optional: those of the inputs that it can do without.
        options: its keyword-only parameters.
        laws: the laws it claims, by the names of ``scionwood.methods.laws``.
        paper: the arXiv id, or nothing for what has no paper.
        statistics: the names of the statistics it needs from a calibration pass.
        unit: for ``re-axis``: whether it maps one axis at a time or a whole dimension, a product of axes.
        consistent: for ``re-axis``: one map for an axis wherever it occurs; false only for controls.
        resizes: for ``re-axis``: the kinds of axes whose size it may change.
        scores: for ``re-axis``: which scores it ranks by; ``magnitude`` needs the weights alone.
        learned: for ``re-axis``: what it gives is where maps begin, which are then learned on text.
        joins: for ``re-axis``: it makes one model out of two of the same sizes.
        summaries: for ``combine``: the numbers about the whole tensor that it needs before its first tile, in order.
        note: for ``generate``: what is to be said of a site beside its numbers; called with the site and the options.
    """

    name: str
    shape: Shape
    space: Space
    scope: Scope
    inputs: tuple[str, ...]
    optional: frozenset[str]
    options: tuple[Option, ...]
    laws: frozenset[str]
    paper: str | None
    statistics: frozenset[str]
    unit: Unit | None
    consistent: bool
    resizes: frozenset[Kind]
    scores: str | None
    learned: bool = False
    joins: bool = False
    summaries: "tuple[Summary, ...]" = ()
    note: Callable[..., str] | None = None

    @staticmethod
    def of(function: Callable[..., Any]) -> "Record":
        """Return the record of a method.

        Raises:
            MethodError: the function is no method.
        """
        record = getattr(function, "__record__", None)
        if not isinstance(record, Record):
            name = getattr(function, "__qualname__", repr(function))
            raise MethodError(f"{name} is no method.", hint="Decorate it with scionwood.methods.record.method.")
        return record

    @property
    def family(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    @property
    def needs(self) -> frozenset[str]:
        """The inputs that it cannot do without."""
        return frozenset(self.inputs) - self.optional


def method(
    *,
    family: str | None = None,
    shape: Shape | None = None,
    space: Space = "weight",
    scope: Scope = "tensor",
    laws: Collection[str] = (),
    paper: str | None = None,
    statistics: Collection[str] = (),
    unit: Unit | None = None,
    consistent: bool = True,
    resizes: Collection[Kind] = ("free",),
    scores: str | None = None,
    learned: bool = False,
    joins: bool = False,
    summaries: "Sequence[Summary]" = (),
    note: Callable[..., str] | None = None,
) -> Callable[[FunctionT], FunctionT]:
    """Attach a ``Record`` to a function, and return that same function.

    The family is the folder of the file; only methods outside the package give it. The other arguments are described
    at ``Record``.

    Raises:
        MethodError: words that the record does not know, inputs that no verb can give, options without a type; all of
            them at once.
    """

    def attach(function: FunctionT) -> FunctionT:
        module = function.__module__.split(".")
        home = family or (module[-2] if module[:2] == ["scionwood", "methods"] else "")
        form = shape or SHAPES.get(home)
        positional = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        names = tuple(parameter.name for parameter in positional)
        problems = [
            *([] if home else ["it has no family: give family=..."]),
            *_unknown("shape", [form] if form else [], get_args(Shape)),
            *([] if form else [f"its shape is not known from its family: give shape=..., one of {get_args(Shape)}"]),
            *_unknown("space", [space], get_args(Space)),
            *_unknown("scope", [scope], get_args(Scope)),
            *_unknown("law", laws, list(LAWS)),
            *_unknown("unit", [unit] if unit else [], get_args(Unit)),
            *_unknown("kind of axis", resizes, get_args(Kind)),
            *_unknown("input", names, list(INPUTS)),
            *(["a method that maps axes needs unit='axis' or 'dimension'"] if form == "re-axis" and not unit else []),
            *(["unit is for methods that map axes"] if form != "re-axis" and unit else []),
            *(["it takes scores, but does not say which"] if "scores" in names and not scores else []),
        ]
        if problems:
            raise MethodError(f"The record of {function.__module__}.{function.__name__} is wrong.", problems=problems)
        assert form is not None
        record = Record(
            name=f"{home}.{function.__name__}",
            shape=form,
            space=space,
            scope=scope,
            inputs=names,
            optional=frozenset(p.name for p in positional if p.default is not p.empty),
            options=options_of(function),
            laws=frozenset(laws),
            paper=paper,
            statistics=frozenset(statistics),
            unit=unit,
            consistent=consistent,
            resizes=frozenset(resizes),
            scores=scores,
            learned=learned,
            joins=joins,
            summaries=tuple(summaries),
            note=note,
        )
        setattr(function, "__record__", record)  # noqa: B010  (a function has no such attribute for a type checker)
        return function

    return attach


def resolve(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option of a method with its value: the one given, converted and checked, or the default.

    Strings, as a command line gives them, are read as the annotation says.

    Raises:
        MethodError: everything that is wrong with the options, at once.
    """
    record = Record.of(function)
    return resolve_options(record.name, record.options, options)


def schema(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of a method's options."""
    return json_schema(Record.of(function).options)


def _unknown(what: str, given: Collection[str], known: Sequence[str]) -> list[str]:
    all_known = f": known are {', '.join(known)}"
    return [f"unknown {what} {word!r}{nearest(word, known) or all_known}" for word in given if word not in known]
