"""Calibration: the output of every weight's own operation brought to one standard deviation in a single pass over a batch (LSUV)."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind
from torch.utils import _pytree

from scionwood.anatomy import Model
from scionwood.anatomy.flow import flow
from scionwood.anatomy.nodes import CASTS, RECURRENT, VIEWS, arguments_of, operation
from scionwood.errors import MethodError

__all__ = ["Outcome", "calibrate", "said", "unfit"]

NO_TOKENS = "not rescaled: no token came to it"
UNREAD = "not rescaled: no operation reads it as it is"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one weight, or of one of the maps that it holds.

    Args:
        found: the deviation of its operation's output before; None where nothing came to it.
        divisor: what it was divided by; 1 where it was left.
    """

    found: float | None
    divisor: float = 1.0

    @property
    def why(self) -> str:
        """Why it was left."""
        if self.found is None:
            return NO_TOKENS
        if self.found == 0:
            return "not rescaled: its output is zero"
        if not math.isfinite(self.found):
            return "not rescaled: its output is not finite"
        return "its output's std was near enough"


def said(outcomes: Sequence[Outcome]) -> str:
    """What the ledger says of a weight: of one map exactly, of several in a summary.

    >>> said([Outcome(2.0, 2.0)]), said([Outcome(1.05)]), said([])
    ('divided by 2', "its output's std was near enough: 1.05", 'not rescaled: no operation reads it as it is')
    >>> said([Outcome(2.0, 2.0), Outcome(0.5, 0.5), Outcome(None)])
    '2 of 3 maps divided by 0.5 to 2, 1 not rescaled: no token came to it'
    """
    if not outcomes:
        return UNREAD
    divisors = [each.divisor for each in outcomes if each.divisor != 1]
    left = [each for each in outcomes if each.divisor == 1]
    if len(outcomes) == 1:
        near = left and left[0].found is not None and 0 < left[0].found < math.inf
        return f"divided by {divisors[0]:.4g}" if divisors else left[0].why + (f": {left[0].found:.4g}" if near else "")
    words = [f"{count} {why}" for why, count in Counter(each.why for each in left).items()]
    if divisors:
        words.insert(
            0, f"{len(divisors)} of {len(outcomes)} maps divided by {min(divisors):.4g} to {max(divisors):.4g}"
        )
    return ", ".join(words)


