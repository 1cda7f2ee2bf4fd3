"""Values as they are written on a command line: ``name=value`` pairs and lists of layers."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from scionwood.errors import ScionwoodError

__all__ = ["Whole", "assignments", "config_values", "depth", "refuse_output", "require_output"]


def _whole(_type: type, tokens: Sequence[Any]) -> int:
    text = tokens[0].value
    if not re.fullmatch(r"[-+]?\d+", text):  # cyclopts would round 1.5 without a word
        message = f'"{text}" is not a whole number'
        raise ValueError(message)
    return int(text)


Whole = Annotated[int, Parameter(converter=_whole)]
"""A whole number, written as one."""

EXAMPLES = {"--set": "hidden_size=256", "--option": "arithmetic=float32", "--depth": "encoder.block=even"}
EXAMPLES |= {"--parent": "llama=/models/llama", "--special": "'eos=<|end|>'"}
PYTHON_CONSTANTS = {"True": True, "False": False, "None": None}


def assignments(flag: str, pairs: Iterable[str]) -> dict[str, str]:
    """Return ``name=value`` pairs as a dict of strings.

    >>> assignments("--option", ["arithmetic=float32"])
    {'arithmetic': 'float32'}

    Every pair without a name or without ``=`` is named, and so is a name given twice.

    >>> assignments("--set", ["hidden_size", "=3"])
    Traceback (most recent call last):
    scionwood.errors.ScionwoodError: --set takes name=value
      - 'hidden_size' has no '='
      - '=3' has no name
    Hint: for example --set hidden_size=256
    """
    found: dict[str, str] = {}
    problems = []
    for pair in pairs:
        name, equals, text = (part.strip() for part in pair.partition("="))
        if not equals:
            problems.append(f"{pair!r} has no '='")
        elif not name:
            problems.append(f"{pair!r} has no name")
        elif name in found:
            problems.append(f"{name!r} is given twice")
        else:
            found[name] = text
    if problems:
        message = f"{flag} takes name=value"
        raise ScionwoodError(message, problems=problems, hint=f"for example {flag} {EXAMPLES[flag]}")
    return found


def config_values(pairs: Iterable[str]) -> dict[str, Any]:
    """Return the pairs of ``--set`` with their values as config.json would hold them.

    >>> config_values(["hidden_size=256", "layer_norm_eps=1e-6", "depths=[3, 3]", "hidden_act=gelu"])
    {'hidden_size': 256, 'layer_norm_eps': 1e-06, 'depths': [3, 3], 'hidden_act': 'gelu'}
    """
    return {name: value(text) for name, text in assignments("--set", pairs).items()}


def value(text: str) -> Any:
    """Return what a written value means: JSON where it is JSON, else the text.

    >>> [value(text) for text in ("1e-3", "true", "False", "null", "bfloat16", "010")]
    [0.001, True, False, None, 'bfloat16', '010']
    """
    if text in PYTHON_CONSTANTS:
        return PYTHON_CONSTANTS[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def depth(rules: Sequence[str]) -> str | list[int] | dict[str, str | list[int]]:
    """Return what ``--depth`` says: a rule for every list of blocks, or rules by the name of the list.

    >>> depth(["even"]), depth(["0,2,5"]), depth(["3"])
    ('even', [0, 2, 5], [3])
    >>> depth(["encoder.block=first", "decoder.block=0,2"])
    {'encoder.block': 'first', 'decoder.block': [0, 2]}
    """
    if any("=" in rule for rule in rules):
        return {name: _layers(rule) for name, rule in assignments("--depth", rules).items()}
    if len(rules) > 1:
        message = "--depth is given twice"
        raise ScionwoodError(message, hint="give one rule for all layers, or LIST=RULE for each list of blocks")
    return _layers(rules[0])


def _layers(rule: str) -> str | list[int]:
    parts = rule.split(",")
    return [int(part) for part in parts] if all(part.strip().isdecimal() for part in parts) else rule


def refuse_output(out: Path | None, flag: str) -> None:
    """Refuse to be told where to write, where a flag asks for what is only printed.

    Raises:
        ScionwoodError: there is a place.
    """
    if out is not None:
        message = f"{flag} prints and writes nothing, and --out says where to write"
        raise ScionwoodError(message, hint=f"give {flag} first, and --out without it once the method is chosen")


def require_output(out: Path | None, *, dry_run: bool) -> None:
    """Refuse a command that is to write, but not told where.

    Raises:
        ScionwoodError: neither a place nor a dry run.
    """
    if out is None and not dry_run:
        message = "--out says where to write, and is missing"
        raise ScionwoodError(message, hint="give --out FOLDER, or --dry-run to see what would be done")
