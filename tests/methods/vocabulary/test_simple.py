"""The initialisers that need no training: worked numbers, what convex rows cannot do, and what random ones do."""

import math

import pytest
import torch
from tests.methods.vocabulary.made import seeded

from scionwood.methods.vocabulary.mean import mean
from scionwood.methods.vocabulary.mean_subword import mean_subword
from scionwood.methods.vocabulary.multivariate import multivariate
from scionwood.methods.vocabulary.overlap_copy import overlap_copy
from scionwood.methods.vocabulary.random import random
from scionwood.methods.vocabulary.rows import STATUSES, drawn_rows
from scionwood.methods.vocabulary.univariate import univariate

TABLE = torch.randn(1000, 16, generator=seeded(1)) / 2
NEW = torch.full((400,), -1)
DRAWN_AT_RANDOM = (overlap_copy, univariate, multivariate, random)


def pieces(*lists):
    return [torch.tensor(each, dtype=torch.long) for each in lists]


def test_a_token_that_was_one_token_has_its_row_and_one_of_several_their_mean():
    made = mean_subword(TABLE, torch.tensor([-1, -1, 5]), pieces([7], [7, 7, 9], [1, 2]), "input", seeded())
    rows = made.apply(TABLE)
    assert torch.equal(rows[0], TABLE[7])
    assert torch.allclose(rows[1], (2 * TABLE[7] + TABLE[9]) / 3)
    assert torch.equal(rows[2], TABLE[5])
    assert torch.allclose(made.weights.sum(1), torch.ones(3))


def test_two_texts_of_the_same_pieces_in_another_order_have_one_row():
    rows = mean_subword(TABLE, torch.tensor([-1, -1]), pieces([3, 8], [8, 3]), "input", seeded()).apply(TABLE)
    assert torch.allclose(rows[0], rows[1])


@pytest.mark.parametrize(("role", "expected"), [("input", [3, 8]), ("output", [3]), ("bias", [3])])
def test_a_head_may_take_the_first_piece(role, expected):
    rows = mean_subword(TABLE, torch.tensor([-1]), pieces([3, 8]), role, seeded(), head="first").apply(TABLE)
    assert torch.allclose(rows[0], TABLE[expected].mean(0))


def test_a_token_without_pieces_is_drawn_about_the_mean():
    made = mean_subword(TABLE, NEW, [torch.empty(0, dtype=torch.long)] * 400, "input", seeded())
    assert made.counts["drawn"] == 400
    assert torch.equal(made.apply(TABLE), drawn_rows(TABLE, 400, seeded()))


def test_no_hidden_state_gives_a_convex_row_the_largest_logit():
    overlap = torch.tensor([-1, -1, -1, 4])
    states = torch.randn(10_000, 16, generator=seeded(2))
    old = (states @ TABLE.T).amax(1)
    several = pieces([1, 2, 3], [400], [5, 5, 5, 900], [7])
    for made in (mean(TABLE, overlap), mean_subword(TABLE, overlap, several, "input", seeded())):
        assert bool(((states @ made.apply(TABLE).T).amax(1) <= old + 1e-4).all())
    outside = random(TABLE, overlap, seeded(), std=3.0).apply(TABLE)
    assert bool(((states @ outside.T).amax(1) > old).any())


def test_a_mean_row_takes_less_than_an_average_token_and_wide_random_ones_take_much():
    """A thousand rows of deviation 0.5 in 16 dimensions, hidden states of deviation 1: a fair share would be 1e-3."""
    table = torch.randn(1000, 16, generator=seeded(0)).double() / 2
    states = torch.randn(2000, 16, generator=seeded(1)).double()
    old = torch.logsumexp(states @ table.T, 1)

    def share(row):
        logit = states @ row.double()
        return torch.sigmoid(logit - old)

    middle = share(mean(table.float(), torch.tensor([-1])).apply(table.float())[0])
    assert float(middle.max()) < 1 / 1001
    # What is left for the old tokens is 1 - p of what they had: KL(old || new) = -log(1 - p).
    p = float(middle.mean())
    assert p == pytest.approx(1.9e-4, rel=0.2)
    assert -math.log1p(-p) == pytest.approx(p, rel=1e-3)
    wide = random(table.float(), NEW, seeded(), std=3.0).apply(table.float())
    shares = torch.stack([share(row) for row in wide[:100]])
    assert float(shares.mean()) > 0.1


