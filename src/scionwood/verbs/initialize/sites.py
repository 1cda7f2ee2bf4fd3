"""Sites: what an initialiser is asked about, and where in the stored tensors its answer goes."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from scionwood.anatomy import Anatomy, Axis, Model
from scionwood.anatomy.flow import Flow, Projection, Use
from scionwood.methods.initialize.site import Attention, Branch, Site

__all__ = ["Place", "places_of"]


@dataclasses.dataclass(frozen=True)
class Place:
    """A site, and the part of a stored tensor that it is.

    Args:
        site: what the method is told.
        tensor: the name of the stored tensor in the module.
        transposed: stored as (in, out).
        expert: which of several stacked maps; None where there is one.
        rows: which of the outputs it has; None for all of them.
        viewed: the shape in which it is contracted, where that is another than it is stored in.
        factor: what it is multiplied by before it is contracted.
    """

    site: Site
    tensor: str
    transposed: bool = False
    expert: int | None = None
    rows: Tensor | None = None
    viewed: tuple[int, ...] | None = None
    factor: float = 1.0

    def read(self, stored: Tensor) -> Tensor:
        """The site's values, (out, in, *taps), out of the stored tensor."""
        stored = self._seen(stored) * self.factor if self.factor != 1 else self._seen(stored)
        seen = self._canonical(stored if self.expert is None else stored[self.expert])
        return seen if self.rows is None else seen[self.rows]

    def write(self, stored: Tensor, values: Tensor) -> None:
        """Put values into the stored tensor, in its layout and its dtype."""
        stored = self._seen(stored)
        values = values / self.factor if self.factor != 1 else values
        part = stored if self.expert is None else stored[self.expert]
        if self.rows is not None:
            whole = self._canonical(part).clone()
            whole[self.rows] = values.to(stored)
            values = whole
        part.copy_(self._stored(values, part.shape).to(stored))

    def _seen(self, stored: Tensor) -> Tensor:
        return stored if self.viewed is None else stored.view(self.viewed)

    def _canonical(self, part: Tensor) -> Tensor:
        if not self.transposed:
            return part
        if self.site.groups == 1:
            return part.transpose(0, 1)
        return _swap(part, self.site.groups)

    def _stored(self, values: Tensor, shape: Sequence[int]) -> Tensor:
        if not self.transposed:
            return values.reshape(tuple(shape))
        if self.site.groups == 1:
            return values.transpose(0, 1)
        return _swap(values, self.site.groups)


def _swap(weight: Tensor, groups: int) -> Tensor:
    """(in, out / groups, *taps) of a transposed convolution as (out, in / groups, *taps), or back."""
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def places_of(model: Model, anatomy: Anatomy, flow: Flow) -> tuple[Place, ...]:
    """Every site of a model, in the order of execution."""
    state = model.module.state_dict(keep_vars=True)
    weights = {use.node: use for use in flow.uses if use.kind in ("linear", "convolution")}
    found: list[Place] = []
    beside: Counter[int] = Counter()  # parts of fused projections in a branch beyond the first: as many weights more
    for use in flow.uses:
        here = list(_places(use, state[use.tensor], weights.get(use.node), anatomy))
        if use.branch is not None and use.kind == "linear":
            experts = len({place.expert for place in here})
            beside[use.branch.number] += len(here) // experts - 1
        found += here
    return tuple(
        dataclasses.replace(place, site=dataclasses.replace(place.site, order=order, branch=_counted(place, beside)))
        for order, place in enumerate(found)
    )


def _counted(place: Place, beside: Counter[int]) -> Branch | None:
    branch = place.site.branch
    return branch and dataclasses.replace(branch, weights=branch.weights + beside[branch.number])


