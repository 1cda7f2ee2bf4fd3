"""Absorb: multiply a value inside a model by a known number, by changing the parameters that it comes from.

Copying or padding axes leaves some values multiplied by a factor that is known beforehand: the scores of heads that were
widened, what a tied table gives when it reads copies, whatever a constant like sqrt(width) multiplies. The factor is taken
out where it can be: the exported graph is walked upwards from the value, through all that is linear, to the parameters
that feed it. Whatever else looks at a value on the way would be changed, too, and so must not exist.

=============================  ====================================================================================
on the way                     what is done
=============================  ====================================================================================
views, casts, slices           passed, element by element: a part of a fused projection is a part
sums, concatenations           all their operands
products                       one operand: a parameter before anything else; queries and keys share theirs
relu, pooling, constants       passed: they keep positive factors
linear maps, convolutions      the weight's rows, and the bias
embeddings                     the table's columns
norms                          their gain and bias
a parameter, or 1 + parameter  the parameter: w becomes a w, or a w + (a - 1)
=============================  ====================================================================================
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, fx

from scionwood.anatomy.absorb.nodes import BIJECTIVE, JOIN, PARTIAL, SPLITS, AbsorbError, Mask, full, told
from scionwood.anatomy.absorb.steps import Steps, Take
from scionwood.anatomy.build import Model
from scionwood.anatomy.nodes import operation

__all__ = ["AbsorbError", "Absorber", "Correction"]


@dataclasses.dataclass(frozen=True)
class Correction:
    """What becomes of a parameter: scale * w + shift, both spread over its shape."""

    scale: Tensor
    shift: Tensor

    def after(self, scale: Tensor, shift: Tensor | float = 0.0) -> Correction:
        """This correction, and then another."""
        return Correction(scale * self.scale, scale * self.shift + shift)

    @property
    def uniform(self) -> float | None:
        """The one number that the parameter is multiplied by; nothing, if there are several or it is shifted."""
        values = self.scale.unique()
        return float(values[0]) if len(values) == 1 and not bool(self.shift.any()) else None


class Absorber(Steps):
    """Absorbs factors into the parameters of one model, and remembers what became of them.

    Args:
        model: the model.
        ties: parameters that are one with another: name → the name that counts.
    """

    def __init__(self, model: Model, ties: Mapping[str, str]) -> None:
        super().__init__(model, ties)
        self.corrections: dict[str, Correction] = {}

    def absorb(
        self, nodes: fx.Node | Collection[fx.Node], alpha: float, *, users: Collection[fx.Node] | None = None
    ) -> list[str]:
        """Multiply a value by a number, by changing parameters.

        Args:
            nodes: the value, or several: what one module computes each time it is used, or at each step of a recurrence.
            alpha: the number.
            users: those that are to see it multiplied; nobody else may look at it. All, unless given.

        Returns:
            The parameters that were changed.

        Raises:
            AbsorbError: it cannot be done, with the reason; nothing was changed.
        """
        reasons: list[str] = []
        roots = [nodes] if isinstance(nodes, fx.Node) else list(nodes)
        for sharing in ("both", "first", "second"):
            try:
                takes = self._takes(roots, alpha, users, sharing)
            except AbsorbError as error:
                if str(error) not in reasons:
                    reasons.append(str(error))
                continue
            for take in takes:
                self._apply(take)
            return list(dict.fromkeys(take.parameter for take in takes))
        raise AbsorbError(reasons[0])

    def scale_parameter(self, name: str, alpha: float, place: int | None = None, rows: Mask = None) -> None:
        """Multiply a parameter by a number, whole or in some rows of one dimension."""
        self._apply(Take(name, next(iter(self.uses[name])), alpha, place, rows))

    def _takes(
        self, roots: Collection[fx.Node], alpha: float, users: Collection[fx.Node] | None, sharing: str
    ) -> list[Take]:
        marked: dict[fx.Node, tuple[float, Mask]] = dict.fromkeys(roots, (alpha, None))
        edges: set[tuple[fx.Node, fx.Node]] = set()
        takes: list[Take] = []
        waiting = [-self.number[root] for root in marked]
        heapq.heapify(waiting)
        by_number = {number: node for node, number in self.number.items()}
        while waiting:
            node = by_number[-heapq.heappop(waiting)]
            own, mask = marked[node]
            further, taken = self.step(node, own, mask, sharing)
            takes.extend(taken)
            for given, factor, part in further:
                edges.add((given, node))
                if given in marked:
                    before, seen = marked[given]
                    if not math.isclose(before, factor):
                        raise AbsorbError(f"{told(given)} would take two factors at once")
                    marked[given] = (factor, None if seen is None or part is None else seen | part)
                else:
                    marked[given] = (factor, part)
                    heapq.heappush(waiting, -self.number[given])
        self._check_nobody_else(roots, users, marked, edges)
        self._check_other_uses(max(map(self.number.__getitem__, roots)), takes, marked)
        once: dict[tuple[str, int | None], Take] = {}
        for take in takes:
            known = once.setdefault((take.parameter, take.place), take)
            same = known.mask is take.mask or (
                known.mask is not None and take.mask is not None and torch.equal(known.mask, take.mask)
            )
            if not same or not math.isclose(known.alpha, take.alpha):
                raise AbsorbError(f"{take.parameter} would take different factors where it is used")
        return list(once.values())

    def _check_nobody_else(
        self,
        roots: Collection[fx.Node],
        users: Collection[fx.Node] | None,
        marked: Mapping[fx.Node, tuple[float, Mask]],
        edges: Collection[tuple[fx.Node, fx.Node]],
    ) -> None:
        for node, (_, mask) in marked.items():
            if node in self.parameter or (node in roots and users is None):
                continue
            for user in node.users:
                if node in roots and users is not None:
                    if user not in users:
                        raise AbsorbError(f"{told(node)} is also used by {told(user)}")
                    continue
                if (node, user) in edges:
                    own = marked[user][1]
                    if mask is None and own is None:
                        continue
                    wanted, reached = full(user) if own is None else own, self.forward(node, user, mask)
                    if operation(user) in JOIN and reached is not None:
                        wanted = wanted & self.forward(node, user, None)  # the other pieces are looked at by themselves
                    if reached is not None and torch.equal(reached, wanted):
                        continue
                elif mask is not None and self._untouched(node, user, mask):
                    continue
                raise AbsorbError(f"{told(node)} is also used by {told(user)}")

    def _untouched(self, node: fx.Node, user: fx.Node, mask: Tensor) -> bool:
        """Whether a view sees nothing of what is meant."""
        if operation(user) not in BIJECTIVE | PARTIAL or operation(user) in SPLITS:
            return False
        reached = self.forward(node, user, mask)
        return reached is not None and not bool(reached.any())

    def _check_other_uses(
        self, now: int, takes: Collection[Take], marked: Mapping[fx.Node, tuple[float, Mask]]
    ) -> None:
        meant: dict[str, set[fx.Node]] = {}
        for take in takes:
            meant.setdefault(take.parameter, set()).add(take.use)
        for name, uses in meant.items():
            inside = {use for use in self.uses[name] if use in uses or use in marked}
            for other in self.uses[name] - inside:
                if self.number[other] <= now:
                    raise AbsorbError(f"{name} is also used by {told(other)}")

    def _apply(self, take: Take) -> None:
        shape = self.shapes[take.parameter]
        if take.place is not None:
            scale = torch.ones(shape[take.place], dtype=torch.float64)
            scale[slice(None) if take.mask is None else take.mask] = take.alpha
            scale = scale.view([-1 if dim == take.place else 1 for dim in range(len(shape))])
        elif take.mask is None:
            scale = torch.full([1] * len(shape), take.alpha, dtype=torch.float64)
        else:
            scale = torch.where(take.mask.view(shape), take.alpha, 1.0).double()
        one = torch.ones([1] * len(shape), dtype=torch.float64)
        before = self.corrections.get(take.parameter, Correction(one, one * 0))
        self.corrections[take.parameter] = before.after(scale, (scale - 1) * take.offset)
