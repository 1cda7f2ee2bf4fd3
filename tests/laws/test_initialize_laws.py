"""Every law that an initialiser claims, run for every one that the registry lists; and proof that false claims fail.

A new initialiser is tested by being listed: its record says what it takes. What cannot be drawn stands in ``OPTIONS``
(options without a default) and in ``VARIANCES`` (the multiple of 1 / fan_in that an initialiser states).
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.initialize.activation_gain import variance_factor
from scionwood.methods.initialize.activations import activation
from scionwood.methods.initialize.edge_of_chaos import point_for
from scionwood.methods.initialize.maxout import mean_square_maximum
from scionwood.methods.initialize.orthogonal_critical import critical_variance
from scionwood.methods.initialize.site import Attention, Branch, Site
from scionwood.methods.initialize.vi3nr import gain
from scionwood.methods.laws import LAWS
from scionwood.methods.record import Record, method, resolve

NAMES = [entry.name for entry in registry.listing("initialize")]
CLAIMS = [(name, law) for name in NAMES for law in sorted(Record.of(registry.load(name)).laws)]

OPTIONS: dict[str, dict[str, Any]] = {"initialize.optimistic": {"value": 2.0}}

READS = ("relu", "tanh", "gelu", "sigmoid", "silu", "gated silu", "identity", "input")


def _edge(site: Site) -> float:
    return point_for(activation(site.reads), 0.2).sigma_w ** 2


VARIANCES: dict[str, Callable[[Site], float]] = {
    "initialize.activation_gain": lambda site: variance_factor(activation(site.reads)),
    "initialize.edge_of_chaos": _edge,
    "initialize.interval": lambda site: (
        2 * math.pi / site.fan_in / (4 if site.reads_sum and site.reads == "relu" else 1)
    ),
    "initialize.low_rank": lambda site: 1.25**2,
    "initialize.maxout": lambda site: 1.0 if site.head else 1 / mean_square_maximum(5),
    "initialize.orthogonal_critical": lambda site: critical_variance(activation(site.reads)),
    "initialize.pseudo_iid": _edge,
    "initialize.vi3nr": lambda site: 1.0 if site.reads == "input" else gain(activation(site.reads), 1.0) ** 2,
}
"""fan_in times the variance of a weight's entries, by the record's own formula."""


@dataclass(frozen=True)
class Case:
    """A site, a seed, and everything else that an initialiser may ask for."""

    site: Site
    seed: int

    def draws(self, *key: object) -> torch.Generator:
        digest = sum(ord(letter) * (place + 7) for place, letter in enumerate(str(key)))
        return torch.Generator().manual_seed(self.seed * 1009 + digest)

    @property
    def statistics(self) -> dict[str, Any]:
        ring = torch.eye(5) + torch.roll(torch.eye(5), 1, 0) + torch.roll(torch.eye(5), -1, 0)
        return {"operator": ring / 3, "features": torch.arange(20.0).view(5, 4), "classes": 3}

    def run(self, function: Callable[..., Tensor | None], site: Site | None = None) -> Tensor | None:
        site = site or self.site
        record = Record.of(function)
        given = {
            "site": site,
            "generator": self.draws("site", site.name),
            "draws": self.draws,
            "statistics": self.statistics,
        }
        options = resolve(function, OPTIONS.get(record.name, {}))
        try:
            return function(*(given[name] for name in record.inputs), **options)
        except MethodError:
            reject()  # a site that the method refuses is no counterexample; refusing all of them fails the test


@st.composite
def sites(draw: st.DrawFn, *, weights: bool = False) -> Site:
    kinds = (
        ("linear", "convolution")
        if weights
        else ("linear", "convolution", "embedding", "bias", "gain", "table", "other")
    )
    kind = draw(st.sampled_from(kinds))
    side = st.integers(12, 40) if weights else st.integers(1, 12)
    dims = {"linear": 2, "embedding": 2, "bias": 1, "gain": 1, "convolution": 2}.get(kind, draw(st.integers(1, 3)))
    shape = tuple(draw(side) for _ in range(dims))
    if kind == "convolution":
        shape += tuple(draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 2))))
    attention = None
    if kind == "linear" and not weights and draw(st.booleans()):
        role = draw(st.sampled_from(("query", "key", "value", "output")))
        attention = Attention(role, 2, 2, 3, "block")
        shape = (8, 6) if role == "output" else (6, 8)
    layers = draw(st.integers(1, 4))
    names = (
        "l.weight",
        "l.bias",
        "l.A_log",
        "l.log_A_real",
        "l.A_imag",
        "l.log_dt",
        "l.B",
        "l.C",
        "l.D",
        "l.dt_proj.bias",
    )
    return Site(
        name=draw(st.sampled_from(names)),
        kind=kind,
        shape=shape,
        layer=draw(st.integers(1, layers)),
        layers=layers,
        branch=draw(st.sampled_from((None, Branch(0, 2, 0, 2, False, 2), Branch(1, 2, 1, 2, True, 2)))),
        reads=draw(st.sampled_from(READS)),
        reads_sum=draw(st.booleans()),
        head=draw(st.booleans()),
        attention=attention,
        axes=tuple((f"axis {place}",) for place in range(len(shape))),
    )


@st.composite
def cases(draw: st.DrawFn, *, weights: bool) -> Case:
    return Case(draw(sites(weights=weights)), draw(st.integers(0, 999)))


# The laws. Each takes an initialiser and a case, and asserts.


def shape(function: Callable[..., Any], case: Case) -> None:
    result = case.run(function)
    if result is not None:
        assert tuple(result.shape) == case.site.shape
        assert result.dtype == torch.float32
        assert bool(result.isfinite().all())


def deterministic(function: Callable[..., Any], case: Case) -> None:
    state = torch.random.get_rng_state()
    first = case.run(function)
    other = dataclasses.replace(case.site, name="another.weight", kind="linear", shape=(3, 4), attention=None)
    case.run(function, other)
    torch.rand(3)
    second = case.run(function)
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert torch.equal(first, second)
        first += 1  # nobody else holds the result
        third = case.run(function)
        assert third is not None
        assert torch.equal(second, third)
    torch.random.set_rng_state(state)
    drawn = torch.rand(1)
    torch.random.set_rng_state(state)
    case.run(function)
    assert torch.equal(torch.rand(1), drawn)
    torch.random.set_rng_state(state)


def variance(function: Callable[..., Any], case: Case) -> None:
    name = Record.of(function).name
    assert name in VARIANCES, f"{name} claims a variance: give its multiple of 1 / fan_in in VARIANCES"
    # Entries of one draw depend on each other; draws do not.
    squares, means = [], []
    for seed in range(24):
        result = Case(case.site, case.seed + 1000 * seed).run(function)
        if result is None:
            assert case.site.head or case.site.reads_sum, "a weight is left"
            return
        squares.append(float(result.double().square().mean()))
        means.append(float(result.double().mean()))
    expected = VARIANCES[name](case.site) / case.site.fan_in
    found = torch.tensor(squares)
    error = float(found.std()) / math.sqrt(len(squares))
    assert abs(float(found.mean()) - expected) < 5 * error + 0.01 * expected
    spread = torch.tensor(means)
    assert abs(float(spread.mean())) < 5 * float(spread.std()) / math.sqrt(len(means)) + 1e-6


def orthogonal(function: Callable[..., Any], case: Case) -> None:
    result = case.run(function)
    if result is None:
        return
    matrix = result.double().flatten(1)
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    product = short @ short.T
    scale = float(product.diagonal().mean())
    torch.testing.assert_close(product, scale * torch.eye(len(product), dtype=torch.float64), rtol=0, atol=1e-5 * scale)


CHECKS = {check.__name__: check for check in (shape, deterministic, variance, orthogonal)}


def verify(function: Callable[..., Any], law: str) -> None:
    """Run one law for one initialiser on drawn sites."""
    examples = {"shape": 80, "deterministic": 30, "variance": 8, "orthogonal": 15}[law]

    @settings(max_examples=examples)
    @given(cases(weights=law in ("variance", "orthogonal")))
    def run(case: Case) -> None:
        CHECKS[law](function, case)

    run()


@pytest.mark.parametrize(("name", "law"), CLAIMS)
def test_claimed_law_holds(name: str, law: str) -> None:
    verify(registry.load(name), law)


def test_every_initialiser_claims_what_all_owe() -> None:
    for name in NAMES:
        assert Record.of(registry.load(name)).laws >= {"shape", "deterministic"}, name


def test_every_law_has_a_check() -> None:
    assert {law for _, law in CLAIMS} == set(CHECKS)
    assert set(CHECKS) <= set(LAWS)
    assert set(VARIANCES) == {name for name, law in CLAIMS if law == "variance"}


@pytest.mark.parametrize("name", NAMES)
def test_norm_gains_are_left_alone(name: str) -> None:
    case = Case(Site("norm.weight", "gain", (8,), layer=1, layers=2, reads="identity"), 0)
    assert case.run(registry.load(name)) is None


# A law that cannot fail proves nothing: each is shown to reject an initialiser that claims it falsely.

LIAR = {"family": "initialize", "laws": set(CHECKS)}


@method(**LIAR)
def transposed(site: Site, generator: torch.Generator) -> Tensor:
    """Give the dimensions in reverse."""
    return torch.randn(site.shape[::-1], generator=generator)


@method(**LIAR)
def double(site: Site, generator: torch.Generator) -> Tensor:
    """Give float64."""
    return torch.randn(site.shape, generator=generator, dtype=torch.float64)


@method(**LIAR)
def careless(site: Site) -> Tensor:
    """Draw from the generator that everybody uses."""
    return torch.randn(site.shape)


_drawn = torch.Generator().manual_seed(0)


@method(**LIAR)
def running(site: Site) -> Tensor:
    """Go on with one generator, so that a result depends on those before."""
    return torch.randn(site.shape, generator=_drawn)


@method(**LIAR)
def louder(site: Site, generator: torch.Generator) -> Tensor:
    """Give half as much variance again as it states: 1 / fan_in."""
    return torch.randn(site.shape, generator=generator) * math.sqrt(1.5 / site.fan_in)


@method(**LIAR)
def shifted(site: Site, generator: torch.Generator) -> Tensor:
    """Give the right mean square, half of it by a mean."""
    return (torch.randn(site.shape, generator=generator) + 1) / math.sqrt(2 * site.fan_in)


@pytest.mark.parametrize(
    ("liar", "law"),
    [
        (transposed, "shape"),
        (double, "shape"),
        (careless, "deterministic"),
        (running, "deterministic"),
        (louder, "variance"),
        (shifted, "variance"),
        (louder, "orthogonal"),
    ],
)
def test_false_claim_is_rejected(liar: Callable[..., Any], law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANCES, Record.of(liar).name, lambda site: 1.0)
    with pytest.raises(AssertionError):
        verify(liar, law)


def test_a_variance_that_is_nowhere_stated_is_rejected() -> None:
    with pytest.raises(AssertionError, match="give its multiple"):
        verify(louder, "variance")
