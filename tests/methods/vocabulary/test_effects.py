"""What the methods are for, in miniature: a model of 120 tokens is given another vocabulary, of which it knows 70 %.

The language has twelve classes of ten words, the model is one of bigrams with an embedding and a head of 16 dimensions,
and the new vocabulary is the old one under other ids. Cross entropy before any training, for three drawn languages:

    the source itself        3.50   3.68   3.55      what no method can beat
    tokalign                 3.50   3.68   3.55      every token is found
    tokalign, dot            3.72   4.28   4.39      the paper's similarity
    wechsel, ofa             3.54   3.72   3.67      (wechsel with copies)
    hyperofa                 3.91   4.28   4.14      84 tokens are few to learn from
    focus                    4.15   4.36   4.50      sees the new text alone
    cw2v                     4.69   4.64   4.76      does no better than the mean here: tables of bigrams are not word2vec's
    the mean of all rows     4.72   4.63   4.85
    drawn                    6.92   6.70   7.04
"""

import pytest
import torch
from tests.methods.vocabulary.made import seeded

from scionwood.methods.vocabulary.cw2v import cw2v
from scionwood.methods.vocabulary.focus import focus
from scionwood.methods.vocabulary.glove import glove
from scionwood.methods.vocabulary.hyperofa import hyperofa
from scionwood.methods.vocabulary.neighbours import rotation
from scionwood.methods.vocabulary.ofa import ofa
from scionwood.methods.vocabulary.rows import drawn_rows
from scionwood.methods.vocabulary.tokalign import tokalign
from scionwood.methods.vocabulary.wechsel import wechsel

SIZE = 120


def language(generator):
    classes = torch.arange(SIZE) // 10
    likely = (torch.rand(12, 12, generator=generator).pow(6) + 1e-3)[classes][:, classes]
    likely = likely * torch.rand(SIZE, SIZE, generator=generator)
    at, steps = torch.randint(SIZE, (400,), generator=generator), []
    for _ in range(60):
        at = torch.multinomial(likely[at], 1, generator=generator).flatten()
        steps.append(at)
    return torch.stack(steps, 1)


def bigrams(text):
    counts = torch.zeros(SIZE, SIZE)
    pairs = text[:, :-1].flatten(), text[:, 1:].flatten()
    counts.index_put_(pairs, torch.ones(len(pairs[0])), accumulate=True)
    return counts / counts.sum()


def cross_entropy(counts, embedding, head):
    return -(counts * torch.log_softmax(embedding @ head.T, 1)).sum()


@pytest.fixture(scope="module")
def losses():
    generator = seeded(0)
    text = language(generator)
    both = (torch.randn(2, SIZE, 16, generator=generator) * 0.3).requires_grad_()
    optimizer = torch.optim.Adam([both], lr=0.03)
    for _ in range(400):
        loss = cross_entropy(bigrams(text), *both)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tables = list(both.detach())
    order = torch.randperm(SIZE, generator=generator)  # target t is source order[t]
    overlap = torch.where(torch.rand(SIZE, generator=generator) < 0.7, order, -1)
    new = order.argsort()[text]
    source = glove(list(text), SIZE, seeded(1), dim=30, window=2)
    target = glove(list(new), SIZE, seeded(2), dim=30, window=2)
    shared = overlap >= 0
    pairs = source[overlap[shared]], target[shared]
    aligned = source @ rotation(*pairs)
    words = [list(torch.arange(first, first + SIZE).split(1)) for first in (0, SIZE)]

    def drawn(table):
        rows = drawn_rows(table, SIZE, seeded(3))
        rows[shared] = table[overlap[shared]]
        return rows

    def mean(table):
        return torch.where(shared[:, None], table[overlap], table.mean(0))

    learn = {"epochs": 2, "window": 1, "threshold": None, "learning_rate": 0.05, "batch": 512}
    network = {"hidden": 32, "epochs": 60, "learning_rate": 3e-3, "batch": 32}
    made = {
        "source": lambda table, role: table[order],
        "drawn": lambda table, role: drawn(table),
        "mean": lambda table, role: mean(table),
        "focus": lambda table, role: focus(table, overlap, target, seeded()).apply(table),
        "wechsel": lambda table, role: wechsel(
            table, overlap, source, target, seeded(), None, pairs, copy_overlap=True
        ).apply(table),
        "ofa": lambda table, role: ofa(table, overlap, aligned, target, seeded()).apply(table),
        "tokalign": lambda table, role: tokalign(table, overlap, source, target, seeded()).apply(table),
        "dot": lambda table, role: tokalign(table, overlap, source, target, seeded(), similarity="dot").apply(table),
        "cw2v": lambda table, role: cw2v(table, overlap, tables, role, list(new), seeded(), **learn).apply(table),
        "hyperofa": lambda table, role: hyperofa(
            table, overlap, *words, torch.cat([aligned, target]), seeded(), **network
        ).apply(table),
    }
    return {
        name: float(cross_entropy(bigrams(new), make(tables[0], "input"), make(tables[1], "output")))
        for name, make in made.items()
    }


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("tokalign", "ofa"),
        ("tokalign", "dot"),
        ("ofa", "hyperofa"),
        ("ofa", "focus"),
        ("hyperofa", "mean"),
        ("focus", "mean"),
        ("mean", "drawn"),
    ],
)
def test_what_knows_more_starts_better(losses, better, worse):
    assert losses[better] < losses[worse] - 0.02


def test_the_source_is_the_floor(losses):
    assert min(losses.values()) == pytest.approx(losses["source"], abs=1e-4)
    assert losses["tokalign"] == pytest.approx(losses["source"], abs=0.02)


def test_wechsel_that_copies_is_ofa(losses):
    assert losses["wechsel"] == pytest.approx(losses["ofa"], abs=1e-5)


def test_cw2v_stays_near_the_mean_on_tables_that_word2vec_did_not_make(losses):
    assert losses["cw2v"] == pytest.approx(losses["mean"], abs=0.2)
