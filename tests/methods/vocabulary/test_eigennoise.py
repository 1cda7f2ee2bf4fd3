"""EigenNoise: Zipf's co-occurrence, its eigenpairs without the matrix, and the rows made of them."""

import math

import pytest
import torch
from tests.methods.vocabulary.made import seeded, statuses, table_of

from scionwood.errors import MethodError
from scionwood.methods.vocabulary.eigennoise import eigennoise, noise_rows
from scionwood.methods.vocabulary.zipf import FUNCTIONS, expected_cooccurrence, largest_eigenpairs, level

KINDS = sorted(FUNCTIONS)


def test_the_worked_matrix():
    matrix = expected_cooccurrence(4, 1)
    torch.testing.assert_close(
        matrix[0], torch.tensor([3.84, 1.92, 1.28, 0.96], dtype=torch.float64), atol=1e-12, rtol=0
    )
    assert float(matrix[3, 3]) == pytest.approx(0.24)
    assert 2 * 4 / level(4, 1) == pytest.approx(2.083333, abs=1e-6)


@pytest.mark.parametrize(("kind", "rank"), [("raw", 1), ("log", 2), ("log1p", 10), ("log_max", 53)])
def test_numeric_ranks(kind, rank):
    values = torch.linalg.eigvalsh(FUNCTIONS[kind](expected_cooccurrence(500, 5))).abs()
    assert int((values > 1e-6 * values.max()).sum()) == rank
    found, _ = largest_eigenpairs(500, 5, 500, kind)
    assert int((found.abs() > 1e-6 * found.abs().max()).sum()) == rank


def test_the_eigenvalues_of_the_default():
    values, _ = largest_eigenpairs(500, 5, 500, "log_max")
    torch.testing.assert_close(values[:4], torch.tensor([72.606, -35.042, 17.919, -10.219]).double(), atol=5e-4, rtol=0)
    squares = values.square()
    assert float(squares[:8].sum() / squares.sum()) == pytest.approx(0.9988, abs=5e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [4, 5, 37, 500, 1500])
def test_the_short_forms_hold_the_matrix(kind, size):
    matrix = FUNCTIONS[kind](expected_cooccurrence(size, 5))
    values, vectors = largest_eigenpairs(size, 5, 16, kind)
    exact = torch.linalg.eigvalsh(matrix)
    exact = exact[exact.abs().argsort(descending=True)]
    scale = float(exact[0].abs())
    torch.testing.assert_close(values, exact[: len(values)], atol=1e-12 * scale, rtol=0)
    assert len(values) == 16 or float(exact[len(values) :].abs().max(0).values if len(exact) > len(values) else 0) < (
        1e-11 * scale
    )
    torch.testing.assert_close(matrix @ vectors, vectors * values, atol=1e-12 * scale, rtol=0)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(values), dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_entry_of_a_column_is_positive(kind):
    _, vectors = largest_eigenpairs(60, 5, 5, kind)
    assert bool((vectors.amax(0) >= -vectors.amin(0)).all())


def test_fifty_thousand_ranks_take_seconds():
    size = 50_000
    values, vectors = largest_eigenpairs(size, 5, 64, "log_max")
    # The matrix times the columns, in one walk along the ranks: row r reaches as far as floor(c / r).
    ranks, c = torch.arange(1, size + 1).double(), level(size, 5)
    reach = (c / ranks).floor().clamp(max=size).long()
    plain = torch.cat([torch.zeros(1, 64).double(), vectors.cumsum(0)])[reach]
    logged = torch.cat([torch.zeros(1, 64).double(), (ranks.log()[:, None] * vectors).cumsum(0)])[reach]
    product = (math.log(c) - ranks.log())[:, None] * plain - logged
    torch.testing.assert_close(product, vectors * values, atol=1e-9, rtol=0)


def test_log_rank_can_be_read_off_the_rows():
    rows = noise_rows(500, 16, seeded())
    known = torch.cat([rows, torch.ones(500, 1, dtype=torch.float64)], 1)
    wanted = torch.arange(1, 501).double().log()[:, None]
    left = wanted - known @ torch.linalg.lstsq(known, wanted).solution
    assert 1 - float(left.square().sum() / (wanted - wanted.mean()).square().sum()) == pytest.approx(0.9999, abs=1e-4)