def test_the_published_scale_leaves_draws_within_two_hundredths_of_the_mean():
    rows = multivariate(TABLE, NEW, seeded()).apply(TABLE)
    apart = (rows - TABLE.mean(0)).abs().max()
    assert 0 < float(apart) < 0.02


def test_multivariate_draws_have_the_covariance_of_the_table():
    mixed = TABLE @ torch.randn(16, 16, generator=seeded(3))
    rows = multivariate(mixed, torch.full((40_000,), -1), seeded(), scale=1.0).apply(mixed)
    want, have = torch.cov(mixed.T, correction=0), torch.cov(rows.T)
    assert float((want - have).norm() / want.norm()) < 0.03
    assert torch.allclose(rows.mean(0), mixed.mean(0), atol=0.1)


def test_univariate_draws_have_each_dimension_s_deviation_and_no_covariance():
    wide = TABLE * torch.linspace(0.1, 4, 16) + 3
    wide[:, 1] = wide[:, 0]
    rows = univariate(wide, torch.full((20_000,), -1), seeded(), scale=2.0).apply(wide)
    assert torch.allclose(rows.std(0), 2 * wide.std(0), rtol=0.03)
    assert torch.allclose(rows.mean(0), wide.mean(0), atol=0.25)
    assert abs(float(torch.corrcoef(rows[:, :2].T)[0, 1])) < 0.03


def test_overlap_copy_is_univariate_at_a_scale_of_one():
    overlap = torch.tensor([3, -1, 0, -1, -1])
    copied, drawn = overlap_copy(TABLE, overlap, seeded()), univariate(TABLE, overlap, seeded(), scale=1.0)
    assert torch.equal(copied.apply(TABLE), drawn.apply(TABLE))
    assert torch.equal(copied.status, drawn.status)
    assert not torch.equal(drawn.apply(TABLE), univariate(TABLE, overlap, seeded(), scale=0.5).apply(TABLE))


def test_random_draws_are_about_zero_whatever_the_table():
    rows = random(TABLE + 100, NEW, seeded(), std=0.5).apply(TABLE)
    assert abs(float(rows.mean())) < 0.02
    assert float(rows.std()) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("function", DRAWN_AT_RANDOM)
def test_what_is_shared_is_copied_and_the_rest_counted_as_drawn(function):
    overlap = torch.tensor([3, -1, 0, -1, -1])
    made = function(TABLE, overlap, seeded())
    assert torch.equal(made.apply(TABLE)[[0, 2]], TABLE[[3, 0]])
    assert [made.counts[status] for status in STATUSES] == [2, 0, 0, 3]
    assert not torch.equal(made.apply(TABLE)[1], function(TABLE, overlap, seeded(1)).apply(TABLE)[1])


@pytest.mark.parametrize("function", [*DRAWN_AT_RANDOM, mean])
def test_where_everything_is_shared_nothing_else_is_done(function):
    overlap = torch.randperm(1000, generator=seeded())
    arguments = (TABLE, overlap) if function is mean else (TABLE, overlap, seeded())
    assert torch.equal(function(*arguments).apply(TABLE), TABLE[overlap])


def test_parts_of_rows_are_the_rows_of_the_parts():
    overlap = torch.tensor([3, -1, 0, -1, -1, 8])
    for made in (mean(TABLE, overlap), random(TABLE, overlap, seeded()), overlap_copy(TABLE, overlap, seeded())):
        whole = made.apply(TABLE)
        parts = [made.part(start, min(start + 2, 6)).apply(TABLE) for start in range(0, 6, 2)]
        assert torch.equal(torch.cat(parts), whole)
