"""HyperOFA: networks of sets."""

import pytest
import torch
from tests.methods.vocabulary.made import seeded, statuses, table_of

from scionwood.errors import MethodError
from scionwood.methods.vocabulary.hyperofa import hyperofa
from scionwood.methods.vocabulary.ofa import mean_of_words, ofa
from scionwood.methods.vocabulary.set_network import BiLSTM, SetFormer, predict, set_loss, train_network

SMALL = {"layers": 2, "heads": 4, "widening": 4, "dropout": 0.0}


def linear(count=300, dim=12, width=20):
    """A table, word vectors that are its rows through a matrix of full rank, and one to eight words a token."""
    generator = seeded()
    table = torch.randn(count, dim, generator=generator)
    counts = torch.randint(1, 9, (count,), generator=generator)
    vectors = torch.repeat_interleave(table @ torch.randn(dim, width, generator=generator), counts, dim=0)
    return table, vectors, list(torch.arange(len(vectors)).split(counts.tolist()))


def test_a_small_network_finds_rows_it_was_not_shown():
    table, vectors, words = linear()
    network = train_network(
        vectors,
        words[:250],
        table[:250],
        seeded(),
        network="setformer",
        epochs=25,
        learning_rate=3e-3,
        batch=32,
        **SMALL,
    )
    found = predict(network, vectors, words[250:])
    assert float(torch.cosine_similarity(found, table[250:]).mean()) > 0.9


def test_the_recurrent_network_learns_too():
    table, vectors, words = linear()
    network = train_network(
        vectors, words[:250], table[:250], seeded(), epochs=25, learning_rate=3e-3, batch=32, hidden=48
    )
    found = predict(network, vectors, words[250:])
    assert float(torch.cosine_similarity(found, table[250:]).mean()) > 0.75


def test_the_order_of_a_set_matters_to_the_recurrent_network_alone():
    torch.manual_seed(0)
    sets, lengths = torch.randn(3, 6, 20), torch.tensor([6, 6, 6])
    turned = sets.flip(1)
    former = SetFormer(20, 5, layers=2, heads=4).eval()
    recurrent = BiLSTM(20, 5, hidden=8).eval()
    with torch.no_grad():
        torch.testing.assert_close(former(sets, lengths), former(turned, lengths))
        assert float((recurrent(sets, lengths) - recurrent(turned, lengths)).abs().max()) > 1e-3


@pytest.mark.parametrize(
    "make", [lambda: SetFormer(20, 5, layers=2, heads=4), lambda: BiLSTM(20, 5, hidden=8)], ids=["setformer", "lstm"]
)
def test_padding_is_not_read(make):
    torch.manual_seed(0)
    network = make().eval()
    sets, lengths = torch.randn(2, 6, 20), torch.tensor([6, 2])
    spoiled = sets.clone()
    spoiled[1, 2:] = 1e3
    with torch.no_grad():
        torch.testing.assert_close(network(sets, lengths), network(spoiled, lengths))
        torch.testing.assert_close(network(sets, lengths)[1:], network(sets[1:, :2], lengths[1:]))


def test_the_loss_does_not_know_the_scale():
    first, second = torch.randn(2, 8, 5, generator=seeded())
    torch.testing.assert_close(set_loss(first * 100, second * 100), set_loss(first, second))
    cosines = torch.cosine_similarity(first[:, None], second[None], dim=-1) / 0.25
    apart = torch.logsumexp(cosines, 1) - cosines.diagonal()
    expected = 0.1 * apart.mean() + 0.9 * (first - second).abs().mean() / second.abs().mean()
    torch.testing.assert_close(set_loss(first, second), expected)


def vocabulary():
    """Ten shared tokens, 29 with words, one without."""
    table, vectors, words = linear()
    overlap = torch.full((40,), -1)
    overlap[:10] = torch.arange(10)
    return table, overlap, words, [*words[:39], torch.tensor([], dtype=torch.long)], vectors


