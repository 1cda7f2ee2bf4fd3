"""Heads that grow under masks: where the old ones stand in the larger model, and what is masked (Yao et al., 2024, arXiv:2305.02869).

    new heads with keys and values of their own     q, k, v:  y = m * f(x)
    new queries on the keys and values of old ones            y = m * attention(x), before the output projection
    m = 1 for old heads, c for new ones

The paper has one query for each key and one projection for each of the three, and masks queries, keys and values: at c = 0
the values of a new head are zero, and so is what it gives. A new query that shares the values of old ones (grouped queries
that grow alone) would still give their mean, so that there its result is masked; that rule is ours. It helps where old
heads do not lie in the corner: in a fused projection new queries stand between old queries and old keys, in grouped
queries every group has new ones of its own. Where each lies is read off the two models' graphs, never off names.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from scionwood.anatomy import flat_index, from_module, match
from scionwood.anatomy.derive import derive
from scionwood.anatomy.flow import Flow, Use, flow
from scionwood.anatomy.match import Match
from scionwood.anatomy.nodes import CASTS, VIEWS, arguments_of, module_path, operation
from scionwood.errors import MethodError

__all__ = ["OldHeads", "old_heads"]

PER_HEAD = frozenset({"bias", "table", "embedding"})
"""Kinds of tensors of which new heads have numbers of their own: those of old ones stay what they were."""


@dataclasses.dataclass(frozen=True)
class OldHeads:
    """Where the heads of a small model stand in a large one.

    Args:
        where: for every weight that has more heads in the large model, the old indices along each of its dimensions.
        channels: for modules whose output is masked, the old channels of it.
        inputs: for modules whose input is masked, the old channels of that.
    """

    where: Mapping[str, tuple[Tensor, ...]]
    channels: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]


def old_heads(small: nn.Module, large: nn.Module, inputs: object) -> OldHeads:
    """Return where the heads of a small model stand in a large one, and what a :class:`MaskedGrowth` is to mask.

    >>> from scionwood.train.growth.masks import MaskedGrowth, place
    >>> class Attention(nn.Module):
    ...     def __init__(self, heads):
    ...         super().__init__()
    ...         self.fused, self.out = nn.Linear(8, 12 * heads), nn.Linear(4 * heads, 8)
    ...     def forward(self, x):
    ...         sides = [side.unflatten(-1, (-1, 4)).transpose(1, 2) for side in self.fused(x).chunk(3, -1)]
    ...         return self.out(nn.functional.scaled_dot_product_attention(*sides).transpose(1, 2).flatten(2))
    >>> small, large, x = Attention(2), Attention(3), torch.randn(1, 5, 8)
    >>> heads = old_heads(small, large, x)
    >>> heads.channels["fused"].tolist() == [*range(8), *range(12, 20), *range(24, 32)]
    True
    >>> place(small.state_dict(), large, where=heads.where)
    []
    >>> growth = MaskedGrowth(large, channels=heads.channels, inputs=heads.inputs)
    >>> torch.allclose(large(x), small(x), atol=1e-6)
    True

    Args:
        small: the model before.
        large: the same with more heads of the same width; nothing else in it has grown.
        inputs: that both models take: a tensor, a tuple or a dict.

    Raises:
        AnatomyError: a model cannot be exported.
        MatchError: the models are not of one family.
        MethodError: something else grows, or masks on modules cannot keep the function; every problem is listed.
    """
    models = [from_module(module, inputs) for module in (small, large)]
    matched = match(*(derive(model) for model in models), growing=True)
    flows = [flow(model) for model in models]
    problems = list(_problems(matched))
    where: dict[str, tuple[Tensor, ...]] = {}
    for name, source in matched.tensors.items():
        anatomy, before = matched.target.tensors[name], matched.source.tensors[source].shape
        if anatomy.shape != before:
            where[name] = tuple(
                flat_index(matched.target, dim, lambda axis: _old(matched, axis)) for dim in anatomy.dims
            )
            if tuple(map(len, where[name])) != before:
                problems.append(f"{name}: {before} to {anatomy.shape} are put together in different ways")
    if problems:
        raise MethodError("these models do not differ in heads alone", problems=problems)
    return _masked(where, *flows)


def _old(matched: Match, axis: str) -> Tensor:
    """The old indices of an axis of the large model: they come first."""
    if axis in matched.axes:
        return torch.arange(matched.source.axes[matched.axes[axis]].size)
    return torch.arange(1 if axis in matched.sprouted else matched.target.axes[axis].size)


def _problems(matched: Match) -> Iterator[str]:
    for name in [*matched.fresh, *matched.dropped]:
        yield f"{name}: only one of the models has it"
    for name, axis in matched.target.axes.items():
        old = len(_old(matched, name))
        if axis.parts is not None or old == axis.size:
            continue
        if axis.kind != "free":
            yield f"{name}: {old} to {axis.size}, and it is {axis.kind}: new heads would change what old ones compute"
        elif "heads" not in axis.tags:
            yield f"{name}: {old} to {axis.size} are no heads: one dimension grows at a time"


def _masked(where: Mapping[str, tuple[Tensor, ...]], before: Flow, after: Flow) -> OldHeads:
    groups = {use.tensor: [part.heads // part.kv_heads for part in use.projections] for use in before.uses}
    grown = [use for use in after.uses if use.tensor in where]
    projections = [use for use in grown if use.projections]
    problems = [
        f"{use.tensor}: a {use.kind} that has more heads, and is no projection of an attention that is known"
        for use in grown
        if use.kind not in PER_HEAD and len(use.projections) != max(len(groups.get(use.tensor, ())), 1)
    ]
    if problems:
        raise _unkept(problems)
    # New queries on old keys and values: what is masked is what comes of them.
    shared = {
        part.attention
        for use in projections
        for part, size in zip(use.projections, groups[use.tensor], strict=True)
        if part.heads // part.kv_heads != size
    }
    channels: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    joined = set()
    for use in projections:
        owner, output = use.tensor.rpartition(".")[0], use.projections[0].role == "output"
        masked = {part.attention for part in use.projections} & shared
        joined |= masked if output else set()
        if output != bool(masked):
            continue
        if not (_reads_alone(use, owner) if output else _gives_alone(use, owner)):
            side = "input" if output else "output"
            problems.append(
                f"{use.tensor}: what {owner or 'the model'} calls its {side} is not that of this weight alone"
            )
        (inputs if output else channels)[owner] = where[use.tensor][int(use.transposed != output)]
    problems += [f"{attention}: nothing is known to read what its heads give" for attention in sorted(shared - joined)]
    if problems:
        raise _unkept(problems)
    return OldHeads(where, channels, inputs)


def _unkept(problems: list[str]) -> MethodError:
    return MethodError("masks on modules do not keep what the small model computes", problems=problems)


def _gives_alone(use: Use, owner: str) -> bool:
    """Whether the output of the module that holds a weight is what the weight gives, but for views and a bias."""
    waiting, inside = [use.node], module_path(use.node) == owner
    while waiting and inside:
        within = [user for user in waiting.pop().users if module_path(user) == owner]
        inside = all(operation(user) in VIEWS | CASTS | {"add"} for user in within)
        waiting += within
    return inside


def _reads_alone(use: Use, owner: str) -> bool:
    """Whether the input of the module that holds a weight is what the weight reads, but for views."""
    arguments = arguments_of(use.node)
    given = next(arguments[name] for name in ("input", "mat1", "self") if name in arguments)
    while module_path(given) == owner and operation(given) in VIEWS | CASTS:
        given = given.all_input_nodes[0]
    return module_path(use.node) == owner != module_path(given)
