"""What holds for every method of the family that mixes: everything shared, nothing shared, a bias, another order."""

import pytest
import torch
from tests.methods.vocabulary.made import case, seeded, statuses, table_of

from scionwood.methods.vocabulary.cw2v import cw2v
from scionwood.methods.vocabulary.focus import focus
from scionwood.methods.vocabulary.hyperofa import hyperofa
from scionwood.methods.vocabulary.ofa import ofa
from scionwood.methods.vocabulary.speech_tokens import speech_tokens
from scionwood.methods.vocabulary.tokalign import tokalign
from scionwood.methods.vocabulary.wechsel import wechsel

TEXT = [torch.randint(60, (300,), generator=seeded(8))]
WORDS = [list(torch.arange(size).split(1)) for size in (100, 60)]
NETWORK = {"hidden": 8, "epochs": 2}


def speak(table, overlap, source, target, generator):
    tokens = torch.nonzero(overlap < 0).flatten()
    units = tokens.repeat(3)
    return speech_tokens(table, overlap, units, target[units], generator)


METHODS = {
    "wechsel": lambda t, o, s, v, g: wechsel(t, o, s, v, g, copy_overlap=True),
    "focus": lambda t, o, s, v, g: focus(t, o, v, g),
    "ofa": ofa,
    "tokalign": tokalign,
    "cw2v": lambda t, o, s, v, g: cw2v(t, o, [t], "input", TEXT, g, epochs=1),
    "hyperofa": lambda t, o, s, v, g: hyperofa(t, o, *WORDS, s, g, **NETWORK),
    "speech_tokens": speak,
}


@pytest.mark.parametrize("name", [name for name in METHODS if name != "speech_tokens"])
def test_where_everything_is_shared_everything_is_copied(name):
    table, _, source, target = case()
    overlap = torch.randperm(100, generator=seeded(2))[:60]
    rows = METHODS[name](table, overlap, source, target, seeded())
    assert statuses(rows) == {"copied": 60}
    assert torch.equal(table_of(rows, table), table[overlap])


@pytest.mark.parametrize("name", METHODS)
def test_a_bias_has_rows_of_one_number(name):
    table, overlap, source, target = case(dim=1)
    rows = METHODS[name](table, overlap, source, target, seeded())
    made = table_of(rows, table)
    assert made.shape == (60, 1)
    assert bool(made.isfinite().all())
    assert torch.equal(made[:20], table[overlap[:20]])


@pytest.mark.parametrize("name", ["wechsel", "focus", "ofa", "tokalign"])
def test_mixtures_are_shared_by_tables_and_convex(name):
    table, overlap, source, target = case()
    target[-1] = 1
    other = torch.randn(100, 7, generator=seeded(3))
    first, second = (METHODS[name](some, overlap, source, target, seeded()) for some in (table, other))
    assert first.is_convex()
    torch.testing.assert_close(first.apply(other), second.apply(other))


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_rows(name):
    table, overlap, source, target = case()
    first, second = (METHODS[name](table, overlap, source, target, seeded()) for _ in range(2))
    assert torch.equal(table_of(first, table), table_of(second, table))


@pytest.mark.parametrize("name", ["wechsel", "focus", "ofa"])
def test_another_order_of_the_new_tokens_gives_the_rows_in_that_order(name):
    table, overlap, source, target = case()
    order = torch.randperm(60, generator=seeded(4))
    plain = table_of(METHODS[name](table, overlap, source, target, seeded()), table)
    turned = table_of(METHODS[name](table, overlap[order], source, target[order], seeded()), table)
    known = (target[order] != 0).any(1)
    torch.testing.assert_close(turned[known], plain[order][known], atol=1e-5, rtol=1e-5)
