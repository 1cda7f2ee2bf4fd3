"""JSON read strictly: one object, UTF-8, no key twice."""

import json
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from scionwood.errors import SourceError

__all__ = ["parse_json_object", "read_json_object"]

MOST_BYTES = 100_000_000


def parse_json_object(text: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object written in ``text``; ``what`` names it in errors.

    ``NaN`` and ``Infinity`` are let through: published configs hold them (``"time_step_limit": [0.0, Infinity]``).

    Args:
        text: the bytes of the document, UTF-8.
        what: what the document is, for the error message.

    Returns:
        The object, in the order written.

    Raises:
        SourceError: not UTF-8, not JSON, not an object, or a key is written twice.

    >>> parse_json_object(b'{"hidden_size": 8}', "config.json")
    {'hidden_size': 8}
    >>> parse_json_object(b'{"a": 1, "a": 2}', "config.json")
    Traceback (most recent call last):
    scionwood.errors.SourceError: config.json writes the key 'a' twice.
    """
    repeated: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):  # only then is it worth looking for
            repeated.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return result

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise SourceError(f"{what} is not UTF-8 text (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        raise SourceError(f"{what} is not JSON: {error.msg} (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise SourceError(f"{what} is nested too deeply to be read.") from None
    except ValueError as error:
        raise SourceError(f"{what} is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise SourceError(f"{what} holds a JSON {type(value).__name__}, not an object.")
    if repeated:
        names = ", ".join(repr(key) for key in dict.fromkeys(repeated))
        raise SourceError(f"{what} writes the key{'s' if len(set(repeated)) > 1 else ''} {names} twice.")
    return value


def read_json_object(path: Path, label: str | None = None) -> dict[str, Any]:
    """Return the JSON object in the file ``path``, read strictly.

    Args:
        path: the file.
        label: its name in errors; the path unless given.

    Raises:
        SourceError: the file cannot be read, or is not one JSON object without repeated keys.
    """
    label = label or str(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for a writer
            raise SourceError(f"{label} is not a file.")
        if status.st_size > MOST_BYTES:
            raise SourceError(f"{label} has {status.st_size:,} bytes, more than any config or index: {MOST_BYTES:,}.")
        text = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{label} cannot be read: {error.strerror}.") from None
    return parse_json_object(text, label)
