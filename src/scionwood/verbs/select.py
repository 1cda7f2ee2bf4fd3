"""Select: a smaller model's weights out of a larger model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from scionwood import anatomy as anatomies
from scionwood.anatomy import Model
from scionwood.anatomy.layout import layout_of, layout_on_disk
from scionwood.anatomy.match import Match, match
from scionwood.checkpoint import (
    Checkpoint,
    LazyTensor,
    Lineage,
    Source,
    installed_versions,
    parent_of,
)
from scionwood.checkpoint import open as open_checkpoint
from scionwood.errors import MatchError, MethodError
from scionwood.methods import registry
from scionwood.methods.record import resolve
from scionwood.methods.select.depth import blocks
from scionwood.verbs.choices import Choices
from scionwood.verbs.fresh import FreshWeights
from scionwood.verbs.importance import magnitude_scores, variance_scores
from scionwood.verbs.making import Maker
from scionwood.verbs.target import Target, class_counts, target_config

__all__ = ["select"]


def select(
    source: Source | nn.Module,
    *,
    like: Target | None = None,
    set: Mapping[str, Any] | None = None,
    method: str = "uniform",
    depth: str | Sequence[int] | Mapping[str, str | Sequence[int]] = "first",
    seed: int = 0,
    head: str = "selected",
    rescale: str | None = None,
    scores: Mapping[str, Tensor] | None = None,
    options: Mapping[str, Any] | None = None,
    inputs: object = None,
) -> Checkpoint:
    """Make a smaller model's weights by selecting from a larger one's (Xu et al., 2024, arXiv:2311.18823).

    Every axis of the target is given indices of the source's axis, and every tensor that has the axis takes the same ones, so that what
    one tensor writes the next one reads. Which axes there are, and where, is derived from the two models' own graphs.

    Args:
        source: the larger model: whatever :func:`scionwood.open` takes.
        like: the smaller model's shape: a folder or a file with a config, a config, or for plain modules the smaller module itself.
        set: sizes of the target, by their names in the config; they change what ``like`` says, or the source's config without it.
        method: a method of the family select; ``uniform`` is the paper's.
        depth: which blocks stay: ``first`` (the paper's), ``last``, ``even``, ``stride``, ``without_middle``, the numbers themselves, or a
            mapping from block lists to one of these, for nets with stages.
        seed: of methods that draw, and of fresh tensors.
        head: ``selected``, or ``fresh`` to initialise modules that only write the model's outputs anew even where their sizes agree.
        rescale: ``variance`` multiplies what reads a cut axis by sqrt(old / new), as weight subcloning does (arXiv:2312.09299).
        scores: importance per index by axis of the source, for methods that rank by activations.
        options: the method's own options.
        inputs: example inputs, for plain modules.

    Returns:
        A lazy checkpoint in the layout that the target's class saves: nothing is read until it is written. Its ledger lists every tensor.

    Raises:
        SourceError: the source cannot be read.
        AnatomyError: a model cannot be built or traced.
        MatchError: the two are of different families, or the target is larger than the source on some axis.
        MethodError: an unknown method or option, or sizes that the method cannot serve.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> def net(width):
        ...     return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
        >>> small = select(net(8), like=net(4), inputs=torch.zeros(1, 4))
        >>> small["0.weight"].shape, small.ledger
        (torch.Size([4, 4]), Ledger(4 selected))
    """
    function = registry.load(method, family="select")
    resolved = resolve(function, dict(options or {}))
    for name, value, known in (("head", head, ("selected", "fresh")), ("rescale", rescale, ("variance", None))):
        if value not in known:
            raise MethodError(f"{name} is {value!r}, not one of {', '.join(map(repr, known))}")
    checkpoint = open_checkpoint(source)
    larger, smaller, config = _models(source, checkpoint, like, set, depth, inputs)
    chosen_depth = _depth_rule(depth)
    pair = match(
        anatomies.derive(larger),
        anatomies.derive(smaller),
        depth=chosen_depth,
        fresh_outputs=head == "fresh",
        classes=class_counts(larger.config, smaller.config),
    )
    _check_depth_names(depth, pair)
    read = layout_on_disk(larger, {name: tensor.shape for name, tensor in checkpoint.tensors.items()})

    def importance() -> Mapping[str, Tensor]:
        if scores is not None:
            return scores
        if choices.record.scores == "magnitude":
            return magnitude_scores(pair.source, checkpoint, read)
        return variance_scores(pair.source, checkpoint, read) if choices.record.scores == "variance" else {}

    choices = Choices(pair, function, resolved, seed, importance, rescale=rescale == "variance")
    maker = Maker(checkpoint, pair, choices, read, layout_of(smaller), FreshWeights(smaller, seed), smaller)
    tensors, ledger = maker.make()
    recipe = _recipe(checkpoint, like, set, choices.record.name, resolved, depth, head, rescale, scores)
    lineage = Lineage(recipe, (parent_of(checkpoint, "source"),), seed, installed_versions())
    return Checkpoint(
        tensors=tensors,
        ties=_ties_on_disk(pair, tensors),
        config=config,
        side_files=checkpoint.side_files,
        source=f"select({checkpoint.source})",
        lineage=lineage,
        ledger=ledger,
    )


def _models(
    source: Any, checkpoint: Checkpoint, like: Any, overrides: Mapping[str, Any] | None, depth: Any, inputs: object
) -> tuple[Model, Model, dict[str, Any] | None]:
    if isinstance(like, nn.Module) and inputs is not None:
        if not isinstance(source, nn.Module):
            raise MatchError(
                "a plain module as target needs the module itself as source",
                hint="give source=module, like=module, inputs=...",
            )
        return anatomies.model(source, inputs), anatomies.model(like, inputs), None
    if checkpoint.config is None or "model_type" not in checkpoint.config:
        raise MatchError(
            f"{checkpoint.source} has no config that says which model it is",
            hint="give a folder with a config.json, or for plain modules source=module, like=module and inputs=...",
        )
    config = target_config(checkpoint.config, like, overrides, depth)
    name = str(like) if isinstance(like, (str, Path)) else "the target"
    return anatomies.from_config(checkpoint.config, checkpoint.source), anatomies.from_config(config, name), config


def _depth_rule(depth: Any) -> Callable[[str, int, int], Sequence[int]]:
    def rule(path: str, old: int, new: int) -> Sequence[int]:
        if new > old:
            return range(old)  # the match says which list is deeper
        asked = depth.get(path, "first") if isinstance(depth, Mapping) else depth
        if (
            not isinstance(asked, str)
            and not isinstance(depth, Mapping)
            and old == new
            and list(asked) != list(range(new))
        ):
            return range(new)  # an explicit list is meant for the lists that shrink
        return blocks(asked, old, new)

    return rule


def _check_depth_names(depth: Any, pair: Match) -> None:
    if isinstance(depth, Mapping):
        unknown = [path for path in depth if path not in pair.target.depth]
        if unknown:
            raise MethodError(
                f"no block list is called {', '.join(unknown)}",
                hint=f"there are {', '.join(pair.target.depth) or 'none'}",
            )


def _recipe(
    checkpoint: Checkpoint,
    like: Any,
    overrides: Any,
    method: str,
    options: Any,
    depth: Any,
    head: str,
    rescale: Any,
    scores: Any,
) -> dict[str, Any]:
    recipe: dict[str, Any] = {"verb": "select", "source": checkpoint.source, "method": method}
    if isinstance(like, (str, Path)):
        recipe["like"] = str(like)
    elif like is not None:
        recipe["like"] = type(like).__name__
    recipe |= {"set": dict(overrides)} if overrides else {}
    recipe |= {"options": dict(options)} if options else {}
    recipe["depth"] = depth if isinstance(depth, str) else dict(depth) if isinstance(depth, Mapping) else list(depth)
    recipe |= {"head": head} if head != "selected" else {}
    recipe |= {"rescale": rescale} if rescale else {}
    recipe |= {"scores": "given"} if scores is not None else {}
    return recipe


def _ties_on_disk(pair: Match, tensors: Mapping[str, LazyTensor]) -> dict[str, str]:
    return {alias: kept for alias, kept in pair.target.ties.items() if kept in tensors and alias not in tensors}
