"""What is told of every tensor that a checkpoint is made through: its name by hash, how often it is read, what it holds.

A tensor is known by its place in the order, sources first: what is told of each is a list. Lazy tensors know their
sources, passes and memory themselves; a walk adds up what is really read: a merge that looks at its inputs twice, and is
itself looked at twice by another one, reads them three times, since what the first look finds out is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import mul
from typing import NamedTuple

from scionwood.checkpoint import CastTensor, Checkpoint, FileTensor, LazyTensor, MemoryTensor
from scionwood.engine.combine import TILE, CombinedTensor

__all__ = ["Node", "StepPlan", "Walk", "Whole"]

_STORED = (FileTensor, MemoryTensor)


class Node(NamedTuple):
    """One tensor of a plan.

    Args:
        name: the hash of the operation and of the inputs' names.
        operation: what makes it: a method's name, ``cast``, ``stored`` for what lies in a file, ….
        tensor: the tensor's name in its checkpoint.
        nbytes: the size of its values.
        inputs: the names of the nodes that it is made of.
        looks: how often all of it is read.
    """

    name: str
    operation: str
    tensor: str
    nbytes: int
    inputs: tuple[str, ...]
    looks: int


class Whole(NamedTuple):
    """Tensors that are held whole, for one reason.

    Args:
        reason: why.
        tensors: how many they are.
        largest: the name of the one that takes most memory.
        working_bytes: what a thread holds to make that one.
    """

    reason: str
    tensors: int
    largest: str
    working_bytes: int


@dataclass(frozen=True)
class StepPlan:
    """What one step of a recipe costs.

    Args:
        name: the step's name.
        operations: what is done to its tensors: method → how many.
        tensors: how many tensors it has.
        bytes_read: what it reads from files, in all passes.
        bytes_made: the size of its tensors.
        written: whether they are written; else they are made in passing.
        passes: how often its inputs are read, the fewest and the most.
        whole: which tensors are held whole.
    """

    name: str
    operations: Mapping[str, int]
    tensors: int
    bytes_read: int
    bytes_made: int
    written: bool
    passes: tuple[int, int]
    whole: tuple[Whole, ...]


class Walk:
    """One walk over the tensors of a checkpoint, and of what they are made of; nothing but headers is read.

    Args:
        checkpoint: what is to be written.
        steps: the checkpoints of the steps that it is made by, by name; its own as the last.
    """

    def __init__(self, checkpoint: Checkpoint, steps: Mapping[str, Checkpoint]) -> None:
        self.checkpoint = checkpoint
        self.checkpoints = steps
        self.files: dict[int, str] = {}
        # The tensors of all steps, those among them that the output does without.
        tensors = [tensor for each in (checkpoint, *steps.values()) for tensor in each.tensors.values()]
        self.order = list(_sources_first(tensors))
        self.place = {id(tensor): place for place, tensor in enumerate(self.order)}
        self.sources = [[self.place[id(source)] for source in tensor.sources] for tensor in self.order]
        self.stored = [isinstance(tensor, _STORED) for tensor in self.order]
        self.nbytes = [tensor.nbytes for tensor in self.order]
        self.operations = [_operation(tensor) for tensor in self.order]
        self.names = self._names()
        self.times, self.looks = self._times()

    def steps(self) -> Iterator[StepPlan]:
        """Yield what each step costs."""
        # A step that passes on what another has made, under another name perhaps, has not made it itself.
        owners: dict[str, str] = {}
        for step, checkpoint in self.checkpoints.items():
            tensors = checkpoint.tensors.values()
            for tensor in _sources_first(tensors) if len(self.checkpoints) > 1 else self.order:
                owners.setdefault(self.names[self.place[id(tensor)]], step)
        own: dict[str, list[int]] = {step: [] for step in self.checkpoints}
        for place, (name, looks) in enumerate(zip(self.names, self.looks, strict=True)):
            if looks:
                own[owners[name]].append(place)
        for step, checkpoint in self.checkpoints.items():
            yield self._step(step, checkpoint, own[step], owners)

    def bytes_read(self) -> int:
        """Return what is read from files, in all passes."""
        return sum(compress(map(mul, self.nbytes, self.looks), self.stored))

    def tile_bytes(self) -> int:
        """Return what a thread holds of the tensor that needs most, whatever is held whole apart."""
        held: list[int] = []
        for tensor, sources in zip(self.order, self.sources, strict=True):
            below = max([held[source] for source in sources], default=0)
            if isinstance(tensor, CombinedTensor):
                below += min(TILE, tensor.num_elements) * 4 * (len(sources) + 3)
            held.append(below)
        return max(held, default=0)

    def digest(self) -> str:
        """Return a hash of the recipe, of every file that is read, and of what is written."""
        lineage = self.checkpoint.lineage
        content = {
            "recipe": None if lineage is None else [lineage.recipe, lineage.seed],
            "config": self.checkpoint.config,
            "ties": self.checkpoint.ties,
            # The name of a tensor by its hash tells shape and dtype, too.
            "tensors": [[name, self.names[self.place[id(tensor)]]] for name, tensor in self.checkpoint.tensors.items()],
        }
        text = json.dumps(content, sort_keys=True, default=str)
        return f"plan-sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def nodes(self) -> dict[str, Node]:
        """Return the graph: name → node, inputs before what is made of them."""
        looks: Counter[str] = Counter()
        for name, count in zip(self.names, self.looks, strict=True):
            looks[name] += count
        nodes: dict[str, Node] = {}
        for place, name in enumerate(self.names):
            if name not in nodes and looks[name]:
                inputs = tuple(self.names[source] for source in self.sources[place])
                tensor = self.order[place].name
                nodes[name] = Node(name, self.operations[place], tensor, self.nbytes[place], inputs, looks[name])
        return nodes

    def _names(self) -> list[str]:
        """Name every tensor by the hash of what it is."""
        names: list[str] = []
        for tensor, operation, sources in zip(self.order, self.operations, self.sources, strict=True):
            text = f"{operation}\n{tensor.dtype}\n{tensor.shape}\n{self._identity(tensor)}"
            text += "".join([names[source] for source in sources])
            names.append(hashlib.blake2b(text.encode(), digest_size=16).hexdigest())
        return names

    def _identity(self, tensor: LazyTensor) -> str:
        if isinstance(tensor, FileTensor):
            return f"{self._file(tensor)}\n{tensor.offset}\n"
        if isinstance(tensor, CombinedTensor):
            return f"{tensor.options!r}\n{tensor.seed}\n{tensor.drawn_as}\n"
        return "" if isinstance(tensor, CastTensor) else f"{tensor.name}\n"

    def _file(self, tensor: FileTensor) -> str:
        if id(tensor.file) not in self.files:
            told = f"{tensor.file.label}\n{tensor.file.fingerprint()}"
            self.files[id(tensor.file)] = hashlib.blake2b(told.encode(), digest_size=16).hexdigest()
        return self.files[id(tensor.file)]

    def _times(self) -> tuple[list[int], list[int]]:
        """How often every tensor's sources are read, and it: passes but for the last are made once, whoever reads the result."""
        looks, times = [0] * len(self.order), [0] * len(self.order)
        for tensor in self.checkpoint.tensors.values():
            looks[self.place[id(tensor)]] += 1
        for place in reversed(range(len(self.order))):
            if looks[place] and self.sources[place]:
                times[place] = self.order[place].passes - 1 + looks[place]
                for source in self.sources[place]:
                    looks[source] += times[place]
        return times, looks

    def _step(self, step: str, checkpoint: Checkpoint, own: Sequence[int], owners: Mapping[str, str]) -> StepPlan:
        written = checkpoint is self.checkpoint
        inside = {place for place in own if not self.stored[place]}
        read, passes = 0, set()
        for place in own:
            for source in self.sources[place]:
                if source not in inside:
                    passes.add(self.times[place])
                    read += self.nbytes[source] * self.times[place] if self.stored[source] else 0
        outputs = [self.place[id(tensor)] for tensor in checkpoint.tensors.values()]
        copied = [place for place in outputs if self.stored[place]]
        if written and copied:  # what is only copied has no other reader
            read += sum(self.nbytes[place] for place in copied)
            passes.add(1)
        made = (
            "copied" if self.stored[place] or owners[self.names[place]] != step else self.operations[place]
            for place in outputs
        )
        return StepPlan(
            name=step,
            operations=dict(Counter(made)),
            tensors=len(outputs),
            bytes_read=read,
            bytes_made=checkpoint.nbytes,
            written=written,
            passes=(min(passes, default=0), max(passes, default=0)),
            whole=tuple(_whole([self.order[place] for place in own if not self.stored[place]])),
        )


