"""Grow: a larger model's weights out of a smaller model's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scionwood import anatomy as anatomies
from scionwood.anatomy import Model
from scionwood.anatomy.corrections import Corrections, correct, normalised
from scionwood.anatomy.layout import layout_of, layout_on_disk
from scionwood.anatomy.match import Match, match
from scionwood.checkpoint import Checkpoint, Entry, Ledger, Lineage, Parent, Source, installed_versions, parent_of
from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint.parent import told
from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.record import Record, resolve
from scionwood.verbs.fresh import FreshWeights
from scionwood.verbs.grow.blocks import Blocks, follow, rules_of
from scionwood.verbs.grow.generating import check_model, generate
from scionwood.verbs.grow.joining import Joiner, check_members, second_member
from scionwood.verbs.grow.learning import Learner, documents_of, learn
from scionwood.verbs.grow.making import Grower
from scionwood.verbs.grow.maps import Growths
from scionwood.verbs.grow.settings import unseen
from scionwood.verbs.making import Maker
from scionwood.verbs.pair import models_of, told_target
from scionwood.verbs.target import Depth, Target, class_counts, with_dtype

__all__ = ["grow"]


def grow(
    source: Source | nn.Module,
    *,
    like: Target | None = None,
    set: Mapping[str, Any] | None = None,
    method: str = "hypercloning",
    depth: Depth | None = None,
    text: Sequence[str | Path] = (),
    second: Source | nn.Module | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    inputs: object = None,
) -> Checkpoint:
    """Make a larger model's weights by growing a smaller one's (Samragh et al., 2024, arXiv:2409.12903).

    Every axis of the target is made from an axis of the source, and every tensor that has the axis follows; which axes there are, and
    where, is derived from the two models' own graphs. Where the method preserves the function, so does the verb: what copying does
    beyond one axis (scores of widened heads, tied embeddings, constants that depend on a width) is corrected in the parameters that
    feed it. Settings that are no sizes may differ, too, and then mostly change the function: the two graphs are compared operation by
    operation, with texts of up to 512 tokens where a setting says how far tokens see. The ledger says whether the function is preserved, every correction, and if it is not, why.

    Args:
        source: the smaller model: whatever :func:`scionwood.open` takes. For ``hypernetwork`` and ``denoised_weights``, which predict,
            what was trained to do so: the file that it was saved to.
        like: the larger model's shape: a folder or a file with a config, a config, or for plain modules the larger module itself.
            A method that predicts takes any target, and for ``denoised_weights`` also a file of weights for names and shapes.
        set: settings of the target, sizes above all, by their names in the config; they change what ``like`` says, or the source's config without it.
        method: a method of the family grow; says how axes grow.
        depth: which blocks a deeper target has: a rule of :mod:`scionwood.methods.grow.depth`, the numbers of the source's blocks, or a
            mapping from block lists to one of these. Unless given, ``block_expansion``; where maps are learned, which begin as
            copies and learn, ``stack``.
        text: files of text for a method that learns its maps (``ligo``); they are learned when this is called. The tokenizer is the
            source's own.
        second: another model of the source's shape, for a method that joins two (``mixture_growth``).
        seed: of everything that is drawn.
        options: the method's own options.
        inputs: example inputs, for plain modules; where weights are predicted nothing is traced, and none are needed.

    Returns:
        A lazy checkpoint in the layout that the target's class saves: nothing is read until it is written.

    Raises:
        SourceError: the source or the text cannot be read, or the source was not trained for the method.
        AnatomyError: a model cannot be built or traced.
        MatchError: the two are of different families, the vocabularies differ, or the target is smaller on some axis; two that
            are to be joined are not of one shape; or the target is not what a predictor was trained on.
        MethodError: an unknown method, option or depth rule, sizes that they cannot serve, a method that learns without text, or one
            that joins without a second model.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> def net(width):
        ...     return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
        >>> small, large = net(8), net(16)
        >>> grown = grow(small, like=large, inputs=torch.zeros(1, 4))
        >>> _ = large.load_state_dict({name: tensor.read() for name, tensor in grown.tensors.items()})
        >>> x = torch.randn(5, 4)
        >>> torch.allclose(large(x), small(x), atol=1e-5)
        True
    """
    function = registry.load(method, family="grow")
    record, resolved = Record.of(function), resolve(function, dict(options or {}))
    documents = documents_of(method, text, learned=record.learned)
    other = second_member(method, second, joins=record.joins)
    rules = rules_of(depth, record)
    if record.shape == "generate":
        return generate(function, source, like, set, resolved, seed)
    checkpoint = open_checkpoint(source)
    check_model(checkpoint, method)
    if other is not None:
        check_members(checkpoint, other)
    smaller, larger, config = models_of(source, checkpoint, like, set, rules, inputs, "grown", follow)
    small, large = anatomies.derive(smaller), anatomies.derive(larger)
    blocks = Blocks(rules, small, record)
    pair = match(small, large, depth=blocks, classes=class_counts(smaller.config, larger.config), growing=True)
    blocks.check(list(pair.target.depth))
    statistics = {name for name, _ in larger.module.named_buffers()}
    growths = Growths(pair, function, resolved, seed, normalised(larger, pair.target.ties), statistics)
    growths.check()
    if blocks.expanded and any(growth.following is not None for growth in growths.grown.values()):
        raise MethodError(
            f"{method} takes new rows from the next block, and two blocks that are expanded have none",
            hint="give --option expansion=fpi, or grow depth first and width after it",
        )
    read = layout_on_disk(smaller, {name: tensor.shape for name, tensor in checkpoint.tensors.items()})
    fresh = FreshWeights(larger, seed)
    # Growths answer what choices do.
    given: dict[str, Any] = {"checkpoint": checkpoint, "match": pair, "choices": growths, "read": read}
    given |= {"write": layout_of(larger), "fresh": fresh, "target": larger}
    maker: Maker
    if record.learned:
        made = learn(checkpoint, smaller, larger, config, growths, read, fresh, documents, resolved, seed)
        maker = Learner(**given, learned=made)
        verdict = [Entry("the function", "changed", None, made.told, 0)]
    elif other is not None:
        beside = layout_on_disk(smaller, {name: tensor.shape for name, tensor in other.tensors.items()})
        maker = Joiner(**given, second=other, beside=beside, options=resolved, seed=seed)
        verdict = [Entry("the function", "changed", None, maker.told, 0)]
    else:
        found = _corrections(smaller, larger, pair, growths, blocks.idle)
        corrected = {"corrections": found.parameters, "told": found.told}
        maker = Grower(**given, **corrected, expanded=blocks.expanded, seed=seed)
        failures = [
            *_changed_by_method(growths, pair),
            *_missing(growths, pair, read),
            *blocks.changed,
            *found.failures,
        ]
        # What a short text shows is compared already; longer ones are looked at where that leaves a claim.
        noisy = any(growth.snr_db is not None and growth.divide for growth in growths.grown.values())
        verdict = _verdict(failures or unseen(smaller, larger, pair), found, maker.dtype if noisy else None)
    tensors, ledger = maker.make()
    recipe: dict[str, Any] = {"verb": "grow", "source": told(checkpoint), "like": told_target(like), "set": set}
    recipe |= {"method": record.name.removeprefix("grow."), "options": resolved}
    recipe |= {
        "depth": None if record.joins else rules,
        "text": [str(each) for each in text],
        "second": None if other is None else told(other),
    }
    return Checkpoint(
        tensors=tensors,
        ties={alias: kept for alias, kept in pair.target.ties.items() if kept in tensors and alias not in tensors},
        config=with_dtype(config, maker.dtype) if config is not None else None,
        side_files=checkpoint.side_files,
        source=f"grow({', '.join(each.source for each in (checkpoint, other) if each is not None)})",
        lineage=Lineage(
            {name: value for name, value in recipe.items() if value},
            (
                parent_of(checkpoint, "source"),
                *([] if other is None else [parent_of(other, "second")]),
                *(Parent.of_file(Path(each).expanduser(), "text") for each in text),
            ),
            seed,
            installed_versions("transformers", *(["tokenizers"] if text else [])),
        ),
        ledger=Ledger([*ledger, *verdict]),
    )


def _corrections(smaller: Model, larger: Model, pair: Match, growths: Growths, idle: Sequence[str]) -> Corrections:
    grown = growths.grown
    copied = {name: growth for name, growth in grown.items() if growth.divide}
    padded = {name: growth for name, growth in grown.items() if growth.pads and growths.counts(name)}
    copies = {name: growth.copies for name, growth in copied.items()}
    return correct(
        smaller,
        larger,
        pair,
        copies=copies | ({} if padded else growths.shared),
        pads=padded,
        means={name for name, growth in padded.items() if growth.writing == "mean"},
        rescales=any(growth.rescales for growth in padded.values()),
        idle=idle,
    )


def _changed_by_method(growths: Growths, pair: Match) -> list[str]:
    """Why a method by itself does not leave the function as it is."""
    grown = {name: growth for name, growth in growths.grown.items() if growths.counts(name)}
    found = []
    if any(growth.following is not None for growth in grown.values()):
        found.append("new rows are the next block's")
    if any(growth.pads and growth.writing == growth.reading == "drawn" for growth in grown.values()):
        found.append("new weights are drawn on both sides: masks in training are to keep the function")
    if growths.shared and any(growth.pads for growth in grown.values()):
        found.append(f"{next(iter(growths.shared))} is along heads of keys that are copied, and other axes are padded")
    if pair.fresh:
        found.append(f"{next(iter(pair.fresh))} is fresh: {next(iter(pair.fresh.values()))}")
    return found


def _missing(growths: Growths, pair: Match, read: Collection[str]) -> Iterator[str]:
    """Tensors that no checkpoint stores, where they grow: the class makes them anew for each size."""
    grown = {name for name in growths.grown if growths.counts(name)}
    for name, tensor in pair.target.tensors.items():
        origin = pair.tensors.get(name)
        if origin is None or origin in read or name in pair.target.unused:
            continue
        if any(axis in grown for dim in tensor.dims for axis in pair.target.leaves(dim)):
            yield f"{name} is fresh: the checkpoint holds no {origin}, which would grow"


def _verdict(failures: Sequence[str], found: Corrections, noisy: torch.dtype | None) -> list[Entry]:
    if not failures:
        how = f"with {len(found.parameters)} tensors corrected" if found.parameters else "by the maps of the axes alone"
        if found.eps is not None:
            how += f", but for the norms' eps, which weighs {found.eps:.3g} times as much"
        if noisy in (torch.float16, torch.bfloat16):
            name = str(noisy).removeprefix("torch.")
            how += f", but for {name}, which rounds the noise between copies (--option snr_db=none leaves none)"
        return [Entry("the function", "preserved", None, how, 0)]
    return [Entry("the function", "changed", None, reason, 0) for reason in dict.fromkeys(failures)]
