"""The selections that rank, how their scores are made, and subcloning's gain."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scionwood.errors import MethodError
from scionwood.methods.select.activation import activation, activation_scores, head_norms, with_head_residuals
from scionwood.methods.select.magnitude import accumulate, magnitude
from scionwood.methods.select.subcloning import reading_gain, subcloning


def test_ties_go_to_the_first_index():
    scores = torch.tensor([1.0, 5.0, 5.0, 2.0, 5.0])
    assert magnitude((5,), (2,), scores).tolist() == [1, 2]
    assert magnitude((5,), (4,), scores).tolist() == [1, 2, 3, 4]
    assert magnitude((6,), (3,), torch.zeros(6)).tolist() == [0, 1, 2]


def test_descending_scores_give_the_first_indices():
    assert activation((6,), (3,), torch.arange(6.0).flip(0)).tolist() == [0, 1, 2]


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(MethodError, match="There must be 4 scores"):
        magnitude((4,), (2,), torch.zeros(3))
    with pytest.raises(MethodError, match="2 of 4 scores are not numbers"):
        magnitude((4,), (2,), torch.tensor([1.0, math.nan, 2.0, math.nan]))


# Magnitude.


def test_scores_are_summed_over_every_tensor_of_the_axis():
    scores = torch.zeros(3, dtype=torch.float64)
    accumulate(scores, torch.tensor([[1.0, -1, 0], [2, 0, 0]]), 1)
    accumulate(scores, torch.tensor([[1.0, 1], [-4, 0], [0, 0]]), 0)
    accumulate(scores, torch.tensor([0.5, 0.5, -7]), 0)
    assert scores.tolist() == [5.5, 5.5, 7]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_accumulate_against_the_obvious_sum(shape, data):
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = tensor.clone()
    found = accumulate(torch.zeros(shape[dim], dtype=torch.float64), tensor, dim)
    rows = tensor.double().movedim(dim, 0)
    assert torch.allclose(found, torch.stack([row.abs().sum() for row in rows]), rtol=1e-12)
    assert torch.equal(tensor, before)


def test_accumulate_in_pieces_and_with_threads():
    weight = torch.randn(512, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    whole = accumulate(torch.zeros(512, dtype=torch.float64), weight, 0)
    pieces = torch.zeros(512, dtype=torch.float64)
    for start in range(0, 512, 100):
        accumulate(pieces[start : start + 100], weight[start : start + 100], 0)
    assert torch.equal(whole, pieces)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [accumulate(torch.zeros(weight.shape[dim], dtype=torch.float64), weight, dim) for dim in (0, 1)]
        torch.set_num_threads(2)
        together = [accumulate(torch.zeros(weight.shape[dim], dtype=torch.float64), weight, dim) for dim in (0, 1)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_dead_channel_goes_first():
    W = torch.ones(4, 3)
    W[:, 1] = 0
    scores = accumulate(torch.zeros(3, dtype=torch.float64), W, 1)
    assert magnitude((3,), (2,), scores).tolist() == [0, 2]


# Activation.


def test_activation_scores_by_hand():
    activations = torch.tensor([[[3.0, 1.0], [-3.0, 0.0]], [[4.0, 0.0], [4.0, 0.0]]])
    assert activation_scores(activations).tolist() == [5.0, 0.5]
    found = activation_scores(activations, sequence="l2", batch="mean")
    assert torch.allclose(found, torch.tensor([(18**0.5 + 32**0.5) / 2, 0.5]))
    assert activation_scores(activations, sequence="variance", batch="mean").tolist() == [0.0, 0.125]


def test_padding_does_not_count():
    activations = torch.tensor([[[1.0], [100.0]], [[3.0], [5.0]]])
    mask = torch.tensor([[1, 0], [1, 1]])
    assert torch.allclose(activation_scores(activations, mask), torch.tensor([17.0**0.5]))
    with pytest.raises(MethodError, match="no token that counts"):
        activation_scores(activations, torch.tensor([[0, 0], [1, 1]]))
    with pytest.raises(MethodError, match=r"\(batch, sequence\)"):
        activation_scores(activations, torch.ones(3, 2))


def test_silent_units_can_be_dropped_exactly():
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn(6, 4, generator=generator), torch.randn(3, 6, generator=generator)
    up[[1, 4]] = 0
    x = torch.randn(2, 5, 4, generator=generator)
    hidden = torch.relu(x @ up.T)
    kept = activation((6,), (4,), activation_scores(hidden))
    assert torch.equal(kept, torch.tensor([0, 2, 3, 5]))
    assert torch.allclose(hidden @ down.T, torch.relu(x @ up[kept].T) @ down[:, kept].T, atol=1e-6)


def test_head_residuals():
    heads = torch.tensor([[1.0], [10], [4], [6]])
    scores = torch.tensor([1.0, 4, 2, 3])  # ranks: 1, 3, 2, 0
    # K = 3 of 4: rank 2 (head 2) takes from rank 3 (head 0): 4 + (4 - 1).
    assert with_head_residuals(heads, scores, 3).flatten().tolist() == [10, 7, 6]
    # K = 2: rank 0 takes from rank 3, rank 1 from rank 2.
    assert with_head_residuals(heads, scores, 2).flatten().tolist() == [19, 8]
    assert torch.equal(with_head_residuals(heads, scores, 4), heads)
    with pytest.raises(MethodError, match="not 1 of 4"):
        with_head_residuals(heads, scores, 1)


def test_head_norms():
    assert head_norms(torch.tensor([[3.0, 4.0], [0.0, 2.0]])).tolist() == [5.0, 2.0]


# Subcloning.


def test_subcloning_chooses_and_rescales():
    scores = torch.tensor([1.0, 9, 3, 7])
    chosen = subcloning((4,), (1,), scores)
    assert (chosen.index.tolist(), chosen.gain) == ([1], 2.0)
    assert subcloning((4,), (1,), scores, rescale=None).gain == 1.0
    assert subcloning((4,), (4,), scores).gain == 1.0


def test_the_gain_restores_the_variance():
    """W ~ N(0, 1/D), x ~ N(0, 1): the variance of W x is d / D after the cut, and 1 with the gain."""
    D, d = 1024, 256
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(2048, D, generator=generator) / math.sqrt(D)
    x = torch.randn(D, 64, generator=generator)
    cut = W[:, :d] @ x[:d]
    # 131072 draws: the standard error of the variance is below 1 % of it, dependence within columns included.
    assert cut.var() == pytest.approx(d / D, rel=0.05)
    assert (reading_gain(D, d) * cut).var() == pytest.approx(1, rel=0.05)
