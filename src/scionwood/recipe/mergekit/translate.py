"""From configurations to a recipe: one merge, or a stack of the merges of slices; modules joined; documents as steps."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from scionwood.errors import RecipeError, nearest
from scionwood.recipe.document import Located, parse_documents, unknown_keys
from scionwood.recipe.mergekit.layout import Group, Layout, Model, Module
from scionwood.recipe.mergekit.methods import METHODS, Method
from scionwood.recipe.mergekit.reference import placed, read_reference, said
from scionwood.recipe.mergekit.settings import Level, rules_of
from scionwood.recipe.mergekit.vocabulary import read_vocabulary

__all__ = ["Translation", "is_mergekit", "translate"]

NATIVE = ("verb", "steps", "recipe")
KEYS = (
    "merge_method",
    "models",
    "slices",
    "modules",
    "base_model",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
    "name",
)
DRAWING = ("dare", "della")
"""Methods that draw at random, by the names of tensors."""

DTYPES = ("bfloat16", "float16", "float32")


@dataclass(frozen=True)
class Translation:
    """What a file of mergekit is as a recipe.

    Args:
        recipe: the recipe; every value has the place in the file that it comes from.
        notes: what the file says without effect, each with its line.
    """

    recipe: Located
    notes: tuple[str, ...]

    def to_yaml(self) -> str:
        """Return the recipe as YAML; where that would be read as something else, as JSON, which is YAML, too."""
        plain = self.recipe.plain()
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)
        same = [document.plain() for document in parse_documents(text)] == [plain]
        return text if same else json.dumps(plain, indent=2) + "\n"


def is_mergekit(documents: Sequence[Located]) -> bool:
    """Whether documents are configurations of mergekit, and no recipe.

    >>> from scionwood.recipe.document import parse_documents
    >>> is_mergekit(parse_documents("merge_method: linear")), is_mergekit(parse_documents("verb: merge"))
    (True, False)
    """
    return not any(key in document for document in documents for key in NATIVE)


def translate(
    documents: Sequence[Located],
    path: str = "",
    *,
    dtype: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Translation:
    """Return the recipe that does what configurations of mergekit say.

    Args:
        documents: the documents of the file; several are named, and made from each other.
        path: the file, as it is named in errors.
        dtype: what the result is stored as, whatever the file says.
        settings: what every merge is given beside what the file says, such as a seed or a device.

    Raises:
        RecipeError: what the file says is unknown, incomplete, or cannot be done; everything, with its lines.

    >>> from scionwood.recipe.document import parse_documents
    >>> text = "{merge_method: linear, models: [{model: chat}, {model: code}], parameters: {weight: 0.5}}"
    >>> recipe = translate(parse_documents(text)).recipe.plain()
    >>> recipe["models"], recipe["options"]
    (['chat', 'code'], {'weights': 0.5})
    """
    documents = [document for document in documents if document.value is not None]
    if not documents:
        raise RecipeError(f"{path or 'The configuration'} is empty.")
    problems: list[str] = []
    notes: list[str] = []
    names = _names(documents, problems)
    steps: dict[str, Any] = {}
    for document, name in zip(documents, names, strict=True):
        if document.is_mapping:
            own = dtype if document is documents[-1] else None
            steps[name] = _Configuration(document, names, problems, notes, own, settings or {}).step()
        else:
            problems.append(document.problem(f"a configuration is a mapping, not {document.kind}"))
    if problems:
        raise RecipeError(f"{path or 'The configuration'} cannot be run.", problems=dict.fromkeys(problems))
    recipe = steps[names[0]] if len(documents) == 1 else {"steps": steps}
    return Translation(placed(recipe, documents[0]), tuple(dict.fromkeys(notes)))


def _names(documents: Sequence[Located], problems: list[str]) -> list[str]:
    """The names of the documents; one may have none, and is called output."""
    found: list[str] = []
    for document in documents:
        name = said(document, "name") if document.is_mapping else None
        found.append("output" if name is None else str(name.value))
        if found[-1] in found[:-1]:
            what = "have no name" if name is None else f"are named {found[-1]!r}"
            problems.append(document.problem(f"two documents {what}"))
    return found


def _within(patterns: Sequence[str] | None) -> dict[str, list[str]]:
    return {} if patterns is None else {"within": list(patterns)}


_ARCS = {True: "column", False: "row"}


def _renamed(value: Located, told: Mapping[bool, str]) -> Located:
    """Return true and false, or rules that give them, in other words."""
    if value.is_list:
        return placed([_renamed(each, told) for each in value.value], value)
    if value.is_mapping:
        return placed({key: each if key == "tensors" else _renamed(each, told) for key, each in value.items()}, value)
    return placed(told[value.value], value)


class _Configuration:
    """One document."""

    def __init__(
        self,
        document: Located,
        names: Sequence[str],
        problems: list[str],
        notes: list[str],
        dtype: str | None,
        settings: Mapping[str, Any],
    ) -> None:
        self.document, self.names, self.problems, self.notes = document, names, problems, notes
        self.problems += unknown_keys(document, KEYS, "a configuration")
        told = self._dtype("dtype"), self._dtype("out_dtype")
        self.dtype = dtype or told[1] or told[0]
        # What only some models have is merged among those, as mergekit does.
        self.settings = {"differences": "common", **settings}
        self.vocabulary = read_vocabulary(document, problems)
        base = said(document, "base_model")
        self.base = None if base is None else read_reference(base, problems)
        self.name, self.method = self._method()
        self.layout = Layout(document, self.name, self.method, self.base, problems, notes)

    def step(self) -> Located | None:
        """Return the step that the document is; None where something is wrong."""
        modules = self.layout.modules()
        if not modules:
            return None
        groups = [group for module in modules for group in module.groups]
        self._check_alike(groups)
        if self.base is not None and self.base not in [model.reference for model in groups[0].models]:
            first = groups[0].models[0].reference
            why = f"config and tokenizer are those of {first}, of the first slice: the base is no source of it"
            self.notes.append(self.document.problem(why, key="base_model"))
        merges = [[self._merge(group, module.within) for group in module.groups] for module in modules]
        if self.problems:
            return None
        if (template := self.vocabulary.chat_template) is not None:
            merges[0][0]["chat_template"] = template
        made = [self._module(module, each) for module, each in zip(modules, merges, strict=True)]
        if len(modules) == 1 and modules[0].patterns is None:
            return made[0]
        parts = [
            placed(
                {"model": step, **({} if module.patterns is None else {"tensors": list(module.patterns)})}, module.at
            )
            for module, step in zip(modules, made, strict=True)
        ]
        return placed({"verb": "join", "parts": parts}, self.document["modules"])

    def _module(self, module: Module, merges: list[dict[str, Any]]) -> Located:
        """The step that a module is, of the merges of its groups."""
        for number, merge in enumerate(merges):
            if number and self.method.method in DRAWING:  # layers of two slices have one name before they are stacked
                merge["seed"] = self.settings.get("seed", 0) + number
        stored = {} if self.dtype is None else {"dtype": self.dtype}
        cut = [module.sliced and self._is_cut(merge) for merge in merges]
        if cut == [False]:
            return placed({**merges[0], **stored}, module.groups[0].at)
        # A slice between is not rounded; what it is stored as is said in the end.
        between = {} if self.dtype is None else {"dtype": "float32"}
        parts = [
            merge["models"][0].value["parts"].value[0] if is_cut else placed({"model": {**merge, **between}}, group.at)
            for merge, group, is_cut in zip(merges, module.groups, cut, strict=True)
        ]
        return placed({"verb": "stack", "parts": parts, **_within(module.within), **stored}, module.at)

    def _is_cut(self, merge: Mapping[str, Any]) -> bool:
        """Whether a merge of a slice is nothing but some layers of one model."""
        return merge["method"] == "passthrough" and not any(
            key in merge for key in ("options", "tokenizer", "chat_template")
        )

    def _merge(self, group: Group, within: Sequence[str] | None) -> dict[str, Any]:
        """One merge, of whole models or of a slice of each."""
        method, base = self.method, None
        others = [model for model in group.models if model.reference != group.base]
        if len(others) < len(group.models):
            base = next(model for model in group.models if model.reference == group.base)
        if base is None and method.base in ("needed", "first"):
            missing = "base_model" if group.base is None else f"the base {group.base} among its sources"
            self.problems.append(group.at.problem(f"{self.name} needs {missing}"))
        elif base is None and group.base is not None and method.base == "welcome":
            self.problems.append(group.at.problem(f"the base {group.base} is not among the sources"))
        if base is not None and method.base == "member":
            others, base = [base, *others], None  # the first, for config and tokenizer are its own
        if len(others) < method.least or (method.most is not None and len(others) > method.most):
            wanted = f"{method.least}" if method.least == method.most else f"at least {method.least}"
            beside = " beside the base" if method.base in ("needed", "first") else ""
            why = f"{self.name} takes {wanted} model{'s' * (method.least > 1)}{beside}, and here are {len(others)}"
            self.problems.append(group.at.problem(why))
        if base is not None and base.parameters is not None:
            self.notes += [
                base.parameters.problem(f"{name} has no effect beside the base, as in mergekit", key=name)
                for name in base.parameters.value
                if name in method.parameters and method.parameters[name].per_model
            ]
        options = self._options(group, others)
        if base is not None and method.base == "first":
            others, base = [base, *others], None
        return {
            "verb": "merge",
            "method": method.method,
            "models": [self._source(model, within) for model in others],
            **({} if base is None else {"base": self._source(base, within)}),
            **({"options": options} if options else {}),
            **self._tokenizer(group),
            **self.settings,
        }

    def _source(self, model: Model, within: Sequence[str] | None) -> Located:
        told: Any = model.reference.source(None if self.dtype is None else "float32")
        if model.layers is not None:
            told = {"verb": "stack", "parts": [{"model": told, "layers": list(model.layers)}], **_within(within)}
        return placed(told, model.at)

    def _options(self, group: Group, models: Sequence[Model]) -> dict[str, Located]:
        found: dict[str, Located] = {}
        for name, parameter in self.method.parameters.items():
            if parameter.per_model:
                values = [
                    # Filters of what each model has mean its own layers, wherever they stand.
                    rules_of(
                        name,
                        parameter,
                        [replace(level, moved=model.moved) for level in (Level(model.parameters), *group.levels)],
                        model.at,
                        self.problems,
                    )
                    for model in models
                ]
                alike = all(value.plain() == values[0].plain() for value in values)
                value = values[0] if values and alike else placed(values, group.at)
            else:
                value = rules_of(name, parameter, group.levels, group.at, self.problems)
            if group.is_raw:
                value = self._flat(name, value)
            if parameter.option == "arc":
                found[name] = value
            elif not (parameter.same and value.plain() == parameter.default):
                found[parameter.option] = value
        if "nuslerp_flatten" in found:
            found |= self._arc(found.pop("nuslerp_flatten"), found.pop("nuslerp_row_wise"))
        return found | {key: placed(value, group.at) for key, value in self.method.options.items()}

    def _flat(self, name: str, value: Located) -> Located:
        """Return a parameter without gradients: files of tensors have no layers for mergekit, which takes the first."""
        if value.is_list:
            return placed([self._flat(name, each) for each in value.value], value)
        if "layers" not in value:
            return value
        self.notes.append(value.problem(f"{name} is its first value everywhere: files have no layers, as in mergekit"))
        return placed(
            {"value": value["layers"].value[0], **({"tensors": value["tensors"]} if "tensors" in value else {})}, value
        )

    def _arc(self, flatten: Located, row_wise: Located) -> dict[str, Located]:
        """Which way nuslerp goes, of two parameters; where it is one way for all that vary, the other's rules say it."""
        if flatten.is_list and row_wise.is_list:
            why = "nuslerp_flatten and nuslerp_row_wise both vary: give one of them as one value"
            self.problems.append(flatten.problem(why))
            return {}
        if row_wise.is_list:
            return {} if flatten.value else {"arc": _renamed(row_wise, _ARCS)}
        told = {True: "tensor", False: _ARCS[row_wise.value]}
        return {} if flatten.value is True else {"arc": _renamed(flatten, told)}

    def _tokenizer(self, group: Group) -> dict[str, Any]:
        source, at = self.vocabulary.source, self.vocabulary.at
        if source is None:
            return {}
        if source in self.names:
            references = [model.reference for model in group.models]
            if source != (group.base if group.base in references else references[0]).model:
                why = f"the tokenizer of {source} is made here: name a model that is there, or make {source} the base"
                self.problems.append(at.problem(why))
            source = "base"
        if source == "base" and len(group.models) == 1:
            source = (self.base or group.models[0].reference).model
        return {"tokenizer": placed(source, at), **self.vocabulary.keys}

    def _check_alike(self, groups: Sequence[Group]) -> None:
        """What is found out from all models can be found out in every slice and module only if it has them all."""
        if len({frozenset(model.reference for model in group.models) for group in groups}) == 1:
            return
        template = self.vocabulary.chat_template
        if self.vocabulary.source == "union":
            why = (
                "a union of tokenizers is made where models are merged, and here others are merged elsewhere: name one"
            )
            self.problems.append(self.vocabulary.at.problem(why))
        if template is not None and template.value == "auto":
            self.problems.append(
                template.problem("not all models are merged in one place: name the template, not auto")
            )

    def _method(self) -> tuple[str, Method]:
        written = said(self.document, "merge_method")
        name = "" if written is None else str(written.value)
        if written is None:
            self.problems.append(self.document.problem(f"merge_method is missing: one of {', '.join(METHODS)}"))
        elif name not in METHODS:
            near = nearest(name, list(METHODS)) or f": there are {', '.join(METHODS)}"
            self.problems.append(written.problem(f"unknown merge_method {name!r}{near}"))
        return name, METHODS.get(name, Method("", "member"))

    def _dtype(self, key: str) -> str | None:
        at = said(self.document, key)
        if at is None:
            return None
        told = str(at.value).removeprefix("torch.")
        if told not in DTYPES:
            near = ": the arithmetic is float32" if told == "float64" else nearest(told, DTYPES)
            why = f"{key} is one of {', '.join(DTYPES)}, not {at.kind}{near}"
            self.problems.append(at.problem(why))
        return told
