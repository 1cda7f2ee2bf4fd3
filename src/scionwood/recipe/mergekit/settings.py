"""Parameters of mergekit as rules: values, gradients and filters, the nearest level first.

A parameter is looked for beside the model, then in the slice, the module, and the whole configuration; the first level
that has a value for a tensor holds. Written one after another their conditions are one list of rules.

A filter is a part of a tensor's name. Where a slice has its layers from the middle of a model, the numbers in the names
are others than in the step that merges the slice, so filters that tell a layer are moved with it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scionwood.recipe.document import Located, unknown_keys
from scionwood.recipe.mergekit.methods import Parameter
from scionwood.recipe.mergekit.reference import placed

__all__ = ["Level", "Moved", "rules_of"]


@dataclass(frozen=True)
class Moved:
    """Where the layers of a step are in what the filters mean: from ``first`` on, so many."""

    first: int = 0
    count: int = 0


@dataclass(frozen=True)
class Level:
    """The parameters of one level, and where the layers are that its filters mean."""

    parameters: Located | None
    moved: Moved = Moved()


def rules_of(name: str, parameter: Parameter, levels: Sequence[Level], at: Located, problems: list[str]) -> Located:
    """Return a parameter as a recipe gives an option: one value, or rules; with the default where nothing is given.

    Args:
        name: mergekit's name of the parameter.
        parameter: what it holds.
        levels: where it may stand, the nearest first.
        at: what needs it, for where it is missing.
        problems: gets a line for everything that is wrong.

    >>> from scionwood.recipe.document import parse_documents
    >>> (document,) = parse_documents("t: [{filter: mlp, value: 1}, {value: [0, 0.5]}]")
    >>> rules_of("t", Parameter("t"), [Level(document)], document, []).plain()
    [{'tensors': '*mlp*', 'value': 1.0}, {'layers': [0.0, 0.5]}]
    """
    rules: list[Located] = []
    given: Located | None = None
    for level in levels:
        setting = None if level.parameters is None else level.parameters.get(name)
        if setting is None:
            continue
        given = given or setting
        for condition in _conditions(setting, name, problems):
            value = _value(condition["value"], name, parameter, problems)
            pattern = _text(condition.get("filter"), problems)
            if pattern is None:
                if not rules and "value" in value:
                    return value["value"]
                return placed([*rules, placed(value, condition)], condition)
            tensors = _globs(pattern, level.moved, condition, problems)
            if tensors:
                rules.append(placed({"tensors": tensors[0] if len(tensors) == 1 else tensors, **value}, condition))
    if parameter.required and given is None:
        problems.append(at.problem(f"{name} is missing"))
    elif parameter.required and given is not None:
        problems.append(
            given.problem(f"{name} is missing where no filter fits: a last entry without one is for the rest")
        )
    if not rules:
        return placed(parameter.default, at)
    return placed(rules if parameter.same else [*rules, placed({"value": parameter.default}, at)], at)


def _conditions(setting: Located, name: str, problems: list[str]) -> list[Located]:
    """A setting as conditions: mappings with a value and perhaps a filter."""
    if setting.is_mapping:
        listed = [setting]
    elif setting.is_list and any(each.is_mapping for each in setting.value):
        listed = setting.value
    else:
        return [placed({"value": setting}, setting)]
    found: list[Located] = []
    for each in listed:
        if not each.is_mapping:
            problems.append(each.problem(f"{name}: values and filters are not mixed; a value here is - value: …"))
            continue
        problems += unknown_keys(each, ("filter", "value"), f"a condition of {name}")
        if "value" in each:
            found.append(each)
        else:
            problems.append(each.problem(f"a condition of {name} needs a value"))
    return found


def _text(pattern: Located | None, problems: list[str]) -> str | None:
    """A filter; None where it is for every tensor."""
    if pattern is None or pattern.value in (None, "*", ""):
        return None
    if not isinstance(pattern.value, str):
        problems.append(pattern.problem(f"a filter is a part of a tensor's name, not {pattern.kind}"))
        return None
    return pattern.value


def _value(setting: Located, name: str, parameter: Parameter, problems: list[str]) -> dict[str, Located]:
    """What a condition gives: one value, or values along the layers."""
    if not setting.is_list:
        return {"value": _scalar(setting, name, parameter, problems)}
    values = [_scalar(each, name, parameter, problems) for each in setting.value]
    if len(values) == 1:
        return {"value": values[0]}
    if not values:
        problems.append(setting.problem(f"{name} is an empty list"))
    return {"layers": placed(values, setting)}


_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "t", "y", "1"), True),
    **dict.fromkeys(("false", "no", "off", "f", "n", "0"), False),
}


def _scalar(at: Located, name: str, parameter: Parameter, problems: list[str]) -> Located:
    """A value as the option takes it: mergekit reads 20 as 20.0, true as 1.0 and "0.5" as 0.5."""
    if parameter.kind == "truth":
        found = _WORDS.get(str(at.value).lower().removesuffix(".0"))
        if found is None:
            problems.append(at.problem(f"{name} is true or false, not {at.kind}"))
        return placed(parameter.told[bool(found)], at)
    try:
        number = float(at.value)
    except (TypeError, ValueError):
        problems.append(at.problem(f"{name} is a number, not {at.kind}"))
        number = 0.0
    whole = parameter.kind == "whole" and number.is_integer()
    return placed(int(number) if whole else number, at)


_NUMBER = re.compile(r"(?:^|(?<=\.))\d+(?=\.|$)")
_IN_A_LIST = re.compile(r"(^|[._])(layers?|h|blocks?)\.$")
_UNSURE = re.compile(r"\.?layer\.")  # of blocks that have layers themselves, or of the model
_ELSEWHERE = re.compile(r"(^|[._])(experts?|mlp)\.$")


def _globs(pattern: str, moved: Moved, at: Located, problems: list[str]) -> list[str]:
    """Return the patterns of names in the step that a filter is; none where it is for layers that the slice lacks."""
    whole = f"*{_escaped(pattern)}*"
    if not moved.first:
        return [whole]
    for found in _NUMBER.finditer(pattern):
        before, after = pattern[: found.start()], pattern[found.end() :]
        if _ELSEWHERE.search(before):
            continue
        if not _IN_A_LIST.search(before) or _UNSURE.fullmatch(before):
            why = f"the filter {pattern!r} may tell a layer, and the layers of this slice begin with {moved.first}"
            problems.append(at.problem(f"{why}: write what stands before the number, as in layers.{found[0]}"))
            return []
        numbers = [
            number
            for number in range(moved.count)
            if str(number + moved.first) == found[0] or (not after and str(number + moved.first).startswith(found[0]))
        ]
        return [f"*{_escaped(before)}{number}{_escaped(after) or '.'}*" for number in numbers]
    return [whole]


def _escaped(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)
