"""Cosine neighbours and the weights of their similarities."""

import resource

import pytest
import torch

from scionwood.methods.vocabulary.neighbours import (
    has_vector,
    nearest_rows,
    rotation,
    softmax_weights,
    sparsemax,
    unit_rows,
)


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("similarities", "weights"),
    [
        ([0.9, 0.8, 0.5], [0.5, 0.4, 0.1]),
        ([0.9, 0.8, 0.5, -0.3], [0.5, 0.4, 0.1, 0]),
        ([2, 0.5, 0.1], [1, 0, 0]),
        ([0.3, 0.3], [0.5, 0.5]),
        ([-4.0], [1]),
    ],
)
def test_sparsemax(similarities, weights):
    found = sparsemax(torch.tensor([similarities], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([weights], dtype=torch.float64))


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    rows = drawn(40, 7).double()
    found = sparsemax(rows)
    torch.testing.assert_close(found.sum(1), torch.ones(40, dtype=torch.float64))
    assert found.min() >= 0
    # The oracle walks down the gradient and projects by bisection.
    low, high = rows.amin(1, keepdim=True) - 1, rows.amax(1, keepdim=True)
    for _ in range(80):
        middle = (low + high) / 2
        too_much = (rows - middle).clamp(min=0).sum(1, keepdim=True) > 1
        low, high = torch.where(too_much, middle, low), torch.where(too_much, high, middle)
    torch.testing.assert_close(found, (rows - low).clamp(min=0))


def test_sparsemax_of_flat_rows_has_a_large_support():
    rows = torch.linspace(0, 1e-4, 1000, dtype=torch.float64).flip(0)[None]
    found = sparsemax(rows)
    assert int((found > 0).sum()) == 1000
    torch.testing.assert_close(found, 1e-3 + rows - rows.mean())
    some = sparsemax(torch.cat([rows + 5, rows - 5], 1))
    torch.testing.assert_close(some[:, :1000], found)
    assert not some[:, 1000:].any()


def test_softmax_weights_of_the_example_of_ofa():
    weights = softmax_weights(torch.tensor([[0.9, 0.8, 0.5]], dtype=torch.float64), 0.1)
    torch.testing.assert_close(weights[0], torch.tensor([0.721399, 0.265388, 0.013213]).double(), atol=5e-7, rtol=0)
    rows = torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64)
    torch.testing.assert_close((weights @ rows)[0], torch.tensor([0.734612, 0.278601]).double(), atol=5e-7, rtol=0)


def test_softmax_weights_stand_similarities_that_are_no_cosines():
    assert softmax_weights(torch.tensor([[1000.0, 0.0]]), 0.1).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_neighbours_are_those_of_the_whole_matrix(block):
    queries, keys = drawn(23, 5), drawn(31, 5, seed=1)
    similarities, indices = nearest_rows(queries, keys, 4, block=block)
    whole = torch.nn.functional.cosine_similarity(queries[:, None], keys[None], dim=-1)
    expected = whole.sort(dim=1, descending=True)
    assert torch.equal(indices, expected.indices[:, :4])
    torch.testing.assert_close(similarities, expected.values[:, :4])


def test_there_are_no_more_neighbours_than_keys():
    assert nearest_rows(drawn(3, 2), drawn(2, 2), 10)[1].shape == (3, 2)
    assert nearest_rows(drawn(0, 2), drawn(2, 2), 10)[1].shape == (0, 2)


def test_rows_of_zeros_are_no_vectors():
    rows = torch.tensor([[0.0, 0.0], [0.0, -1e-30]])
    assert has_vector(rows).tolist() == [False, True]
    assert torch.equal(unit_rows(rows)[0], rows[0])


def test_the_rotation_is_recovered():
    turn = torch.linalg.qr(drawn(6, 6).double()).Q
    source = drawn(30, 6, seed=1).double()
    torch.testing.assert_close(rotation(source, source @ turn), turn, atol=1e-6, rtol=0)


def test_the_rotation_is_orthogonal_where_nothing_fits():
    found = rotation(drawn(9, 4), drawn(9, 4, seed=5))
    torch.testing.assert_close(found @ found.T, torch.eye(4), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_fifty_thousand_against_fifty_thousand_stay_below_a_gigabyte():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    nearest_rows(drawn(50_000, 100), drawn(50_000, 100, seed=1), 10)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20 < 1
