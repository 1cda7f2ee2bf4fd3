"""A bracket finds what a sort finds, or says that it did not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scionwood.checkpoint import MemoryTensor
from scionwood.engine import combine
from scionwood.engine.bracket import Bracket
from scionwood.engine.combine import CombinedTensor
from scionwood.methods import registry
from scionwood.methods.merge.whole import merge_tensors
from scionwood.methods.record import resolve
from scionwood.methods.summary import kth_largest


def found(numbers, k, sample):
    bracket = Bracket(k, len(numbers), sample)
    for part in numbers.abs().tensor_split(3):
        bracket.count(part)
    return bracket


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([0.0, 0.5, -0.5, 1.0, -1.0, 2.0, 3.5]) | st.floats(-9, 9, width=32), min_size=2),
    st.integers(-1, 60),
    st.integers(0, 3),
)
def test_a_value_is_the_right_one(values, k, places):
    numbers = torch.tensor(values, dtype=torch.float32)
    # Samples of the first few numbers mislead as often as not.
    value = found(numbers, k, [numbers[:2].abs()] * places if places > 1 else []).value
    assert value is None or value == float(kth_largest(numbers.abs(), k))
    if places <= 1:
        assert value is not None


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("distinct", [False, True])
def test_little_is_kept_and_the_sample_seldom_misleads(share, distinct):
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(1_000_000, generator=generator)
    if distinct:
        numbers = (numbers * 8).round() / 8  # every value many thousand times
    sample = [numbers[place : place + 4096].abs() for place in range(0, 1_000_000, 20_000)]
    bracket = found(numbers, int(share * len(numbers)), sample)
    assert bracket.value == float(kth_largest(numbers.abs(), int(share * len(numbers))))
    assert sum(len(part) for part in bracket._between) < 100_000


def test_a_sample_that_misleads_is_found_out():
    numbers = torch.cat([torch.ones(50), torch.full((50,), 2.0)])
    assert found(numbers, 80, [torch.full((50,), 9.0)] * 2).value is None


def test_where_everything_would_be_kept_there_is_no_hope():
    sample = [torch.zeros(10), torch.ones(10)]
    assert Bracket(5_000_000, 10_000_000, sample).hopeless
    assert not Bracket(50, 100, sample).hopeless


@pytest.mark.parametrize("misled", [False, True])
def test_large_tensors_are_sampled_and_fall_back_to_counting(misled, monkeypatch):
    """Rows of very different size; where it is to fail, the ones that are sampled are unlike all others."""
    monkeypatch.setattr(combine, "FEW", 100)
    monkeypatch.setattr(combine, "TILE", 1000)
    monkeypatch.setattr(combine, "SAMPLE_SIZE", 50)
    monkeypatch.setattr(combine, "SAMPLE_PLACES", 40)
    generator = torch.Generator().manual_seed(0)
    base = torch.zeros(200, 50)
    models = [torch.randn(200, 50, generator=generator) * torch.linspace(0.1, 9, 200)[:, None] for _ in range(2)]
    if misled:
        for model in models:
            model[::5] = 100 * torch.ones(50)
    counted = []
    whole = CombinedTensor._counted
    monkeypatch.setattr(CombinedTensor, "_counted", lambda *given: counted.append(1) or whole(*given))
    ties = registry.load("merge.ties")
    options = {"density": 0.25}
    made = CombinedTensor(
        "w",
        torch.float32,
        ties,
        [MemoryTensor("w", model) for model in models],
        MemoryTensor("w", base),
        resolve(ties, options),
    )
    assert torch.equal(made.read(), merge_tensors(ties, models, base, options))
    assert bool(counted) == misled
    expected = [np.partition(model.abs().numpy().reshape(-1), 7500)[7500] for model in models]
    np.testing.assert_array_equal(made.found["thresholds"], expected)


@pytest.mark.parametrize("zeros", [0.0, 0.3, 0.95, 1.0])
def test_a_share_of_what_is_not_zero(zeros):
    """How many are kept is known at the end alone; the sample says about how many it will be."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(1_000_000, generator=generator).abs()
    numbers *= torch.rand(1_000_000, generator=generator) >= zeros
    sample = [numbers[place : place + 4096] for place in range(0, 1_000_000, 20_000)]
    bracket = Bracket(lambda count: int(count * 0.5), len(numbers), sample)
    for part in numbers.tensor_split(3):
        bracket.count(part)
    kept = int(torch.count_nonzero(numbers)) // 2
    assert bracket.value == float(kth_largest(numbers, kept))
    assert sum(len(part) for part in bracket._between) < 100_000


@pytest.mark.parametrize("bracketed", [True, False])
def test_sce_counts_what_varies_however_it_ranks(bracketed, monkeypatch):
    monkeypatch.setattr(combine, "FEW", 100)
    monkeypatch.setattr(combine, "TILE", 1000)
    monkeypatch.setattr(combine, "SAMPLE_SIZE", 50)
    if not bracketed:
        monkeypatch.setattr(CombinedTensor, "_bracketed", lambda *_: None)
    generator = torch.Generator().manual_seed(0)
    deltas = [torch.randn(100, 100, generator=generator) for _ in range(3)]
    deltas = [delta * (torch.arange(100) % 3 > 0) for delta in deltas]  # a third of the positions does not vary
    function = registry.load("sce", family="merge")
    options = resolve(function, {"select_topk": 0.5})
    inputs = [MemoryTensor("w", delta) for delta in deltas]
    made = CombinedTensor("w", torch.float32, function, inputs, MemoryTensor("w", torch.zeros(100, 100)), options)
    whole = merge_tensors(function, deltas, torch.zeros(100, 100), {"select_topk": 0.5})
    assert torch.equal(made.read_rows(0, made.num_rows).reshape(100, 100), whole)
    assert int(torch.count_nonzero(whole)) == 3300