def _places(use: Use, tensor: Tensor, weight: Use | None, anatomy: Anatomy) -> Iterator[Place]:
    known = anatomy.tensors.get(use.tensor) if use.viewed is None else None
    axes = known.dims if known is not None else ()
    shape = use.viewed or tuple(tensor.shape)
    made = partial(Place, tensor=use.tensor, viewed=use.viewed, factor=use.factor)
    if use.kind not in ("linear", "convolution") or len(shape) < 2 + use.stacked:
        kind = "other" if use.kind in ("linear", "convolution") else use.kind
        # A bias belongs to what its weight is; that of a fused projection to all of its parts.
        roles = weight.projections if weight is not None and kind == "bias" else ()
        site = _site(use, use.tensor, shape, axes, roles[0] if roles else None)
        yield made(dataclasses.replace(site, kind=kind, learned=tensor.requires_grad))
        return
    experts = range(shape[0]) if use.stacked else [None]
    shape, axes = (shape[1:], axes[1:]) if use.stacked else (shape, axes)
    if use.transposed:
        shape = (shape[1] * use.groups, shape[0] // use.groups, *shape[2:])
        axes = (axes[1], axes[0], *axes[2:]) if axes else axes
    for expert in experts:
        name = use.tensor if expert is None else f"{use.tensor}[{expert}]"
        outputs = [anatomy.axes[axis] for axis in axes[0]] if axes else []
        for part, role, rows in _parts(use, shape[0], outputs):
            own = shape if rows is None else (len(rows), *shape[1:])
            told = name if part is None else f"{name}[{part}]"
            site = _site(use, told, own, axes, role)
            yield made(site, transposed=use.transposed, expert=expert, rows=rows)


def _parts(
    use: Use, outputs: int, axes: Sequence[Axis]
) -> Iterator[tuple[str | None, Projection | None, Tensor | None]]:
    """The parts of a fused projection; what no attention takes is a part too."""
    roles = use.projections
    if not roles:
        for number, rows in enumerate(found := list(_equal_parts(use, outputs, axes)), start=1):
            yield f"{number} of {len(found)}", None, rows
        if not found:
            yield None, None, None
        return
    if len(roles) == 1 and (roles[0].role == "output" or len(roles[0].rows) == outputs):
        yield None, roles[0], None
        return
    if any(role.role == "output" for role in roles):
        yield None, None, None  # the output of one attention and a projection of another: nothing in particular
        return
    taken = torch.zeros(outputs, dtype=torch.bool)
    for role in roles:
        if bool(taken[role.rows].any()):
            yield None, None, None  # one projection for two roles
            return
        taken[role.rows] = True
    for role in roles:
        yield role.role, role, role.rows
    if not bool(taken.all()):
        yield "rest", None, torch.nonzero(~taken).flatten()


def _equal_parts(use: Use, outputs: int, axes: Sequence[Axis]) -> Iterator[Tensor]:
    """The rows of each of several maps side by side, as gate and up are, or woven; none where it is one map."""
    kinds, sizes = [axis.kind for axis in axes], [axis.size for axis in axes]
    if use.kind == "linear" and len(axes) > 1 and kinds.count("part") == 1 and math.prod(sizes) == outputs:
        yield from torch.arange(outputs).view(sizes).movedim(kinds.index("part"), 0).flatten(1)


def _site(
    use: Use, name: str, shape: tuple[int, ...], axes: tuple[tuple[str, ...], ...], role: Projection | None
) -> Site:
    branch = use.branch
    return Site(
        name=name,
        kind=use.kind,
        shape=shape,
        layer=use.layer,
        layers=use.layers,
        branch=None
        if branch is None
        else Branch(branch.number, branch.count, branch.place, branch.length, branch.last, branch.weights),
        reads=use.reads,
        feeds=use.feeds,
        norm=use.norm,
        reads_sum=use.reads_sum,
        head=use.head,
        attention=None if role is None else Attention(role.role, role.heads, role.kv_heads, role.width, role.attention),
        groups=use.groups,
        axes=axes,
        padding=use.padding,
        computed=use.computed,
    )
