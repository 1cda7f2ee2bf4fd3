"""Compare two checkpoints, tensor by tensor."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

__all__ = [
    "Agreement",
    "agreement",
    "aligned",
    "differences",
    "drawn",
    "error",
    "largest",
    "layers",
    "read",
    "settings",
]

COUNTS = ("num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")
CONFIG_KEYS = (*COUNTS, "vocab_size", "tie_word_embeddings", "hidden_size", "d_model")
SIGNIFICANT = {torch.float32: 23, torch.float16: 10, torch.bfloat16: 7}
LEAST = {torch.float32: -126, torch.float16: -14, torch.bfloat16: -126}


def read(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's safetensors files."""
    from safetensors.torch import load_file

    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def settings(folder: Path) -> dict[str, object]:
    """What a config says about the shape of the weights, and their dtype."""
    config = json.loads((folder / "config.json").read_text())
    dtype = config.get("dtype", config.get("torch_dtype"))
    return {key: config.get(key) for key in CONFIG_KEYS} | {"dtype": dtype}


def layers(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How many layers there are under each prefix."""
    places = {match.groups() for name in tensors if (match := re.match(r"(.*?)\.(\d+)\.", name))}
    return {prefix: 1 + max(int(number) for other, number in places if other == prefix) for prefix, _ in places}


def differences(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[str]:
    """What differs in the names, shapes and dtypes."""
    found = [f"{name} is in ours alone" for name in sorted(ours.keys() - theirs.keys())]
    found += [f"{name} is in mergekit's alone" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        one, other = ours[name], theirs[name]
        if one.shape != other.shape:
            found.append(f"{name}: {tuple(one.shape)}, mergekit's {tuple(other.shape)}")
        elif one.dtype != other.dtype:
            found.append(f"{name}: {one.dtype}, mergekit's {other.dtype}")
    return found


def _vocabulary(folder: Path) -> dict[str, int]:
    said = json.loads((folder / "tokenizer.json").read_text())
    return said["model"]["vocab"] | {token["content"]: token["id"] for token in said["added_tokens"]}


def aligned(theirs: Path, ours: Path) -> dict[str, Tensor]:
    """mergekit's tensors, the rows of the vocabulary in our order: it numbers new tokens as a hash table has them."""
    tensors = read(theirs)
    if not (theirs / "tokenizer.json").exists() or not (ours / "tokenizer.json").exists():
        return tensors
    numbers, wanted = _vocabulary(theirs), _vocabulary(ours)
    if numbers.keys() != wanted.keys():
        return tensors
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        rows = torch.arange(tensors[name].shape[0])
        for token, number in wanted.items():
            rows[number] = numbers[token]
        tensors[name] = tensors[name][rows]
    return tensors


@dataclass
class Agreement:
    """How far two checkpoints agree, over all elements that are compared."""

    elements: int = 0
    equal: int = 0
    steps: float = 0.0
    tied: int = 0
    worst: str = ""
    beyond: int = 0

    @property
    def share(self) -> float:
        return self.equal / self.elements


def _step(size: Tensor, dtype: torch.dtype) -> Tensor:
    """The distance to the next number of a dtype, at a size."""
    exponent = torch.frexp(size.double()).exponent - 1
    return torch.exp2((exponent.clamp(min=LEAST[dtype]) - SIGNIFICANT[dtype]).double())


def agreement(
    ours: Mapping[str, Tensor],
    reference: Mapping[str, Tensor],
    operands: Mapping[str, Tensor],
    tied: Mapping[str, Tensor],
) -> Agreement:
    """Compare ours with a reference that is cast to the same dtype.

    A step is the distance to the next number of the dtype, at the size of the result. Where sums cancel, that is less
    than the rounding of float32 at the size of what went in, which is then the step.
    """
    found = Agreement()
    for name, mine in ours.items():
        cast = reference[name].to(mine.dtype)
        ignored = tied.get(name, torch.zeros(mine.shape, dtype=torch.bool))
        step = _step(torch.maximum(mine.abs(), cast.abs()), mine.dtype)
        if name in operands:  # not the layers that a stack has beyond its models
            step = torch.maximum(step, _step(operands[name], torch.float32))
        steps = (mine.double() - cast.double()).abs() / step
        steps = steps.masked_fill(ignored, 0.0)
        found.elements += mine.numel() - int(ignored.sum())
        found.equal += int(((mine == cast) & ~ignored).sum())
        found.beyond += int((steps > 1).sum())
        found.tied += int(ignored.sum())
        if float(steps.max()) > found.steps:
            found.steps, found.worst = float(steps.max()), name
    return found


def error(result: Mapping[str, Tensor], reference: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> float:
    """The norm of result − reference as a share of that of reference − base, over all tensors; of the reference's own
    norm where there is no base of that shape.
    """
    off = change = 0.0
    for name, tensor in result.items():
        exact = reference[name].double()
        start = base[name].double() if name in base and base[name].shape == exact.shape else torch.zeros_like(exact)
        off += float((tensor.double() - exact).square().sum())
        change += float((exact - start).square().sum())
    return math.sqrt(off / change) if change else math.sqrt(off)


def drawn(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], base: Mapping[str, Tensor], kept: float
) -> tuple[float, float, float]:
    """Compare two results of random methods.

    Args:
        ours: the merged weights.
        theirs: mergekit's.
        base: what both started from.
        kept: the probability that an element is anything but the base's.

    Returns:
        The largest z-score over tensors of our share of changed elements against ``kept``, and of the difference of the
        means of the merged deltas; and the ratio of their variances over all elements.
    """
    shares, means = [], []
    spread = [0.0, 0.0]
    for name, mine in ours.items():
        pair = [(tensor.double() - base[name].double()).flatten() for tensor in (mine, theirs[name])]
        count = pair[0].numel()
        deviation = math.sqrt(count * kept * (1 - kept))
        shares.append(abs(int((pair[0] != 0).sum()) - kept * count) / deviation)
        means.append(float((pair[0].mean() - pair[1].mean()).abs() / ((pair[0].var() + pair[1].var()) / count).sqrt()))
        spread = [so_far + float(each.square().sum()) for so_far, each in zip(spread, pair, strict=True)]
    return max(shares), max(means), spread[0] / spread[1]


def largest(models: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The largest magnitude among models, element by element; where not all have a tensor of one shape, one for all."""
    found = {}
    for name in {name: None for model in models for name in model}:
        given = [model[name].abs().float() for model in models if name in model]
        alike = len(given) == len(models) and len({tensor.shape for tensor in given}) == 1
        found[name] = torch.stack(given).amax(dim=0) if alike else torch.stack([tensor.max() for tensor in given]).max()
    return found
