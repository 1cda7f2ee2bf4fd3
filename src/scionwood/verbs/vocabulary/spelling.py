"""How tokenizers write text: the bytes of a token, and the description of a tokenizer that cuts parts of a text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["BYTE", "decoded", "from_byte_letters", "from_metaspace", "within"]

BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
"""How tokenizers write a single byte of a letter that they have no token for."""


def decoded(text: bytes) -> str | None:
    """The letters that some bytes are; None for parts of letters."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def _byte_letters() -> dict[str, int]:
    """The letters that byte-level tokenizers write bytes with: printable ones for themselves, others from 256 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_LETTERS = _byte_letters()


def from_byte_letters(token: str) -> bytes:
    """The bytes of a token as byte-level tokenizers write it.

    >>> from_byte_letters("Ġthe")
    b' the'
    """
    return b"".join(bytes([_LETTERS[letter]]) if letter in _LETTERS else letter.encode() for letter in token)


def from_metaspace(token: str) -> bytes:
    """The text of a piece that writes spaces as low lines, or of a single byte.

    >>> from_metaspace("▁the"), from_metaspace("<0x0A>")
    (b' the', b'\\n')
    """
    if BYTE.fullmatch(token):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()


def within(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer's description for parts of a text: what puts a space before a text, or takes it off, is left out.

    Where spaces are dropped and each word then gets one of its own, as T5's words do, they are made single instead.
    """
    normalizers = [
        part for part in _flat(spec.get("normalizer"), "normalizers") if part["type"] not in ("Strip", "Prepend")
    ]
    given = _flat(spec.get("pre_tokenizer"), "pretokenizers")
    parters = [_without_prefix(part) for part in given]
    for place, part in enumerate(given):
        if part["type"] == "WhitespaceSplit" and any(_puts_space(each) for each in given[place + 1 :]):
            parters = [each for each in parters if each["type"] != "WhitespaceSplit"]
            normalizers += [_replacing(r"\s+$", ""), _replacing(r"\s+", " ")]
            break
    return {
        **spec,
        "normalizer": {"type": "Sequence", "normalizers": normalizers} if normalizers else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": parters} if parters else None,
    }


def _flat(part: Mapping[str, Any] | None, inside: str) -> list[Mapping[str, Any]]:
    """The parts of a description, those of sequences one by one."""
    if part is None:
        return []
    return [each for one in part[inside] for each in _flat(one, inside)] if part["type"] == "Sequence" else [part]


def _puts_space(part: Mapping[str, Any]) -> bool:
    return part.get("prepend_scheme") == "always" or part.get("add_prefix_space") is True


def _without_prefix(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if part["type"] == "ByteLevel":
        return {**part, "add_prefix_space": False}
    if part["type"] == "Metaspace":
        return {**{key: value for key, value in part.items() if key != "add_prefix_space"}, "prepend_scheme": "never"}
    return part


def _replacing(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}
