"""Drawing: a method asked about every site of a model, and the module's tensors put together from its answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor

from scionwood.anatomy import Anatomy, Model
from scionwood.anatomy.flow import flow
from scionwood.checkpoint import Entry
from scionwood.errors import MethodError, nearest
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Record
from scionwood.verbs.fresh import generator_for
from scionwood.verbs.initialize.sites import Place, places_of

__all__ = ["Drawing"]


class Drawing:
    """What a method gives every site of a model, drawn when it is asked for.

    Args:
        model: the model.
        anatomy: its anatomy.
        method: a method of the family initialize.
        options: its options, resolved.
        seed: of everything random.
        statistics: what the method needs beside sites, by name.
        only: patterns of tensor names; others are left.

    Raises:
        MethodError: a pattern that fits no tensor.
    """

    def __init__(
        self,
        model: Model,
        anatomy: Anatomy,
        method: Callable[..., Tensor | None],
        options: Mapping[str, Any],
        seed: int,
        statistics: Mapping[str, Any],
        only: Sequence[str] = (),
    ) -> None:
        self.method = method
        self.options = dict(options)
        self.seed = seed
        self.statistics = statistics
        self.record = Record.of(method)
        self.places = places_of(model, anatomy, flow(model))
        names = list(dict.fromkeys(place.tensor for place in self.places))
        unfit = [pattern for pattern in only if not any(fnmatchcase(name, pattern) for name in names)]
        if unfit:
            raise MethodError(
                "Some patterns fit no tensor of the model.",
                problems=[f"{pattern!r}{nearest(pattern, names)}" for pattern in unfit],
                hint="patterns are names of tensors with * for any text, as in 'model.layers.*.mlp.*'",
            )
        self.chosen = tuple(
            place for place in self.places if not only or any(fnmatchcase(place.tensor, pattern) for pattern in only)
        )
        self._kinds: dict[Site, str | None] = {}

    def draw(self, site: Site) -> Tensor | None:
        """The method's numbers for a site; nothing, where it leaves it.

        Raises:
            MethodError: the method cannot serve the site; it is named.
        """

        def draws(*key: object) -> torch.Generator:
            return generator_for(self.seed, self.record.name, *key)

        given = {
            "site": site,
            "generator": draws("site", site.name),
            "draws": draws,
            "statistics": self.statistics,
        }
        try:
            made = self.method(*(given[name] for name in self.record.inputs), **self.options)
        except MethodError as error:
            raise MethodError(f"{site.name}: {error.message}", problems=error.problems, hint=error.hint) from None
        if made is not None and (tuple(made.shape) != site.shape or made.dtype != torch.float32):
            raise ValueError(f"{self.record.name} gave {tuple(made.shape)} {made.dtype} for {site.name} {site.shape}")
        return made

    def kind(self, site: Site) -> str | None:
        """What kind of numbers a site gets, by the first one that is like it but for its name and place; nothing, where left."""
        branch = None if site.branch is None else dataclasses.replace(site.branch, number=0)
        attention = None if site.attention is None else dataclasses.replace(site.attention, block="")
        # Some methods know a module's own tensors by name; what was measured may be of each layer.
        name = site.name if self.statistics else ".".join(site.name.split(".")[-2:])
        layer = site.layer if self.statistics else None
        key = dataclasses.replace(site, name=name, order=0, layer=layer, axes=(), branch=branch, attention=attention)
        if key not in self._kinds:
            made = self.draw(site)
            self._kinds[key] = None if made is None else describe(made)
        return self._kinds[key]

    @property
    def tensors(self) -> Collection[str]:
        """The tensors of which the method sets a part at least."""
        return {place.tensor for place in self.chosen if self.kind(place.site) is not None}

    def fill(self, tensor: str, stored: Tensor) -> None:
        """Write all that the method sets of a tensor into it."""
        for place in self.chosen:
            if place.tensor == tensor and (values := self.draw(place.site)) is not None:
                place.write(stored, values)

    def entries(self, names: Sequence[str], sizes: Mapping[str, int]) -> Iterator[Entry]:
        """A line of the ledger for each of these tensors.

        Args:
            names: every tensor of the module that is to be told of.
            sizes: how many numbers each has.
        """
        by_tensor: dict[str, list[Place]] = {}
        for place in self.places:
            by_tensor.setdefault(place.tensor, []).append(place)
        chosen = set(self.chosen)
        for name in names:
            here = by_tensor.get(name, [])
            done = [place for place in here if place in chosen and self.kind(place.site) is not None]
            if done:
                first = self.kind(done[0].site)
                parts = f" ({len(done)} of {len(here)} parts)" if len(done) < len(here) else ""
                yield Entry(name, "initialized", None, f"{told(done[0].site)}: {first}{parts}", sizes[name])
            else:
                yield Entry(name, "left", None, self._why(here, chosen), sizes[name])

    def _why(self, here: Sequence[Place], chosen: Collection[Place]) -> str:
        if not here:
            return "the graph does not use it as a weight"
        if not any(place in chosen for place in here):
            return "not among those asked for"
        return f"{self.record.name.partition('.')[2]} does not set {told(here[0].site)}"


_NOUNS = {
    "linear": "a linear map",
    "convolution": "a convolution",
    "embedding": "an embedding",
    "bias": "a bias",
    "gain": "a gain",
    "table": "a table",
    "other": "a tensor of no known kind",
}


def told(site: Site) -> str:
    """What a site is, in a few words."""
    words = [_NOUNS[site.kind]]
    if site.is_weight and site.attention is not None:
        words = [{"query": "queries", "key": "keys", "value": "values", "output": "the output"}[site.attention.role]]
        words.append("of an attention")
    elif site.head:
        words.append("of the head")
    if site.is_weight and site.branch is not None and site.branch.last:
        words.append("that ends a branch")
    return " ".join(words)


LARGEST_DESCRIBED = 2**24
"""Of larger tensors the first rows speak for the others: what is said is a description, and no proof."""

MOST_COMPARED = 512
"""Rows that are compared with each other."""


def describe(values: Tensor | None) -> str:
    """What kind of numbers these are.

    >>> describe(torch.zeros(3)), describe(torch.eye(2)), describe(torch.tensor([1.0, 3.0]))
    ('zeros', 'identity', 'mean 2, std 1')
    """
    if values is None:
        return "left"
    if values.dim() > 1 and values.numel() > LARGEST_DESCRIBED:
        values = values[: max(2, LARGEST_DESCRIBED // values[0].numel())]
    if not bool(values.any()):
        return "zeros"
    flat = values.double()
    if bool((flat == flat.flatten()[0]).all()):
        return f"all {float(flat.flatten()[0]):.4g}"
    deviation = float(flat.std(correction=0))
    mean = float(flat.mean())
    said = f"std {deviation:.4g}" if abs(mean) < 0.1 * deviation else f"mean {mean:.4g}, std {deviation:.4g}"
    matrix = flat.flatten(1) if flat.dim() > 1 else None
    if matrix is None or min(matrix.shape) < 2:
        return said
    short = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)[:MOST_COMPARED]
    gram = short @ short.T
    scale = float(gram.diagonal().mean())
    straight = bool(torch.allclose(gram, scale * torch.eye(len(gram), dtype=gram.dtype), atol=1e-5 * scale))
    if not straight:
        return said
    if abs(scale - 1) < 1e-5 and torch.equal(flat, torch.eye(*matrix.shape, dtype=flat.dtype).view_as(flat)):
        return "identity"
    return "orthogonal" if abs(scale - 1) < 1e-5 else f"orthogonal times {scale**0.5:.4g}"
