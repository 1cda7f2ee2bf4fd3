"""OFA: factors, and mixtures in their coordinates."""

import numpy
import pytest
import torch
from tests.methods.vocabulary.made import case, seeded, statuses, table_of

from scionwood.methods.vocabulary.ofa import factors, mean_of_words, ofa


def test_all_dimensions_give_the_table_back():
    table = torch.randn(50, 8, dtype=torch.float64, generator=seeded())
    coordinates, primitives = factors(table, 8)
    torch.testing.assert_close(coordinates @ primitives, table, atol=1e-10, rtol=0)


def test_fewer_leave_out_what_their_singular_values_say():
    table = torch.from_numpy(numpy.random.default_rng(0).standard_normal((50, 8)))
    coordinates, primitives = factors(table, 3)
    error = float((coordinates @ primitives - table).square().sum())
    assert error == pytest.approx(176.288, abs=5e-4)
    assert error == pytest.approx(float(torch.linalg.svdvals(table)[3:].square().sum()))
    torch.testing.assert_close(coordinates.T @ coordinates, torch.eye(3, dtype=torch.float64))


def test_tables_of_small_rank_have_factors():
    table = torch.randn(20, 2, generator=seeded()) @ torch.randn(2, 6, generator=seeded(1))
    coordinates, primitives = factors(table, 4)
    torch.testing.assert_close(coordinates @ primitives, table, atol=1e-5, rtol=0)


def test_mixtures_of_the_ten_nearest():
    table, overlap, source, target = case()
    rows = table_of(ofa(table, overlap, source, target, seeded()), table)
    cosines = torch.nn.functional.cosine_similarity(target[20:59, None], source[None], dim=-1)
    top = cosines.topk(10, dim=1)
    expected = torch.einsum("tk,tkd->td", torch.softmax(top.values / 0.1, 1), table[top.indices])
    torch.testing.assert_close(rows[20:59], expected, atol=1e-5, rtol=0)
    assert torch.equal(rows[:20], table[overlap[:20]])


def test_primitives_mix_the_nearest_table_of_their_rank():
    table, overlap, source, target = case()
    result = ofa(table, overlap, source, target, seeded(), rank=4)
    rows = table_of(result, table)
    coordinates, primitives = factors(table, 4)
    small = coordinates @ primitives
    whole = ofa(small, overlap, source, target, seeded())
    torch.testing.assert_close(rows[:59], table_of(whole, small)[:59], atol=1e-5, rtol=0)
    assert statuses(result) == {"made": 59, "drawn": 1}
    # What is drawn lies in the space of the primitives too.
    assert int(torch.linalg.matrix_rank(rows, atol=1e-4)) == 4


def test_what_is_drawn_has_the_spread_of_the_coordinates():
    table = torch.randn(400, 12, generator=seeded()) * torch.linspace(0.1, 2, 12)
    vectors = torch.randn(400, 3, generator=seeded(1))
    rows = table_of(ofa(table, torch.full((4000,), -1), vectors, torch.zeros(4000, 3), seeded(2), rank=5), table)
    coordinates, primitives = factors(table, 5)
    spread = torch.diag(coordinates.var(0)).sqrt() @ primitives
    torch.testing.assert_close(rows.T.cov(), spread.T @ spread, atol=0.25, rtol=0.05)


def test_means_of_words():
    words = [torch.tensor([0, 1]), torch.tensor([], dtype=torch.long), torch.tensor([2])]
    vectors = torch.tensor([[2.0, 0], [0, 4], [1, 1]])
    assert mean_of_words(words, vectors).tolist() == [[1, 2], [0, 0], [1, 1]]
    often = mean_of_words(words, vectors, torch.tensor([3, 1, 5]))
    assert often.tolist() == [[1.5, 1], [0, 0], [1, 1]]
