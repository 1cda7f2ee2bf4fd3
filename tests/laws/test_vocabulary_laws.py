"""Every law that a method of vocabularies claims, run for every one that the registry lists; and proof that false claims fail.

A new method is tested by being listed: its record says what it takes, and the cases draw that.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from scionwood.methods import registry
from scionwood.methods.laws import LAWS
from scionwood.methods.record import Record, method
from scionwood.methods.vocabulary.making import with_mixtures
from scionwood.methods.vocabulary.rows import COPIED, DRAWN, Rows, of_mixtures

NAMES = [entry.name for entry in registry.listing("vocabulary")]
CLAIMS = [(name, law) for name in NAMES for law in sorted(Record.of(registry.load(name)).laws)]

TRAINED = {"epochs": 1, "hidden": 8, "layers": 1, "heads": 1, "batch": 16, "inner": 4}
"""Smaller than the defaults, which are for real vocabularies."""

WIDTH = 6


@dataclass(frozen=True)
class Case:
    """A table, a target vocabulary that shares some of its tokens, and everything else that a method may ask for."""

    handed: dict[str, Any]
    options: dict[str, Any]
    seed: int

    def rows(self, function: Callable[..., Any]) -> Rows:
        fresh = torch.Generator().manual_seed(self.seed)
        given = {**self.handed, "generator": fresh}
        return function(**{name: given[name] for name in Record.of(function).inputs}, **self.options)

    def permuted(self, order: Tensor) -> "Case":
        """The same target tokens under other numbers: row t is what was row order[t]."""
        handed = dict(self.handed)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        for name in ("overlap", "target_vectors", "counts_of_tokens", "special", "anchors"):
            handed[name] = handed[name][order]
        for name in ("pieces", "target_words"):
            handed[name] = [handed[name][number] for number in order.tolist()]
        handed["text"] = [place[part] for part in handed["text"]]
        handed["units"] = torch.where(handed["units"] < 0, -1, place[handed["units"].clamp(min=0)])
        return replace(self, handed=handed)


@st.composite
def cases(draw: st.DrawFn, function: Callable[..., Any]) -> Case:
    record = Record.of(function)
    sources, targets = draw(st.integers(4, 30)), draw(st.integers(4, 30))
    # Two new tokens at least, since speech is told apart by how it differs.
    shared = draw(st.integers(1, min(sources, targets - 2)))
    seed = draw(st.integers(0, 99))
    generator = torch.Generator().manual_seed(seed)

    def several(count: int, high: int) -> list[Tensor]:
        return [
            torch.randint(high, (int(torch.randint(4, (), generator=generator)),), generator=generator)
            for _ in range(count)
        ]

    table = torch.randn(sources, WIDTH, generator=generator)
    overlap = torch.full((targets,), -1)
    places = torch.randperm(targets, generator=generator)[:shared]
    overlap[places] = torch.randperm(sources, generator=generator)[:shared]
    source_vectors, target_vectors = (torch.randn(n, 8, generator=generator) for n in (sources, targets))
    words = 20
    text = [torch.randint(targets, (40,), generator=generator) for _ in range(3)]
    # A shared token has vectors on both sides, so that methods that compare with shared tokens have some.
    target_vectors[places] = source_vectors[overlap[places]]
    handed = {
        "table": table,
        "tables": [table, torch.randn(sources, WIDTH, generator=generator)],
        "role": draw(st.sampled_from(["input", "output"])),
        "overlap": overlap,
        "kept": None,
        "pieces": several(targets, sources),
        "source_vectors": source_vectors,
        "target_vectors": target_vectors,
        "counts_of_tokens": torch.bincount(torch.cat(text), minlength=targets),
        "text": text,
        "special": torch.rand(targets, generator=generator) < 0.1,
        "wordless": torch.arange(sources) == 0,
        "anchors": overlap >= 0,
        "dictionary": None,
        "word_vectors": torch.randn(words, 8, generator=generator),
        "source_words": several(sources, words),
        "target_words": several(targets, words),
        "units": torch.arange(-1, targets).repeat(3),
        "frames": torch.randn(3 * (targets + 1), 4, generator=generator),
    }
    options: dict[str, Any] = {option.name: TRAINED[option.name] for option in record.options if option.name in TRAINED}
    options |= {option.name: draw(st.sampled_from(option.choices)) for option in record.options if option.choices}
    return Case(handed, options, seed)


# The laws. Each takes a method and a case, and asserts.


def copies(function: Callable[..., Any], case: Case) -> None:
    overlap, table = case.handed["overlap"], case.handed["table"]
    made = case.rows(function)
    shared = overlap >= 0
    assert torch.equal(made.apply(table)[shared], table[overlap[shared]])
    assert bool((made.status[shared] == COPIED).all())


def convex(function: Callable[..., Any], case: Case) -> None:
    table = case.handed["table"]
    states = torch.randn(200, WIDTH, generator=torch.Generator().manual_seed(case.seed + 1), dtype=torch.float64)
    old, new = states @ table.double().T, states @ case.rows(function).apply(table).double().T
    scale = old.abs().max()
    assert bool((new.amax(1) <= old.amax(1) + 1e-5 * scale).all())
    assert bool((new.amin(1) >= old.amin(1) - 1e-5 * scale).all())


def equivariant(function: Callable[..., Any], case: Case) -> None:
    """Numbers that are drawn come in the order of the tokens, and are no part of it; which tokens are drawn is."""
    order = torch.randperm(len(case.handed["overlap"]), generator=torch.Generator().manual_seed(case.seed + 1))
    before, after = case.rows(function), case.permuted(order).rows(function)
    assert torch.equal(after.status, before.status[order])
    kept = after.status != DRAWN
    table = case.handed["table"]
    assert torch.allclose(after.apply(table)[kept], before.apply(table)[order][kept], atol=1e-5)


CHECKS = {check.__name__: check for check in (copies, convex, equivariant)}


def verify(function: Callable[..., Any], law: str, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    """Run one law for one method on drawn cases."""

    @settings(max_examples=25, phases=phases)
    @given(cases(function))
    def run(case: Case) -> None:
        CHECKS[law](function, case)

    run()


@pytest.mark.parametrize(("name", "law"), CLAIMS)
def test_claimed_law_holds(name: str, law: str) -> None:
    verify(registry.load(name), law)


@pytest.mark.parametrize("name", NAMES)
def test_what_every_method_owes(name: str) -> None:
    """The same seed gives the same rows; a row for every token, finite, in float32; inputs stay as they were."""
    function = registry.load(name)

    @settings(max_examples=5)
    @given(cases(function))
    def run(case: Case) -> None:
        table = case.handed["table"]
        untouched = table.clone()
        first, again = case.rows(function), case.rows(function)
        made = first.apply(table)
        assert torch.equal(made, again.apply(table))
        assert torch.equal(first.status, again.status)
        assert made.shape == (len(case.handed["overlap"]), WIDTH)
        assert made.dtype == torch.float32
        assert bool(made.isfinite().all())
        assert torch.equal(table, untouched)

    run()


def test_every_law_has_a_check() -> None:
    assert {law for _, law in CLAIMS} == set(CHECKS)
    assert set(CHECKS) <= set(LAWS)


# A law that cannot fail proves nothing: each is shown to reject a method that claims it falsely.


@method(family="vocabulary", unit="axis", laws=set(CHECKS))
def doubled(table: Tensor, overlap: Tensor, generator: torch.Generator) -> Rows:
    """Twice the shared row: no copy, and outside the hull."""
    copied = with_mixtures(
        table, overlap, torch.empty(0).long(), torch.empty((0, 1)).long(), torch.empty(0, 1), generator
    )
    return replace(copied, weights=2 * copied.weights)


@method(family="vocabulary", unit="axis", laws=set(CHECKS))
def numbered(table: Tensor, overlap: Tensor) -> Rows:
    """The row of the same number, whatever the token is: mixtures of one, in the hull, and tied to the numbers."""
    return of_mixtures(torch.arange(len(overlap))[:, None] % len(table), torch.ones(len(overlap), 1))


@pytest.mark.parametrize(
    ("liar", "law"), [(doubled, "copies"), (numbered, "copies"), (doubled, "convex"), (numbered, "equivariant")]
)
def test_false_claim_is_rejected(liar: Callable[..., Any], law: str) -> None:
    with pytest.raises(AssertionError):
        verify(liar, law, (Phase.generate,))
