"""Every law that a merge claims, run for every merge that the registry lists; and proof that false claims fail."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scionwood.methods import registry
from scionwood.methods.merge.whole import merge_tensors
from scionwood.methods.record import Record, method

NAMES = [entry.name for entry in registry.listing("merge")]
CLAIMS = [(name, law) for name in NAMES for law in sorted(Record.of(registry.load(name)).laws)]


# How many models a method takes, where it does not take any number.
COUNTS = {
    "merge.arcee_fusion": 1,
    "merge.interpolate": 2,
    "merge.nearswap": 1,
    "merge.nuslerp": 2,
    "merge.passthrough": 1,
    "merge.slerp": 2,
    "merge.timber": 1,
}

assert_close = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


@st.composite
def models(draw: st.DrawFn) -> tuple[list[torch.Tensor], torch.Tensor]:
    # From eight numbers on no two drawn models point in opposite directions, where a spherical mean is not defined.
    # Vectors and matrices: some merges do with one what they do not with the other.
    count = draw(st.integers(2, 4))
    shape = draw(st.one_of(st.tuples(st.integers(8, 40)), st.tuples(st.integers(3, 8), st.integers(3, 8))))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    base = torch.randn(shape, generator=generator)
    return [base + torch.randn(shape, generator=generator) for _ in range(count)], base


def permutation(function, tensors, base):
    straight = merge_tensors(function, tensors, base)
    assert_close(merge_tensors(function, tensors[::-1], base), straight)


def idempotent(function, tensors, base):
    assert_close(merge_tensors(function, [tensors[0]] * len(tensors), base), tensors[0])


def alone(function, tensors, base):
    assert_close(merge_tensors(function, tensors[:1], base), tensors[0])


def homogeneous(function, tensors, base):
    once = merge_tensors(function, tensors, base, generator=torch.Generator().manual_seed(0))
    twice = [2 * tensor for tensor in tensors]
    assert_close(merge_tensors(function, twice, 2 * base, generator=torch.Generator().manual_seed(0)), 2 * once)


def linear(function, tensors, base, options=None):
    deltas = [tensor - base for tensor in tensors]
    others = [base.roll(number, -1) for number in range(len(deltas))]
    zero = torch.zeros_like(base)
    once, other = (merge_tensors(function, each, zero, options) for each in (deltas, others))
    assert_close(merge_tensors(function, [2 * delta for delta in deltas], zero, options), 2 * once)
    both = [delta + more for delta, more in zip(deltas, others, strict=True)]
    assert_close(merge_tensors(function, both, zero, options), once + other)


CHECKS = {
    "alone": alone,
    "homogeneous": homogeneous,
    "idempotent": idempotent,
    "linear": linear,
    "permutation": permutation,
}


@pytest.mark.parametrize(("name", "law"), CLAIMS)
def test_claimed_law(name, law):
    function = registry.load(name)

    @settings(max_examples=25)
    @given(models())
    def check(drawn):
        tensors, base = drawn
        CHECKS[law](function, tensors[: COUNTS.get(name)], base)

    check()


def choices(name):
    """Every option of a method that has choices, with each of them."""
    for option in Record.of(registry.load(name)).options:
        values = (True, False) if option.annotation is bool else option.choices
        yield from ({option.name: value} for value in values)


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, law in CLAIMS if law == "linear" for options in choices(name)]
)
def test_linear_is_linear_whatever_the_options(name, options):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        base, *tensors = (torch.randn(6, 4, generator=generator) for _ in range(4))
        more = {"multipliers": (0.8, 0.3)} if options == {"scheme": "decay"} else {}
        linear(registry.load(name), tensors[: COUNTS.get(name)], base, options | more)


@pytest.mark.parametrize("law", sorted(CHECKS))
def test_a_false_claim_is_caught(law):
    @method(family="merge", space="weight", scope="element")
    def lying(tensors):
        return tensors[0] * tensors[0] + 2 * tensors[-1] + 1

    @settings(max_examples=25)
    @given(models())
    def check(drawn):
        CHECKS[law](lying, *drawn)

    with pytest.raises(AssertionError):
        check()