@torch.no_grad()
def calibrate(
    module: nn.Module,
    model: Model,
    names: Collection[str],
    *,
    std: float,
    tolerance: float,
    attempts: int,
    center: bool,
) -> dict[str, list[Outcome]]:
    """Divide every weight so that its own operation's output has a standard deviation, in the order of execution.

    Operations are those of the exported graph: whose module holds the weight, and what calls it, does not matter. Where
    several maps lie in one tensor, each is measured on its own: experts on the tokens that are routed to them.

    Args:
        module: whose weights are changed in place.
        model: the same module, or one like it, exported for the batch.
        names: the weights that count.
        std: what every output shall have.
        tolerance: a deviation this near is left.
        attempts: divisions of one weight at most: without a bias one is exact.
        center: move biases so that outputs have mean zero.

    Returns:
        For each weight what became of its maps; nothing where no operation reads it as it is, but a function of it.

    Raises:
        MethodError: the batch does not go through the model.
    """
    runner = _Calibration(module, model, names, _Rule(std, tolerance, attempts, center))
    runner.extra_traceback = False
    try:
        runner.run(*_bound(module, model), enable_io_processing=False)
    except Exception as error:
        raise unfit(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    return runner.outcomes


def unfit(why: str) -> MethodError:
    """The error of a batch that does not fit."""
    return MethodError(
        f"The batch does not go through the model: {why}",
        hint="give inputs as the model's forward takes them: a tensor, a tuple, or a mapping by name",
    )


class _Rule(NamedTuple):
    std: float
    tolerance: float
    attempts: int
    center: bool

    def divide(self, output: Tensor, shift: Tensor | float) -> tuple[Tensor, Outcome]:
        """An output with its weight divided until it is near enough; what is added to it stays."""
        found = first = _deviation(output)
        divisor = 1.0
        for _ in range(self.attempts):
            if abs(found - self.std) <= self.tolerance or not 0 < found < math.inf:
                break
            step = found / self.std
            divisor *= step
            output = (output - shift) / step + shift
            found = _deviation(output)
        return output, Outcome(first if output.numel() else None, divisor)


class _Calibration(fx.Interpreter):
    """Runs a graph, and mends what contractions with a weight give before anything reads it."""

    def __init__(self, module: nn.Module, model: Model, names: Collection[str], rule: _Rule) -> None:
        super().__init__(model.program.graph_module)
        self.rule = rule
        self.outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
        self.uses = {use.tensor: use for use in flow(model).uses if use.tensor in self.outcomes}
        state = module.state_dict(keep_vars=True)
        kept: dict[int, str] = {}
        stored = {name: kept.setdefault(id(tensor), name) for name, tensor in state.items()}
        inputs = model.program.graph_signature.inputs_to_parameters.items()
        self.owners = {node: stored[name] for node, name in inputs if stored[name] in self.uses}
        self.stored = {name: state[name].detach() for name in self.uses}
        self.served = {name: torch.zeros(_extent(tensor), dtype=torch.bool) for name, tensor in self.stored.items()}

    def run_node(self, n: fx.Node) -> Any:
        output = super().run_node(n)
        if n.op == "call_function" and isinstance(output, Tensor) and operation(n) not in RECURRENT:
            for argument in n.all_input_nodes:
                name = self.owners.get(_root(argument).name)
                if name is not None and operation(n) == operation(self.uses[name].node):
                    return self._mend(n, output, name, argument)
        return output

    def _mend(self, node: fx.Node, output: Tensor, name: str, argument: fx.Node) -> Tensor:
        """Divide the part of a weight that an operation reads, where it is the first to read it; its output is then this."""
        seen, stored = self.env[argument], self.stored[name]
        shared = _shares(seen, stored)
        if not shared and seen.numel() < stored.numel():
            return output  # a copy of a part, and which part is not known
        weight = seen if shared else stored
        offset = weight.storage_offset() - stored.storage_offset()
        served = self.served[name].as_strided(weight.shape, weight.stride(), offset)
        if bool(served.any()):
            return output
        served.fill_(True)
        if seen.dim() == 3 and self.uses[name].kind == "linear":
            output, outcomes = self._experts(node, output, argument)
            divisor = torch.tensor([each.divisor for each in outcomes]).view(-1, 1, 1).to(weight)
        else:
            output, outcome = self._one(node, output, seen)
            outcomes, divisor = [outcome], outcome.divisor
        self.outcomes[name] += outcomes
        weight.div_(divisor)
        if not shared:  # copies are read again where the weight is used again
            copies = [value for other, value in self.env.items() if _root(other) is _root(argument)]
            for copy in {value.data_ptr(): value for value in copies if not _shares(value, stored)}.values():
                copy.div_(divisor)
        return output

    def _one(self, node: fx.Node, output: Tensor, weight: Tensor) -> tuple[Tensor, Outcome]:
        arguments = arguments_of(node)
        given = arguments.get("self" if operation(node) == "addmm" else "bias")
        if given is None:
            return self.rule.divide(output, 0.0)
        bias = self.env[given]
        # Channels come before a convolution's taps, and last otherwise.
        output, outcome = self.rule.divide(output, bias.view(-1, *[1] * (max(weight.dim(), 2) - 2)))
        if self.rule.center:
            mean = output.mean()
            bias.sub_(mean)
            output = output - mean
        return output, outcome

    def _experts(self, node: fx.Node, output: Tensor, weight: fx.Node) -> tuple[Tensor, list[Outcome]]:
        """Each of stacked maps by what came to it: rows sorted by expert, or as many for each, zeros where there is no token."""
        ends = arguments_of(node).get("offs")
        output = output.clone()
        outcomes = []
        for expert in range(len(self.env[weight])):
            if ends is not None:
                stops = self.env[ends].tolist()
                part = routed = output[stops[expert - 1] if expert else 0 : stops[expert]]
            else:
                part = output[..., expert, :, :]
                rows = part if node.args[1] is weight else part.mT
                routed = rows[rows.any(-1)]
            _, outcome = self.rule.divide(routed, 0.0)
            part.div_(outcome.divisor)
            outcomes.append(outcome)
        return output, outcomes


def _bound(module: nn.Module, model: Model) -> Iterator[Any]:
    """What a graph's placeholders stand for: a module's tensors, constants, and the batch."""
    state = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    batch = iter(_pytree.tree_leaves(model.program.example_inputs))
    for spec in model.program.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            yield next(batch)
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            yield state[spec.target or ""].detach()
        else:
            yield model.program.constants[spec.target or ""]


def _root(node: fx.Node) -> fx.Node:
    """The value that a value is a view, a part or a copy of."""
    while node.op == "call_function" and (operation(node) in VIEWS | CASTS or node.target is operator.getitem):
        node = node.all_input_nodes[0]
    return node


def _shares(left: Any, right: Tensor) -> bool:
    return isinstance(left, Tensor) and left.untyped_storage().data_ptr() == right.untyped_storage().data_ptr()


def _extent(tensor: Tensor) -> int:
    """How much of its storage a tensor spans."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _deviation(output: Tensor) -> float:
    return float(output.std(correction=0, dim=None)) if output.numel() else 0.0
