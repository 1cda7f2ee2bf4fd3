"""Random feature amplification: neurons turn towards the clusters; a line cannot tell them apart."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.inspect.amplification import alignment, amplification


def test_alignment_by_hand():
    weight = torch.tensor([[3.0, -4.0], [5.0, 0.0]])
    assert alignment(weight, torch.eye(2)) == pytest.approx(0.9)
    assert alignment(weight, torch.tensor([[0.0, 2.0]])) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_neurons_turn(seed):
    result = amplification(seed=seed)
    assert result.alignment[0] == pytest.approx(0.18, abs=0.03)
    assert result.alignment[1] == pytest.approx(0.70, abs=0.06)
    assert result.accuracy[0] < 0.75
    assert result.accuracy[1] > 0.99
    assert result.train_accuracy == pytest.approx(0.9, abs=0.04)
    assert result.linear_accuracy == pytest.approx(0.5, abs=0.07)


def test_without_training_nothing_changes():
    result = amplification(steps=0)
    assert result.alignment[0] == result.alignment[1]
    assert result.accuracy[0] == result.accuracy[1]


def test_errors():
    with pytest.raises(MethodError, match="at least two dimensions, not 1"):
        amplification(dimensions=1)
    with pytest.raises(MethodError, match=r"rows of one length, not \(2, 3\) and \(2, 2\)"):
        alignment(torch.ones(2, 3), torch.eye(2))
