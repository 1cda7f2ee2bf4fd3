"""CW2V: mixtures of old tokens learned from a text."""

import math

import pytest
import torch
from tests.methods.vocabulary.made import seeded, statuses, table_of
from torch.nn.functional import logsigmoid

from scionwood.errors import MethodError
from scionwood.methods.vocabulary.cw2v import cw2v, learn_mixtures, mix, skip_grams

OLD = 30


def corpus(seed):
    """A chain over the old tokens, in which half of what was token 7 is called 30."""
    generator = seeded(seed)
    likely = torch.rand(OLD, OLD, generator=generator).pow(6) + 1e-3
    at = torch.randint(OLD, (400,), generator=generator)
    steps = [at]
    for _ in range(39):
        at = torch.multinomial(likely[at], 1, generator=generator).flatten()
        steps.append(at)
    old = torch.stack(steps, 1)
    renamed = (old == 7) & (torch.rand(old.shape, generator=generator) < 0.5)
    return list(old), list(torch.where(renamed, OLD, old)), generator


def tables(old, generator):
    """An embedding and a head that have learned the old text, by the expected loss of skip-grams."""
    centres, contexts = skip_grams(old, OLD, generator, window=1, threshold=None)
    near = torch.zeros(OLD, OLD).index_put_((centres, contexts), torch.ones(len(centres)), accumulate=True)
    near /= near.sum()
    chance = near.sum(1, keepdim=True) * near.sum(0)
    both = (torch.randn(2, OLD, 16, generator=generator) * 0.3).requires_grad_()
    optimizer = torch.optim.Adam([both], lr=0.02)
    for _ in range(300):
        products = both[0] @ both[1].T
        loss = -(near * logsigmoid(products) + 5 * chance * logsigmoid(-products)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return list(both.detach())


OVERLAP = torch.cat([torch.arange(OLD), torch.tensor([-1])])
FAST = {"window": 1, "threshold": None, "epochs": 5, "learning_rate": 0.05, "batch": 512}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_new_token_is_found_to_be_what_it_stands_for(seed):
    old, new, generator = corpus(seed)
    learned = learn_mixtures(tables(old, generator), OVERLAP, new, seeded(), **FAST)
    for factors in learned.factors:
        weights = mix(factors, torch.eye(OLD), torch.tensor([0]))[0]
        assert int(weights.argmax()) == 7
        assert float(weights[7]) > 0.5


def test_factors_learn_it_too():
    old, new, generator = corpus(0)
    # Three new names, so that an inner size of 2 is a restriction.
    new = [torch.where(part == OLD, OLD + index % 3, part) for index, part in enumerate(new)]
    overlap = torch.cat([OVERLAP, torch.tensor([-1, -1])])
    learned = learn_mixtures(tables(old, generator), overlap, new, seeded(), inner=2, **FAST | {"epochs": 15})
    assert [factor.shape for factor in learned.factors[0]] == [(3, 2), (2, OLD)]
    assert mix(learned.factors[0], torch.eye(OLD), torch.arange(3)).argmax(1).tolist() == [7, 7, 7]


def test_a_single_table_is_learned_for_both():
    old, new, generator = corpus(0)
    table = tables(old, generator)[0]
    (only,) = learn_mixtures([table], OVERLAP, new, seeded(), **FAST | {"epochs": 1}).factors
    assert only[0].shape == (1, OLD)
    assert bool((only[0] != 0).any())


def test_before_it_learns_a_row_is_the_mean():
    table = torch.randn(40, 5, generator=seeded())
    overlap = torch.tensor([3, -1, 0, -1])
    text = [torch.tensor([0, 1, 2, 3])]
    result = cw2v(table, overlap, [table], "input", text, seeded(), epochs=0)
    rows = table_of(result, table)
    torch.testing.assert_close(rows[1], table.mean(0), atol=1e-7, rtol=0)
    assert torch.equal(rows[[0, 2]], table[[3, 0]])
    assert statuses(result) == {"copied": 2, "mixed": 2}


def test_new_logits_never_pass_the_largest_old_one():
    old, new, generator = corpus(0)
    embedding, head = tables(old, generator)
    rows = cw2v(head, OVERLAP, [embedding, head], "output", new, seeded(), **FAST)
    hidden = torch.randn(10_000, 16, generator=seeded(9))
    logits = hidden @ table_of(rows, head).T
    assert bool((logits[:, OLD] <= logits[:, :OLD].amax(1)).all())


def test_one_mean_row_takes_less_than_its_share():
    """V = 1000, d = 16, rows of standard deviation 1/2, hidden states from N(0, 1): 1.7e-4 of the probability.

    That is what the old rows lose, and less than a token's share. Rows of standard deviation 3 take 0.2 of it.
    """
    generator = seeded(0)
    head = torch.randn(1000, 16, dtype=torch.float64, generator=generator) * 0.5
    hidden = torch.randn(5000, 16, dtype=torch.float64, generator=generator)
    logits = hidden @ torch.cat([head, head.mean(0, keepdim=True)]).T
    taken = torch.softmax(logits, 1)[:, -1]
    old = torch.softmax(logits[:, :-1], 1)
    divergence = (old * (old.log() - torch.log_softmax(logits, 1)[:, :-1])).sum(1)
    torch.testing.assert_close(divergence, -torch.log1p(-taken))
    assert float(taken.mean()) == pytest.approx(1.7e-4, abs=2e-5)
    wild = hidden @ torch.cat([head, 3 * torch.randn(1, 16, dtype=torch.float64, generator=generator)]).T
    assert 0.1 < float(torch.softmax(wild, 1)[:, -1].mean()) < 0.4


def test_input_and_head_have_mixtures_of_their_own_and_a_bias_follows_the_head():
    old, new, generator = corpus(0)
    embedding, head = tables(old, generator)
    options = FAST | {"epochs": 1}
    make = lambda table, role: table_of(cw2v(table, OVERLAP, [embedding, head], role, new, seeded(), **options), table)  # noqa: E731
    eye = torch.eye(OLD)
    assert not torch.equal(make(eye, "input")[OLD], make(eye, "output")[OLD])
    assert torch.equal(make(eye, "output")[OLD], make(eye, "bias")[OLD])
    with pytest.raises(MethodError, match="A table is input, output or bias, not 'head'"):
        make(eye, "head")


def test_it_stops_after_so_many_steps_and_says_so():
    old, new, generator = corpus(0)
    both = tables(old, generator)
    make = lambda **more: learn_mixtures(both, OVERLAP, new, seeded(), **FAST | {"epochs": 2} | more)  # noqa: E731
    whole, all_of_them, some, none = make(), make(steps=10**6), make(steps=3), make(steps=0)
    assert whole.taken == whole.steps == all_of_them.taken > 3
    assert torch.equal(whole.factors[0][0], all_of_them.factors[0][0])
    assert (some.taken, some.steps) == (3, whole.steps)
    assert 0 < float(some.factors[0][0].abs().max()) < float(whole.factors[0][0].abs().max())
    assert not bool(none.factors[0][0].any())
    rows = cw2v(both[0], OVERLAP, both, "input", new, seeded(), **FAST, steps=3)
    assert rows.note.startswith("learned 3 of ")
    assert rows.part(0, 3).note == rows.note


def test_what_was_learned_for_one_table_serves_the_next():
    old, new, generator = corpus(0)
    both = tables(old, generator)
    make = lambda role, kept: cw2v(both[1], OVERLAP, both, role, new, seeded(), kept, **FAST).apply(both[1])  # noqa: E731
    kept = {}
    make("input", kept)
    (learned,) = kept.values()
    assert torch.equal(make("output", kept), make("output", None))
    assert kept["mixtures"] is learned


def test_the_published_sum_is_another_loss():
    old, new, generator = corpus(0)
    both = tables(old, generator)
    apart, together = (
        learn_mixtures(both, OVERLAP, new, seeded(), negatives=kind, **FAST | {"epochs": 1})
        for kind in ("apart", "together")
    )
    assert not torch.equal(apart.factors[0][0], together.factors[0][0])


def test_pairs_stay_within_documents_and_windows():
    text = [torch.tensor([0, 1, 2]), torch.tensor([3, 4])]
    centres, contexts = skip_grams(text, 5, seeded(), window=2, threshold=None)
    assert sorted(zip(centres.tolist(), contexts.tolist())) == [
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 2),
        (2, 0),
        (2, 1),
        (3, 4),
        (4, 3),
    ]
    assert [len(part) for part in skip_grams([], 5, seeded(), window=2, threshold=None)] == [0, 0]


def test_frequent_centres_are_thinned_out():
    text = [torch.tensor([0] * 999 + [1])]
    centres, _ = skip_grams(text, 2, seeded(), window=1, threshold=3.0)
    assert len(centres) / 1998 == pytest.approx(math.sqrt(3 / 999), rel=0.4)
