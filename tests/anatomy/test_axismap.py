"""AxisMap against dense matrices written out by hand, and the laws that make a map and its dual worth having."""

import dataclasses
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scionwood.anatomy.axismap import AxisMap
from scionwood.errors import AnatomyError


class Oracle(NamedTuple):
    """A map and, beside it, what it should be: its two matrices, m x n, in float64."""

    map: AxisMap
    writing: Tensor
    reading: Tensor


def one_hot(index: list[int], n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)[index] if index else torch.zeros(0, n, dtype=torch.float64)


def integers(seed: int, *shape: int) -> Tensor:
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(seed)).double()


@st.composite
def selections(draw, n):
    index = draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n))
    gain = draw(st.sampled_from([1.0, 2.0, 0.5]))
    return Oracle(AxisMap.select(index, n, gain=gain), one_hot(index, n), gain * one_hot(index, n))


@st.composite
def duplications(draw, n):
    index = draw(st.permutations([*range(n), *draw(st.lists(st.integers(0, n - 1), max_size=6))]))
    copies = torch.tensor([index.count(i) for i in index], dtype=torch.float64)
    return Oracle(AxisMap.duplicate(index, n), one_hot(index, n), one_hot(index, n) / copies[:, None])


@st.composite
def permutations(draw, n):
    index = draw(st.permutations(range(n)))
    return Oracle(AxisMap.permutation(index), one_hot(index, n), one_hot(index, n))


@st.composite
def mixtures(draw, n):
    m, seed = draw(st.integers(0, 6)), draw(st.integers(0, 99))
    writing, reading = integers(seed, m, n), integers(seed + 100, m, n)
    layout = draw(st.sampled_from([lambda x: x, lambda x: x.to_sparse()]))
    return Oracle(AxisMap.matrix(layout(writing), layout(reading)), writing, reading)


def oracles(n):
    return st.one_of(selections(n), duplications(n), permutations(n), mixtures(n))


any_oracle = st.integers(1, 5).flatmap(oracles)


def agrees(found: AxisMap, writing: Tensor, reading: Tensor, *, seed: int = 0) -> None:
    """Compare a map with matrices, through what it does to a tensor of three dimensions."""
    m, n = writing.shape
    assert (found.source, found.target) == (n, m)
    W = integers(seed, 2, n, 3)
    assert torch.allclose(found.write(W, 1), torch.einsum("mn,anb->amb", writing, W))
    assert torch.allclose(found.read(W, -2), torch.einsum("mn,anb->amb", reading, W))


@given(any_oracle, st.integers(0, 99))
def test_write_and_read_apply_the_matrices(oracle, seed):
    agrees(*oracle, seed=seed)
    for matrix, expected in ((oracle.map.writing_matrix, oracle.writing), (oracle.map.reading_matrix, oracle.reading)):
        dense = matrix.to_dense() if matrix.is_sparse else matrix
        assert torch.allclose(dense.double(), expected)


@given(st.data())
def test_composition_is_the_product_of_matrices(data):
    first = data.draw(any_oracle.filter(lambda oracle: oracle.map.target > 0))
    second = data.draw(oracles(first.map.target))
    agrees(second.map @ first.map, second.writing @ first.writing, second.reading @ first.reading)


@given(any_oracle, any_oracle)
def test_product_is_kronecker(outer, inner):
    product = AxisMap.product(outer.map, inner.map)
    agrees(product, torch.kron(outer.writing, inner.writing), torch.kron(outer.reading, inner.reading))


@given(st.lists(any_oracle, min_size=1, max_size=3))
def test_concatenation_is_block_diagonal(parts):
    agrees(
        AxisMap.concatenate([part.map for part in parts]),
        torch.block_diag(*(part.writing for part in parts)),
        torch.block_diag(*(part.reading for part in parts)),
    )


@given(any_oracle)
def test_preserves_is_the_dual_identity(oracle):
    kept = oracle.reading.T @ oracle.writing
    assert oracle.map.preserves == torch.allclose(kept, torch.eye(len(kept), dtype=torch.float64))


