"""Counting finds what sorting finds, exactly."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scionwood.engine.counting import Counter
from scionwood.methods.summary import kth_largest


def counted(numbers, k, pieces):
    counter = Counter(k)
    for _ in Counter.rounds:
        for piece in numbers.tensor_split(pieces):
            counter.count(piece)
        counter.close()
    return counter.value


@settings(max_examples=200)
@given(
    st.lists(st.floats(0, 2.0**99, width=32), min_size=1, max_size=300),
    st.integers(-1, 310),
    st.integers(1, 5),
)
def test_the_kth_largest(values, k, pieces):
    numbers = torch.tensor(values, dtype=torch.float32)
    assert torch.equal(counted(numbers, k, pieces), kth_largest(numbers, k))


def test_ties_and_tiny_differences():
    numbers = torch.tensor([1.0, 1.0, 1.0, 1.0 + 2**-23, 0.0, 0.0])
    assert [float(counted(numbers, k, 2)) for k in range(1, 7)] == [1.0 + 2**-23, 1.0, 1.0, 1.0, 0.0, 0.0]


def test_large_random_tensors():
    numbers = torch.randn(200_003, generator=torch.Generator().manual_seed(0)).abs()
    for k in (1, 17, 100_000, 200_002):
        assert torch.equal(counted(numbers, k, 7), numbers.sort(descending=True).values[k - 1])
