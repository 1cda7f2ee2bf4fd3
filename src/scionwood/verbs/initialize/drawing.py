"""Drawing: a method asked about every site of a model, and the module's tensors put together from its answers."""

from __future__ import annotations

import dataclasses
import re
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
        self._check_listed()
        self._kinds: dict[Site, str | None] = {}
        self._layered: set[Site] = set()

    def _check_listed(self) -> None:
        """Refuse names of layers that are no weights of the model: it would be left without a word."""
        listed = self.statistics.get("layers") or ()
        given = [name for names in listed for name in ([names] if isinstance(names, str) else names)]
        known = [place.site.name for place in self.places if place.site.is_weight]
        unknown = [name for name in given if name not in known]
        if unknown:
            raise MethodError(
                "Some layers are no weights of the model.",
                problems=[f"{name!r}{nearest(str(name), known)}" for name in unknown],
                hint="statistics['layers'] lists weights by name, from the first layer to the last, each one or several",
            )

    def draw(self, site: Site, *again: object) -> Tensor | None:
        """The method's numbers for a site; nothing, where it leaves it.

        Args:
            site: the site.
            again: names another draw than the one that the model gets.

        Raises:
            MethodError: the method cannot serve the site; it is named.
        """

        def draws(*key: object) -> torch.Generator:
            return generator_for(self.seed, self.record.name, *key, *again)

        given = {
            "site": site,
            "generator": draws("site", site.name),
            "draws": draws,
            "statistics": self.statistics,
        }
        try:
            made = self.method(*(given[name] for name in self.record.inputs), **self.options)
        except MethodError as error:
            named = error.message if site.name in error.message else f"{site.name}: {error.message}"
            raise MethodError(named, problems=error.problems, hint=error.hint) from None
        if made is not None and (tuple(made.shape) != site.shape or made.dtype != torch.float32):
            raise ValueError(f"{self.record.name} gave {tuple(made.shape)} {made.dtype} for {site.name} {site.shape}")
        return made

    def kind(self, site: Site) -> str | None:
        """What kind of numbers a site gets; nothing, where left.

        Likes differ in name and place alone. They are described by one draw, so that only what their distributions
        themselves differ in is told apart; where the method asks for the layer, every layer has its own description.
        """
        like = self._like(site)
        either = dataclasses.replace(like, layer=None)
        key = like if either in self._layered else either
        if key not in self._kinds:
            watched = _Watched.of(like)
            try:
                made = self.draw(watched)
            except MethodError:
                self.draw(site)  # the error is to name a tensor of the model
                raise
            if watched.layer_asked:
                self._layered.add(either)
                key = like
            self._kinds[key] = None if made is None else self._described(like, made)
        return self._kinds[key]

    def note(self, site: Site) -> str:
        """What the method has to say of a site beside its numbers."""
        note = self.record.note
        return "" if note is None else note(site, **self.options)

    def _like(self, site: Site) -> Site:
        """A site that stands for all that differ in name and place alone."""
        branch = None if site.branch is None else dataclasses.replace(site.branch, number=0)
        attention = None if site.attention is None else dataclasses.replace(site.attention, block="")
        # Some methods know a module's own tensors by name; what was measured may be of each tensor.
        name = site.name if self.statistics else template(site)
        return dataclasses.replace(site, name=name, order=0, axes=(), branch=branch, attention=attention)

    def _described(self, site: Site, made: Tensor) -> str:
        """A description; of few random numbers more are drawn, until their spread is known to two digits."""
        told = describe(made)
        if "std" not in told or made.numel() >= ENOUGH_FOR_TWO_DIGITS:
            return told
        count = min(ENOUGH_FOR_TWO_DIGITS // made.numel(), MOST_DRAWS)
        others = [self.draw(site, "again", number) for number in range(count)]
        return describe(torch.cat([each.flatten() for each in (made, *others) if each is not None]))

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
                site = done[0].site
                # Where a pass over a batch follows, what came of it is said instead.
                note = "" if "outputs" in self.record.statistics else self.note(site)
                parts = f" ({len(done)} of {len(here)} parts)" if len(done) < len(here) else ""
                said = f"{told(site)}: {joined(self.kind(site), note)}{parts}{divided(done[0])}"
                yield Entry(name, "initialized", None, said, sizes[name])
            else:
                yield Entry(name, "left", None, self._why(here, chosen), sizes[name])

    def _why(self, here: Sequence[Place], chosen: Collection[Place]) -> str:
        if not here:
            return "the graph does not use it as a weight"
        if not any(place in chosen for place in here):
            return "not among those asked for"
        return f"{self.record.name.partition('.')[2]} does not set {told(here[0].site)}"


class _Watched(Site):
    """A site that notes whether its layer is asked for."""

    layer_asked: bool

    @staticmethod
    def of(site: Site) -> _Watched:
        watched = object.__new__(_Watched)
        watched.__dict__.update(vars(site), layer_asked=False)
        return watched

    def __getattribute__(self, name: str) -> Any:
        if name == "layer":
            self.__dict__["layer_asked"] = True
        return super().__getattribute__(name)


def template(site: Site) -> str:
    """The name of a site with a star for every number of a block, where it lies in a block, and of an expert.

    >>> template(Site("layers.3.experts[5]", "linear", (2, 2), layer=4, layers=8))
    'layers.*.experts[*]'
    """
    name = re.sub(r"\[\d+\]", "[*]", site.name)
    return re.sub(r"(?<=\.)\d+(?=\.)|^\d+(?=\.)", "*", name) if site.layer is not None else name


def joined(kind: str | None, note: str) -> str:
    """What a site gets, and what is to be said of it."""
    return "; ".join(filter(None, [kind, note]))


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
    if site.computed:
        return "a tensor of which a function is contracted"
    words = [_NOUNS[site.kind]]
    if site.is_weight and site.attention is not None:
        words = [{"query": "queries", "key": "keys", "value": "values", "output": "the output"}[site.attention.role]]
        words.append("of an attention")
    elif site.head:
        words.append("of the head")
    if site.is_weight and site.branch is not None and site.branch.last:
        words.append("that ends a branch")
    return " ".join(words)


def divided(place: Place) -> str:
    """What is to be said of numbers that are divided by what the model multiplies them by."""
    return f", divided by the {place.factor:.4g} it is multiplied by" if place.factor != 1 else ""


LARGEST_DESCRIBED = 2**24
"""Of larger tensors the first rows speak for the others: what is said is a description, and no proof."""

MOST_COMPARED = 512
"""Rows that are compared with each other."""

ENOUGH_FOR_TWO_DIGITS = 2**16
"""So many numbers know their std to one in sqrt(2 n), 0.3 percent."""

MOST_DRAWS = 128
"""The most draws that are made of a site to describe it."""


def describe(values: Tensor) -> str:
    """What kind of numbers these are; a spread has no more digits than so many numbers tell of it.

    >>> describe(torch.zeros(3)), describe(torch.eye(2)), describe(torch.tensor([1.0, 3.0] * 8))
    ('zeros', 'identity', 'mean 2, std 1')
    """
    if values.dim() > 1 and values.numel() > LARGEST_DESCRIBED:
        values = values[: max(2, LARGEST_DESCRIBED // values[0].numel())]
    if not bool(values.any()):
        return "zeros"
    flat = values.double()
    if bool((flat == flat.flatten()[0]).all()):
        return f"all {float(flat.flatten()[0]):.4g}"
    matrix = flat.flatten(1) if flat.dim() > 1 else None
    if matrix is None or min(matrix.shape) < 2:
        return _spread(flat)
    short = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T)[:MOST_COMPARED]
    gram = short @ short.T
    scale = float(gram.diagonal().mean())
    straight = bool(torch.allclose(gram, scale * torch.eye(len(gram), dtype=gram.dtype), atol=1e-5 * scale))
    if not straight:
        return _spread(flat)
    if abs(scale - 1) < 1e-5 and torch.equal(flat, torch.eye(*matrix.shape, dtype=flat.dtype).view_as(flat)):
        return "identity"
    return "orthogonal" if abs(scale - 1) < 1e-5 else f"orthogonal times {scale**0.5:.4g}"


def _spread(values: Tensor) -> str:
    deviation, mean = float(values.std(correction=0)), float(values.mean())
    digits = 2 if values.numel() < 2**20 else 3
    said = f"std {deviation:.{digits}g}"
    # The mean of so many numbers is not known better than to this.
    return said if abs(mean) < max(0.1, 4 / values.numel() ** 0.5) * deviation else f"mean {mean:.{digits}g}, {said}"