@given(st.integers(1, 6).flatmap(duplications), st.integers(0, 99))
def test_duplication_preserves_the_function_exactly(oracle, seed):
    """W2 W1 x = y: the hidden axis between W1 and W2 is duplicated; 420 = lcm(1 … 7) keeps the quotients integers."""
    n = oracle.map.source
    W1, W2, x = integers(seed, n, 3), 420 * integers(seed + 1, 4, n), integers(seed + 2, 3)
    assert oracle.map.preserves
    grown = oracle.map.read(W2, 1) @ (oracle.map.write(W1, 0) @ x)
    assert torch.equal(grown, W2 @ (W1 @ x))


@given(st.integers(1, 6).flatmap(permutations), st.sampled_from([torch.int8, torch.bool, torch.bfloat16]))
def test_permutations_round_trip_bit_for_bit(oracle, dtype):
    permutation = oracle.map
    assert permutation.is_permutation
    assert permutation.preserves
    W = integers(0, 2, permutation.source).to(dtype)
    for there, back in ((AxisMap.write, AxisMap.write), (AxisMap.read, AxisMap.read)):
        assert torch.equal(back(permutation.inverse(), there(permutation, W, 1), 1), W)
    assert (permutation.inverse() @ permutation).is_identity
    assert (permutation @ permutation.inverse()).is_identity


def test_not_a_number_survives_an_index():
    W = torch.tensor([float("nan"), 1.0, float("inf")])
    assert torch.equal(AxisMap.permutation([2, 1, 0]).write(W, 0).flip(0).view(torch.int32), W.view(torch.int32))


# What a map is.


@pytest.mark.parametrize(
    ("found", "is_selection", "is_permutation", "is_identity", "preserves"),
    [
        (AxisMap.identity(3), True, True, True, True),
        (AxisMap.permutation([1, 0, 2]), True, True, False, True),
        (AxisMap.select([0, 2], 3), True, False, False, False),
        pytest.param(AxisMap.select([0, 1, 2], 3), True, True, True, True, id="all, in order"),
        (AxisMap.select([0, 1, 2], 3, gain=2.0), True, False, False, False),
        (AxisMap.duplicate([0, 1, 1], 2), False, False, False, True),
        (AxisMap.duplicate([0, 0], 2), False, False, False, False),
        (AxisMap.select([0, 1, 1], 2), False, False, False, False),
        (AxisMap.matrix(torch.eye(3)), False, False, False, True),
        (AxisMap.matrix(torch.eye(3)[:2]), False, False, False, False),
        (AxisMap.identity(0), True, True, True, True),
    ],
    ids=str,
)
def test_properties(found, is_selection, is_permutation, is_identity, preserves):
    assert found.is_selection is is_selection
    assert found.is_permutation is is_permutation
    assert found.is_identity is is_identity
    assert found.preserves is preserves


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 99))
def test_the_default_dual_of_a_tall_matrix_preserves(n, extra, seed):
    writing = torch.randn(n + extra, n, generator=torch.Generator().manual_seed(seed))
    # A square Gaussian matrix may be as good as singular; an identity on top bounds its condition.
    writing = torch.cat([torch.eye(n), writing])
    for layout in (writing, writing.to_sparse()):
        assert AxisMap.matrix(layout).preserves


def test_a_large_matrix_must_bring_its_dual():
    sparse = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.tensor([1.0]), (5000, 5000), check_invariants=True)
    found = AxisMap.matrix(sparse)
    assert found.write(torch.ones(5000, 1), 0).sum() == 1
    with pytest.raises(AnatomyError, match="from 5000 to 5000 is too large for a pseudo-inverse"):
        found.read(torch.ones(5000, 1), 0)


# Speed and precision.


@pytest.mark.parametrize("index", [[1, 2, 3], [0, 3, 6], [7], []], ids=str)
def test_a_slice_copies_nothing(index):
    W = torch.arange(24.0).view(3, 8)
    taken = AxisMap.select(index, 8).write(W, 1)
    assert torch.equal(taken, W[:, index])
    assert taken.untyped_storage().data_ptr() == W.untyped_storage().data_ptr()


