"""Select: a smaller model's weights out of a larger model's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from scionwood import anatomy as anatomies
from scionwood.anatomy.layout import layout_of, layout_on_disk
from scionwood.anatomy.match import match
from scionwood.checkpoint import (
    Checkpoint,
    Lineage,
    Source,
    installed_versions,
    parent_of,
)
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.parent import told
from scionwood.errors import MethodError, nearest
from scionwood.methods import registry
from scionwood.methods.record import resolve
from scionwood.methods.select.depth import blocks
from scionwood.verbs.choices import Choices
from scionwood.verbs.fresh import FreshWeights
from scionwood.verbs.importance import magnitude_scores, variance_scores
from scionwood.verbs.making import Maker
from scionwood.verbs.pair import models_of, told_target
from scionwood.verbs.target import Depth, Target, class_counts, with_dtype

__all__ = ["select"]


def select(
    source: Source | nn.Module,
    *,
    like: Target | None = None,
    set: Mapping[str, Any] | None = None,
    method: str = "uniform",
    depth: Depth = "first",
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
        (torch.Size([4, 4]), Ledger(3 selected, 1 copied))
    """
    function = registry.load(method, family="select")
    resolved = resolve(function, dict(options or {}))
    for name, value, known in (("head", head, ("selected", "fresh")), ("rescale", rescale, ("variance", None))):
        if value not in known:
            raise MethodError(f"{name} is {value!r}, not one of {', '.join(map(repr, known))}")
    checkpoint = open_checkpoint(source)
    larger, smaller, config = models_of(source, checkpoint, like, set, depth, inputs, "selected from")
    pair = match(
        anatomies.derive(larger),
        anatomies.derive(smaller),
        depth=partial(_blocks, depth),
        fresh_outputs=head == "fresh",
        classes=class_counts(larger.config, smaller.config),
    )
    _check_names(depth, "depth", "list of blocks", list(pair.target.depth))
    _check_names(scores, "scores", "axis", list(pair.source.axes))
    read = layout_on_disk(larger, {name: tensor.shape for name, tensor in checkpoint.tensors.items()})

    def importance(kind: str) -> Mapping[str, Tensor]:
        if scores is not None:
            return scores
        made = {"magnitude": magnitude_scores, "variance": variance_scores}.get(kind)
        return made(pair.source, checkpoint, read) if made else {}

    choices = Choices(pair, function, resolved, seed, importance, rescale=rescale == "variance")
    maker = Maker(checkpoint, pair, choices, read, layout_of(smaller), FreshWeights(smaller, seed), smaller)
    tensors, ledger = maker.make()
    recipe: dict[str, Any] = {"verb": "select", "source": told(checkpoint), "like": told_target(like), "set": set}
    recipe |= {
        "method": choices.record.name.removeprefix("select."),
        "options": resolved,
        "depth": depth,
        "head": head,
        "rescale": rescale,
    }
    recipe |= {"scores": None if scores is None else _digests(scores)}
    return Checkpoint(
        tensors=tensors,
        ties={alias: kept for alias, kept in pair.target.ties.items() if kept in tensors and alias not in tensors},
        config=with_dtype(config, maker.dtype) if config is not None else None,
        side_files=checkpoint.side_files,
        source=f"select({checkpoint.source})",
        lineage=Lineage(
            {name: value for name, value in recipe.items() if value},
            (parent_of(checkpoint, "source"),),
            seed,
            installed_versions("transformers"),
        ),
        ledger=ledger,
    )


def _blocks(depth: Depth, path: str, old: int, new: int) -> Sequence[int]:
    """The source's blocks of one block list."""
    if new > old:
        return range(old)  # the match says which list is deeper
    rule = depth.get(path, "first") if isinstance(depth, Mapping) else depth
    # Without a name, an explicit list is meant for the lists of blocks that shrink.
    if old == new and not isinstance(rule, str) and not isinstance(depth, Mapping):
        return range(new)
    return blocks(rule, old, new)


def _check_names(given: object, argument: str, what: str, known: Sequence[str]) -> None:
    unknown = [name for name in given if name not in known] if isinstance(given, Mapping) else []
    if unknown:
        few = f"; there are {', '.join(known)}" if len(known) <= 12 else ""
        raise MethodError(
            f"{argument} names what the model does not have",
            problems=[f"no {what} is called {name!r}{nearest(str(name), known)}" for name in unknown],
            hint=f"the names are those of the anatomy (scionwood anatomy){few}",
        )


def _digests(scores: Mapping[str, Tensor]) -> dict[str, str]:
    """The scores as the recipe tells them: enough to know them again."""
    return {
        axis: "sha256:" + hashlib.sha256(own.detach().double().cpu().numpy().tobytes()).hexdigest()[:16]
        for axis, own in scores.items()
    }
