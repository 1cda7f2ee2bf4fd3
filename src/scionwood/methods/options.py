"""The options of a method, read from its signature: names, types, bounds, choices, defaults and help.

The keyword-only parameters of a method *are* its options. An annotation says what is allowed, and the ``Args`` of the
docstring say what it means; nothing is described twice. From the two come the recipe's options, the flags of the
command line, the row of the docs and the JSON schema.

Annotations understood: ``int``, ``float``, ``str``, ``bool``, ``None``, ``Literal``, unions, ``Sequence[T]``,
``tuple[T, ...]``, ``Mapping[str, T]``, ``Annotated[T, Finite(...)]`` around any number, and in a union ``Callable``, for
what is given from Python alone.
"""

import inspect
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from scionwood.errors import MethodError, nearest

__all__ = ["REQUIRED", "RULE_KEYS", "Finite", "Option", "json_schema", "options_of", "resolve_options"]

REQUIRED: Any = inspect.Parameter.empty
"""The default of an option that has none."""

RULE_KEYS = ("tensors", "layers", "value")
"""What a rule may say, where an option varies: which tensors it is for, and either one value or values along the layers."""

_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


@dataclass(frozen=True, kw_only=True)
class Finite:
    """The bounds of a number, as a marker in ``Annotated``; without any it still refuses NaN and the infinities.

    >>> str(Finite(above=0, at_most=1))
    'a finite number above 0 and at most 1'
    """

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        bounds = [
            f"{words} {bound:g}"
            for words, bound in (
                ("above", self.above),
                ("at least", self.at_least),
                ("at most", self.at_most),
                ("below", self.below),
            )
            if bound is not None
        ]
        return " ".join(["a finite number", " and ".join(bounds)]).strip()

    def json(self) -> dict[str, float]:
        """Return the bounds as JSON schema writes them."""
        words = {
            "exclusiveMinimum": self.above,
            "minimum": self.at_least,
            "maximum": self.at_most,
            "exclusiveMaximum": self.below,
        }
        return {word: bound for word, bound in words.items() if bound is not None}


@dataclass(frozen=True)
class Option:
    """One option of a method: a keyword-only parameter of its function."""

    name: str
    annotation: Any
    default: Any = REQUIRED
    help: str = ""

    @property
    def required(self) -> bool:
        """Whether the option has no default."""
        return self.default is REQUIRED

    @property
    def expects(self) -> str:
        """What a value must be, in words.

        >>> Option("scale", Annotated[float, Finite(above=0)] | None).expects
        'a finite number above 0, or none'
        """
        return _describe(self.annotation)

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a ``Literal``, or nothing where the values cannot be listed."""
        return get_args(self.annotation) if get_origin(self.annotation) is Literal else ()

    def convert(self, value: Any) -> Any:
        """Return the value as the method wants it; a string is read as the annotation says.

        >>> Option("scale", float).convert("1e-3")
        0.001

        Raises:
            ValueError: the value does not fit; the message is a sentence about this option.
        """
        try:
            return _convert(self.annotation, value)
        except ValueError:
            known = [choice for choice in self.choices if isinstance(choice, str)]
            hint = nearest(value, known) if isinstance(value, str) else ""
            raise ValueError(f"option {self.name!r} must be {self.expects}, not {value!r}{hint}") from None

    def json(self) -> dict[str, Any]:
        """Return the JSON schema of this option's value."""
        schema = _json(self.annotation)
        if not self.required:
            schema["default"] = self.default
        if self.help:
            schema["description"] = self.help
        return schema


def options_of(function: Callable[..., Any]) -> tuple[Option, ...]:
    """Return the options of a function: its keyword-only parameters, in the order written.

    Raises:
        MethodError: parameters without an annotation, with one that is not understood, or a default outside its own
            bounds; all of them at once.
    """
    hints = get_type_hints(function, include_extras=True)
    helps = _arguments(function.__doc__ or "")
    options: list[Option] = []
    problems: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            problems.append(f"**{parameter.name} hides the options: write each as a keyword-only parameter")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        name = parameter.name
        if name not in hints:
            problems.append(f"option {name!r} has no annotation")
            continue
        option = Option(name, hints[name], parameter.default, helps.get(name, ""))
        try:
            option.json()
            if not option.required:
                option.convert(option.default)
        except TypeError as error:
            problems.append(f"option {name!r}: {error}")
        except ValueError as error:
            problems.append(f"the default is refused: {error}")
        options.append(option)
    if problems:
        raise MethodError(f"The signature of {function.__qualname__} is no schema.", problems=problems)
    return tuple(options)


