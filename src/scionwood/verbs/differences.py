"""What models have in common that differ: for merges that are to go on where a tensor or a row is not in all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from scionwood.checkpoint import Checkpoint, ComputedTensor, LazyTensor
from scionwood.errors import MatchError, MethodError
from scionwood.methods.merge.rectify_embed import common_shape
from scionwood.methods.record import Record
from scionwood.verbs.adapter.apply import apart, with_head
from scionwood.verbs.layers import find_layers
from scionwood.verbs.tokenizer.rows import vocabulary_tensors

__all__ = ["BY_TOKENS", "Common", "in_common", "of_holders", "untied"]

HEAD = "lm_head.weight"
BY_TOKENS = "a tokenizer (--tokenizer union, or tokenizer_source: union in a file of mergekit)"
"""What merges rows by the tokens that they stand for, as messages name it."""


@dataclass(frozen=True, eq=False)
class Common:
    """Models that fit each other where they have a tensor.

    Args:
        models: the models, in order.
        base: the base.
        details: name of a tensor → what was done so that it fits, for the ledger.
        warnings: what is lost by it.
    """

    models: tuple[Checkpoint, ...]
    base: Checkpoint | None
    details: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def in_common(models: Sequence[Checkpoint], base: Checkpoint | None = None) -> Common:
    """Return the models with heads of their own where one has such, and embeddings cut to the rows that all have.

    A head that is tied to the embedding is that embedding: where another model has a head of its own, both are merged,
    and the result is not tied. Rows are cut to the base's, or to the fewest; those beyond are lost.

    Args:
        models: what is merged.
        base: what they were fine-tuned from.

    Raises:
        MatchError: the models have different numbers of layers.
        MethodError: a model has fewer rows than the base.

    >>> import torch
    >>> from scionwood.checkpoint import open
    >>> small, large = (open({"embed_tokens.weight": torch.ones(rows, 2)}) for rows in (5, 6))
    >>> common = in_common([small, large])
    >>> [model.tensors["embed_tokens.weight"].shape for model in common.models], common.details
    ([(5, 2), (5, 2)], {'embed_tokens.weight': 'the first 5 rows, which all have'})
    """
    everyone = [*([] if base is None else [base]), *models]
    details: dict[str, str] = {}
    _check_layers(everyone)
    if any(HEAD in model.tensors for model in everyone):
        everyone = [with_head(model) for model in everyone]
    cut: dict[int, dict[str, LazyTensor]] = {}
    lost: dict[str, None] = {}
    for name in dict.fromkeys(name for model in everyone for name in vocabulary_tensors(model)):
        holders = {number: model.tensors[name] for number, model in enumerate(everyone) if name in model.tensors}
        shapes = [tensor.shape for tensor in holders.values()]
        if len(set(shapes)) == 1 or any(len(shape) != 2 for shape in shapes):
            continue
        own = None if base is None or 0 not in holders else shapes[0]
        try:
            rows, _ = common_shape(shapes, own)
        except MethodError as error:
            raise MethodError(
                f"{name}: {error.message}", problems=error.problems, hint=f"{BY_TOKENS} gives all of them all rows"
            ) from None
        for number, tensor in holders.items():
            cut.setdefault(number, {})[name] = _first_rows(tensor, rows)
        details[name] = f"the first {rows:,} rows, which all have"
        sizes = ", ".join(str(size) for size in sorted({shape[0] for shape in shapes}))
        lost[
            f"The models have vocabularies of {sizes} rows: the first {rows} are merged and the others left out, "
            f"by number and not by token; {BY_TOKENS} keeps them all."
        ] = None
    everyone = [_with(model, cut[number]) if number in cut else model for number, model in enumerate(everyone)]
    return Common(tuple(everyone[-len(models) :]), None if base is None else everyone[0], details, tuple(lost))


def untied(models: Sequence[Checkpoint], base: Checkpoint | None = None) -> Common:
    """Return the models with tensors of their own wherever one has such: what others tie is theirs twice.

    >>> import torch
    >>> from scionwood.checkpoint import open
    >>> shared = torch.ones(2)
    >>> tied, own = open({"embed": shared, "head": shared}), open({"embed": shared, "head": torch.zeros(2)})
    >>> list(untied([tied, own]).models[0].tensors)
    ['embed', 'head']
    """
    everyone = [*([] if base is None else [base]), *models]
    own = dict.fromkeys(name for model in everyone for name in model.tensors)
    parted = [{name for name in model.ties if name in own} for model in everyone]
    everyone = [apart(model, names) if names else model for model, names in zip(everyone, parted, strict=True)]
    told = {name: "tied in some models, and not in others" for name in own if any(name in names for names in parted)}
    return Common(tuple(everyone[-len(models) :]), None if base is None else everyone[0], told)


def of_holders(function: Callable[..., Any], options: Mapping[str, Any], holders: Sequence[int]) -> dict[str, Any]:
    """Return the options of a method for some of the models: of what there is one for each, theirs.

    >>> from scionwood.methods.merge.linear import linear
    >>> of_holders(linear, {"weights": (1.0, 2.0, 3.0), "normalize": True}, [0, 2])
    {'weights': (1.0, 3.0), 'normalize': True}
    """
    listed = {
        option.name
        for option in Record.of(function).options
        if any(get_origin(member) is Sequence for member in get_args(option.annotation))
    }
    return {
        name: tuple(value[number] for number in holders) if name in listed and isinstance(value, tuple) else value
        for name, value in options.items()
    }


def _check_layers(models: Sequence[Checkpoint]) -> None:
    """A whole layer that some models lack is no difference to pass over: the models are of different depths."""
    depths = [(model.source, {layers.prefix: layers.count for layers in find_layers(model)}) for model in models]
    if any(counts != depths[0][1] for _, counts in depths):
        raise MatchError(
            "The models have different layers.",
            problems=[
                f"{source} has {', '.join(f'{prefix}.0 to {count - 1}' for prefix, count in counts.items()) or 'none'}"
                for source, counts in depths
            ],
            hint="stack, or slices of a configuration, take as many layers of each",
        )


def _first_rows(tensor: LazyTensor, rows: int) -> LazyTensor:
    if tensor.shape[0] == rows:
        return tensor
    shape = (rows, *tensor.shape[1:])
    return ComputedTensor(
        tensor.name, shape, tensor.dtype, tensor.read_rows, row_dims=tensor.row_dims, sources=(tensor,)
    )


def _with(model: Checkpoint, cut: Mapping[str, LazyTensor]) -> Checkpoint:
    (rows,) = {tensor.shape[0] for tensor in cut.values()}
    config = model.config
    if config is not None:
        config = {key: rows if key == "vocab_size" else _nested(value, rows) for key, value in config.items()}
    return dataclasses.replace(model, tensors={**model.tensors, **cut}, config=config)


def _nested(value: Any, rows: int) -> Any:
    return {**value, "vocab_size": rows} if isinstance(value, dict) and "vocab_size" in value else value
