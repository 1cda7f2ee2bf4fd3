"""Every law that a selection claims, run for every selection that the registry lists; and proof that false claims fail.

A new method is tested by being listed: its record says what it takes, and the strategies draw that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.laws import LAWS
from scionwood.methods.record import Record, method
from scionwood.methods.select.choice import choose

NAMES = [entry.name for entry in registry.listing("select")]
CLAIMS = [(name, law) for name in NAMES for law in sorted(Record.of(registry.load(name)).laws)]

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A chain of sizes n >= m >= k, axis by axis, and everything else that a selection may ask for."""

    n: Sizes
    m: Sizes
    k: Sizes
    seed: int
    kind: str
    options: dict[str, Any]

    def scores(self, n: Sizes) -> Tensor:
        # Distinct, so that no law hangs on how ties are broken.
        return torch.randperm(prod(n), generator=torch.Generator().manual_seed(self.seed)).double()

    def choose(self, function: Callable[..., Any], n: Sizes, m: Sizes, scores: Tensor | None = None) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        scores = self.scores(n) if scores is None else scores
        try:
            chosen = choose(function, n, m, options=self.options, generator=generator, scores=scores, kind=self.kind)
        except MethodError:
            reject()  # sizes that the method refuses are no counterexample; refusing all of them fails the test
        return chosen.index


@st.composite
def cases(draw: st.DrawFn, function: Callable[..., Any], *, dividing: bool) -> Case:
    record = Record.of(function)
    axes = draw(st.integers(1, 3)) if record.unit == "dimension" else 1
    k = [draw(st.integers(1, 6)) for _ in range(axes)]
    if dividing or draw(st.booleans()):
        m = [size * draw(st.integers(1, 3)) for size in k]
        n = [size * draw(st.integers(1, 3)) for size in m]
    else:
        m = [size + draw(st.integers(0, 6)) for size in k]
        n = [size + draw(st.integers(0, 6)) for size in m]
    if draw(st.booleans()):
        n[-1] = m[-1] = k[-1]  # the width of a head stays
    options = {option.name: draw(st.sampled_from(option.choices)) for option in record.options if option.choices}
    kind = draw(st.sampled_from(sorted(record.resizes)))
    return Case(tuple(n), tuple(m), tuple(k), draw(st.integers(0, 99)), kind, options)


# The laws. Each takes a method and a case, and asserts.


def identity(function: Callable[..., Any], case: Case) -> None:
    assert torch.equal(case.choose(function, case.n, case.n), torch.arange(prod(case.n)))


def increasing(function: Callable[..., Any], case: Case) -> None:
    assert bool((case.choose(function, case.n, case.m).diff() > 0).all())


def composition(function: Callable[..., Any], case: Case) -> None:
    first, second = case.choose(function, case.n, case.m), case.choose(function, case.m, case.k)
    assert torch.equal(first[second], case.choose(function, case.n, case.k))


def nested(function: Callable[..., Any], case: Case) -> None:
    smaller, larger = case.choose(function, case.n, case.k), case.choose(function, case.n, case.m)
    assert set(smaller.tolist()) <= set(larger.tolist())


def equivariant(function: Callable[..., Any], case: Case) -> None:
    scores = case.scores(case.n)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(case.seed + 1))
    permuted = case.choose(function, case.n, case.m, scores[order])
    assert set(order[permuted].tolist()) == set(case.choose(function, case.n, case.m, scores).tolist())


def whole(function: Callable[..., Any], case: Case) -> None:
    if len(case.n) == 1:
        return
    heads = case.choose(function, case.n, case.m).view(-1, case.m[-1])
    assert case.m[-1] == case.n[-1]
    assert torch.equal(heads - heads[:, :1], torch.arange(case.n[-1]).expand_as(heads))
    assert bool((heads[:, 0] % case.n[-1] == 0).all())


def fair(function: Callable[..., Any], case: Case) -> None:
    if len(case.n) == 1:
        return
    shares = torch.bincount(case.choose(function, case.n, case.m) // case.n[-1], minlength=prod(case.n[:-1]))
    assert len(shares.unique()) == 1


CHECKS = {check.__name__: check for check in (identity, increasing, composition, nested, equivariant, whole, fair)}


def verify(function: Callable[..., Any], law: str) -> None:
    """Run one law for one method on drawn cases."""

    @settings(max_examples=60)
    @given(cases(function, dividing=law == "composition"))
    def run(case: Case) -> None:
        CHECKS[law](function, case)

    run()


@pytest.mark.parametrize(("name", "law"), CLAIMS)
def test_claimed_law_holds(name: str, law: str) -> None:
    verify(registry.load(name), law)


@pytest.mark.parametrize("name", NAMES)
def test_what_every_selection_owes(name: str) -> None:
    """Same inputs, same index; no index twice; inputs untouched; a larger target refused."""
    function = registry.load(name)

    @settings(max_examples=40)
    @given(cases(function, dividing=False))
    def run(case: Case) -> None:
        scores = case.scores(case.n)
        before = scores.clone()
        index = case.choose(function, case.n, case.m, scores)
        assert torch.equal(index, case.choose(function, case.n, case.m, scores))
        assert len(index.unique()) == len(index)
        assert torch.equal(scores, before)

    run()
    with pytest.raises(MethodError, match="larger than the source: 3 = 3 to 4 = 4"):
        choose(function, (3,), (4,), generator=torch.Generator(), scores=torch.zeros(3))
    with pytest.raises(MethodError, match="at least 1"):
        choose(function, (3,), (0,), generator=torch.Generator(), scores=torch.zeros(3))


def test_every_selection_states_its_unit_and_claims_something() -> None:
    for name in NAMES:
        record = Record.of(registry.load(name))
        assert record.unit, name
        assert "identity" in record.laws, name


def test_every_law_has_a_check() -> None:
    assert {law for _, law in CLAIMS} == set(CHECKS)
    assert set(CHECKS) <= set(LAWS)


# A law that cannot fail proves nothing: each is shown to reject a method that claims it falsely.


@method(family="select", unit="dimension", laws=set(LAWS), scores="magnitude")
def last(source: Sizes, target: Sizes) -> Tensor:
    """Take the last indices, in reverse: increasing is false, and so are identity, whole and composition."""
    return torch.arange(prod(source)).flip(0)[: prod(target)]


@method(family="select", unit="dimension", laws=set(LAWS), scores="magnitude")
def positional(source: Sizes, target: Sizes, scores: Tensor) -> Tensor:
    """Take the start of a random order that depends on the size: not nested, not equivariant, not fair."""
    assert len(scores) == prod(source)
    return torch.randperm(prod(source), generator=torch.Generator().manual_seed(prod(target)))[: prod(target)]


@pytest.mark.parametrize("law", sorted(CHECKS))
def test_false_claim_is_rejected(law: str) -> None:
    liar = last if law in ("identity", "increasing", "composition", "whole") else positional
    with pytest.raises(AssertionError):
        verify(liar, law)
