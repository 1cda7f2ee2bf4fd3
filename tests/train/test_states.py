"""Initial states: what each mode hands on, and what the fitted moments are."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.train.states import States


def run(inputs, initial, decay=0.9):
    """Run h = decay h + x along the last axis of (batch, heads, time)."""
    state = initial
    for step in range(inputs.shape[-1]):
        state = decay * state + inputs[..., step]
    return state


def test_nothing_observed_is_the_ordinary_forward():
    inputs = torch.randn(3, 2, 20, generator=torch.Generator().manual_seed(0))
    for mode in ("fitted", "passing", "truncated"):
        start = States(mode).sample({"a": (3, 2)})["a"]
        assert torch.equal(run(inputs, start), run(inputs, torch.zeros(3, 2)))


def test_passing_the_prefix_is_the_concatenation():
    inputs = torch.randn(3, 2, 40, generator=torch.Generator().manual_seed(0))
    states = States("truncated")
    states.observe({"a": run(inputs[..., :25], torch.zeros(3, 2))})
    passed = run(inputs[..., 25:], states.sample({"a": (3, 2)})["a"])
    assert torch.allclose(passed, run(inputs, torch.zeros(3, 2)), atol=1e-6)


def test_fitted_moments_of_a_long_run():
    """h = .9 h + x, T = 10000: 1 / sqrt(1 - .81) = 2.294. The batches merge to the moments of all together."""
    generator = torch.Generator().manual_seed(0)
    states, finals = States("fitted"), []
    for size in (1000, 500, 1):
        # The tail of a run of 10000 steps: what came before has shrunk by .9^400 < 1e-18.
        finals.append(run(torch.randn(size, 2, 400, generator=generator) * torch.tensor([[[1.0], [3.0]]]), 0))
        states.observe({"a": finals[-1]})
    mean, std = states.fitted("a")
    everything = torch.cat(finals).double()
    assert torch.allclose(mean, everything.mean(dim=0))
    assert torch.allclose(std, everything.std(dim=0, correction=0))
    assert std.tolist() == [pytest.approx(2.294, rel=0.05), pytest.approx(3 * 2.294, rel=0.05)]
    drawn = states.sample({"a": (20000, 2)})["a"]
    assert torch.allclose(drawn.std(dim=0).double(), std, rtol=0.03)


def test_passing_shuffles_all_layers_alike_without_gradients():
    states = States("passing")
    final = torch.arange(64.0, requires_grad=True).reshape(64, 1)
    states.observe({"a": final.bfloat16(), "b": final})
    drawn = states.sample({"a": (64, 1), "b": (64, 1)})
    assert drawn["a"].dtype == torch.float32
    assert not drawn["a"].requires_grad
    assert torch.equal(drawn["a"], drawn["b"])
    assert not torch.equal(drawn["b"], final)
    assert torch.equal(drawn["b"].sort(dim=0).values, final)


def test_random_and_its_probability():
    drawn = States("random", std=2.0, probability=0.25).sample({"a": (4000, 3), "b": (4000, 3)})
    zero = drawn["a"].eq(0).all(dim=1)
    assert zero.double().mean().item() == pytest.approx(0.75, abs=0.03)
    assert torch.equal(zero, drawn["b"].eq(0).all(dim=1))
    assert drawn["a"][~zero].std().item() == pytest.approx(2.0, rel=0.05)
    assert torch.equal(drawn["a"], States("random", std=2.0, probability=0.25).sample({"a": (4000, 3)})["a"])


def test_errors():
    with pytest.raises(MethodError) as caught:
        States("past", std=-1, probability=2)
    assert caught.value.problems == (
        "the mode is one of random, fitted, passing, truncated, not 'past'",
        "std is at least 0, not -1",
        "probability is from 0 to 1, not 2",
    )
    states = States("passing")
    states.observe({"a": torch.zeros(2, 3)})
    with pytest.raises(MethodError, match=r"The state of 'a' was \(2, 3\) when observed, not \(4, 3\)"):
        states.sample({"a": (4, 3)})
    with pytest.raises(MethodError, match=r"share one batch, but the shapes have \[2, 4\]"):
        states.sample({"a": (2, 3), "b": (4, 3)})
    fitted = States("fitted")
    with pytest.raises(MethodError, match="No states of 'a' were fitted; fitted are: none"):
        fitted.fitted("a")
    fitted.observe({"a": torch.randn(5, 3)})
    with pytest.raises(MethodError, match="'a' had 3 heads when observed, not 2"):
        fitted.sample({"a": (5, 2)})