@pytest.mark.parametrize("index", [[2, 1, 0], [0, 0], [0, 1, 3]], ids=str)
def test_what_is_no_slice_is_copied(index):
    W = torch.arange(24.0).view(3, 8)
    taken = AxisMap.select(index, 8).write(W, -1)
    assert torch.equal(taken, W[:, index])
    assert taken.untyped_storage().data_ptr() != W.untyped_storage().data_ptr()


def test_the_identity_is_the_tensor_itself():
    W = torch.ones(3, 2)
    assert AxisMap.identity(3).write(W, 0) is W
    assert AxisMap.identity(3).read(W, 0) is W


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_arithmetic_is_wide_and_the_dtype_stays(dtype):
    W = torch.tensor([[256.0, 3.0], [1.0, 1.0], [-256.0, 1.0]]).to(dtype)
    total = AxisMap.matrix(torch.ones(1, 3)).write(W, 0)
    assert total.dtype == dtype
    assert total.tolist() == [[1.0, 5.0]]  # bfloat16 itself would lose the 1 beside 256
    # 1.003 is 1 in bfloat16: the matrix must not be rounded to the tensor's dtype either.
    scaled = AxisMap.matrix(torch.tensor([[1.003]])).write(torch.tensor([192.0], dtype=dtype), 0)
    assert torch.equal(scaled, torch.tensor([192 * torch.tensor(1.003)]).to(dtype))
    thirds = AxisMap.duplicate([0, 0, 0, 1, 2], 3).read(W, 0)
    assert thirds.dtype == dtype
    assert torch.equal(thirds[0], (W[0].double() / 3).to(dtype))
    assert torch.equal(thirds[3:], W[1:])


# Bad input.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AxisMap.select([0, 4], 4), "the index runs from 0 to 4, outside 0 to 3"),
        (lambda: AxisMap.select([-1], 4), "from -1 to -1"),
        (lambda: AxisMap.permutation([0, 0, 1]), "index of 3 is no permutation"),
        (lambda: AxisMap(2, 2), "either an index or a matrix"),
        (lambda: AxisMap(4, 3, torch.arange(4)), "No map of an axis from size 4 to size 3"),
        (lambda: AxisMap(4, 4, torch.arange(4.0)), "torch.float32"),
        (lambda: AxisMap(2, 2, torch.arange(2), torch.zeros(2)), "numbers other than 0"),
        (lambda: AxisMap(2, 2, torch.arange(2), reading=torch.eye(2)), "an index has no matrix for reading"),
        (lambda: AxisMap.matrix(torch.eye(2), torch.eye(3)), "the reading matrix is torch.float32, 3 x 3, not"),
        (lambda: AxisMap.matrix(torch.eye(2).long()), "not floating point"),
        (lambda: AxisMap.matrix(torch.ones(2)), "two dimensions, not 1"),
        (lambda: AxisMap.select([0, 1], 3).inverse(), r"Only a permutation has an inverse; this is AxisMap\(3 to 2"),
        (lambda: AxisMap.identity(3) @ AxisMap.identity(2), "the first gives 2, the second takes 3"),
        (lambda: AxisMap.identity(3).write(torch.ones(3, 2), 1), r"from 3 to 3 .* dimension 1 .* shape \(3, 2\)"),
        (lambda: AxisMap.identity(3).read(torch.ones(3), 1), "dimension 1"),
        (lambda: AxisMap.duplicate([0, 0], 1).read(torch.ones(1).long(), 0), "mixes or scales .* torch.int64"),
    ],
)
def test_refusals_name_the_sizes(make, words):
    with pytest.raises(AnatomyError, match=words):
        make()


def test_a_map_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        AxisMap.identity(2).source = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (AxisMap.select([0, 2, 4], 6), "AxisMap(6 to 3, slice 0:5:2)"),
        (AxisMap.duplicate([0, 0], 1), "AxisMap(1 to 2, index [0, 0], scaled for reading)"),
        (
            AxisMap.duplicate([*range(9), 0], 9),
            "AxisMap(9 to 10, index [0, 1, 2, 3, 4, 5, 6, 7, …], scaled for reading)",
        ),
        (AxisMap.matrix(torch.ones(2, 3)), "AxisMap(3 to 2, matrix)"),
    ],
    ids=str,
)
def test_repr_is_short(found, words):
    assert repr(found) == words
