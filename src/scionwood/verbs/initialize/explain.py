"""Explain: for every tensor what it is in the model, and the distribution it would get; like layers on one line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from scionwood.methods.initialize.site import Site
from scionwood.verbs.initialize.drawing import Drawing, describe, told

__all__ = ["Line", "explain"]

LARGEST_DRAW = 2**22
"""The most numbers that are drawn for every layer's own line; of larger tensors one layer speaks for its likes."""


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the explanation.

    Args:
        tensor: its name, with layers as ``{0-11}``.
        is_a: what it is in the model.
        shape: (out, in, *taps) of a weight.
        fan_in: how many inputs each output sums.
        fan_out: how many outputs each input goes to.
        layers: the first and the last layer that the line is for, of how many; nothing outside of layers.
        branch: its place in a residual branch.
        reads: the activation function whose result it reads.
        gets: the numbers it would get.
    """

    tensor: str
    is_a: str
    shape: tuple[int, ...]
    fan_in: int | None
    fan_out: int | None
    layers: str
    branch: str
    reads: str
    gets: str


def explain(drawing: Drawing) -> list[Line]:
    """Return a line for each tensor, in the order of execution, layers that differ in nothing but their number folded."""
    groups: dict[tuple[object, ...], list[Site]] = {}
    lines: dict[tuple[object, ...], Line] = {}
    chosen = set(drawing.chosen)
    for place in drawing.places:
        site = place.site
        gets = "left"
        if place in chosen:
            large = _size(site) > LARGEST_DRAW
            gets = (drawing.kind(site) or "left") if large else describe(drawing.draw(site))
        line = Line(
            tensor=_template(site),
            is_a=told(site),
            shape=site.shape,
            fan_in=site.fan_in if site.is_weight else None,
            fan_out=site.fan_out if site.is_weight else None,
            layers="",
            branch=_branch(site),
            reads=site.reads if site.is_weight else "",
            gets=_rounded(gets),
        )
        key = dataclasses.astuple(line)
        groups.setdefault(key, []).append(site)
        lines.setdefault(key, dataclasses.replace(line, gets=gets))
    return [_folded(line, groups[key]) for key, line in lines.items()]


def _folded(line: Line, sites: list[Site]) -> Line:
    layers = [site.layer for site in sites if site.layer is not None]
    if not layers:
        return dataclasses.replace(line, tensor=sites[0].name)
    first, last, count = min(layers), max(layers), sites[0].layers
    told_layers = f"{first} of {count}" if first == last else f"{first}-{last} of {count}"
    name = sites[0].name if len(sites) == 1 else line.tensor
    return dataclasses.replace(line, tensor=name, layers=told_layers)


def _template(site: Site) -> str:
    """The name with every number of a block as a star, where it lies in a block."""
    return re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "*", site.name) if site.layer is not None else site.name


def _rounded(gets: str) -> str:
    """The same distribution drawn twice differs in its last digits."""
    return re.sub(r"\d+\.?\d*(?:e-?\d+)?", lambda number: f"{float(number[0]):.1g}", gets)


def _branch(site: Site) -> str:
    if site.branch is None:
        return ""
    return "last" if site.branch.last else f"{site.branch.place + 1} of {site.branch.length}"


def _size(site: Site) -> int:
    total = 1
    for size in site.shape:
        total *= size
    return total


def rows(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    """The lines as text, for a table."""
    for line in lines:
        shape = " x ".join(map(str, line.shape)) or "scalar"
        fans = "" if line.fan_in is None else f"{line.fan_in} / {line.fan_out}"
        yield line.tensor, line.is_a, shape, fans, line.layers, line.branch, line.reads, line.gets
