"""What was done to every tensor, and why."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Self

__all__ = ["Entry", "Ledger", "Total"]


@dataclass(frozen=True)
class Entry:
    """One line of a ledger.

    Args:
        name: the tensor, as it is named in the output (in the source, for one that was dropped).
        action: what was done: ``"selected"``, ``"copied"``, ``"fresh"``, ``"dropped"``, or another single word.
        source: the tensor it was made from, or None.
        detail: how or why, in a few words.
        parameters: how many elements the tensor has.
    """

    name: str
    action: str
    source: str | None = None
    detail: str = ""
    parameters: int = 0


class Total(NamedTuple):
    """Tensors and elements under one action."""

    tensors: int
    parameters: int


class Ledger(tuple[Entry, ...]):
    r"""The entries of one operation, in the order of the output.

    >>> ledger = Ledger([
    ...     Entry("layers.0.weight", "selected", "layers.0.weight", "64 of 128 rows", 4096),
    ...     Entry("layers.1.weight", "selected", "layers.2.weight", "64 of 128 rows", 4096),
    ...     Entry("head.bias", "fresh", None, "10 classes, 1000 in the source", 10),
    ... ])
    >>> ledger.counts()["selected"]
    Total(tensors=2, parameters=8192)
    >>> print("\n".join(ledger.summary()))
    selected  2 tensors, 8,192 parameters
      layers.{0-1}.weight  from layers.{0,2}.weight: 64 of 128 rows
    fresh  1 tensor, 10 parameters
      head.bias: 10 classes, 1000 in the source
    """

    __slots__ = ()

    def __repr__(self) -> str:
        counts = ", ".join(f"{total.tensors} {action}" for action, total in self.counts().items())
        return f"Ledger({counts or 'empty'})"

    def of(self, action: str) -> Iterator[Entry]:
        """Yield the entries with this action."""
        return (entry for entry in self if entry.action == action)

    def counts(self) -> dict[str, Total]:
        """Return tensors and elements by action, in the order in which the actions first occur."""
        counts: dict[str, Total] = {}
        for entry in self:
            tensors, parameters = counts.get(entry.action, (0, 0))
            counts[entry.action] = Total(tensors + 1, parameters + entry.parameters)
        return counts

    def summary(self, *, lines_per_action: int = 12) -> list[str]:
        """Return lines for people: a head for each action, and under it the tensors, repeated layers folded.

        Args:
            lines_per_action: how many folded tensors are shown under an action; the rest is counted.
        """
        lines: list[str] = []
        for action, (tensors, parameters) in self.counts().items():
            counted = f"  {_count(tensors, 'tensor')}, {_count(parameters, 'parameter')}" if parameters else ""
            lines.append(action + counted)  # what holds no number is no tensor, but something to be told
            folded = _fold(self.of(action))
            lines.extend(f"  {line}" for line in folded[:lines_per_action])
            if len(folded) > lines_per_action:
                more = len(folded) - lines_per_action
                lines.append(f"  … and {more} more kind{'s' * (more != 1)} of tensors")
        return lines

    def to_json(self) -> list[dict[str, Any]]:
        """Return the entries as plain dictionaries, for ``json.dumps``."""
        return [asdict(entry) for entry in self]

    @classmethod
    def from_json(cls, entries: Iterable[dict[str, Any]]) -> Self:
        """Return the ledger that ``to_json`` wrote.

        >>> import json
        >>> ledger = Ledger([Entry("bias", "copied", "bias")])
        >>> Ledger.from_json(json.loads(json.dumps(ledger.to_json()))) == ledger
        True
        """
        return cls(Entry(**entry) for entry in entries)


_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)|^\d+(?=\.|$)")


def _fold(entries: Iterable[Entry]) -> list[str]:
    """Return a line for every group of entries that differ in nothing but the numbers in their names."""
    groups: dict[tuple[str, str | None, str], list[Entry]] = {}
    for entry in entries:
        source = None if entry.source is None else _NUMBER.sub("#", entry.source)
        groups.setdefault((_NUMBER.sub("#", entry.name), source, entry.detail), []).append(entry)
    lines: list[str] = []
    for group in groups.values():
        name = _folded_name([entry.name for entry in group])
        source = _folded_name([entry.source for entry in group if entry.source is not None])
        line = name if source in ("", name) else f"{name}  from {source}"
        lines.append(f"{line}: {group[0].detail}" if group[0].detail else line)
    return lines


def _folded_name(names: list[str]) -> str:
    """Return one name for all, numbers that differ written as ``{0-5,8}``."""
    if not names:
        return ""
    columns = zip(*(_NUMBER.findall(name) for name in names), strict=True)
    numbers = iter([_ranges([int(number) for number in column]) for column in columns])
    return _NUMBER.sub(lambda _: next(numbers), names[0])


def _ranges(numbers: list[int]) -> str:
    numbers = sorted(set(numbers))
    if len(numbers) == 1:
        return str(numbers[0])
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return "{" + ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) + "}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
