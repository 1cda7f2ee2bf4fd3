"""What is merged, as it is written: models, slices of them, or modules; and the parameters that stand there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scionwood.errors import nearest
from scionwood.recipe.document import Located, unknown_keys
from scionwood.recipe.mergekit.methods import IGNORED, METHODS, Method
from scionwood.recipe.mergekit.modules import in_order, patterns_of
from scionwood.recipe.mergekit.reference import Reference, read_reference, said
from scionwood.recipe.mergekit.settings import Level, Moved

__all__ = ["Group", "Layout", "Model", "Module"]

EVERYWHERE = sorted({name for method in METHODS.values() for name in method.parameters} | set(IGNORED))

FILES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Model:
    """One model of a merge: where it stands, its own parameters, and its layers if a slice takes some."""

    reference: Reference
    at: Located
    parameters: Located | None = None
    layers: tuple[int, int] | None = None

    @property
    def moved(self) -> Moved:
        """Where its layers are."""
        return Moved() if self.layers is None else Moved(self.layers[0], self.layers[1] - self.layers[0])


@dataclass(frozen=True)
class Group:
    """Models that are merged: all that there are, or those of a slice.

    Args:
        models: the models.
        at: where they stand.
        base: the base, if one is named.
        levels: the parameters of all of them, the nearest first.
    """

    models: list[Model]
    at: Located
    base: Reference | None
    levels: Sequence[Level]

    @property
    def is_raw(self) -> bool:
        """Whether its models are files of tensors, and no models that a config tells of."""
        return all(model.reference.model.endswith(FILES) for model in self.models)


@dataclass(frozen=True)
class Module:
    """A part of a model, merged by rules of its own.

    Args:
        groups: what is merged: one group, or one for each slice.
        sliced: whether they are slices.
        at: where it stands.
        patterns: those of the names of its tensors; None for all, or all that are left.
    """

    groups: list[Group]
    sliced: bool
    at: Located
    patterns: tuple[str, ...] | None = None

    @property
    def within(self) -> tuple[str, ...] | None:
        """The patterns of the layers that slices take, where the model may have others."""
        return self.patterns if self.sliced else None


@dataclass
class Layout:
    """Reads what is merged; what is wrong goes to the problems, what has no effect to the notes."""

    document: Located
    name: str
    method: Method
    base: Reference | None
    problems: list[str]
    notes: list[str]

    def modules(self) -> list[Module]:
        """Return what is merged: one module for a whole model; none where something is wrong."""
        body, level = self.document, self._level(self.document)
        given = [key for key in ("models", "slices", "modules") if said(body, key) is not None]
        if len(given) != 1:
            here = " and ".join(given) or "none of them"
            self._refuse(body, f"a configuration has one of models, slices and modules, and here is {here}")
            return []
        if given != ["modules"]:
            return self._module(body, [level], None)
        at = body["modules"]
        if not at.is_mapping or not at.value:
            self._refuse(at, f"modules is a mapping from names to what is merged, not {at.kind}")
            return []
        found: list[Module] = []
        for name in in_order(list(at.value)):
            if not at[name].is_mapping:
                self._refuse(at[name], f"a module has models or slices, not {at[name].kind}")
                continue
            self.problems += unknown_keys(at[name], ("models", "slices", "parameters"), "a module")
            if (said(at[name], "models") is None) == (said(at[name], "slices") is None):
                self._refuse(at[name], "a module has either models or slices")
                continue
            found += self._module(at[name], [self._level(at[name]), level], patterns_of(name))
        return found

    def _module(self, at: Located, levels: Sequence[Level], patterns: tuple[str, ...] | None) -> list[Module]:
        sliced = said(at, "slices") is not None
        groups = self._slices(at["slices"], levels) if sliced else self._models(at["models"], levels)
        return [Module(groups, sliced, at, patterns)] if groups else []

    def _models(self, at: Located, levels: Sequence[Level]) -> list[Group]:
        models = self._listed(at, "models", ("model", "parameters"))
        if self.base is not None and models and self.base not in [model.reference for model in models]:
            models.append(Model(self.base, self.document["base_model"]))
        return [Group(models, at, self.base, levels)] if models else []

    def _slices(self, at: Located, levels: Sequence[Level]) -> list[Group]:
        if not at.is_list or not at.value:
            self._refuse(at, f"slices is a list, not {at.kind if at.value else 'an empty one'}")
            return []
        found: list[Group] = []
        first = 0
        for each in at.value:
            if not each.is_mapping or "sources" not in each:
                self._refuse(each, "a slice has sources: models, each with its layer_range")
                continue
            self.problems += unknown_keys(each, ("sources", "base_model", "residual_weight", "parameters"), "a slice")
            if "residual_weight" in each:
                self._note(each, "residual_weight has no effect, as in mergekit", key="residual_weight")
            models = self._listed(each["sources"], "sources", ("model", "layer_range", "parameters"))
            lengths = [model.moved.count for model in models]
            if len(set(lengths)) > 1:
                told = ", ".join(map(str, lengths))
                self._refuse(each["sources"], f"the sources of a slice have equally many layers, and these {told}")
            moved = Moved(first, max(lengths, default=0))
            first += moved.count
            named = said(each, "base_model")
            base = self.base if named is None else read_reference(named, self.problems)
            within = [replace(level, moved=moved) for level in (self._level(each), *levels)]
            found += [Group(models, each, base, within)] if models else []
        return found

    def _listed(self, at: Located, what: str, keys: Sequence[str]) -> list[Model]:
        if not at.is_list or not at.value:
            self._refuse(at, f"{what} is a list of models, not {at.kind if at.value else 'an empty one'}")
            return []
        found: list[Model] = []
        places: dict[Reference, int] = {}
        for each in at.value:
            if not each.is_mapping or "model" not in each:
                self._refuse(each, f"an entry of {what} is a mapping with model, not {each.kind}")
                continue
            self.problems += unknown_keys(each, keys, f"an entry of {what}")
            reference = read_reference(each["model"], self.problems)
            layers = self._layers(each) if "layer_range" in keys else None
            parameters = self._level(each, beside=True).parameters
            if reference is None:
                continue
            if reference in places:
                self._refuse(each, f"the model {reference} is named twice, first in line {places[reference]}")
            places.setdefault(reference, each.line)
            found.append(Model(reference, each, parameters, layers))
        return found

    def _layers(self, at: Located) -> tuple[int, int] | None:
        bounds = at.get("layer_range")
        told = None if bounds is None else bounds.plain()
        if not isinstance(told, list) or [type(each) for each in told] != [int, int] or not 0 <= told[0] < told[1]:
            here = "" if told is None else f", not {told!r}"
            return self._refuse(bounds or at, f"a source of a slice has layer_range: [first, one past the last]{here}")
        return told[0], told[1]

    def _level(self, at: Located, *, beside: bool = False) -> Level:
        """The parameters that stand at a place, checked; beside a model only those have an effect that each has."""
        parameters = said(at, "parameters")
        if parameters is None:
            return Level(None)
        if not parameters.is_mapping:
            self._refuse(parameters, f"parameters is a mapping, not {parameters.kind}")
            return Level(None)
        known = list(self.method.parameters)
        for name in parameters.value if self.name in METHODS else ():
            own = self.method.parameters.get(name)
            if name in IGNORED:
                self._note(parameters, f"{name} has no effect: nothing is gained by it here", key=name)
            elif own is None and name in EVERYWHERE:
                self._note(parameters, f"{self.name} has no {name}: it has no effect, as in mergekit", key=name)
            elif own is None:
                has = nearest(name, [*known, *EVERYWHERE]) or f": it has {', '.join(known) or 'none'}"
                self._refuse(parameters, f"{self.name} has no parameter {name!r}{has}", key=name)
            elif beside and not own.per_model:
                why = f"{name} is one for all models: beside a model it has no effect, as in mergekit"
                self._note(parameters, why, key=name)
        return Level(parameters)

    def _refuse(self, at: Located, text: str, *, key: str | None = None) -> None:
        self.problems.append(at.problem(text, key=key))

    def _note(self, at: Located, text: str, *, key: str) -> None:
        self.notes.append(at.problem(text, key=key))
