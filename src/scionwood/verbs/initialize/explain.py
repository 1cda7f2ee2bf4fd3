"""Explain: for every tensor what it is in the model, and the distribution it would get; like layers on one line."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator

from scionwood.methods.initialize.site import Site
from scionwood.verbs.initialize.drawing import Drawing, divided, joined, template, told

__all__ = ["Line", "explain"]


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the explanation.

    Args:
        tensor: its name, a star for the numbers of layers and of experts where the line is for several.
        is_a: what it is in the model.
        shape: (out, in, *taps) of a weight.
        fan_in: how many inputs each output sums.
        fan_out: how many outputs each input goes to.
        layers: the layers that the line is for, of how many, as ``1-3, 5 of 8``; nothing outside of layers.
        branch: its place in a residual branch.
        reads: the activation function whose result it reads.
        gets: the numbers it would get, and what the method has to say of them; ``std 0.02 … 0.005`` where they only fall,
            or only rise, from the first to the last of the layers.
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
    """Return a line for each tensor, in the order of execution, layers that differ in nothing but their number folded.

    Numbers that only fall, or only rise, from layer to layer are told by the first and the last of them.
    """
    groups: dict[tuple[object, ...], dict[str, list[Site]]] = {}
    chosen = set(drawing.chosen)
    lines: dict[tuple[object, ...], Line] = {}
    for place in drawing.places:
        site = place.site
        made = joined(drawing.kind(site), drawing.note(site)) if place in chosen else ""
        gets = f"{made}{divided(place)}" if made else "left"
        line = Line(
            tensor=template(site),
            is_a=told(site),
            shape=site.shape,
            fan_in=site.fan_in if site.is_weight else None,
            fan_out=site.fan_out if site.is_weight else None,
            layers="",
            branch=_branch(site),
            reads=site.reads if site.is_weight else "",
            gets=_NUMBER.sub("#", gets),
        )
        key = dataclasses.astuple(line)
        lines.setdefault(key, line)
        groups.setdefault(key, {}).setdefault(gets, []).append(site)
    return [folded for key, line in lines.items() for folded in _folded(line, groups[key])]


def _folded(line: Line, sites: dict[str, list[Site]]) -> Iterator[Line]:
    """One line where the numbers are the same in every layer or go one way, else one for each of them."""
    range_of_all = _over_layers(sites)
    parts = {range_of_all: list(itertools.chain(*sites.values()))} if range_of_all else sites
    for gets, own in parts.items():
        name = own[0].name if len(own) == 1 else line.tensor
        yield dataclasses.replace(line, tensor=name, layers=_layers(own), gets=gets)


def _over_layers(sites: dict[str, list[Site]]) -> str | None:
    """What the layers of a group get, if its numbers are equal, or go one way from the first layer to the last."""
    by_layer = sorted((site.layer, gets) for gets, own in sites.items() for site in own if site.layer is not None)
    if len(sites) == 1 or not by_layer:
        return next(iter(sites)) if len(sites) == 1 else None
    columns = list(zip(*(map(float, _NUMBER.findall(gets)) for _, gets in by_layer), strict=True))
    if any(list(column) not in (sorted(column), sorted(column, reverse=True)) for column in columns):
        return None
    ends = zip(_NUMBER.findall(by_layer[0][1]), _NUMBER.findall(by_layer[-1][1]), strict=True)
    numbers = iter([first if first == last else f"{first} … {last}" for first, last in ends])
    return _NUMBER.sub(lambda _: next(numbers), by_layer[0][1])


def _layers(sites: list[Site]) -> str:
    """Which layers these are, of how many: ``1-3, 5 of 8``."""
    layers = sorted({site.layer for site in sites if site.layer is not None})
    if not layers:
        return ""
    starts = [layer for layer in layers if layer - 1 not in layers]
    stops = [layer for layer in layers if layer + 1 not in layers]
    runs = [str(first) if first == last else f"{first}-{last}" for first, last in zip(starts, stops, strict=True)]
    return f"{', '.join(runs)} of {sites[0].layers}"


_NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def _branch(site: Site) -> str:
    if site.branch is None:
        return ""
    return "last" if site.branch.last else f"{site.branch.place + 1} of {site.branch.length}"


def rows(lines: list[Line]) -> Iterator[tuple[str, ...]]:
    """The lines as text, for a table."""
    for line in lines:
        shape = " x ".join(map(str, line.shape)) or "scalar"
        fans = "" if line.fan_in is None else f"{line.fan_in} / {line.fan_out}"
        yield line.tensor, line.is_a, shape, fans, line.layers, line.branch, line.reads, line.gets
