"""Options that vary over tensors, layers and models: rules, as recipes write them, to one set of options for a tensor.

A rule says which tensors it is for, by patterns of names, and either one value or values along the layers::

    density:
      - tensors: "*.self_attn.*"
        value: 0.5
      - layers: [0.1, 0.9]

The first rule that fits holds; where none does, the method's default. Values along the layers are the first for the
first layer and the last for the last one, and the first for tensors outside of the layers. Between them numbers are
interpolated; of other values, such as true and false, each holds until the next one's place. An option that is given for
each model may have rules for each.
"""

import fnmatch
import functools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scionwood.errors import MethodError, nearest
from scionwood.methods.options import RULE_KEYS, Option
from scionwood.methods.record import Record, resolve
from scionwood.verbs.layers import Layers

__all__ = ["Options"]


@dataclass(frozen=True, eq=False)
class Options:
    """The options of a method, for every tensor.

    Args:
        function: the method.
        given: what was asked for: plain values, or rules.
        layers: the lists of layers.
        check: called with every set of options that occurs; raises what is wrong with it.

    Raises:
        MethodError: unknown options, wrong rules, or values out of their range; all of them.

    >>> from scionwood.methods.merge.slerp import slerp
    >>> options = Options(slerp, {"t": [{"tensors": "*norm*", "value": 0}, {"layers": [0, 1]}]}, (Layers("layers", 3),))
    >>> [options.of(name)["t"] for name in ("layers.1.weight", "layers.2.norm.weight", "head.weight")]
    [0.5, 0.0, 0.0]
    """

    function: Callable[..., Any]
    given: Mapping[str, Any]
    layers: tuple[Layers, ...] = ()
    check: Callable[[Mapping[str, Any]], None] = lambda _: None
    _known: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict, init=False)
    _used: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        record = Record.of(self.function)
        known = {option.name: option for option in record.options}
        problems = []
        some: dict[str, Any] = {}
        for name, value in self.varying.items():
            if name not in known:
                problems.append(f"{record.name} has no option {name!r}{nearest(name, list(known))}")
                continue
            found = _problems(known[name], value)
            problems += found
            if not found:
                some[name] = _values(value)[0]
        try:
            resolve(self.function, {**self.plain, **some})
        except MethodError as error:
            if not problems:
                raise
            problems += error.problems or [error.message]
        if problems:
            raise MethodError(f"The options of {record.name} are wrong.", problems=dict.fromkeys(problems))

    @functools.cached_property
    def varying(self) -> Mapping[str, Any]:
        """The options that are given by rules."""
        return {name: value for name, value in self.given.items() if _varies(value)}

    @functools.cached_property
    def plain(self) -> Mapping[str, Any]:
        """The others."""
        return {name: value for name, value in self.given.items() if name not in self.varying}

    @functools.cached_property
    def _own(self) -> Mapping[str, Option]:
        return {option.name: option for option in Record.of(self.function).options}

    def of(self, name: str) -> dict[str, Any]:
        """Return the options of a tensor, resolved.

        Raises:
            MethodError: a value out of its range, or one that is required and that no rule gives.
        """
        chosen = tuple(self._chosen(option, value, name) for option, value in self.varying.items())
        if chosen not in self._known:
            values = {option: value for option, value in zip(self.varying, chosen, strict=True) if value is not _NONE}
            try:
                resolved = resolve(self.function, {**self.plain, **values})
                self.check(resolved)
            except MethodError as error:
                if not self.varying:
                    raise
                raise MethodError(f"{name}: {error.message}", problems=error.problems, hint=error.hint) from None
            self._known[chosen] = resolved
        return self._known[chosen]

    def told(self) -> dict[str, Any]:
        """Return the options as a recipe tells them: with the defaults, rules as they were given."""
        if not self.varying:
            return {name: list(value) if isinstance(value, tuple) else value for name, value in self.of("").items()}
        return {**self.plain, **self.varying}

    def has_used(self, rule: Mapping[str, Any]) -> bool:
        """Return whether a rule, as it was given, has given some tensor its value."""
        return id(rule) in self._used

    def warn_of_unused(self) -> None:
        """Warn of rules that were never tried on a tensor that they fit."""
        for option, value in self.varying.items():
            for rules in [value] if _is_rules(value) else [each for each in value if _is_rules(each)]:
                for rule in rules:
                    if not self.has_used(rule) and "tensors" in rule:
                        told = rule["tensors"] if isinstance(rule["tensors"], str) else ", ".join(rule["tensors"])
                        warnings.warn(f"{option}: the rule for {told} fits no tensor.", stacklevel=3)

    def _chosen(self, option: str, value: Any, name: str) -> Any:
        own = self._own[option]
        if _is_rules(value):
            return self._by_rules(own, value, name)
        # One for each model: who has no rule that fits has the default.
        found = [self._by_rules(own, each, name) if _is_rules(each) else each for each in value]
        if all(each is _NONE for each in found):
            return _NONE
        return tuple(own.default if each is _NONE else each for each in found)

    def _by_rules(self, option: Option, rules: Sequence[Mapping[str, Any]], name: str) -> Any:
        for rule in rules:
            if "tensors" in rule and not _fits(rule["tensors"], name):
                continue
            self._used.add(id(rule))
            if "value" in rule:
                value = rule["value"]
                return tuple(value) if isinstance(value, list) else value
            return _along([option.convert(each) for each in rule["layers"]], self._depth(name))
        return _NONE

    def _depth(self, name: str) -> float:
        depths = (layers.depth(name) for layers in self.layers)
        return next((depth for depth in depths if depth is not None), 0.0)


