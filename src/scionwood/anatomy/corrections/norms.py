"""Norms along padded axes: their gains are made up for the new channels, or there is a reason why not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from torch import fx

from scionwood.anatomy.absorb.nodes import ADD, BIJECTIVE, JOIN, PARTIAL, PICKS, SAME
from scionwood.anatomy.corrections.closed import Closed
from scionwood.anatomy.corrections.sites import CONVOLUTIONS, PASSES, SCALES, bare, onward, reduced
from scionwood.anatomy.nodes import VIEWS, module_path, operation, shape_of
from scionwood.anatomy.rules import views

__all__ = ["Norms"]

_SUMS = (
    frozenset(views.RULES) | VIEWS | SAME | BIJECTIVE | PARTIAL | PICKS | JOIN | ADD
    | {"mean", "sum", "matmul", "bmm", "scaled_dot_product_attention", "masked_fill", "where", "pad", "constant_pad_nd", "neg"}
)  # fmt: skip
"""What adds and moves, and weighs all channels alike."""


class Norms(Closed):
    """What norms make of axes that were padded, or copied unequally often."""

    def norm(self, node: fx.Node, theirs: fx.Node) -> None:
        if operation(node) not in ("layer_norm", "rms_norm"):
            return
        mine, old = (math.prod(own.args[1]) for own in (node, theirs))  # type: ignore[arg-type]
        if mine == old or not self.weighed(node, mine, old):
            return
        if operation(node) == "layer_norm" and not self.means:
            self.failures.append(
                f"{module_path(node)}: new zeros move the mean that a layer norm takes off, from {old} channels to {mine}"
            )
            return
        gain = self.absorber.parameter_of(node.args[2]) if len(node.args) > 2 else None
        if gain is None:
            self.failures.append(
                f"{module_path(node)}: a norm along a padded axis has no gain to take sqrt({old}/{mine})"
            )
            return
        self.done.update(
            other
            for other in self.pairs
            if module_path(other) == module_path(node) and operation(other) == operation(node)
        )
        self.absorber.scale_parameter(gain[0], math.sqrt(old / mine))
        self.tell([gain[0]], math.sqrt(old / mine), f"the norm is along {mine} channels, {old} of them the source's")

    def weighed(self, node: fx.Node, mine: int, old: int) -> bool:
        """Whether a norm's statistics must be made up for; a failure, where they cannot be."""
        if None in self.copies.values() or (self.copies and mine % old):
            self.failures.append(
                f"{module_path(node)}: a norm is along an axis of {old} that is copied unequally to {mine}"
            )
            return False
        if self.copies:
            return False
        if not self.rescales:
            self.failures.append(f"{module_path(node)}: a norm is along an axis padded from {old} to {mine}")
            return False
        if not self.means and not self.empty(node.args[0]):
            self.failures.append(
                f"{module_path(node)}: a norm is along an axis padded from {old} to {mine}, and what is new in it is not zero"
            )
            return False
        self.eps = max(self.eps or 0.0, mine / old)
        return True

    def mean(self, node: fx.Node, theirs: fx.Node) -> None:
        """A mean square along an axis, and the gain behind it."""
        mine, old = reduced(node), reduced(theirs)
        if mine == old:
            return
        roots = [root for root in self._following(node) if operation(root) in ("rsqrt", "sqrt")]
        if not roots:
            if self.pads:
                self.failures.append(f"{module_path(node)}: a mean is along an axis padded from {old} to {mine}")
            elif None in self.copies.values() or mine % old:
                self.failures.append(
                    f"{module_path(node)}: a mean is along an axis of {old} copied unequally to {mine}"
                )
            return
        if not self.weighed(node, mine, old):
            return
        why = f"the norm is along {mine} channels, {old} of them the source's"
        for root in roots:
            for product in root.users:
                self._forward(product, math.sqrt(mine / old), why)

    def _following(self, node: fx.Node) -> Iterator[fx.Node]:
        for user in node.users:
            if operation(user) in ("rsqrt", "sqrt"):
                yield user
            elif operation(user) in ("add", *PASSES):
                yield from self._following(user)

    def _forward(self, node: fx.Node, factor: float, why: str) -> None:
        """Take a factor out of a value by what multiplies it next."""
        for user in node.users:
            if operation(user) in PASSES:
                self._forward(user, factor, why)
                continue
            gains = [
                arg for arg in user.args[:2] if isinstance(arg, fx.Node) and self.absorber.depends[arg] == "parameter"
            ]
            if operation(user) == "mul" and gains:
                self.absorb(gains[0], factor, why, users={user})
            else:
                self.failed(node, factor, why, f"no gain multiplies it before {operation(user)}")

    def averaged(self, node: fx.Node, theirs: fx.Node) -> None:
        """Channels that are the mean of the others stay it through sums alone: whatever else touches them must be behind a norm."""
        name = self.weights(node) or self.convolved(node)
        if name is not None and name in self.match.target.tensors:
            anatomy = self.match.target.tensors[name]
            read = [dim for dim, role in zip(anatomy.dims, anatomy.roles, strict=True) if "reads" in role]
            own = {axis for dim in read for axis in self.match.target.leaves(dim)} & set(self.means)
            given = node.args[1] if operation(node) == "addmm" else node.args[0]
            if own and isinstance(given, fx.Node) and operation(bare(given)) not in ("layer_norm", "select"):
                self.failures.append(f"{module_path(node)}: {name} reads channels that are the mean of others")
            if operation(node) in CONVOLUTIONS and not own:
                axes = set(self.match.target.leaves(anatomy.dims[0])) & set(self.means)
                if axes and anatomy.shape[1] == 1:
                    self.failures.append(
                        f"{module_path(node)}: {name} convolves each channel by itself, the mean of others, too"
                    )
        elif operation(node) == "layer_norm":
            mine, old = (math.prod(own.args[1]) for own in (node, theirs))  # type: ignore[arg-type]
            if mine != old:
                through = self._no_average(node.args[0], node)
                if through is not None:
                    self.failures.append(
                        f"{module_path(node)}: what is the mean of channels goes through {through} before the norm, and is no mean behind it"
                    )
                for user in onward(node):
                    if not self.weights(user) and not self.convolved(user) and user.op != "output":
                        self.failures.append(
                            f"{module_path(node)}: what the norm gives is not only read but passed on ({operation(user)}), "
                            "and its new channels are no mean"
                        )
        elif operation(node) == "mul":
            for arg in node.args[:2]:
                found = self.absorber.parameter_of(arg)
                if found is not None and found[0] in self.match.target.tensors:
                    dims = self.match.target.tensors[found[0]].dims
                    if any(axis in self.means for dim in dims for axis in self.match.target.leaves(dim)):
                        self.failures.append(
                            f"{module_path(node)}: {found[0]} scales channels that are the mean of others"
                        )
        elif operation(node) == "batch_norm":
            found = self.absorber.parameter_of(node.args[1]) if isinstance(node.args[1], fx.Node) else None
            if found and any(
                axis in self.means for axis in self.match.target.leaves(self.match.target.tensors[found[0]].dims[0])
            ):
                self.failures.append(f"{module_path(node)}: a batch norm treats the mean of channels by itself")

    def _no_average(self, given: Any, norm: fx.Node) -> str | None:
        """The operation between weights and a norm that is no sum, and does not keep a channel the mean of the others."""
        waiting, seen = [given], {norm}
        while waiting:
            node = waiting.pop()
            theirs = self.pairs.get(node)
            if node in seen or node.op != "call_function":
                continue
            seen.add(node)
            name = operation(node)
            if theirs is not None and shape_of(node) == shape_of(theirs):
                continue  # nothing is new in it
            if self.weights(node) or self.convolved(node) or name in ("embedding", "layer_norm"):
                continue
            grown = [
                arg
                for arg in node.all_input_nodes
                if arg not in self.pairs or shape_of(arg) != shape_of(self.pairs[arg])
            ]
            if name not in _SUMS and not (name in SCALES and len(grown) < 2):
                return name
            waiting.extend(grown)
        return None
