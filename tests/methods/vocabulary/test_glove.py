"""GloVe: what is counted, what is minimised, and that tokens of one topic come to lie together."""

import collections
import math

import pytest
import torch

from scionwood.methods.vocabulary.glove import _cut, _descend, cooccurrence, glove
from scionwood.methods.vocabulary.neighbours import nearest_rows


def topics(documents=600, seed=0):
    """Documents of 30 tokens out of one of 20 topics of ten tokens, three in ten of them from anywhere."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda high, *shape: torch.randint(high, shape, generator=generator)  # noqa: E731
    own = draw(20, documents, 1) * 10 + draw(10, documents, 30)
    return list(torch.where(torch.rand(own.shape, generator=generator) < 0.3, draw(200, documents, 30), own))


@pytest.mark.parametrize("window", [1, 4, 50])
def test_every_pair_within_the_window_is_counted(window):
    text = [part[:9] for part in topics(40)]
    expected = collections.Counter()
    for part in text:
        for i, first in enumerate(part.tolist()):
            for j, second in enumerate(part.tolist()):
                if i != j and abs(i - j) <= window:
                    expected[first, second] += 1 / abs(i - j)
    pairs = cooccurrence(text, 200, window=window)
    found = dict(zip(zip(pairs.rows.tolist(), pairs.columns.tolist()), pairs.weights.tolist()))
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[key], expected[key], rel_tol=1e-6) for key in found)


def test_long_texts_are_counted_in_parts(monkeypatch):
    whole = cooccurrence(topics(100), 200)
    monkeypatch.setattr("scionwood.methods.vocabulary.glove.CHUNK", 100)
    for part, same in zip(cooccurrence(topics(100), 200), whole):
        torch.testing.assert_close(part, same)


def test_a_step_goes_down_the_gradient():
    pairs = cooccurrence(topics(30), 200)
    generator = torch.Generator().manual_seed(0)
    (step,) = _cut(pairs, 1, 200, 10.0, generator)
    tables = (torch.randn(2, 200, 6, generator=generator) * 0.3).requires_grad_()
    words, contexts = tables
    errors = (words[pairs.rows, :5] * contexts[pairs.columns, :5]).sum(1)
    errors = errors + words[pairs.rows, 5] + contexts[pairs.columns, 5] - pairs.weights.log()
    loss = ((pairs.weights / 10).pow(0.75).clamp(max=1) * errors.square()).sum() / 2
    (gradient,) = torch.autograd.grad(loss, tables)
    moved, squares = tables.detach().clone(), torch.ones_like(tables)
    _descend(moved, squares, step, 0.05)
    torch.testing.assert_close(squares, 1 + gradient.square(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(tables - moved, 0.05 * gradient / squares.sqrt(), rtol=1e-3, atol=1e-5)


def test_tokens_of_a_topic_lie_together():
    vectors = glove(topics(), 200, torch.Generator().manual_seed(1), dim=20)
    nearest = nearest_rows(vectors, vectors, 2)[1][:, 1]
    assert (nearest // 10 == torch.arange(200) // 10).float().mean() > 0.95


def test_the_same_seed_gives_the_same_vectors():
    first, second, other = (glove(topics(50), 200, torch.Generator().manual_seed(s), dim=8) for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_what_is_seldom_gets_no_vector():
    text = [torch.tensor([0, 1, 2] * 5), torch.tensor([3, 0, 1, 2])]
    vectors = glove(text, 5, torch.Generator().manual_seed(0), dim=4)
    assert (vectors != 0).any(1).tolist() == [True, True, True, False, False]
    assert not glove([], 5, torch.Generator(), dim=4).any()
    assert not glove([torch.tensor([1])], 5, torch.Generator(), dim=4, min_count=1).any()
