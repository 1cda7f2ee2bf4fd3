"""Corrections: what growing axes does to a function beyond the axes, found by laying the two graphs side by side.

Every operation of the target is paired with the source's by the module it is in (through the depth map), what it is, and
which of its kind it is there. Once every axis has its map, an operation gives the source's value, spread along the new
axes, unless

- a constant differs that was computed from a width (sqrt(hidden), the scale of an attention);
- it contracts two activations along an axis that was copied: queries with keys give k times the score;
- it reads a tied table, which is copied and not divided since others look rows up in it;
- it is a norm along an axis that was padded: new zeros count in its mean square;
- it belongs to a block that must do nothing yet: what its branches add to the stream must be zero.

Each is a factor, known here, and absorbed where it arises, in the order of execution, so that everything before is right
already. What cannot be absorbed is a reason why the function is not preserved.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, fx

from scionwood.anatomy.absorb import Absorber, AbsorbError, Correction, base_name
from scionwood.anatomy.build import Model
from scionwood.anatomy.depth import through
from scionwood.anatomy.flow import flow
from scionwood.anatomy.match import Match

__all__ = ["Corrections", "correct", "normalised"]


@dataclasses.dataclass(frozen=True)
class Corrections:
    """What was found and done.

    Attributes:
        parameters: for every parameter of the target that is corrected, what becomes of it.
        told: what was corrected, for the ledger: the parameters, and why.
        failures: why the function is not preserved; empty, where it is.
        eps: by how much the eps of norms along padded axes weighs more than before; nothing, where there are none.
    """

    parameters: Mapping[str, Correction]
    told: Mapping[str, Sequence[str]]
    failures: tuple[str, ...]
    eps: float | None = None


_CONTRACTIONS = frozenset({"matmul", "bmm", "mm", "einsum", "scaled_dot_product_attention", "baddbmm"})
_STATISTICS = frozenset({"layer_norm", "rms_norm", "group_norm", "instance_norm"})
_RECTIFIED = frozenset({"relu", "relu_", "max_pool2d", "relu6"})
_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
_ALONG = frozenset({"softmax", "_softmax", "log_softmax", "topk", "sort", "cumsum", "logcumsumexp", "linalg_vector_norm", "norm", "fft_fft", "fft_fftn", "sum", "var", "std", "prod"})  # fmt: skip
_SCALES = frozenset({"mul", "mul_", "div", "div_", "true_divide"})
_PASSES = frozenset({"to", "_to_copy", "type_as", "float", "alias", "dropout", "contiguous", "clone", "detach", "view", "reshape", "transpose", "permute", "unsqueeze", "squeeze"})  # fmt: skip


def normalised(model: Model, ties: Mapping[str, str]) -> frozenset[str]:
    """The parameters and statistics that belong to norms: their gains, biases and running values."""
    absorber = Absorber(model, ties)
    found: set[str] = set()
    for node in absorber.graph.nodes:
        if node.op != "call_function":
            continue
        if base_name(node) in _STATISTICS | {"batch_norm"}:
            parameters = [absorber.parameter_of(arg) for arg in node.args[1:]]
            found.update(each[0] for each in parameters if each is not None)
        elif base_name(node) == "rsqrt":
            found.update(_gains(absorber, node))
    return frozenset(found)


def _gains(absorber: Absorber, rsqrt: fx.Node) -> Iterator[str]:
    """The parameters that multiply what was divided by a root mean square."""
    for product in rsqrt.users:
        waiting = [product]
        while waiting:
            node = waiting.pop()
            for user in node.users:
                if base_name(user) in _PASSES:
                    waiting.append(user)
                elif base_name(user) in _SCALES:
                    for arg in user.args[:2]:
                        if isinstance(arg, fx.Node) and absorber.depends[arg] == "parameter":
                            yield from (absorber.parameter[n] for n in _above(arg) if n in absorber.parameter)


def _above(node: fx.Node) -> Iterator[fx.Node]:
    yield node
    for given in node.all_input_nodes:
        yield from _above(given)


def correct(
    source: Model,
    target: Model,
    match: Match,
    *,
    copies: Mapping[str, int | None],
    pads: Collection[str],
    means: Collection[str] = (),
    rescales: bool,
    idle: Collection[str],
) -> Corrections:
    """Find and absorb every factor.

    Args:
        source: the smaller model.
        target: the larger one, of which parameters are corrected.
        match: their axes side by side.
        copies: for every axis of the target that is copied, how often each index; nothing, where unequally often.
        pads: the axes of the target that have new indices.
        means: those of them whose new indices hold the mean of the others.
        rescales: norms along padded axes are made up for.
        idle: the blocks of the target that must do nothing yet, by path.
    """
    found = _Corrector(source, target, match, copies, pads, means, rescales=rescales)
    found.run()
    if idle:
        found.silence(idle)
    return Corrections(found.absorber.corrections, found.told, tuple(dict.fromkeys(found.failures)), found.eps)


class _Corrector:
    def __init__(
        self,
        source: Model,
        target: Model,
        match: Match,
        copies: Mapping[str, int | None],
        pads: Collection[str],
        means: Collection[str],
        *,
        rescales: bool,
    ) -> None:
        self.target = target
        self.match = match
        self.copies = copies
        self.pads = pads
        self.means = means
        self.rescales = rescales
        self.absorber = Absorber(target, match.target.ties)
        self.other = Absorber(source, match.source.ties)
        self.told: dict[str, list[str]] = {}
        self.failures: list[str] = []
        self.pairs = self._paired()
        self.done: set[fx.Node] = set()
        self.eps: float | None = None

    def run(self) -> None:
        for node, theirs in self.pairs.items():
            if node in self.done:
                continue
            name = base_name(node)
            if name in _SCALES:
                self._constant(node, theirs)
            elif name in _STATISTICS:
                self._norm(node, theirs)
            elif name == "mean":
                self._mean(node, theirs)
            elif name in _CONTRACTIONS and not self._weights(node):
                self._contraction(node, theirs)
            elif name in _ALONG:
                self._along(node, theirs)
            if self._weights(node):
                self._tied(node, theirs)
            if self.means:
                self._averaged(node, theirs)

    def _averaged(self, node: fx.Node, theirs: fx.Node) -> None:
        """Channels that are the mean of the others stay it through sums alone: whatever else touches them must be behind a norm."""
        name = self._weights(node) or self._convolved(node)
        if name is not None and name in self.match.target.tensors:
            anatomy = self.match.target.tensors[name]
            read = [dim for dim, role in zip(anatomy.dims, anatomy.roles, strict=True) if "reads" in role]
            own = {axis for dim in read for axis in self.match.target.leaves(dim)} & set(self.means)
            given = node.args[1] if base_name(node) == "addmm" else node.args[0]
            if own and isinstance(given, fx.Node) and base_name(_bare(given)) not in ("layer_norm", "select"):
                self.failures.append(f"{_path(node)}: {name} reads channels that are the mean of others")
            if base_name(node) in _CONVOLUTIONS and not own:
                axes = set(self.match.target.leaves(anatomy.dims[0])) & set(self.means)
                if axes and anatomy.shape[1] == 1:
                    self.failures.append(
                        f"{_path(node)}: {name} convolves each channel by itself, the mean of others, too"
                    )
        elif base_name(node) == "layer_norm":
            mine, old = (math.prod(own.args[1]) for own in (node, theirs))  # type: ignore[arg-type]
            if mine != old:
                for user in _onward(node):
                    if not self._weights(user) and not self._convolved(user) and user.op != "output":
                        self.failures.append(
                            f"{_path(node)}: what the norm gives is not only read but passed on ({base_name(user)}), "
                            "and its new channels are no mean"
                        )
        elif base_name(node) in ("mul", "mul_"):
            for arg in node.args[:2]:
                found = self.absorber.parameter_of(arg)
                if found is not None and found[0] in self.match.target.tensors:
                    dims = self.match.target.tensors[found[0]].dims
                    if any(axis in self.means for dim in dims for axis in self.match.target.leaves(dim)):
                        self.failures.append(f"{_path(node)}: {found[0]} scales channels that are the mean of others")
        elif base_name(node) == "batch_norm":
            found = self.absorber.parameter_of(node.args[1]) if isinstance(node.args[1], fx.Node) else None
            if found and any(
                axis in self.means for axis in self.match.target.leaves(self.match.target.tensors[found[0]].dims[0])
            ):
                self.failures.append(f"{_path(node)}: a batch norm treats the mean of channels by itself")

    def _convolved(self, node: fx.Node) -> str | None:
        found = self.absorber.parameter_of(node.args[1]) if base_name(node) in _CONVOLUTIONS else None
        return found[0] if found is not None else None

    # Side by side.

    def _paired(self) -> dict[fx.Node, fx.Node]:
        mine = self._by_place(self.absorber.graph, self.match.depth)
        theirs = self._by_place(self.other.graph, {})
        pairs: dict[fx.Node, fx.Node] = {}
        for (path, name, _), nodes in mine.items():
            others = theirs.get((through(f"{path}.", self.match.depth).removesuffix("."), name, ""), [])
            if len(others) == len(nodes):
                pairs.update(zip(nodes, others, strict=True))
            elif name in _SCALES | _STATISTICS | _CONTRACTIONS:
                self.failures.append(
                    f"{path or 'the model'} has {len(nodes)} operations {name}, the source's {len(others)}: "
                    "the two cannot be compared"
                )
        order = self.absorber.number
        return dict(sorted(pairs.items(), key=lambda pair: order[pair[0]]))

    def _by_place(
        self, graph: fx.Graph, depth: Mapping[str, Sequence[int]]
    ) -> dict[tuple[str, str, str], list[fx.Node]]:
        found: dict[tuple[str, str, str], list[fx.Node]] = defaultdict(list)
        for node in graph.nodes:
            if node.op == "call_function":
                found[_path(node), base_name(node), ""].append(node)
        return found

    def _weights(self, node: fx.Node) -> str | None:
        """The parameter that a contraction reads with, if it does."""
        if base_name(node) not in _CONTRACTIONS | {"linear", "addmm"}:
            return None
        args = node.args[1:3] if base_name(node) == "addmm" else node.args[:2]
        for arg in args:
            found = self.absorber.parameter_of(arg)
            if found is not None:
                return found[0]
        return None

    # Factors.

    def _constant(self, node: fx.Node, theirs: fx.Node) -> None:
        values = []
        for absorber, own in ((self.absorber, node), (self.other, theirs)):
            numbers = [
                (place, absorber.value(arg))
                for place, arg in enumerate(own.args[:2])
                if not self._active(absorber, arg)
            ]
            values.append([(place, number) for place, number in numbers if number is not None])
        if len(values[0]) != 1 or len(values[1]) != 1 or values[0][0][0] != values[1][0][0]:
            return
        (place, mine), (_, old) = values[0][0], values[1][0]
        if mine == old or not mine or not old:
            return
        divides = base_name(node) not in ("mul", "mul_") and place == 1
        self._absorb(node, mine / old if not divides else old / mine, f"a constant is {mine:.4g}, not {old:.4g}")

    def _active(self, absorber: Absorber, arg: Any) -> bool:
        return isinstance(arg, fx.Node) and absorber.depends[arg] != "constant"

    def _contraction(self, node: fx.Node, theirs: fx.Node) -> None:
        if base_name(node) == "scaled_dot_product_attention":
            (mine, old) = (_size(own.args[0], -1) for own in (node, theirs))
            scales = [_scale(own) for own in (node, theirs)]
            factor = scales[0] / scales[1]
            factor *= self._summed(node, mine, old)
            if not math.isclose(factor, 1, rel_tol=1e-9):
                self._share(node, factor, f"the attention's scores grow by {factor:.4g}")
            return
        if base_name(node) == "einsum":
            return
        mine, old = _size(node.args[0], -1), _size(theirs.args[0], -1)
        factor = self._summed(node, mine, old)
        if factor != 1:
            self._absorb(node, factor, f"{factor:.4g} copies of every product are summed")

    def _summed(self, node: fx.Node, mine: int, old: int) -> float:
        """How many times a sum over an axis counts what it counted before."""
        if mine == old or not self.copies:
            return 1.0
        if mine % old or None in self.copies.values():
            self.failures.append(f"{_path(node)}: an axis of {old} is contracted with itself, and is copied unequally")
            return 1.0
        return mine / old

    def _share(self, node: fx.Node, factor: float, why: str) -> None:
        """Queries and keys take half of a factor each; where one cannot, the other takes all of it."""
        query, key = node.args[:2]
        assert isinstance(query, fx.Node)
        assert isinstance(key, fx.Node)
        half = 1 / math.sqrt(factor)
        likes = self._likes(node)
        self.done.update(likes)
        queries, keys = ([other.args[place] for other in likes] for place in (0, 1))
        before = dict(self.absorber.corrections)
        changed: list[str] = []
        reasons: list[str] = []
        for parts in (((queries, half), (keys, half)), ((queries, 1 / factor),), ((keys, 1 / factor),)):
            try:
                changed = [
                    name
                    for given, alpha in parts
                    for name in self.absorber.absorb(given, alpha, users=likes)  # type: ignore[arg-type]
                ]
            except AbsorbError as error:
                self.absorber.corrections = dict(before)
                reasons.append(str(error))
                continue
            self._tell(changed, 1 / factor, why)
            return
        self._failed(node, factor, why, reasons[0])

    def _tied(self, node: fx.Node, theirs: fx.Node) -> None:
        """A weight that others look up in is copied without division, and may have been corrected for their sake."""
        name = self._weights(node)
        assert name is not None
        anatomy = self.match.target.tensors.get(name)
        if anatomy is None or name not in self.match.tensors:
            return
        read = [place for place, role in enumerate(anatomy.roles) if "reads" in role and "writes" in role]
        factor = 1.0
        for place in read:
            for axis in self.match.target.leaves(anatomy.dims[place]):
                if axis in self.copies:
                    times = self.copies[axis]
                    if times is None:
                        self.failures.append(f"{name} is tied, and {axis} is copied unequally")
                    factor *= times or 1
        if len({_path(use) for use in self.absorber.uses[name]}) > 1:
            correction = self.absorber.corrections.get(name)
            already = 1.0 if correction is None else correction.uniform
            if already is None:
                self.failures.append(f"{name} is used in several places, which ask for different corrections")
                return
            # A block's own weight that was corrected for this very use is right already.
            if not self._before(name, node):
                already = 1.0
            factor *= already
        if math.isclose(factor, 1, rel_tol=1e-9):
            return
        given = node.args[1] if base_name(node) == "addmm" else node.args[0]
        assert isinstance(given, fx.Node)
        self._absorb(given, factor, f"{name} is tied: reading it counts {factor:.4g} times", users={node})

    def _before(self, name: str, node: fx.Node) -> bool:
        return any(self.absorber.number[use] < self.absorber.number[node] for use in self.absorber.uses[name])

    def _norm(self, node: fx.Node, theirs: fx.Node) -> None:
        if base_name(node) not in ("layer_norm", "rms_norm"):
            return
        mine, old = (math.prod(own.args[1]) for own in (node, theirs))  # type: ignore[arg-type]
        if mine == old or not self._weighed(node, mine, old):
            return
        if base_name(node) == "layer_norm" and not self.means:
            self.failures.append(
                f"{_path(node)}: new zeros move the mean that a layer norm takes off, from {old} channels to {mine}"
            )
            return
        gain = self.absorber.parameter_of(node.args[2]) if len(node.args) > 2 else None
        if gain is None:
            self.failures.append(f"{_path(node)}: a norm along a padded axis has no gain to take sqrt({old}/{mine})")
            return
        self.done.update(
            other for other in self.pairs if _path(other) == _path(node) and base_name(other) == base_name(node)
        )
        self.absorber.scale_parameter(gain[0], math.sqrt(old / mine))
        self._tell([gain[0]], math.sqrt(old / mine), f"the norm is along {mine} channels, {old} of them the source's")

    def _weighed(self, node: fx.Node, mine: int, old: int) -> bool:
        """Whether a norm's statistics must be made up for; a failure, where they cannot be."""
        if None in self.copies.values() or (self.copies and mine % old):
            self.failures.append(f"{_path(node)}: a norm is along an axis of {old} that is copied unequally to {mine}")
            return False
        if self.copies:
            return False
        if not self.rescales:
            self.failures.append(f"{_path(node)}: a norm is along an axis padded from {old} to {mine}")
            return False
        self.eps = max(self.eps or 0.0, mine / old)
        return True

    def _mean(self, node: fx.Node, theirs: fx.Node) -> None:
        """A mean square along an axis, and the gain behind it."""
        mine, old = _reduced(node), _reduced(theirs)
        if mine == old:
            return
        roots = [root for root in self._following(node) if base_name(root) in ("rsqrt", "sqrt")]
        if not roots:
            if self.pads:
                self.failures.append(f"{_path(node)}: a mean is along an axis padded from {old} to {mine}")
            elif None in self.copies.values() or mine % old:
                self.failures.append(f"{_path(node)}: a mean is along an axis of {old} copied unequally to {mine}")
            return
        if not self._weighed(node, mine, old):
            return
        why = f"the norm is along {mine} channels, {old} of them the source's"
        for root in roots:
            for product in root.users:
                self._forward(product, math.sqrt(mine / old), why)

    def _following(self, node: fx.Node) -> Iterator[fx.Node]:
        for user in node.users:
            if base_name(user) in ("rsqrt", "sqrt"):
                yield user
            elif base_name(user) in ("add", *_PASSES):
                yield from self._following(user)

    def _forward(self, node: fx.Node, factor: float, why: str) -> None:
        """Take a factor out of a value by what multiplies it next."""
        for user in node.users:
            if base_name(user) in _PASSES:
                self._forward(user, factor, why)
                continue
            gains = [
                arg for arg in user.args[:2] if isinstance(arg, fx.Node) and self.absorber.depends[arg] == "parameter"
            ]
            if base_name(user) in ("mul", "mul_") and gains:
                self._absorb(gains[0], factor, why, users={user})
            else:
                self._failed(node, factor, why, f"no gain multiplies it before {base_name(user)}")

    def _along(self, node: fx.Node, theirs: fx.Node) -> None:
        mine, old = _reduced(node), _reduced(theirs)
        if mine == old:
            return
        if base_name(node) == "sum":
            factor = self._summed(node, mine, old)
            if factor != 1:
                self._absorb(node, factor, f"{factor:.4g} copies are summed")
            return
        if base_name(node) in ("var", "std") and self.copies and None not in self.copies.values():
            return
        self.failures.append(f"{_path(node)}: {base_name(node)} is taken along an axis that goes from {old} to {mine}")

    # Blocks that must do nothing.

    def silence(self, idle: Collection[str]) -> None:
        """Set to zero what the branches of these blocks add to the stream."""
        residuals = flow(self.target).residuals
        for block in idle:
            inside = [r for r in residuals if r.block == block or (r.block or "").startswith(f"{block}.")]
            if not inside:
                self.failures.append(f"{block}: no sum of a stream and a branch is in it, so that it cannot do nothing")
                continue
            reason = self._changes_stream(block, inside)
            if reason is not None:
                self.failures.append(f"{block}: {reason}")
                continue
            for residual in inside:
                try:
                    changed = self.absorber.absorb(residual.branch, 0.0, users={residual.node})
                except AbsorbError as error:
                    self.failures.append(f"{block}: what it adds to the stream cannot be zeroed: {error}")
                    continue
                self._tell(changed, 0.0, "the block does nothing yet")

    def _changes_stream(self, block: str, inside: Sequence[Any]) -> str | None:
        """Why a block with idle branches would still change what passes through it; nothing, if it would not."""
        if any(residual.projected for residual in inside):
            return "its stream is projected"
        sums = {residual.node for residual in inside}
        for residual in inside:
            if _bare(residual.stream) not in sums and _within(_bare(residual.stream), block):
                return f"the stream passes {base_name(_bare(residual.stream))} inside the block"
        first = min(inside, key=lambda residual: self.absorber.number[residual.node])
        # What was rectified before is not changed by being rectified again.
        harmless = {"relu", "relu_"} if base_name(_bare(first.stream)) in _RECTIFIED else set()
        last = max(sums, key=self.absorber.number.__getitem__)
        waiting, seen = [last], set()
        while waiting:
            node = waiting.pop()
            for user in node.users:
                if user in sums or user in seen:
                    continue
                seen.add(user)
                if not _within(user, block):
                    continue
                if base_name(user) in _PASSES or base_name(user) in harmless:
                    waiting.append(user)
                    continue
                return f"the stream passes {base_name(user)} inside the block"
        return None

    # Telling.

    def _absorb(self, node: fx.Node, factor: float, why: str, *, users: Collection[fx.Node] | None = None) -> None:
        # A recurrence has one for each step, and a module that is used again one for each use: all or none.
        likes = self._likes(node) if users is None else [node]
        self.done.update(likes)
        try:
            changed = self.absorber.absorb(likes, 1 / factor, users=users)
        except AbsorbError as error:
            self._failed(node, factor, why, str(error))
            return
        self._tell(changed, 1 / factor, why)

    def _likes(self, node: fx.Node) -> list[fx.Node]:
        """All that one line of one module computes, at every step and at every use; this one included."""
        site = _site(node)
        return [other for other in self.pairs if other is node or (site[0] and _site(other) == site)]

    def _tell(self, changed: Sequence[str], factor: float, why: str) -> None:
        for name in changed:
            said = self.told.setdefault(name, [])
            text = f"times {factor:.4g}: {why}"
            if text not in said:
                said.append(text)

    def _failed(self, node: fx.Node, factor: float, why: str, reason: str) -> None:
        self.failures.append(f"{_path(node) or 'the model'}: {why}, and the factor {factor:.4g} stays: {reason}")