def test_row_lengths_fall_along_the_ranks():
    values, vectors = largest_eigenpairs(500, 5, 16, "log_max")
    lengths = (vectors * values.abs().sqrt()).norm(dim=1)
    assert float(lengths[0]) == pytest.approx(5.45, abs=0.01)
    assert float(lengths[-1]) == pytest.approx(0.109, abs=0.001)
    rows = noise_rows(500, 16, seeded())
    torch.testing.assert_close(rows.norm(dim=1) / lengths, (rows[0].norm() / lengths[0]).expand(500))
    assert float(rows.std()) == pytest.approx(1)
    even = noise_rows(500, 16, seeded(), normalise_rows=True).norm(dim=1)
    torch.testing.assert_close(even, even[0].expand(500))


@pytest.mark.parametrize("dim", [16, 53, 128])
def test_rows_of_one_length_have_it_whatever_is_drawn(dim):
    """53 columns are all that 500 ranks have."""
    rows = noise_rows(500, dim, seeded(), normalise_rows=True)
    torch.testing.assert_close(rows.norm(dim=1), rows[0].norm().expand(500))
    assert float(rows.std()) == pytest.approx(1, abs=0.02)


def test_a_row_for_one_rank_and_rows_all_alike_have_a_scale():
    """The first token meets none but itself; and with X itself, rows of one length are all the same number."""
    alone = noise_rows(5, 1, seeded(), window=0.25)
    assert alone.flatten().tolist() == [1, 0, 0, 0, 0]
    assert noise_rows(5, 1, seeded(), nonlinearity="raw", normalise_rows=True).flatten().tolist() == [1] * 5


def test_a_window_in_which_nobody_meets_is_refused():
    table = torch.randn(80, 6, generator=seeded())
    with pytest.raises(
        MethodError, match="Within a window of 1e-09, no two of 5 tokens are expected to meet even once"
    ):
        eigennoise(table, torch.full((5,), -1), seeded(), window=1e-9)


def test_rows_go_to_the_tokens_of_their_ranks_at_the_scale_of_the_table():
    table = torch.randn(80, 6, generator=seeded()) * 0.02
    counts = torch.tensor([3, 50, 3, 0, 9])
    result = eigennoise(table, torch.full((5,), -1), seeded(), counts)
    rows = table_of(result, table)
    by_rank = noise_rows(5, 6, seeded()) * float(table.std())
    for rank, token in enumerate([1, 4, 0, 2, 3]):
        torch.testing.assert_close(rows[token], by_rank[rank].float())
    assert statuses(result) == {"made": 5}
    assert not result.note
    uncounted = eigennoise(table, torch.full((5,), -1), seeded())
    torch.testing.assert_close(table_of(uncounted, table), by_rank.float())
    assert uncounted.note == "ranked by id, as no text was counted"
    assert float(rows.std()) == pytest.approx(float(table.std()), rel=0.5)


def test_what_lies_beyond_the_rank_is_drawn():
    table = torch.randn(80, 300, generator=seeded()) * 0.02
    result = eigennoise(table, torch.full((500,), -1), seeded(), torch.arange(500, 0, -1))
    rows = table_of(result, table)
    assert int((largest_eigenpairs(500, 5, 300, "log_max")[0]).shape[0]) == 53
    assert float(rows[:, 53:].std()) == pytest.approx(0.02, rel=0.02)
    # Window 1/10: only the first ranks are expected to meet anybody once.
    reach = int(level(500, 0.1))
    seldom = eigennoise(table, torch.full((500,), -1), seeded(), torch.arange(500, 0, -1), window=0.1)
    assert statuses(seldom) == {"made": reach, "drawn": 500 - reach}


def test_a_classifier_starts_as_from_random_rows():
    """Two classes of Zipf ids, told apart by frequency: no loss is gained or lost before training."""
    generator = seeded(2)
    ids = torch.multinomial(1 / torch.arange(1, 501).float(), 400 * 20, replacement=True, generator=generator)
    classes = torch.randint(2, (400,), generator=generator)
    table = torch.randn(500, 16, generator=generator) * 0.1
    head = torch.randn(16, 2, generator=generator) * 0.1
    losses = []
    for rows in (table, table_of(eigennoise(table, torch.full((500,), -1), seeded(), torch.arange(500, 0, -1)), table)):
        means = rows[ids.view(400, 20)].mean(1)
        losses.append(float(torch.nn.functional.cross_entropy(means @ head, classes)))
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert losses[1] == pytest.approx(math.log(2), abs=0.05)
