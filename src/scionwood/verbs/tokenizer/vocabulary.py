"""A model's tokenizer as it lies in its files: what its tokens are, and which of them have a row."""

from __future__ import annotations

import inspect
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scionwood.checkpoint import Checkpoint
from scionwood.checkpoint.strict_json import parse_json_object
from scionwood.errors import SourceError

__all__ = [
    "SETTINGS",
    "SPECIAL",
    "TOKENIZER",
    "Vocabulary",
    "difference",
    "document",
    "is_tokenizer_file",
    "named_by_class",
    "read_vocabulary",
]

TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
SPECIAL = "special_tokens_map.json"

_SOURCES = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
"""Files that tokenizers are converted from; each holds the whole vocabulary, so it is stale when that changes."""

_OTHERS = ("added_tokens.json", SPECIAL, "chat_template.jinja", "chat_template.json")


def is_tokenizer_file(name: str, *, stale: bool = False) -> bool:
    """Whether a file of a folder belongs to the tokenizer; with ``stale``, whether it is wrong under other tokens."""
    own = (*_SOURCES, "added_tokens.json") if stale else (TOKENIZER, SETTINGS, *_SOURCES, *_OTHERS)
    return name in own


def document(checkpoint: Checkpoint, name: str) -> bytes | None:
    """Return the contents of a file that would be written beside the weights, or None if there is none."""
    if name in checkpoint.documents:
        return checkpoint.documents[name]
    path = checkpoint.side_files.get(name)
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model that have a row.

    Args:
        source: whose they are, for messages.
        rows: how many rows the model's embedding has.
        spec: ``tokenizer.json``, without the tokens that have no row.
        settings: ``tokenizer_config.json``.
        ids: token → id, in the order of the ids.
        dropped: tokens without a row, which are taken for absent.
        converted: ``tokenizer.json`` was not there, but made from older files.
        borrowed: it is another model's, for want of its own.
    """

    source: str
    rows: int
    spec: dict[str, Any]
    settings: dict[str, Any]
    ids: Mapping[str, int]
    dropped: tuple[str, ...] = ()
    converted: bool = False
    borrowed: bool = False

    @property
    def added(self) -> dict[str, dict[str, Any]]:
        """The tokens that are looked for in the text before all others, with how."""
        return {entry["content"]: entry for entry in self.spec.get("added_tokens", [])}

    @property
    def kind(self) -> str:
        """How text becomes tokens, in words: only vocabularies of one kind can be joined.

        >>> Vocabulary("memory", 9, {"model": {"type": "WordPiece"}}, {}, {}).kind
        'WordPiece'
        """
        model = self.spec["model"]
        used = {found for part in ("pre_tokenizer", "decoder") for found in _types(self.spec.get(part))}
        letters = "byte-level " if "ByteLevel" in used else ""
        ends = [
            f"{key} {model[key]!r}" for key in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(key)
        ]
        standard = model["type"] == "WordPiece" and ends == ["continuing_subword_prefix '##'"]
        return f"{letters}{model['type']}" + (f" with {', '.join(ends)}" if ends and not standard else "")


def read_vocabulary(checkpoint: Checkpoint, rows: int) -> Vocabulary | None:
    """Return the vocabulary of a checkpoint, or None if no tokenizer lies beside it.

    Args:
        checkpoint: the model.
        rows: of its embedding; a token with a higher id is taken for absent.

    Raises:
        SourceError: the tokenizer's files are malformed.
    """
    text = document(checkpoint, TOKENIZER)
    converted = text is None
    if text is None:
        if not any(name in checkpoint.side_files for name in _SOURCES):
            return None
        text = _converted(checkpoint)
    spec = parse_json_object(text, f"The {TOKENIZER} of {checkpoint.source}")
    settings = document(checkpoint, SETTINGS)
    try:
        ids = _ids(spec)
        spec = _with_type(spec)
        dropped = tuple(token for token, number in ids.items() if number >= rows)
        stripped = _without(spec, set(dropped)) if dropped else spec
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SourceError(
            f"The {TOKENIZER} of {checkpoint.source} is not one that the tokenizers library writes: "
            "it has no model with a vocabulary from tokens to ids."
        ) from None
    return Vocabulary(
        source=checkpoint.source,
        rows=rows,
        spec=stripped,
        settings={} if settings is None else parse_json_object(settings, f"The {SETTINGS} of {checkpoint.source}"),
        ids={token: number for token, number in ids.items() if number < rows},
        dropped=dropped,
        converted=converted,
    )


def named_by_class(settings: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, str]:
    """Return what a tokenizer's class calls its special tokens, for files that leave it to the class; nothing if it has no names.

    The class is that which the settings name, else the config, else that of the model's type, as transformers takes it.
    """
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

    told = settings.get("tokenizer_class") or config.get("tokenizer_class")
    told = told or TOKENIZER_MAPPING_NAMES.get(str(config.get("model_type")))
    found = tokenizer_class_from_name(told) if isinstance(told, str) else None
    parameters = {} if found is None else inspect.signature(found.__init__).parameters
    return {
        name: each.default
        for name, each in parameters.items()
        if name.endswith("_token") and isinstance(each.default, str)
    }


def difference(first: Checkpoint, second: Checkpoint) -> str | None:
    """Return how two models' tokenizers number tokens differently; None where they do not, or lack the file that says it.

    Merged without a tokenizer, rows are taken by their numbers, whatever tokens they stand for.
    """
    texts = [document(checkpoint, TOKENIZER) for checkpoint in (first, second)]
    if None in texts or texts[0] == texts[1]:
        return None
    one, two = (
        _spelled(parse_json_object(text or b"", f"The {TOKENIZER} of {checkpoint.source}"))
        for text, checkpoint in zip(texts, (first, second), strict=True)
    )
    unlike = [number for number, token in one.items() if two.get(number, token) != token]
    if not unlike:
        return None
    number = unlike[0]
    count = "1 token" if len(unlike) == 1 else f"{len(unlike):,} tokens"
    return (
        f"{count} of {first.source} and {second.source} have the same number and another spelling, such as {number}: "
        f"{one[number]!r} and {two[number]!r}"
    )


def _spelled(spec: Mapping[str, Any]) -> dict[int, str]:
    """Id → token, of a tokenizer.json; nothing where it is not one that the tokenizers library writes."""
    try:
        return {number: token for token, number in _ids(spec).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _ids(spec: Mapping[str, Any]) -> dict[str, int]:
    vocab = spec["model"]["vocab"]
    own = {piece: number for number, (piece, _) in enumerate(vocab)} if isinstance(vocab, list) else dict(vocab)
    own |= {entry["content"]: entry["id"] for entry in spec.get("added_tokens") or []}
    if not all(isinstance(token, str) and type(number) is int for token, number in own.items()):
        raise ValueError(own)
    return dict(sorted(own.items(), key=lambda item: (item[1], item[0])))


def _with_type(spec: dict[str, Any]) -> dict[str, Any]:
    """The same with the type of its model, which the first files left out: that which has such settings.

    >>> _with_type({"model": {"vocab": {}, "merges": []}})["model"]["type"]
    'BPE'
    """
    model = spec["model"]
    if "type" in model:
        return spec
    if isinstance(model["vocab"], list):
        told = "Unigram"
    else:
        told = "BPE" if "merges" in model else "WordPiece" if "max_input_chars_per_word" in model else "WordLevel"
    return {**spec, "model": {"type": told, **model}}


def _without(spec: Mapping[str, Any], dropped: set[str]) -> dict[str, Any]:
    """The same tokenizer without some tokens, and without the merges that make or take them."""
    model = dict(spec["model"])
    vocab = model["vocab"]
    if isinstance(vocab, list):
        # Pieces are known by their place: those without a row are the last.
        model["vocab"] = [pair for pair in vocab if pair[0] not in dropped]
    else:
        model["vocab"] = {token: number for token, number in vocab.items() if token not in dropped}
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _parts(merge) & dropped]
    added = [entry for entry in spec.get("added_tokens") or [] if entry["content"] not in dropped]
    return {**spec, "model": model, "added_tokens": added}


def _parts(merge: str | list[str]) -> set[str]:
    """The two tokens of a merge and the one they become; older files write both as one text with a space."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    return {*parts, "".join(parts)}


def _types(part: Any) -> set[str]:
    if isinstance(part, dict):
        return {str(part.get("type"))}.union(*(_types(value) for value in part.values()))
    return set().union(*(_types(value) for value in part)) if isinstance(part, list) else set()


def _converted(checkpoint: Checkpoint) -> bytes:
    """Let transformers read the files that tokenizers were kept in before ``tokenizer.json``."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name, path in checkpoint.side_files.items():
            if is_tokenizer_file(name):
                (Path(folder) / name).write_bytes(path.read_bytes())
        if checkpoint.config is not None:
            (Path(folder) / "config.json").write_text(json.dumps(checkpoint.config))
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except Exception as error:  # noqa: BLE001  (transformers raises whatever its converters meet)
            raise SourceError(
                f"The tokenizer of {checkpoint.source} cannot be converted to a {TOKENIZER}: {error}",
                hint="Save it with transformers first: AutoTokenizer.from_pretrained(...).save_pretrained(...).",
            ) from None
        tokenizer.save_pretrained(folder)
        return (Path(folder) / TOKENIZER).read_bytes()
