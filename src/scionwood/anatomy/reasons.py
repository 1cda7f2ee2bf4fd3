"""Reasons: why a model cannot be built, exported or matched, in few lines for its user, whatever a library throws."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scionwood.errors import nearest

__all__ = ["first_line", "folded", "silence", "why_not_built", "why_not_exported"]


def first_line(error: BaseException) -> str:
    """What an error says, in one line.

    A validator's error says first that a field is wrong, and only then what is wrong with it: that is its cause.

    >>> first_line(ValueError("too small\\nby far"))
    'too small'
    """
    if error.__cause__ is not None and str(error.__cause__) in str(error):
        error = error.__cause__
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def why_not_built(error: BaseException, config: Mapping[str, Any]) -> str:
    """Why a family refused a config: the settings at fault where the error itself does not name them.

    >>> why_not_built(ZeroDivisionError("integer modulo by zero"), {"num_attention_heads": 0, "pad_token_id": 0})
    'num_attention_heads is 0'
    >>> why_not_built(KeyError("gelo"), {"hidden_act": "gelo"})
    "hidden_act is 'gelo', which it does not know (did you mean 'gelu'?)"
    """
    sizes = {
        name: value
        for name, value in config.items()
        if isinstance(value, int) and not isinstance(value, bool) and not name.endswith(("_id", "_idx", "_index"))
    }
    text = first_line(error)
    if isinstance(error, KeyError):
        wrong = str(error.args[0]) if error.args else ""
        names = [name for name, value in config.items() if value == wrong]
        known = _activations() if any("act" in name for name in names) else []
        if names:
            return f"{' and '.join(names)} is {wrong!r}, which it does not know{nearest(wrong, known)}"
        return f"it does not know {text}"
    if isinstance(error, ZeroDivisionError):
        at_fault = [f"{name} is 0" for name, value in sizes.items() if value == 0]
    elif "negative dimension" in text:
        at_fault = [f"{name} is {value}" for name, value in sizes.items() if value < 0]
    elif "Overflow" in str(error):
        at_fault = [f"{name} is {value}, larger than any tensor" for name, value in sizes.items() if value >= 2**63]
    else:
        at_fault = []
    return "; ".join(at_fault) or text


def why_not_exported(error: BaseException) -> str:
    """Why an export failed: what the model did, and where."""
    text = str(error)
    if "data-dependent" in text:
        place = re.search(r"Caused by: \((.*?)\)", text)
        where = f" ({place[1]})" if place else ""
        return f"its control flow depends on the values of tensors{where}"
    return f"{type(error).__name__}: {first_line(error)}"


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """What a library says while something is tried out, by warning, log or print, is not for scionwood's user."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _activations() -> list[str]:
    from transformers.activations import ACT2FN

    return [str(name) for name in ACT2FN]


def folded(problems: Sequence[str]) -> list[str]:
    """Say once what repeats over blocks.

    >>> folded(["h.0.w: 2 to 3", "h.1.w: 2 to 3", "wte: 5 to 4"])
    ['h.0.w: 2 to 3 (and in 1 more block)', 'wte: 5 to 4']
    """
    seen: dict[str, list[str]] = {}
    for problem in problems:
        seen.setdefault(re.sub(r"\.\d+\.", ".*.", problem), []).append(problem)
    return [
        found[0] + (f" (and in {len(found) - 1} more block{'s' if len(found) > 2 else ''})" if len(found) > 1 else "")
        for found in seen.values()
    ]
