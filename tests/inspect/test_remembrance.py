"""Effective remembrance: distances by hand, and two extremes."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from scionwood.errors import MethodError
from scionwood.inspect.remembrance import effective_remembrance, total_variation


def test_distances():
    a, b = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.7])
    assert float(total_variation(a, b)) == pytest.approx(0.6)
    assert float(total_variation(a, a)) == 0
    assert float(total_variation(torch.eye(2)[0], torch.eye(2)[1])) == 1


def test_curve_of_a_decaying_and_of_an_eternal_memory():
    tokens = torch.randint(5, (4, 30), generator=torch.Generator().manual_seed(0))

    def memory(decay):
        def predict(sequence):
            state = torch.zeros(len(sequence), 5)
            for token in sequence.T:
                state = decay * state + F.one_hot(token, 5)
            return state

        return predict

    forgets = dict(effective_remembrance(memory(0.5), tokens, range(30)))
    keeps = dict(effective_remembrance(memory(1.0), tokens, range(30)))
    assert forgets[0] == keeps[0] == 0
    assert forgets[10] < 1e-5
    assert keeps[10] > 0.05
    assert forgets[29] > forgets[20]


def test_a_start_outside():
    with pytest.raises(MethodError, match=r"from 0 to 2 in a sequence of 3 tokens, not at \[3, -1\]"):
        effective_remembrance(lambda x: x.float(), torch.zeros(1, 3), [0, 3, -1])
