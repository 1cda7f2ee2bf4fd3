"""From a recipe to a lazy checkpoint: every step's verb is called, what it is made from first; nothing is computed yet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.cast import cast
from scionwood.errors import ScionwoodError, SourceError
from scionwood.recipe.read import Input, Link, Recipe, Source, Step

__all__ = ["Made", "make"]


@dataclass(frozen=True)
class Made:
    """What a recipe makes.

    Args:
        checkpoint: the output, not yet computed.
        steps: name → checkpoint of every step that it is made by, in the order in which they follow each other; the
            output's own is the last.
    """

    checkpoint: Checkpoint
    steps: Mapping[str, Checkpoint]


def make(recipe: Recipe, *, renamed: Mapping[str, str] | None = None, dtype: str | None = None) -> Made:
    """Return what a recipe makes, as a lazy checkpoint.

    Args:
        recipe: the recipe.
        renamed: for inputs that are elsewhere now, old name → new name.
        dtype: what the output is stored as, whatever its step says.

    Raises:
        SourceError: inputs cannot be read; all of them are listed.
        ScionwoodError: what a verb refuses; the message names the step and its line.

    >>> from scionwood.recipe.read import parse_recipe
    >>> make(parse_recipe({"verb": "merge", "models": ["./nothing", "./neither"]}))
    Traceback (most recent call last):
    scionwood.errors.SourceError: 2 inputs of the recipe cannot be read.
      - There is no file or folder nothing.
      - There is no file or folder neither.
    """
    maker = _Maker(recipe, renamed or {}, dtype)
    maker.open_inputs()
    return Made(maker.result(recipe.output), maker.steps)


@dataclass
class _Maker:
    recipe: Recipe
    renamed: Mapping[str, str]
    dtype: str | None
    steps: dict[str, Checkpoint] = field(default_factory=dict)
    opened: dict[str, Checkpoint] = field(default_factory=dict)

    def open_inputs(self) -> None:
        """Open every input, so that all that are missing are told at once; what two steps read is one checkpoint."""
        problems: list[str] = []
        for source in self.recipe.inputs():
            name = self.renamed.get(source.name, source.name)
            try:
                self.opened[source.name] = open_checkpoint(name)
            except SourceError as error:
                problems += [source.at.problem(error.message), *(f"{name}: {each}" for each in error.problems)]
        if problems:
            count = len(self.recipe.inputs()) - len(self.opened)
            raise SourceError(f"{count} input{'s' * (count != 1)} of the recipe cannot be read.", problems=problems)

    def result(self, name: str) -> Checkpoint:
        """The checkpoint of a step, made once."""
        if name not in self.steps:
            self.steps[name] = self.made(self.recipe.steps[name])
        return self.steps[name]

    def made(self, step: Step) -> Checkpoint:
        sources: dict[str, Any] = {
            key: [self.source(each) for each in source] if isinstance(source, tuple) else self.source(source)
            for key, source in step.sources.items()
        }
        values = {key: self.named(value) if key in _NAMES else value for key, value in step.values.items()}
        made = self.located(step, lambda: step.verb.load()(**sources, **values))
        dtype = self.dtype if self.dtype is not None and step.name == self.recipe.output else step.dtype
        return made if dtype is None else self.located(step, lambda: cast(made, dtype))

    def named(self, value: Any) -> Any:
        """What may name a file or a folder, or several, under its name of today."""
        if isinstance(value, str):
            return self.renamed.get(value, value)
        return [self.named(each) for each in value] if isinstance(value, (list, tuple)) else value

    def source(self, source: Source) -> Checkpoint:
        if isinstance(source, Link):
            return self.result(source.step)
        if isinstance(source, Input):
            return self.opened[source.name]
        made = self.made(source)
        self.steps[source.name] = made
        return made

    def located(self, step: Step, call: Callable[[], Checkpoint]) -> Checkpoint:
        """Call a verb; what it refuses is said with the step's place."""
        try:
            return call()
        except ScionwoodError as error:
            if not step.at.line:
                raise
            message = step.at.problem(f"the step {step.name!r}: {error.message}")
            raise type(error)(message, problems=error.problems, hint=error.hint) from error


_NAMES = ("like", "tokenizer", "text", "vectors", "dictionary", "inputs")
"""Values that may name a folder or files, as sources do."""
