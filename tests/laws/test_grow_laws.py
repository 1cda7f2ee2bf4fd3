"""Every law that a growth claims, run for every growth that the registry lists; and proof that false claims fail."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from scionwood.anatomy import AxisMap
from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.grow.growth import Growth, grow
from scionwood.methods.laws import LAWS
from scionwood.methods.record import Record, method, resolve

GROWTHS = [entry.name for entry in registry.listing("grow") if Record.of(registry.load(entry.name)).shape == "re-axis"]
CLAIMS = [(name, law) for name in GROWTHS for law in sorted(Record.of(registry.load(name)).laws)]
PLACES = ("stream", "inner", "heads", "score")


@st.composite
def cases(draw: st.DrawFn, function: Callable[..., Any]) -> Growth:
    source = draw(st.integers(1, 9))
    target = source * draw(st.integers(2, 4)) if draw(st.booleans()) else source + draw(st.integers(1, 12))
    record = Record.of(function)
    options = {option.name: draw(st.sampled_from(option.choices)) for option in record.options if option.choices}
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    place = draw(st.sampled_from(PLACES))
    resolved = resolve(function, options)
    try:
        return grow(function, source, target, options=resolved, generator=generator, place=place)
    except MethodError:
        reject()  # sizes that the method refuses are no counterexample; refusing all of them fails the test


def preserving(growth: Growth) -> None:
    n = int(growth.index.max()) + 1
    divided = AxisMap.duplicate(growth.index, n) if growth.divide else AxisMap.select(growth.index, n)
    assert divided.preserves


def corner(growth: Growth) -> None:
    n = int(growth.index.max()) + 1
    assert growth.index[:n].tolist() == list(range(n))
    assert bool((growth.index[n:] == -1).all())
    assert not growth.divide


CHECKS = {check.__name__: check for check in (preserving, corner)}


def verify(function: Callable[..., Any], law: str) -> None:
    """Run one law for one method on drawn cases."""

    @settings(max_examples=60)
    @given(cases(function))
    def run(growth: Growth) -> None:
        CHECKS[law](growth)

    run()


@pytest.mark.parametrize(("name", "law"), CLAIMS)
def test_claimed_law_holds(name: str, law: str) -> None:
    verify(registry.load(name), law)


@pytest.mark.parametrize("name", GROWTHS)
def test_what_every_growth_owes(name: str) -> None:
    """Every index of the source is there; the same generator gives the same; new indices are filled on both sides."""
    function = registry.load(name)
    large = 8 if Record.of(function).joins else 12
    made = [
        grow(
            function,
            4,
            large,
            options=resolve(function, {}),
            generator=torch.Generator().manual_seed(3),
            place="stream",
        )
        for _ in range(2)
    ]
    assert torch.equal(made[0].index, made[1].index)
    assert set(range(4)) <= set(made[0].index.tolist())
    for place in ("stream", "inner", "heads"):
        growth = grow(
            function, 4, large, options=resolve(function, {}), generator=torch.Generator().manual_seed(3), place=place
        )
        # Zeros on both sides would never get a gradient.
        assert not growth.pads or growth.mixing is not None or "drawn" in (growth.writing, growth.reading)
        assert growth.mixing is None or torch.equal(growth.mixing, made[0].mixing)


def test_what_maps_no_axes_says_so() -> None:
    others = {entry.name for entry in registry.listing("grow")} - set(GROWTHS)
    assert {name: Record.of(registry.load(name)).shape for name in others} == dict.fromkeys(others, "generate")
    assert {"grow.hypernetwork", "grow.denoised_weights"} <= others


def test_every_law_has_a_check() -> None:
    assert {law for _, law in CLAIMS} == set(CHECKS)
    assert set(CHECKS) <= set(LAWS)


@method(family="grow", unit="axis", laws=set(CHECKS))
def undivided(source: int, target: int) -> Growth:
    """Copies that are read in full: twice the sum."""
    return Growth(torch.arange(target) % source)


@pytest.mark.parametrize("law", sorted(CHECKS))
def test_false_claim_is_rejected(law: str) -> None:
    with pytest.raises(AssertionError):
        verify(undivided, law)