def _sources_first(tensors: Iterable[LazyTensor]) -> Iterator[LazyTensor]:
    """Yield the tensors and all that they are made of, each once, sources first."""
    done: set[int] = set()
    for tensor in tensors:
        waiting = [(tensor, iter(tensor.sources))] if id(tensor) not in done else []
        done.add(id(tensor))
        while waiting:
            current, sources = waiting[-1]
            for source in sources:
                if id(source) not in done:
                    done.add(id(source))
                    waiting.append((source, iter(source.sources)))
                    break
            else:
                waiting.pop()
                yield current


def _operation(tensor: LazyTensor) -> str:
    """What makes a tensor, in a word."""
    if isinstance(tensor, CombinedTensor):
        return tensor.record.name
    if isinstance(tensor, CastTensor):
        return "cast" if isinstance(tensor.tensor, _STORED) else _operation(tensor.tensor)
    if isinstance(tensor, _STORED):
        return "stored"
    return "selected" if tensor.sources else "fresh"


def _whole(tensors: Sequence[LazyTensor]) -> Iterator[Whole]:
    """The tensors that must be held whole by themselves, not for what they are made of."""
    groups: dict[str, list[LazyTensor]] = {}
    for tensor in tensors:
        own = tensor.working_bytes
        if own and own > max((source.working_bytes for source in tensor.sources), default=0):
            groups.setdefault(_reason(tensor), []).append(tensor)
    for reason, group in groups.items():
        largest = max(group, key=lambda tensor: tensor.working_bytes)
        yield Whole(reason, len(group), largest.name, largest.working_bytes)


def _reason(tensor: LazyTensor) -> str:
    if isinstance(tensor, CombinedTensor):
        scope = "rows, and these have one" if tensor.record.scope == "row" else f"a whole {tensor.record.scope} at once"
        return f"{tensor.record.name} works on {scope}"
    return f"{_operation(tensor)} tensors of this kind cannot be made in parts"
