"""The tokenizer and the chat template of a configuration, as keys of a merge."""

from dataclasses import dataclass, field
from typing import Any

from scionwood.recipe.document import Located, unknown_keys
from scionwood.recipe.mergekit.reference import Reference, read_reference, said

__all__ = ["Vocabulary", "read_vocabulary"]


@dataclass
class Vocabulary:
    """What a configuration says about tokens.

    Args:
        source: ``union``, ``base``, a model, or nothing.
        at: where that stands.
        keys: the other keys of a merge that come with a tokenizer.
        chat_template: as it is written.
    """

    source: str | None = None
    at: Located = field(default_factory=lambda: Located(None))
    keys: dict[str, Any] = field(default_factory=dict)
    chat_template: Located | None = None


def read_vocabulary(document: Located, problems: list[str]) -> Vocabulary:
    """Return what a configuration says about tokens; what is wrong goes to ``problems``.

    >>> from scionwood.recipe.document import located
    >>> read_vocabulary(located({"tokenizer_source": "union"}), []).source
    'union'
    """
    found = Vocabulary(chat_template=said(document, "chat_template"))
    short, block = said(document, "tokenizer_source"), said(document, "tokenizer")
    if short is not None and block is not None:
        problems.append(document.problem("tokenizer and tokenizer_source say the same: keep one", key="tokenizer"))
    if block is not None:
        if not block.is_mapping:
            problems.append(block.problem(f"tokenizer is a mapping with source and tokens, not {block.kind}"))
            return found
        problems += unknown_keys(block, ("source", "tokens", "pad_to_multiple_of"), "a tokenizer")
        found.source, found.at = _source(said(block, "source"), problems), block
        found.keys |= _tokens(said(block, "tokens"), problems)
        if (multiple := said(block, "pad_to_multiple_of")) is not None:
            found.keys["pad_to_multiple_of"] = multiple
    elif short is not None:
        found.source, found.at = _source(short, problems), short
    return found


def _source(at: Located | None, problems: list[str]) -> str:
    if at is None or at.value in ("union", "base"):
        return "union" if at is None else at.value
    reference = read_reference(at, problems)
    return "union" if reference is None else _model(reference, at, problems)


def _model(reference: Reference, at: Located, problems: list[str]) -> str:
    if reference.adapter is not None:
        problems.append(at.problem(f"a tokenizer or a token is a model's, and {reference} has an adapter on it"))
    return reference.model


def _tokens(at: Located | None, problems: list[str]) -> dict[str, Any]:
    if at is None:
        return {}
    if not at.is_mapping:
        problems.append(at.problem(f"tokens is a mapping from tokens to where their rows come from, not {at.kind}"))
        return {}
    found = {token: _token(wanted, problems) for token, wanted in at.items()}
    return {"tokens": found} if found else {}


def _token(at: Located, problems: list[str]) -> dict[str, Any]:
    if not at.is_mapping:
        problems.append(at.problem(f"a token has source and force, not {at.kind}"))
        return {}
    problems += unknown_keys(at, ("source", "force"), "a token")
    force, source = said(at, "force"), said(at, "source")
    forced = {} if force is None else {"force": force}
    if source is None:
        return forced
    if not source.is_mapping or "kind" not in source:
        reference = read_reference(source, problems)
        return forced if reference is None else {"model": _model(reference, source, problems), **forced}
    kind = source["kind"].value
    if kind == "zero":
        problems += unknown_keys(source, ("kind",), "a token that is zero")
        return {"zero": True, **forced}
    if kind != "model_token":
        problems.append(source["kind"].problem(f"the kind of a token's source is model_token or zero, not {kind!r}"))
        return forced
    problems += unknown_keys(source, ("kind", "model", "token", "token_id"), "a token of a model")
    named = [key for key in ("token", "token_id") if said(source, key) is not None]
    if len(named) != 1 or "model" not in source:
        problems.append(source.problem("a token of a model has model, and either token or token_id"))
        return forced
    reference = read_reference(source["model"], problems)
    model = {} if reference is None else {"model": _model(reference, source["model"], problems)}
    return {**model, named[0]: source[named[0]], **forced}
