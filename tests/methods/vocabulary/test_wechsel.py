"""WECHSEL: neighbours across languages."""

import pytest
import torch
from tests.methods.vocabulary.made import case, seeded, statuses, table_of

from scionwood.errors import MethodError
from scionwood.methods.vocabulary.wechsel import wechsel


def test_the_worked_row():
    table = torch.tensor([[1.0, 0], [0, 1], [1, 1], [50, 50]])
    cosines = torch.tensor([0.9, 0.8, 0.5, -1.0])
    source = torch.stack([cosines, (1 - cosines**2).sqrt()], 1)
    rows = wechsel(table, torch.tensor([-1]), source, torch.tensor([[3.0, 0.0]]), seeded(), neighbours=3)
    torch.testing.assert_close(table_of(rows, table)[0], torch.tensor([0.734612, 0.278601]), atol=1e-5, rtol=0)


def test_equal_tokenizers_find_themselves():
    table, _, source, _ = case(dim=40)
    overlap = torch.arange(100)
    rows = wechsel(table, overlap, source, source, seeded(), neighbours=1)
    assert torch.equal(table_of(rows, table), table)
    near = table_of(wechsel(table, overlap, source, source, seeded(), temperature=0.01), table)
    assert float((near - table).abs().max()) < 1e-3


def test_the_dictionary_turns_the_source():
    table, overlap, source, _ = case()
    turn = torch.linalg.qr(torch.randn(12, 12, generator=seeded(4))).Q
    words = torch.randn(200, 12, generator=seeded(5))
    overlap = torch.full((100,), -1)
    aligned = wechsel(table, overlap, source, source @ turn, seeded(), None, (words, words @ turn), neighbours=1)
    assert torch.equal(table_of(aligned, table), table)
    crooked = wechsel(table, overlap, source, source @ turn, seeded(), neighbours=1)
    assert not torch.equal(table_of(crooked, table), table)


def test_only_special_tokens_are_copied():
    table, overlap, source, target = case()
    special = torch.zeros(60, dtype=torch.bool)
    special[:3] = True
    assert statuses(wechsel(table, overlap, source, target, seeded(), special)) == {
        "copied": 3,
        "mixed": 56,
        "drawn": 1,
    }
    rows = wechsel(table, overlap, source, target, seeded(), copy_overlap=True)
    assert statuses(rows) == {"copied": 20, "mixed": 39, "drawn": 1}
    assert torch.equal(table_of(rows, table)[:20], table[overlap[:20]])


def test_source_tokens_without_a_vector_are_no_neighbours():
    table, overlap, source, target = case()
    source[:95] = 0
    rows = wechsel(table, overlap, source, target, seeded(), neighbours=1)
    found = table_of(rows, table)[:-1]
    assert bool((found[:, None] == table[None, 95:]).all(-1).any(1).all())


def test_what_cannot_be_is_told():
    table, overlap, source, target = case()
    with pytest.raises(MethodError, match="The source's vectors have 12 dimensions, the target's 5"):
        wechsel(table, overlap, source, target[:, :5], seeded())
    with pytest.raises(
        MethodError, match="The source's vectors have 12 dimensions, the target's 5"
    ):  # before R is made
        wechsel(table, overlap, source, target[:, :5], seeded(), None, (source, source[:, :5]))
    with pytest.raises(MethodError, match="No source token has a vector"):
        wechsel(table, overlap, source * 0, target, seeded())
    crooked = [
        ((source, source[1:]), "100 of the source's have 99 of the target's"),
        (
            (source[:, 0], source[:, :5]),
            r"(?s)source's are of the shape \(100,\).*target's are of the shape \(100, 5\)",
        ),
        ((source, source / 0), "the target's are not all finite"),
        ((source[:0], source[:0]), r"are of the shape \(0, 12\), and not \(pairs, 12\)"),
    ]
    for pairs, message in crooked:
        with pytest.raises(MethodError, match=message):
            wechsel(table, overlap, source, target, seeded(), None, pairs)