def _path(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    found = [path for path, _ in stack.values()]
    return found[-1] if found else ""


def _site(node: fx.Node) -> tuple[str, str, str, list[Any]]:
    sizes = [getattr(arg.meta.get("val"), "shape", None) for arg in node.all_input_nodes]
    return node.meta.get("stack_trace") or "", _path(node), base_name(node), sizes


def _within(node: fx.Node, block: str) -> bool:
    return f"{_path(node)}.".startswith(f"{block}.")


def _bare(node: fx.Node) -> fx.Node:
    while node.op == "call_function" and base_name(node) in _PASSES and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _onward(node: fx.Node) -> Iterator[fx.Node]:
    """Who uses a value, past views and casts."""
    for user in node.users:
        if user.op == "call_function" and base_name(user) in _PASSES | {"select", "slice"}:
            yield from _onward(user)
        else:
            yield user


def _size(node: Any, dim: int) -> int:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return int(value.shape[dim]) if isinstance(value, Tensor) and value.dim() else 1


def _scale(node: fx.Node) -> float:
    """By what an attention multiplies its scores."""
    given = node.kwargs.get("scale")
    if given is None and len(node.args) > 6:
        given = node.args[6]
    return float(given) if isinstance(given, (int, float)) else 1 / math.sqrt(_size(node.args[0], -1))


def _reduced(node: fx.Node) -> int:
    """Over how many numbers a reduction goes."""
    value = node.args[0].meta.get("val") if isinstance(node.args[0], fx.Node) else None
    if not isinstance(value, Tensor):
        return 1
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if base_name(node) == "linalg_vector_norm" or base_name(node) == "norm":
        dims = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim")
    if base_name(node) == "topk":
        dims = node.args[2] if len(node.args) > 2 else -1
    if dims is None:
        return value.numel()
    chosen = dims if isinstance(dims, (list, tuple)) else [dims]
    return math.prod(int(value.shape[int(dim)]) for dim in chosen if isinstance(dim, int) and value.dim())
