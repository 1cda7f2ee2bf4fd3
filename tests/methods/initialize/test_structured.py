"""Std and learning rates of factors, from the published table."""

import pytest

from scionwood.errors import MethodError
from scionwood.methods.initialize.structured import factor_std, factors


@pytest.mark.parametrize(
    ("blocks", "stds", "rates"),
    [
        ([(1024, 1024)], [0.03125], [1]),
        ([(1024, 32), (32, 1024)], [0.00552427, 0.1767767], [0.5, 16]),
        ([(32, 32), (32, 32)], [0.1767767, 0.1767767], [16, 16]),
        ([(32, 128), (128, 32)], [0.1767767, 0.0441942], [16, 4]),
        ([(256, 256), (256, 256)], [0.0625, 0.0625], [2, 2]),
    ],
)
def test_worked_numbers(blocks, stds, rates):
    found = factors(1024, blocks)
    assert [factor.std for factor in found] == pytest.approx(stds, abs=1e-7)
    assert [factor.rate for factor in found] == rates


def test_a_narrowing_layer_is_smaller_than_by_its_inputs():
    assert factor_std(4096, 1024) == 0.0078125
    with pytest.raises(MethodError, match="at least one factor"):
        factors(8, [])
