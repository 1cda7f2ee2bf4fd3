"""Which adapters can be merged with each other, and how."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from scionwood.checkpoint import Checkpoint
from scionwood.errors import MatchError, MethodError, nearest
from scionwood.verbs.adapter.lora import Adapter, LowRank

__all__ = ["SPACES", "by_module", "check_fit", "check_request", "warn_of_bases"]

SPACES = ("product", "factors", "weight")
"""What of the adapters is merged."""


def by_module(read: Sequence[Adapter]) -> dict[str, dict[int, LowRank]]:
    """Return module → the products of those adapters that have it, by their number."""
    modules: dict[str, dict[int, LowRank]] = {}
    for number, adapter in enumerate(read):
        for module, product in adapter.products.items():
            modules.setdefault(module, {})[number] = product
    return modules


def check_request(read: Sequence[Adapter], space: str, base: Checkpoint | None, rank: int | None) -> None:
    """Raise a MethodError that lists what does not go together in a request, if anything."""
    problems: list[str] = []
    if space not in SPACES:
        problems.append(f"merge_space is {space!r}, not one of {', '.join(SPACES)}{nearest(space, SPACES)}")
    if space == "weight" and base is None:
        problems.append("merge_space weight merges whole models, and no base is given")
    if space in ("product", "factors") and base is not None:
        problems.append(f"merge_space {space} makes an adapter, and needs no base: leave it out, or merge weights")
    if rank is not None and space != "product":
        problems.append(f"rank {rank} is for merge_space product")
    if rank is not None and rank < 1:
        problems.append(f"the rank is {rank}; it must be 1 at least")
    problems += [
        f"{adapter.checkpoint.source} is a DoRA adapter: what it changes depends on the weights it is on; give the base"
        for adapter in read
        if space != "weight" and any(product.magnitude is not None for product in adapter.products.values())
    ]
    if problems:
        raise MethodError("These adapters cannot be merged as asked.", problems=problems)


def check_fit(read: Sequence[Adapter], space: str) -> None:
    """Raise a MatchError unless the adapters are for one model, and hold the same tensors besides their products."""
    problems: list[str] = []
    for module, held in by_module(read).items():
        kinds = {(product.kind, product.shape) for product in held.values()}
        if len(kinds) > 1:
            sizes = ", ".join(f"{list(product.shape)} in {read[n].checkpoint.source}" for n, product in held.items())
            problems.append(f"{module}: {sizes}")
            continue
        if space != "factors":
            continue
        scales = {(product.rank, product.scale, product.bias is None) for product in held.values()}
        if len(held) < len(read):
            lacking = [adapter.checkpoint.source for n, adapter in enumerate(read) if n not in held]
            problems.append(f"{module} is not in {', '.join(lacking)}")
        elif len(scales) > 1:
            told = ", ".join(f"rank {product.rank} with scale {product.scale:.4g}" for product in held.values())
            problems.append(f"{module}: {told}")
    for name in dict.fromkeys(name for adapter in read for name in adapter.plain):
        lacking = [adapter.checkpoint.source for adapter in read if name not in adapter.plain]
        shapes = {adapter.plain[name].shape for adapter in read if name in adapter.plain}
        if lacking:
            problems.append(f"{name}, saved whole, is not in {', '.join(lacking)}")
        elif len(shapes) > 1:
            problems.append(f"{name}, saved whole, has the shapes {', '.join(str(list(shape)) for shape in shapes)}")
    if problems:
        more = [f"… and {len(problems) - 20} more"] if len(problems) > 20 else []
        hint = "merge_space product takes adapters of different ranks and modules" if space == "factors" else None
        raise MatchError("The adapters do not fit each other.", problems=[*problems[:20], *more], hint=hint)


def warn_of_bases(read: Sequence[Adapter]) -> None:
    """Warn where the adapters name different models that they are for: one of them may be a copy of another, or not."""
    bases = [(adapter.config.get("base_model_name_or_path"), adapter.checkpoint.source) for adapter in read]
    if len({base for base, _ in bases if base}) > 1:
        told = ", ".join(f"{base} by {source}" for base, source in bases if base)
        warnings.warn(f"The adapters name different base models: {told}.", stacklevel=4)
