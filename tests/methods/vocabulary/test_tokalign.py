"""TokAlign: which source token is used alike."""

import math

import pytest
import torch
from tests.methods.vocabulary.made import case, seeded, statuses, table_of
from torch.nn.functional import cross_entropy

from scionwood.errors import MethodError
from scionwood.methods.vocabulary.glove import glove
from scionwood.methods.vocabulary.tokalign import align, bleu_1, tokalign


def turned(seed, shift=0.0):
    """400 vectors, the same turned, and 100 tokens that are known to be the same."""
    generator = seeded(seed)
    vectors = torch.randn(400, 50, generator=generator)
    direction = torch.randn(50, generator=generator)
    vectors += shift * 50**0.5 * direction / direction.norm()
    turn = torch.linalg.qr(torch.randn(50, 50, generator=generator)).Q
    overlap = torch.full((400,), -1)
    shared = torch.randperm(400, generator=generator)[:100]
    overlap[shared] = shared
    return overlap, vectors, vectors @ turn


def right(overlap, source, target, similarity):
    chosen = align(overlap, source, target, seeded(), pivots=100, similarity=similarity)
    return float((chosen == torch.arange(400))[overlap < 0].float().mean())


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("seed", range(3))
def test_a_rotation_does_not_matter(seed, similarity):
    assert right(*turned(seed), similarity) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_shared_direction_breaks_the_product_but_not_the_cosine(seed):
    case = turned(seed, shift=2.0)
    assert right(*case, "cosine") == 1
    assert right(*case, "dot") < 0.01  # 0.0025 is one token of the 400


def test_permuted_ids_are_found_by_their_texts():
    order = torch.randperm(100, generator=seeded(3))
    table, _, source, _ = case()
    rows = tokalign(table, order, source, source[order], seeded())
    assert statuses(rows) == {"copied": 100}
    found = table_of(rows, table)
    assert torch.equal(found, table[order])
    hidden = torch.randn(5, 16, generator=seeded(4))
    assert torch.equal(hidden @ found.T, (hidden @ table.T)[:, order])


def test_a_permuted_text_is_aligned_by_glove():
    """No token's text is known but a hundred; all others are told by how they stand in the text."""
    generator = seeded(5)
    likely = torch.rand(150, 150, generator=generator).pow(8) + 1e-4
    at, steps = torch.randint(150, (300,), generator=generator), []
    for _ in range(100):
        at = torch.multinomial(likely[at], 1, generator=generator).flatten()
        steps.append(at)
    text = torch.stack(steps, 1)
    order = torch.randperm(150, generator=generator)  # target t is source order[t]
    name = order.argsort()
    source = glove(list(text), 150, seeded(1), dim=30, window=5)
    target = glove(list(name[text]), 150, seeded(2), dim=30, window=5)
    overlap = torch.where(torch.arange(150) < 100, order, -1)
    found = lambda similarity: align(overlap, source, target, seeded(), pivots=100, similarity=similarity)  # noqa: E731
    assert float((found("cosine") == order)[100:].float().mean()) > 0.95
    # Half-trained vectors share a direction, and the paper's similarity does not stand it.
    source, target = (glove(list(t), 150, seeded(1), dim=30, window=5, iterations=3) for t in (text, name[text]))
    assert float((found("cosine") == order)[100:].float().mean()) > 2 * float(
        (found("dot") == order)[100:].float().mean()
    )


def test_replacing_more_of_the_map_costs_more():
    """A bigram model whose table and head both take the map; tokens are the source's in another order."""
    generator = seeded(0)
    table, head = torch.randn(2, 300, 24, generator=generator) * 0.7
    order = torch.randperm(300, generator=generator)
    ids = torch.randint(300, (4000,), generator=generator)
    follow = torch.multinomial(torch.softmax(table[ids] @ head.T, 1), 1, generator=generator).flatten()
    name = order.argsort()
    losses = []
    for share in (0.0, 0.1, 0.3, 0.6, 1.0):
        rows = tokalign(table, order, table, table[order], seeded(7), replace=share)
        now, then = table_of(rows, table), table_of(rows, head)
        losses.append(float(cross_entropy(now[name[ids]] @ then.T, name[follow])))
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] + 1


def test_tokens_without_a_vector_take_any_row_which_is_drawn():
    table, overlap, source, target = case()
    target[30:] = 0
    rows = tokalign(table, overlap, source, target, seeded())
    assert statuses(rows) == {"copied": 20, "mixed": 10, "drawn": 30}
    assert statuses(tokalign(table, overlap, source, target, seeded(), replace=1.0)) == {"drawn": 60}
    same = (table_of(rows, table)[30:, None] == table[None]).all(-1)
    assert bool(same.any(1).all())
    assert len(same.int().argmax(1).unique()) > 15


@pytest.mark.parametrize("replace", [0.0, 1.0])
def test_what_stands_for_no_text_or_is_in_none_is_neither_found_nor_drawn(replace):
    """Though its vector were the nearest; a special token that is shared is copied all the same."""
    table, overlap, source, target = case()
    overlap[:20] = torch.arange(20)
    target[20:40] = source[40:60]
    target[40:] = 0
    source[90:] = 0  # never seen in the text
    wordless = torch.zeros(100, dtype=torch.bool)
    wordless[[3, *range(40, 90)]] = True
    rows = tokalign(table, overlap, source, target, seeded(), wordless, replace=replace)
    taken = (table_of(rows, table)[:, None] == table[None]).all(-1).int().argmax(1)
    assert not bool(wordless[taken[20:]].any())
    assert bool((taken[20:] < 90).all())
    if not replace:
        assert torch.equal(taken[:20], torch.arange(20))


def test_nothing_shared_is_nothing_to_compare():
    table, overlap, source, target = case()
    with pytest.raises(MethodError, match="so that nothing can be compared"):
        tokalign(table, torch.full_like(overlap, -1), source, target, seeded())


def test_there_may_be_fewer_pivots_than_asked_for():
    overlap, source, target = turned(0)
    assert right(overlap, source, target, "cosine") == 1
    assert torch.equal(align(overlap, source, target, seeded(), pivots=1000)[overlap >= 0], overlap[overlap >= 0])


def test_source_tokens_without_a_vector_are_not_taken():
    overlap, source, target = turned(0)
    source[:50] = 0
    chosen = align(overlap, source, target, seeded(), pivots=100)
    free = overlap < 0
    assert bool((chosen[free] >= 50).all())
    assert torch.equal(chosen[free][50:], torch.arange(400)[free][50:])


def test_bleu_1_clips_and_punishes_what_is_short():
    text = [torch.tensor([1, 2, 3, 4]), torch.tensor([5, 6])]
    assert bleu_1(text, text) == 1
    assert bleu_1(text, [torch.tensor([1, 1, 1, 1]), torch.tensor([6, 5])]) == pytest.approx(0.5)
    assert bleu_1(text, [torch.tensor([1, 2]), torch.tensor([5])]) == pytest.approx(math.exp(-1))
    assert bleu_1(text, [torch.tensor([5, 6]), torch.tensor([1, 2, 3, 4])]) == 0
    assert bleu_1([], []) == 0
