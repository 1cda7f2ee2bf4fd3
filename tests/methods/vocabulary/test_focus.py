"""FOCUS: sparse mixtures of shared tokens."""

import pytest
import torch
from tests.methods.vocabulary.made import case, seeded, statuses, table_of

from scionwood.errors import MethodError
from scionwood.methods.vocabulary.focus import focus
from scionwood.methods.vocabulary.neighbours import sparsemax


def test_rows_are_what_sparsemax_makes_of_the_cosines():
    table, overlap, _, target = case()
    rows = table_of(focus(table, overlap, target, seeded()), table)
    cosines = torch.nn.functional.cosine_similarity(target[20:59, None], target[None, :20], dim=-1)
    torch.testing.assert_close(rows[20:59], sparsemax(cosines) @ table[overlap[:20]], atol=1e-5, rtol=0)
    assert torch.equal(rows[:20], table[overlap[:20]])


def test_the_worked_weights():
    cosines = torch.tensor([0.9, 0.8, 0.5, -0.3])
    target = torch.cat([torch.stack([cosines, (1 - cosines**2).sqrt()], 1), torch.tensor([[2.0, 0.0]])])
    table = torch.eye(4)
    rows = table_of(focus(table, torch.tensor([0, 1, 2, 3, -1]), target, seeded()), table)
    torch.testing.assert_close(rows[4], torch.tensor([0.5, 0.4, 0.1, 0.0]), atol=1e-6, rtol=0)


def test_only_anchors_are_mixed_but_all_that_is_shared_is_copied():
    table, overlap, _, target = case()
    anchors = torch.zeros(60, dtype=torch.bool)
    anchors[4] = True
    rows = focus(table, overlap, target, seeded(), anchors)
    found = table_of(rows, table)
    torch.testing.assert_close(found[20:59], table[overlap[4]].expand(39, -1))
    assert statuses(rows) == {"copied": 20, "mixed": 39, "drawn": 1}


def test_blocks_make_no_difference(monkeypatch):
    table, overlap, _, target = case()
    whole = table_of(focus(table, overlap, target, seeded()), table)
    monkeypatch.setitem(focus.__globals__, "BLOCK", 60)
    torch.testing.assert_close(table_of(focus(table, overlap, target, seeded()), table), whole)


def test_without_anchors_there_is_nothing_to_mix():
    table, overlap, _, target = case()
    with pytest.raises(MethodError, match="FOCUS has nothing to mix from"):
        focus(table, torch.full_like(overlap, -1), target, seeded())