class _None:
    """No rule fits."""


_NONE = _None()


def _is_rules(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(rule, Mapping) for rule in value)


def _varies(value: Any) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    return _is_rules(value) or any(_is_rules(each) for each in value)


def _values(value: Any) -> list[Any]:
    """Every value that rules give."""
    if not _is_rules(value):
        return [found for each in value for found in (_values(each) if _is_rules(each) else [each])]
    return [found for rule in value for found in ([rule["value"]] if "value" in rule else rule["layers"])]


def _problems(option: Option, value: Any) -> list[str]:
    if not _is_rules(value):
        return [problem for each in value if _is_rules(each) for problem in _problems(option, each)]
    found = []
    for rule in value:
        found += [
            f"a rule of {option.name!r} has no {key!r}{nearest(str(key), RULE_KEYS)}"
            for key in rule
            if key not in RULE_KEYS
        ]
        anchors = rule.get("layers")
        if ("layers" in rule) == ("value" in rule):
            found.append(f"a rule of {option.name!r} has either value or layers")
        elif anchors is not None and (isinstance(anchors, str) or not isinstance(anchors, Sequence) or not anchors):
            found.append(
                f"layers of a rule of {option.name!r} are values from the first layer to the last: {anchors!r}"
            )
        else:
            found += [problem for each in _values([rule]) for problem in _wrong(option, each)]
    return found


def _wrong(option: Option, value: Any) -> list[str]:
    try:
        option.convert(value)
    except ValueError as error:
        return [str(error)]
    return []


def _fits(patterns: str | Sequence[str], name: str) -> bool:
    listed = [patterns] if isinstance(patterns, str) else patterns
    return any(_compiled(pattern).match(name) for pattern in listed)


_patterns: dict[str, re.Pattern[str]] = {}


def _compiled(pattern: str) -> re.Pattern[str]:
    if pattern not in _patterns:
        _patterns[pattern] = re.compile(fnmatch.translate(pattern))
    return _patterns[pattern]


def _along(anchors: Sequence[Any], depth: float) -> Any:
    """The value at a depth from 0 to 1.

    >>> [_along([0, 10, 40], depth) for depth in (0, 0.25, 0.5, 0.75, 1)]
    [0, 5, 10, 25, 40]
    >>> [_along(["mean", "sum", "max"], depth) for depth in (0, 0.25, 0.5, 0.75, 1)]
    ['mean', 'mean', 'sum', 'sum', 'max']
    """
    place = depth * (len(anchors) - 1)
    first = min(int(place), len(anchors) - 1)
    share = place - first
    if not share or not all(_is_number(each) for each in anchors):
        return anchors[first]
    found = (1 - share) * anchors[first] + share * anchors[first + 1]
    whole = isinstance(anchors[first], int) and isinstance(anchors[first + 1], int) and found.is_integer()
    return int(found) if whole else found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