@pytest.mark.parametrize("rank", [None, 6])
def test_shared_tokens_are_copied_others_said_and_the_rest_drawn(rank):
    table, *rest = vocabulary()
    learn = {"hidden": 48, "epochs": 20, "learning_rate": 4e-3, "batch": 32}
    result = hyperofa(table, *rest, seeded(), rank=rank, **learn)
    rows = table_of(result, table)
    assert statuses(result) == ({"copied": 10, "made": 29, "drawn": 1} if rank is None else {"made": 39, "drawn": 1})
    if rank is None:
        assert torch.equal(rows[:10], table[:10])
    else:
        assert int(torch.linalg.matrix_rank(rows, atol=1e-4)) == rank
    assert float(torch.cosine_similarity(rows[10:39], table[10:39]).mean()) > (0.9 if rank is None else 0.6)
    assert 0.5 < float(rows[10:39].norm() / table[10:39].norm()) < 1.2


def test_what_it_draws_is_its_own():
    table, *rest = vocabulary()
    before = torch.get_rng_state()
    first = table_of(hyperofa(table, *rest, seeded(), hidden=8, epochs=2), table)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(table_of(hyperofa(table, *rest, seeded(), hidden=8, epochs=2), table), first)


def test_the_network_is_kept_as_it_was_best():
    """Rows that nothing tells: the longer it learns by heart, the worse it knows those held out."""
    _, vectors, words = linear(60)
    noise = torch.randn(60, 12, generator=seeded(5))
    learn = lambda epochs, held_out: train_network(  # noqa: E731
        vectors, words, noise, seeded(), epochs=epochs, learning_rate=1e-2, batch=30, hidden=32, held_out=held_out
    )
    early, kept, late = learn(10, 0.5), learn(60, 0.5), learn(60, 0.0)
    for a, b in zip(early.state_dict().values(), kept.state_dict().values()):
        assert torch.equal(a, b)
    assert not torch.equal(late.head[0].weight, kept.head[0].weight)


def test_it_stops_after_so_many_steps_and_says_so():
    table, *rest = vocabulary()
    learn = {"hidden": 8, "epochs": 3, "batch": 32, "held_out": 0.0}
    whole, some = (hyperofa(table, *rest, seeded(), **learn, **more) for more in ({}, {"steps": 12}))
    assert (whole.note, some.note) == ("", "learned 12 of 30 steps")
    shorter = hyperofa(table, *rest, seeded(), **learn | {"epochs": 2}, steps=20)
    assert torch.equal(shorter.apply(table), hyperofa(table, *rest, seeded(), **learn, steps=20).apply(table))
    assert not torch.equal(whole.apply(table), some.apply(table))


@pytest.mark.parametrize(("dim", "value"), [(1, None), (1, 0.0), (12, 0.0), (12, 0.7)])
def test_nothing_is_learned_of_a_bias_or_of_rows_all_alike(dim, value):
    """They are mixed as OFA mixes, which of rows all alike is the row."""
    table, overlap, source_words, target_words, vectors = vocabulary()
    table = table[:, :dim] if value is None else torch.full((300, dim), value)
    result = hyperofa(table, overlap, source_words, target_words, vectors, seeded(), hidden=8, epochs=1)
    assert statuses(result) == {"copied": 10, "mixed": 29, "drawn": 1}
    means = (mean_of_words(words, vectors) for words in (source_words, target_words))
    assert torch.equal(table_of(result, table), table_of(ofa(table, overlap, *means, seeded()), table))
    if value is not None:
        torch.testing.assert_close(table_of(result, table), torch.full((40, dim), value))


def test_a_batch_of_zeros_has_a_loss():
    """Tokens that were never trained may have rows of zeros, and meet in one batch."""
    assert bool(set_loss(torch.randn(4, 5, generator=seeded()), torch.zeros(4, 5)).isfinite())


def test_what_cannot_be_is_told():
    table, vectors, words = linear()
    overlap, none = torch.tensor([-1]), torch.tensor([], dtype=torch.long)
    with pytest.raises(MethodError, match="needs source tokens with words to learn from; 1 have any"):
        hyperofa(table, overlap, [words[0], *[none] * 299], words[:1], vectors, seeded())
    with pytest.raises(MethodError, match="10 heads cannot share word vectors of 16 dimensions"):
        hyperofa(table, overlap, words, words[:1], vectors[:, :16], seeded(), network="setformer")