def resolve_options(title: str, options: Sequence[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option with its value: the one given, converted and checked, or the default.

    >>> resolve_options("merge.mean", [Option("scale", float, 1.0), Option("passes", int, 1)], {"scale": "0.5"})
    {'scale': 0.5, 'passes': 1}

    Raises:
        MethodError: unknown options, values of the wrong type or out of range, missing values; all of them at once.
    """
    known = {option.name: option for option in options}
    problems: list[str] = []
    for name in given:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            problems.append(f"unknown option {name!r}{nearest(name, list(known)) or f': {has}'}")
    values: dict[str, Any] = {}
    for option in options:
        if option.name not in given:
            if option.required:
                problems.append(f"option {option.name!r} is required: {option.expects}")
            values[option.name] = option.default
            continue
        try:
            values[option.name] = option.convert(given[option.name])
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise MethodError(f"The options given to {title} do not fit.", problems=problems)
    return values


def json_schema(options: Sequence[Option]) -> dict[str, Any]:
    """Return the JSON schema of an object that holds the options."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {option.name: option.json() for option in options},
        "additionalProperties": False,
    }
    if required := [option.name for option in options if option.required]:
        schema["required"] = required
    return schema


def _convert(annotation: Any, value: Any) -> Any:
    """Convert a value to an annotation, or raise a ValueError whose words the caller replaces."""
    origin, arguments = get_origin(annotation), _parts(annotation)
    if origin is Annotated:
        converted = _convert(arguments[0], value)
        if any(converted not in mark for mark in _bounds(annotation)):
            raise ValueError
        return converted
    if origin is Literal:
        # 1 == True == 1.0 in Python, not in a recipe: the type is part of the choice.
        for choice in arguments:
            if (type(choice), choice) == (type(value), value):
                return choice
        for choice in arguments:
            if isinstance(value, str) and str(choice).lower() == value.lower():
                return choice
        raise ValueError
    if origin in (Union, types.UnionType):
        # ``str`` takes any string, so it is asked last; else ``int | str`` would never give an int from a command line.
        for member in sorted(arguments, key=lambda member: member is str):
            try:
                return _convert(member, value)
            except ValueError:
                continue
        raise ValueError
    if annotation in (None, types.NoneType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
    elif annotation is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in _WORDS:
            return _WORDS[value.lower()]
    elif annotation is int:
        if isinstance(value, int | str) and not isinstance(value, bool):
            return int(value)
    elif annotation is float:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    elif annotation is str:
        if isinstance(value, str):
            return value
    elif origin is Callable:
        if callable(value):
            return value
    elif origin in _ARRAYS:
        return _convert_array(arguments, value)
    elif origin in _OBJECTS:
        if isinstance(value, str):
            value = _pairs(value)
        if isinstance(value, Mapping):
            return {_convert(arguments[0], key): _convert(arguments[1], item) for key, item in value.items()}
    raise ValueError


_ARRAYS = (list, tuple, Sequence)
_OBJECTS = (dict, Mapping)


def _convert_array(arguments: Sequence[Any], value: Any) -> tuple[Any, ...]:
    """Convert to a tuple: an option is a value, and values do not change."""
    if isinstance(value, str):
        value = [part.strip() for part in value.strip("[]()").split(",") if part.strip()]
    if not isinstance(value, Sequence):
        raise ValueError
    if len(arguments) > 1 and arguments[-1] is not Ellipsis:
        return tuple(_convert(annotation, item) for annotation, item in zip(arguments, value, strict=True))
    return tuple(_convert(arguments[0], item) for item in value)


def _pairs(value: str) -> dict[str, str]:
    """Read ``a=1,b=2``."""
    pairs = [part.partition("=") for part in value.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError
    return {key.strip(): item.strip() for key, _, item in pairs}


def _parts(annotation: Any) -> Sequence[Any]:
    return get_args(annotation)


def _bounds(annotation: Any) -> list[Finite]:
    return [mark for mark in annotation.__metadata__ if isinstance(mark, Finite)]


def _describe(annotation: Any) -> str:
    """Say in words what an annotation takes."""
    origin, arguments = get_origin(annotation), _parts(annotation)
    if origin is Annotated:
        what = _describe(arguments[0])
        for mark in _bounds(annotation):
            what = str(mark).replace("finite number", "whole number") if arguments[0] is int else str(mark)
        return what
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return ", or ".join(_describe(member) for member in arguments)
    if origin in _ARRAYS:
        return f"a list, each {_describe(arguments[0])}"
    if origin is Callable:
        return "a function, from Python"
    if origin in _OBJECTS:
        return f"a mapping from names, each to {_describe(arguments[1])}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", types.NoneType: "none"}
    return words.get(annotation, str(annotation))


def _json(annotation: Any) -> dict[str, Any]:
    """Translate an annotation to JSON schema; a TypeError says that it is not understood."""
    origin, arguments = get_origin(annotation), _parts(annotation)
    if origin is Annotated:
        if _bounds(annotation) and arguments[0] not in (int, float):
            raise TypeError(f"bounds stand around int or float, not around {arguments[0]!r}")
        bounds = (mark.json() for mark in _bounds(annotation))
        return _json(arguments[0]) | {word: bound for each in bounds for word, bound in each.items()}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        # No file says a function: it is given from Python alone.
        return {"anyOf": [_json(member) for member in arguments if get_origin(member) is not Callable]}
    if origin in _ARRAYS:
        if len(arguments) > 1 and arguments[-1] is not Ellipsis:
            return {"type": "array", "prefixItems": [_json(item) for item in arguments], "items": False}
        return {"type": "array", "items": _json(arguments[0])}
    if origin in _OBJECTS:
        return {"type": "object", "additionalProperties": _json(arguments[1])}
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", types.NoneType: "null"}
    if annotation not in kinds:
        raise TypeError(f"the annotation {annotation!r} is not understood")
    return {"type": kinds[annotation]}


def _arguments(docstring: str) -> dict[str, str]:
    """Return the ``Args`` of a Google-style docstring: name to description on one line."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", inspect.cleandoc(docstring), re.MULTILINE)
    found: dict[str, str] = {}
    name = ""
    for line in section.group(1).splitlines() if section else ():
        if start := re.match(r" {4}(\w+): (.*)", line):
            name = start.group(1)
            found[name] = start.group(2).strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found
