"""Options as recipes write them: one value, one for each model, or rules that say where which value holds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin

from scionwood.errors import nearest
from scionwood.methods.options import RULE_KEYS, Option
from scionwood.methods.record import Record
from scionwood.recipe.document import Located, unknown_keys

__all__ = ["check_options", "is_per_model", "per_model"]


def is_per_model(option: Option) -> bool:
    """Whether an option takes one value for each model, as weights do.

    >>> from scionwood.methods import registry
    >>> [option.name for option in Record.of(registry.load("merge.ties")).options if is_per_model(option)]
    ['density', 'weights']
    """
    return any(get_origin(member) is Sequence for member in get_args(option.annotation))


def per_model(
    function: Callable[..., Any],
    given: Mapping[str, Located],
    owns: Sequence[Located | None],
    problems: list[str],
) -> dict[str, Located]:
    """Return the options that stand beside models, each as a list with a value for every model.

    A model that does not say one has what ``options`` says for all, else the method's default. ``weight`` beside a model
    is one of the ``weights``.

    Args:
        function: the method.
        given: what stands under ``options``.
        owns: for each model, the mapping that it is named in, or None.
        problems: gets a line for everything that is wrong.
    """
    options = {option.name: option for option in Record.of(function).options}
    known = {name: name for name, option in options.items() if is_per_model(option)}
    known |= {name.removesuffix("s"): name for name in known if name.endswith("s")}
    found: dict[str, list[Located | None]] = {}
    for number, own in enumerate(owns):
        for key, value in own.items() if own is not None else ():
            if key == "model":
                continue
            if key in known:
                found.setdefault(known[key], [None] * len(owns))[number] = value
                continue
            said = f"option {key!r} is one for all models, and stands under options"
            if key not in options:
                has = f": beside a model stand {', '.join(known)}" if known else ": there are none for each model"
                said = f"unknown option {key!r} of a model{nearest(key, list(known)) or has}"
            assert own is not None
            problems.append(own.problem(said, key=key))
    spread: dict[str, Located] = {}
    for name, values in found.items():
        common = given.get(name)
        first = next(value for value in values if value is not None)
        if common is not None and common.is_list and not _is_rules(common):
            problems.append(first.problem(f"option {name!r} is given for each model, in options and beside the model"))
            continue
        if common is None and options[name].required and None in values:
            problems.append(first.problem(f"option {name!r} is required, and not every model has it"))
            continue
        rest = common or Located(options[name].default, first.line, first.column, first.path)
        spread[name] = Located(
            [rest if value is None else value for value in values], first.line, first.column, first.path
        )
    return spread


def check_options(function: Callable[..., Any], given: Mapping[str, Located], at: Located) -> list[str]:
    """Return a problem for everything that is wrong with a method's options, each with its line."""
    record = Record.of(function)
    known = {option.name: option for option in record.options}
    problems = [
        value.problem(f"{record.name} has no option {name!r}{nearest(name, list(known)) or _has(list(known))}")
        for name, value in given.items()
        if name not in known
    ]
    for name, option in known.items():
        if name in given:
            problems += _check(option, given[name])
        elif option.required:
            problems.append(at.problem(f"{record.name} needs option {name!r}: {option.expects}"))
    return problems


def _check(option: Option, value: Located) -> list[str]:
    if _is_rules(value):
        return _check_rules(option, value)
    if value.is_list and is_per_model(option) and any(_is_rules(each) for each in value.value):
        return [problem for each in value.value for problem in _check(option, each)]
    try:
        option.convert(value.plain())
    except ValueError as error:
        return [value.problem(str(error))]
    return []


def _is_rules(value: Located) -> bool:
    """Whether a value is a list of rules: of mappings with words of a rule."""
    return value.is_list and bool(value.value) and all(each.is_mapping for each in value.value)


def _check_rules(option: Option, rules: Located) -> list[str]:
    problems: list[str] = []
    for rule in rules.value:
        problems += unknown_keys(rule, RULE_KEYS, f"a rule of {option.name!r}")
        tensors, layers, value = (rule.get(key) for key in RULE_KEYS)
        if (layers is None) == (value is None):
            problems.append(rule.problem(f"a rule of {option.name!r} has either value or layers"))
        if tensors is not None:
            patterns = tensors.value if tensors.is_list else [tensors]
            problems += [
                pattern.problem(f"tensors takes patterns of names, such as '*.self_attn.*', not {pattern.kind}")
                for pattern in patterns
                if not isinstance(pattern.value, str)
            ]
        if layers is not None and not (layers.is_list and layers.value):
            problems.append(
                layers.problem(f"layers takes the values from the first layer to the last, not {layers.kind}")
            )
            continue
        for each in layers.value if layers is not None else [] if value is None else [value]:
            problems += _check(option, each)
    return problems


def _has(names: Sequence[str]) -> str:
    return f": it has {', '.join(names)}" if names else ": it has none"
