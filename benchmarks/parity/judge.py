"""What is claimed of each configuration, and whether it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parity import compare
from parity.configurations import Configuration
from parity.runs import PRECISIONS, documents
from parity.ties import on_thresholds

__all__ = ["Verdict", "judge"]

SLACK = 1.02
"""Errors of one size; which of two roundings is nearer is chance."""

EMBEDDINGS = ("model.embed_tokens.weight", "shared.weight", "model.shared.weight")
UNCOUNTED = {"encoder_layers": "model.encoder.layers", "decoder_layers": "model.decoder.layers"}
"""Of modules that mergekit infers it does not know what counts their layers."""
HALF = ("bfloat16", "float16", "tied")
THRESHOLDS = ("ties", "breadcrumbs", "breadcrumbs_ties")
Z_LIMIT = 5.0
"""Of the largest of some hundred z-scores: chance alone passes it once in ten thousand runs."""


@dataclass
class Verdict:
    """A line of the table."""

    name: str
    methods: str
    dtype: str = ""
    tensors: int = 0
    equal: str = ""
    steps: str = ""
    peer_steps: str = ""
    error: str = ""
    peer_error: str = ""
    said: str = ""
    failures: list[str] = field(default_factory=list)


def _inputs(configuration: Configuration, folder: Path) -> tuple[dict[str, dict[str, Tensor]], str]:
    """The models that a configuration names, by place, and the place of the one that changes are measured from."""
    said = documents(configuration, folder)
    bodies = [body for document in said for body in (document, *document.get("modules", {}).values())]
    listed = [entry for body in bodies for entry in body.get("models", ())]
    listed += [source for body in bodies for part in body.get("slices", ()) for source in part["sources"]]
    places = [str(document["base_model"]) for document in said[-1:] if "base_model" in document]
    places += [str(entry["model"]).partition("+")[0] for entry in listed]
    models = {}
    for place in places:
        path = Path(place)
        if path.is_absolute():
            models[place] = compare.read(path.parent if path.suffix else path)
    return models, next(iter(models))


def judge(
    configuration: Configuration, number: int, folder: Path, ours: str | None, theirs: Mapping[str, str | None]
) -> Verdict:
    """Compare what both sides wrote."""
    methods = ", ".join(dict.fromkeys(document["merge_method"] for document in documents(configuration, folder)))
    verdict = Verdict(configuration.name, methods)
    broken = [f"mergekit, {precision}: {error}" for precision, error in theirs.items() if error]
    verdict.failures += ([f"scionwood: {ours}"] if ours else []) + broken
    if verdict.failures:
        return verdict
    out = folder / f"ours-{number:02}"
    theirs_of = {name: compare.aligned(folder / f"theirs-{number:02}-{name}", out) for name in PRECISIONS}
    mine, own = compare.read(out), theirs_of["asked"]
    verdict.tensors = len(own)
    dtypes = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in own.values()})
    verdict.dtype = ", ".join(dtypes)
    verdict.failures += compare.differences(mine, own)
    if configuration.tool != "pytorch":
        one, other = compare.settings(out), compare.settings(folder / f"theirs-{number:02}-asked")
        rows = next(len(own[name]) for name in EMBEDDINGS if name in own)
        if one["vocab_size"] == rows != other["vocab_size"]:
            verdict.said = f"mergekit's config says {other['vocab_size']} rows, its file has {rows}"
            other["vocab_size"] = rows
        counted = compare.layers(own)
        for key, prefix in UNCOUNTED.items() if configuration.family == "bart" else ():
            if one[key] == counted[prefix] != other[key]:
                verdict.said = f"mergekit's config says {other[key]} layers, its file has {counted[prefix]}"
                other[key] = counted[prefix]
        verdict.failures += [
            f"config: {key} {one[key]}, mergekit's {other[key]}" for key in one if one[key] != other[key]
        ]
    if not verdict.failures:
        models, base = _inputs(configuration, folder)
        if configuration.judged == "drawn":
            _judge_drawn(verdict, documents(configuration, folder)[-1], mine, own, models[base])
        else:
            document = documents(configuration, folder)[-1]
            tied = {}
            if document["merge_method"] in THRESHOLDS and configuration.family in HALF:
                tied = on_thresholds(document, models, list(mine))
            _judge_exact(verdict, configuration.reference, mine, theirs_of, models, base, tied)
    return verdict


def _judge_exact(
    verdict: Verdict,
    reference: str,
    mine: Mapping[str, Tensor],
    theirs: Mapping[str, Mapping[str, Tensor]],
    models: Mapping[str, Mapping[str, Tensor]],
    base: str,
    tied: Mapping[str, Tensor],
) -> None:
    exact, operands = theirs[reference], compare.largest(list(models.values()))
    found = compare.agreement(mine, exact, operands, tied)
    # mergekit's arithmetic in float32, rounded once, whatever the file asks for.
    single = {name: tensor.to(mine[name].dtype) for name, tensor in theirs["float32"].items()}
    peer = compare.agreement(single, exact, operands, tied)
    verdict.equal = f"{100 * found.share:.2f} %"
    verdict.steps, verdict.peer_steps = _number(found.steps), _number(peer.steps)
    off, peer_off = (compare.error(_apart(side, exact, tied), exact, models[base]) for side in (mine, theirs["asked"]))
    verdict.error, verdict.peer_error = f"{off:.1e}", f"{peer_off:.1e}"
    if tied:
        verdict.said = f"{found.tied / (found.tied + found.elements):.1%} on a threshold, apart"
    elif found.steps > 1 and verdict.dtype != "float32":
        verdict.said = f"{found.beyond} elements beyond a step, {peer.beyond} of mergekit's"
    if found.steps > max(1.0, peer.steps):
        verdict.failures.append(f"{found.beyond} elements are further off, {found.worst} by {found.steps:.1f} steps")
    if off > peer_off * SLACK and found.steps > 1:
        verdict.failures.append(f"error {off:.3e}, mergekit's {peer_off:.3e}")


def _apart(side: Mapping[str, Tensor], exact: Mapping[str, Tensor], tied: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A side, with the reference where an element is tied."""
    return {
        name: torch.where(tied[name], exact[name].to(tensor.dtype), tensor) if name in tied else tensor
        for name, tensor in side.items()
    }


def _number(steps: float) -> str:
    return f"{steps:.0f}" if steps == int(steps) else f"{steps:.1f}"


def _judge_drawn(
    verdict: Verdict,
    document: Mapping[str, Any],
    mine: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
) -> None:
    densities = [listed["parameters"]["density"] for listed in document["models"]]
    kept = 1 - math.prod(1 - density for density in densities)
    share, mean, variance = compare.drawn(mine, own, base, kept)
    verdict.said = f"kept z {share:.1f}, mean z {mean:.1f}, variance {variance:.3f} of mergekit's"
    if share > Z_LIMIT or mean > Z_LIMIT or abs(variance - 1) > 0.05:
        verdict.failures.append(verdict.said)
