"""From a document to a recipe: steps, what each is made from, and every mistake with its line before anything is opened."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from scionwood.errors import MethodError, RecipeError, nearest
from scionwood.recipe.document import Located, located, read_documents, unknown_keys
from scionwood.recipe.options import check_options, per_model
from scionwood.recipe.verbs import VERBS, Field, Verb

__all__ = ["Input", "Link", "Recipe", "Source", "Step", "parse_recipe", "read_recipe"]

LINEAGE_KEYS = ("schema", "recipe", "parents", "seed", "versions")
MERGEKIT_KEYS = ("merge_method", "slices", "models", "base_model")


@dataclass(frozen=True)
class Input:
    """A checkpoint that a recipe reads: a path or a hub id."""

    name: str
    at: Located


@dataclass(frozen=True)
class Link:
    """The result of another step, by its name."""

    step: str
    at: Located


@dataclass(frozen=True)
class Step:
    """One step of a recipe.

    Args:
        name: its name; for a step that stands inside another one, where it stands.
        verb: what it does.
        sources: what it is made from, by the keys of the verb: one source, or a list of them.
        values: the other arguments of the verb, as written.
        dtype: what its result is stored as, if the recipe says it.
        at: where it is written.
    """

    name: str
    verb: Verb
    sources: "Mapping[str, Source | tuple[Source, ...]]"
    values: Mapping[str, Any]
    dtype: str | None
    at: Located

    def inputs(self) -> "Iterator[Source]":
        """Yield what it is made from, in the order written."""
        for source in self.sources.values():
            yield from source if isinstance(source, tuple) else (source,)


Source: TypeAlias = Input | Link | Step


@dataclass(frozen=True)
class Recipe:
    """Steps, and which of them makes the output.

    Args:
        output: the name of the step that makes the output.
        steps: name → step, those that stand inside others not among them.
        path: the file, as it is named in errors.
    """

    output: str
    steps: Mapping[str, Step]
    path: str = ""

    def inputs(self) -> "list[Input]":
        """Return the checkpoints that the recipe reads, each where it is first named, in the order written."""
        found: dict[str, Input] = {}
        waiting: list[Source] = list(self.steps.values())
        while waiting:
            source = waiting.pop(0)
            if isinstance(source, Input):
                found.setdefault(source.name, source)
            elif isinstance(source, Step):
                waiting[:0] = list(source.inputs())
        return list(found.values())


def read_recipe(path: str | Path) -> Recipe:
    """Return the recipe in a file, a lineage among them.

    Raises:
        RecipeError: the file cannot be read, or is no recipe; lists everything that is wrong, with the lines.
    """
    documents = [document for document in read_documents(path) if document.value is not None]
    if len(documents) != 1:
        message = f"{path} holds {len(documents) or 'no'} documents, and a recipe is one."
        raise RecipeError(message, hint="name several steps under steps: in one document")
    return parse_recipe(documents[0], str(path))


def parse_recipe(document: Located | Mapping[str, Any], path: str = "") -> Recipe:
    """Return the recipe that a document holds, or plain data of the same form.

    >>> recipe = parse_recipe({"verb": "merge", "models": ["chat", "code"], "options": {"weights": [2, 1]}})
    >>> recipe.output, [source.name for source in recipe.inputs()]
    ('merge', ['chat', 'code'])
    >>> parse_recipe({"verb": "merge", "method": "tie", "models": ["chat"], "base": "llama"})
    Traceback (most recent call last):
    scionwood.errors.RecipeError: The recipe cannot be run.
      - unknown method 'tie' (did you mean 'ties'?)

    Raises:
        RecipeError: it is no recipe; lists everything that is wrong.
    """
    if not isinstance(document, Located):
        document = located(document, path)
    reader = _Reader()
    recipe = reader.recipe(document, path)
    if recipe is None or reader.problems:
        raise RecipeError(f"{path or 'The recipe'} cannot be run.", problems=reader.problems, hint=reader.hint)
    return recipe


@dataclass
class _Reader:
    problems: list[str] = field(default_factory=list)
    names: Collection[str] = ()
    hint: str | None = None

    def recipe(self, document: Located, path: str) -> Recipe | None:
        if not document.is_mapping:
            return self._refuse(document, f"a recipe is a mapping, not {document.kind}")
        if "steps" in document:
            return self._several(document, path)
        if "recipe" in document:
            document = self._of_lineage(document)
        elif "verb" not in document and any(key in document for key in MERGEKIT_KEYS):
            self.hint = "a file of mergekit is run by `scionwood merge`, and translated by `scionwood recipe convert`"
        name = str(verb.value) if (verb := document.get("verb") if document.is_mapping else None) else "output"
        step = self.step(document, name)
        return None if step is None else Recipe(name, {name: step}, path)

    def _of_lineage(self, document: Located) -> Located:
        """The one step that a lineage tells, with its seed."""
        self.problems += unknown_keys(document, LINEAGE_KEYS, "a lineage")
        schema, seed, recipe = document.get("schema"), document.get("seed"), document["recipe"]
        if schema is not None and schema.value != 1:
            self._refuse(schema, f"this lineage has the form {schema.kind}, and this version of scionwood knows 1")
        verb = VERBS.get(str(recipe["verb"].value)) if "verb" in recipe else None
        if seed is None or verb is None or verb.field("seed") is None or "seed" in recipe:
            return recipe
        return Located({**recipe.value, "seed": seed}, recipe.line, recipe.column, recipe.path, recipe.key_lines)

    def _several(self, document: Located, path: str) -> Recipe | None:
        self.problems += unknown_keys(document, ("steps", "output"), "a recipe of several steps")
        steps = document["steps"]
        if not steps.is_mapping or not steps.value:
            return self._refuse(steps, f"steps holds a mapping from names to steps, not {steps.kind}")
        self.names = list(steps.value)
        found = {name: self.step(step, name) for name, step in steps.items()}
        known = {name: step for name, step in found.items() if step is not None}
        uses = {name: _links(step) for name, step in known.items()}
        self._check_cycles(uses, steps)
        output = self._output(document, steps, uses)
        if output is None or self.problems:
            return None
        self._check_used(output, uses, steps)
        return Recipe(output, known, path)

    def _output(self, document: Located, steps: Located, uses: Mapping[str, Sequence[str]]) -> str | None:
        output = document.get("output")
        if output is not None:
            if output.value in self.names:
                return output.value
            near = nearest(str(output.value), list(self.names))
            return self._refuse(output, f"no step is called {output.kind}{near}")
        used = {name for names in uses.values() for name in names}
        free = [name for name in steps.value if name not in used]
        if len(free) == 1 or self.problems:  # which one is meant shows when the rest is right
            return free[0] if free else None
        told = "each is used by another" if not free else f"{' and '.join(free)} are used by no other"
        return self._refuse(document, f"output: says which step is the output, and is missing: {told}", key="steps")

    def _check_cycles(self, uses: Mapping[str, Sequence[str]], steps: Located) -> None:
        state: dict[str, int] = {}

        def visit(name: str, path: tuple[str, ...]) -> None:
            if state.get(name) == 1:
                circle = " → ".join((*path[path.index(name) :], name))
                self._refuse(steps, f"steps are made from each other in a circle: {circle}", key=name)
            if name in state:
                return
            state[name] = 1
            for other in uses.get(name, ()):
                visit(other, (*path, name))
            state[name] = 2

        for name in uses:
            visit(name, ())

    def _check_used(self, output: str, uses: Mapping[str, Sequence[str]], steps: Located) -> None:
        needed, waiting = {output}, [output]
        while waiting:
            for name in uses.get(waiting.pop(), ()):
                if name not in needed:
                    needed.add(name)
                    waiting.append(name)
        for name in steps.value:
            if name not in needed:
                self._refuse(steps, f"the step {name!r} is not used for the output {output!r}", key=name)

    # One step.

    def step(self, at: Located, name: str) -> Step | None:
        """Read one step; what is wrong with it goes to the problems."""
        if not at.is_mapping:
            return self._refuse(at, f"a step is a mapping with a verb, not {at.kind}")
        written = at.get("verb")
        if written is None:
            return self._refuse(at, f"a step says what it does by verb: one of {', '.join(VERBS)}")
        verb = VERBS.get(written.value) if isinstance(written.value, str) else None
        if verb is None:
            listed = nearest(str(written.value), list(VERBS)) or f": there are {', '.join(VERBS)}"
            return self._refuse(written, f"unknown verb {written.kind}{listed}")
        self.problems += unknown_keys(at, verb.keys, f"a step that is a {verb.name}")
        missing = [each.name for each in verb.fields if each.required and each.name not in at]
        for key in missing:
            self._refuse(at, f"a {verb.name} needs {key}")
        sources: dict[str, Source | tuple[Source, ...]] = {}
        values: dict[str, Any] = {}
        owns: list[Located | None] = []
        for key, value in at.items():
            if (each := verb.field(key)) is None:
                continue
            if each.kind == "models":
                models, owns = self._models(value, f"{name}.{key}")
                sources[key] = models
            elif each.kind in _BESIDE:
                beside = _BESIDE[each.kind]
                sources[key], values[beside] = self._parts(value, f"{name}.{key}", beside)
            elif each.kind == "source":
                if (source := self._source(value, f"{name}.{key}")) is not None:
                    sources[key] = source
            elif each.kind not in ("method", "options"):
                values[key] = self._value(each, value)
        if verb.family is not None:
            values |= self._method(verb, verb.family, at, owns)
        dtype = values.pop("dtype", None)
        return Step(name, verb, sources, values, dtype, at)

    def _source(self, at: Located, name: str) -> Source | None:
        if isinstance(at.value, str) and at.value:
            return Link(at.value, at) if at.value in self.names else Input(at.value, at)
        if at.is_mapping and "verb" in at:
            return self.step(at, name)
        said = "a mapping without a verb" if at.is_mapping else at.kind
        return self._refuse(at, f"a source is a path, a hub id, or a step, not {said}")

    def _models(self, at: Located, name: str) -> tuple[tuple[Source, ...], list[Located | None]]:
        if not at.is_list or not at.value:
            self._refuse(at, f"models is a list of sources, not {at.kind if at.value else 'an empty one'}")
            return (), []
        found: list[Source] = []
        owns: list[Located | None] = []
        places: dict[str, int] = {}
        for number, entry in enumerate(at.value):
            with_own = entry.is_mapping and "verb" not in entry and "model" in entry
            source = self._source(entry["model"] if with_own else entry, f"{name}.{number}")
            owns.append(entry if with_own else None)
            if source is None:
                continue
            found.append(source)
            if not isinstance(source, Step):
                told = source.name if isinstance(source, Input) else source.step
                if told in places:
                    self._refuse(entry, f"the model {told!r} is named twice, first in line {places[told]}")
                places.setdefault(told, entry.line)
        return tuple(found), owns

    def _parts(self, at: Located, name: str, beside: str) -> tuple[tuple[Source, ...], list[Any]]:
        """Sources, and for each its layers, or tensors, or None for all of them; the same one may occur again."""
        if not at.is_list or not at.value:
            what = at.kind if at.value else "an empty one"
            self._refuse(at, f"parts is a list of models with their {beside}, not {what}")
            return (), []
        found: list[Source] = []
        taken: list[Any] = []
        for number, entry in enumerate(at.value):
            with_own = entry.is_mapping and "verb" not in entry and "model" in entry
            source = self._source(entry["model"] if with_own else entry, f"{name}.{number}")
            own = entry.get(beside) if with_own else None
            if with_own:
                self.problems += unknown_keys(entry, ("model", beside), "a part")
            if own is not None:
                fits, told = _TAKEN[beside]
                if not fits(own.plain()):
                    self._refuse(own, f"{beside} is {told}, not {own.plain()!r}")
            if source is not None:
                found.append(source)
                taken.append(None if own is None else own.plain())
        return tuple(found), taken

    def _method(self, verb: Verb, family: str, at: Located, owns: Sequence[Located | None]) -> dict[str, Any]:
        """The method and its options, those beside the models among them."""
        chosen, options = at.get("method"), at.get("options")
        default = next(each.default for each in verb.fields if each.kind == "method")
        method = default if chosen is None else chosen.value
        if options is not None and not options.is_mapping:
            self._refuse(options, f"options is a mapping, not {options.kind}")
            options = None
        try:
            function = _load(method, family)
        except MethodError as error:
            place = chosen or at
            self.problems.append(place.problem(error.message[0].lower() + error.message[1:].removesuffix(".")))
            return {"method": method}
        given = dict(options.items()) if options is not None else {}
        place = options or at
        spread = per_model(function, given, owns, self.problems)
        self.problems += check_options(function, {**given, **spread}, place)
        plain = {key: value.plain() for key, value in {**given, **spread}.items()}
        return {"method": method, **({"options": plain} if plain else {})}

    def _value(self, each: Field, at: Located) -> Any:
        if each.kind == "settings" and not at.is_mapping:
            return self._refuse(at, f"{each.name} is a mapping from names to values, not {at.kind}")
        if each.kind == "config" and not (at.is_mapping or (isinstance(at.value, str) and at.value)):
            return self._refuse(at, f"{each.name} is a path, or the settings of a config, not {at.kind}")
        if each.kind != "value":
            return at.plain()
        try:
            return each.option.convert(at.plain())
        except ValueError:
            return self._refuse(at, f"{each.name} must be {each.option.expects}, not {at.kind}")

    def _refuse(self, at: Located, text: str, *, key: str | None = None) -> None:
        self.problems.append(at.problem(text, key=key))


def _load(method: Any, family: str) -> Any:
    from scionwood.methods import registry

    if not isinstance(method, str):
        raise MethodError(f"A method is named by text, not by {method!r}.")
    return registry.load(method, family=family)


def _is_range(layers: Any) -> bool:
    whole = isinstance(layers, list) and all(isinstance(each, int) and not isinstance(each, bool) for each in layers)
    return whole and len(layers) == 2


def _are_patterns(tensors: Any) -> bool:
    listed = [tensors] if isinstance(tensors, str) else tensors
    return isinstance(listed, list) and bool(listed) and all(isinstance(each, str) for each in listed)


_BESIDE = {"ranges": "layers", "shares": "tensors"}
"""Of lists of sources, what may stand beside one."""

_TAKEN: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "layers": (_is_range, "[first, one past the last]"),
    "tensors": (_are_patterns, "patterns of names, such as encoder.*"),
}


def _links(step: Step) -> list[str]:
    """The names of the steps that a step is made from, those inside it read through."""
    found: list[str] = []
    for source in step.inputs():
        if isinstance(source, Link):
            found.append(source.step)
        elif isinstance(source, Step):
            found += _links(source)
    return found
