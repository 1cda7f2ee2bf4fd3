"""Several adapters made one, by the methods that merge checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from scionwood.checkpoint import (
    CastTensor,
    Checkpoint,
    ComputedTensor,
    Entry,
    LazyTensor,
    Ledger,
    Lineage,
    MemoryTensor,
    installed_versions,
    parent_of,
)
from scionwood.checkpoint.parent import told
from scionwood.methods import registry
from scionwood.methods.merge.whole import merge_tensors
from scionwood.methods.record import Record, resolve
from scionwood.verbs.adapter.apply import apart, put_on, with_head
from scionwood.verbs.adapter.factor import compressed, truncated
from scionwood.verbs.adapter.fit import by_module, check_fit, check_request, warn_of_bases
from scionwood.verbs.adapter.lora import PREFIX, Adapter, LowRank, read_adapter
from scionwood.verbs.adapter.product import difference, factors

__all__ = ["merge_adapters"]

Merge = Callable[..., Checkpoint]


def merge_adapters(
    adapters: Sequence[Checkpoint],
    *,
    merge: Merge,
    base: Checkpoint | None = None,
    method: str = "linear",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    merge_space: str | None = None,
    rank: int | None = None,
) -> Checkpoint:
    """Merge PEFT adapters into one adapter, or into their base.

    The mean of factors is not the factor of the mean: what is merged are the products that the adapters add to the
    weights, unless asked otherwise.

    ============  =====================================================================================================
    merge_space   what is merged
    ============  =====================================================================================================
    ``product``   the differences scale · B · A. Methods that are linear give an exact result: the factors side by side,
                  the ranks added, or cut down to ``rank``. For the others each difference is formed, and what comes of
                  them is factored anew; the ledger has the share that the rank misses. This is done at once
    ``factors``   A with A and B with B; for adapters of one run
    ``weight``    the base with each adapter on it; gives the whole model
    ============  =====================================================================================================

    What the adapters hold besides, modules saved whole and biases, is merged by the method where that does without a
    base, else averaged.

    Args:
        adapters: what to merge.
        merge: the merge of checkpoints.
        base: the model that the adapters are for; needed for ``weight``, which it is the default with.
        method: a method of the family merge.
        options: the method's own options.
        seed: of methods that draw at random.
        settings: what else the merge of checkpoints is told.
        merge_space: ``product`` unless there is a base.
        rank: of the merged adapter; the sum of the ranks, at most the smaller side of the weight, unless given.

    Returns:
        A checkpoint that is an adapter with scale 1 in float32; for ``weight``, the model.

    Raises:
        SourceError: an adapter is malformed, or of a kind that is not understood.
        MatchError: the adapters do not fit each other or the base.
        MethodError: an unknown method, option or space, or ones that do not go together.
    """
    function = registry.load(method, family="merge")
    resolved = resolve(function, dict(options or {}))
    space = merge_space or ("product" if base is None else "weight")
    read = [read_adapter(adapter) for adapter in adapters]
    check_request(read, space, base, rank)
    with_base = Record.of(function).space == "delta" or "base" in Record.of(function).inputs
    again = _Again(merge, method, resolved, seed, settings or {}, with_base=with_base)
    recipe: dict[str, Any] = {"verb": "merge", "method": Record.of(function).name}
    recipe |= {"models": [told(own) for own in adapters], "merge_space": space} | dict(again.settings)
    recipe |= {} if rank is None else {"rank": rank}
    recipe |= {"options": {k: list(v) if isinstance(v, tuple) else v for k, v in resolved.items()}} if resolved else {}
    parents = tuple(parent_of(own, "adapter") for own in adapters)
    if space == "weight":
        assert base is not None
        lineage = Lineage(
            recipe | {"base": told(base)}, (parent_of(base, "base"), *parents), seed, installed_versions()
        )
        return replace(_on_base(base, adapters, again), lineage=lineage)
    check_fit(read, space)
    warn_of_bases(read)
    if space == "factors":
        made = _of_factors(read, again)
    else:
        shares = _shares(function, len(read), resolved)
        made = _of_products(read, again, rank) if shares is None else _side_by_side(read, shares, rank)
    _add_plain(made, read, again)
    return replace(
        adapters[0],
        tensors=made.tensors,
        config=_config(read, made),
        source=f"merge({', '.join(own.source for own in adapters)})",
        revision=None,
        lineage=Lineage(recipe, parents, seed, installed_versions()),
        ledger=Ledger(made.entries),
        origin=None,
    )


@dataclass(frozen=True)
class _Again:
    """The same merge of other tensors."""

    merge: Merge
    method: str
    options: Mapping[str, Any]
    seed: int
    settings: Mapping[str, Any]
    with_base: bool

    def __call__(self, tensors: Sequence[Mapping[str, LazyTensor]]) -> Checkpoint:
        """Merge differences: where the method takes a base, it is zero."""
        zeros = {name: _zeros(name, tensor.shape) for name, tensor in tensors[0].items()} if self.with_base else None
        base = None if zeros is None else Checkpoint(zeros, source="zero")
        models = [Checkpoint(each, source=f"difference {number}") for number, each in enumerate(tensors, 1)]
        return self.of(models, base)

    def of(self, models: Sequence[Checkpoint], base: Checkpoint | None) -> Checkpoint:
        return self.merge(models, base=base, method=self.method, options=self.options, seed=self.seed, **self.settings)


@dataclass
class _Made:
    """A merged adapter in the making."""

    tensors: dict[str, LazyTensor] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)
    has_bias: bool = False
    as_first: bool = False  # ranks and scales are those of the first adapter

    def add(self, like: LowRank, a: LazyTensor, b: LazyTensor, detail: str) -> None:
        self.ranks[like.module] = a.shape[0]
        for factor in (a, b):
            self.tensors[factor.name] = factor
            self.entries.append(Entry(factor.name, "merged", like.module, detail, factor.num_elements))

    def add_bias(self, like: LowRank, bias: LazyTensor) -> None:
        named = bias.named(f"{PREFIX}{like.module}.lora_B.bias")
        self.tensors[named.name], self.has_bias = named, True
        self.entries.append(Entry(named.name, "merged", like.module, "", named.num_elements))


def _on_base(base: Checkpoint, adapters: Sequence[Checkpoint], again: _Again) -> Checkpoint:
    """Merge the base with each adapter on it; float32 in between, so that small differences are not rounded away."""
    models = [put_on(base, adapter, dtype=torch.float32) for adapter in adapters]
    named = with_head(base)
    untied = {alias for alias in named.ties if any(alias in model.tensors for model in models)}
    if untied:
        base, models = apart(named, untied), [apart(with_head(model), untied) for model in models]
    made = again.of(models, base if again.with_base else None)
    kept = {name: base.tensors[base.ties.get(name, name)].dtype for name in made.tensors}
    tensors = {
        name: tensor if tensor.dtype == kept[name] else CastTensor(tensor, kept[name])
        for name, tensor in made.tensors.items()
    }
    return replace(made, tensors=tensors)


def _shares(function: Callable[..., Tensor], count: int, options: Mapping[str, Any]) -> list[float] | None:
    """How much of each difference is in the result of a method that is linear, element by element; None for others."""
    record = Record.of(function)
    if "linear" not in record.laws or record.scope != "element" or "uniforms" in record.inputs:
        return None
    units = torch.eye(count).unbind()
    zero = torch.zeros(1)
    return [
        float(merge_tensors(function, [unit[number : number + 1] for number in range(count)], zero, options))
        for unit in units
    ]


def _side_by_side(read: Sequence[Adapter], shares: Sequence[float], rank: int | None) -> _Made:
    """The exact sum of products: their factors side by side, each times its share."""
    made = _Made()
    for held in by_module(read).values():
        parts = [(shares[number] * product.scale, product) for number, product in held.items() if shares[number]]
        like = next(iter(held.values()))
        parts = parts or [(0.0, like)]
        if rank is None:
            a, b = _concatenated(parts)
            detail = " + ".join(str(product.rank) for _, product in parts)
            made.add(like, a, b, f"rank {detail}, exact")
        else:
            pairs = [(share, *factors(product)) for share, product in parts]
            whole_b = torch.cat([share * b for share, b, _ in pairs], dim=1)
            new_b, new_a, missed = compressed(whole_b, torch.cat([a for _, _, a in pairs]), rank)
            made.add(like, *_stored(like, new_b, new_a), _told(new_a, missed))
        biases = [(share, product.bias) for share, product in parts if product.bias is not None]
        if biases:
            made.add_bias(like, _sum_of(biases))
    return made


def _of_products(read: Sequence[Adapter], again: _Again, rank: int | None) -> _Made:
    """What any method makes of the products, factored anew."""
    modules = by_module(read)
    differences: list[dict[str, LazyTensor]] = []
    for number in range(len(read)):
        own: dict[str, LazyTensor] = {}
        for module, held in modules.items():
            like, product = next(iter(held.values())), held.get(number)
            name = f"{module}.weight"
            own[name] = _zeros(name, like.shape) if product is None else difference(product, name)
            with_bias = next((each for each in held.values() if each.bias is not None), None)
            if with_bias is not None:
                bias = None if product is None or product.bias is None else _sum_of([(product.scale, product.bias)])
                shape = (with_bias.b.shape[0],)
                own[f"{module}.bias"] = _zeros("", shape) if bias is None else bias
        differences.append({name: tensor.named(name) for name, tensor in own.items()})
    merged = again(differences)
    made = _Made()
    for module, held in modules.items():
        like = next(iter(held.values()))
        whole = merged.tensors[f"{module}.weight"].read().float()
        matrix = whole.T if like.transposed else whole.reshape(whole.shape[0], -1)
        most = sum(product.rank for product in held.values()) if rank is None else rank
        b, a, missed = truncated(matrix, most)
        made.add(like, *_stored(like, b, a), _told(a, missed))
        if f"{module}.bias" in merged.tensors:
            made.add_bias(like, merged.tensors[f"{module}.bias"])
    return made


def _of_factors(read: Sequence[Adapter], again: _Again) -> _Made:
    """The factors merged each by itself."""
    made = _Made(as_first=True)
    modules = by_module(read)
    merged = again(
        [
            {name: tensor for product in adapter.products.values() for name, tensor in _parts(product).items()}
            for adapter in read
        ]
    )
    for held in modules.values():
        like = held[0]
        names = list(_parts(like))
        a, b = (merged.tensors[name] for name in names[:2])
        made.add(like, a, b, "factors")
        if like.bias is not None:
            made.add_bias(like, merged.tensors[names[2]])
    return made


def _add_plain(made: _Made, read: Sequence[Adapter], again: _Again) -> None:
    """Merge what the adapters hold besides. A difference to the base cannot be told without the base: then the mean."""
    names = {target: tensor.name for target, tensor in read[0].plain.items()}
    if not names:
        return
    average = replace(again, method="linear", options={}, with_base=False) if again.with_base else again
    merged = average([{name: adapter.plain[target].named(name) for target, name in names.items()} for adapter in read])
    for name, tensor in merged.tensors.items():
        made.tensors[name] = tensor
        detail = "averaged: saved whole, and the method takes differences" if again.with_base else "saved whole"
        made.entries.append(Entry(name, "merged", name, detail, tensor.num_elements))


def _names(product: LowRank) -> tuple[str, str]:
    """What PEFT calls A and B."""
    stem, end = f"{PREFIX}{product.module}.lora_", ".weight"
    if product.kind == "embedding":
        stem, end = f"{stem}embedding_", ""
    return f"{stem}A{end}", f"{stem}B{end}"


def _parts(product: LowRank) -> dict[str, LazyTensor]:
    """A, B, and B's bias if there is one, by PEFT's names."""
    a, b = _names(product)
    bias = {} if product.bias is None else {f"{PREFIX}{product.module}.lora_B.bias": product.bias}
    return {name: tensor.named(name) for name, tensor in {a: product.a, b: product.b, **bias}.items()}


def _stored(like: LowRank, b: Tensor, a: Tensor) -> tuple[LazyTensor, LazyTensor]:
    """Factors in the shapes that PEFT stores them in, A first."""
    name_a, name_b = _names(like)
    a, b = a.float().reshape(-1, *like.a.shape[1:]), b.float().reshape(b.shape[0], -1, *like.b.shape[2:])
    return MemoryTensor(name_a, a.contiguous()), MemoryTensor(name_b, b.contiguous())


def _concatenated(parts: Sequence[tuple[float, LowRank]]) -> tuple[LazyTensor, LazyTensor]:
    """The factors side by side, A first: read when they are written."""
    like = parts[0][1]
    name_a, name_b = _names(like)
    rank = sum(product.rank for _, product in parts)

    def all_of_a(start: int, stop: int) -> Tensor:
        return torch.cat([product.a.read().float() for _, product in parts])[start:stop]

    def rows_of_b(start: int, stop: int) -> Tensor:
        return torch.cat([product.b.read(start, stop).float() * share for share, product in parts], dim=1)

    every_a, every_b = [product.a for _, product in parts], [product.b for _, product in parts]
    return (
        ComputedTensor(name_a, (rank, *like.a.shape[1:]), torch.float32, all_of_a, whole=True, sources=every_a),
        ComputedTensor(name_b, (like.b.shape[0], rank, *like.b.shape[2:]), torch.float32, rows_of_b, sources=every_b),
    )


def _sum_of(parts: Sequence[tuple[float, LazyTensor]]) -> LazyTensor:
    def rows(start: int, stop: int) -> Tensor:
        return torch.stack([share * tensor.read(start, stop).float() for share, tensor in parts]).sum(0)

    first = parts[0][1]
    return ComputedTensor(first.name, first.shape, torch.float32, rows, sources=[tensor for _, tensor in parts])


def _zeros(name: str, shape: tuple[int, ...]) -> LazyTensor:
    return ComputedTensor(name, shape, torch.float32, lambda start, stop: torch.zeros(stop - start, *shape[1:]))


def _told(a: Tensor, missed: float) -> str:
    return f"rank {a.shape[0]}, relative error {missed:.2g}"


def _config(read: Sequence[Adapter], made: _Made) -> dict[str, Any]:
    """The config of the merged adapter: every module by its name, with a scale of 1."""
    config = dict(read[0].config)
    if made.as_first:
        return config
    usual = Counter(made.ranks.values()).most_common(1)[0][0] if made.ranks else 1
    others = {module: rank for module, rank in made.ranks.items() if rank != usual}
    saved = dict.fromkeys(name for adapter in read for name in adapter.config.get("modules_to_save") or [])
    return config | {
        "r": usual,
        "lora_alpha": usual,
        "rank_pattern": others,
        "alpha_pattern": dict(others),
        "use_rslora": False,
        "use_dora": False,
        "lora_bias": made.has_bias,
        "target_modules": list(made.ranks),
        "modules_to_save": list(saved) or None,
        "exclude_modules": None,
        "layers_to_transform": None,
        "layers_pattern": None,
        "init_lora_weights": True,
    }
