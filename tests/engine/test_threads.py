"""The threads that torch takes are what is asked for, and put back whatever happens."""

import pytest
import torch

from scionwood.engine.threads import use_threads


def test_threads_are_put_back_after_an_error_too():
    before, seen = torch.get_num_threads(), []

    def fail():
        seen.append(torch.get_num_threads())
        raise RuntimeError

    with pytest.raises(RuntimeError), use_threads(before + 1):
        fail()
    assert [*seen, torch.get_num_threads()] == [before + 1, before]
