"""GPA: parts of a graph, the graph of the parts, and rows that tell the parts apart."""

import pytest
import torch
from tests.methods.vocabulary.made import seeded, statuses, table_of

from scionwood.errors import MethodError
from scionwood.methods.vocabulary.glove import Pairs, cooccurrence
from scionwood.methods.vocabulary.graph import (
    _eigenvectors,
    abstract_graph,
    cut,
    means_of_neighbours,
    near_on_walks,
    partition,
    walk_embedding,
)
from scionwood.methods.vocabulary.graph_partition import graph_partition, node_rows


def pairs_of(adjacency):
    rows, columns = adjacency.nonzero(as_tuple=True)
    return Pairs(rows, columns, adjacency[rows, columns].float())


def cliques():
    adjacency = torch.zeros(20, 20)
    adjacency[:10, :10] = adjacency[10:, 10:] = 1
    adjacency[3, 14] = adjacency[14, 3] = 1
    return adjacency.fill_diagonal_(0)


def planted(seed=0):
    blocks = torch.arange(100) // 25
    chance = torch.where(blocks[:, None] == blocks, 0.5, 0.05)
    edges = (torch.rand(100, 100, generator=seeded(seed)) < chance).triu(1).float()
    return edges + edges.T, blocks


def accuracy(labels, blocks):
    """The share of nodes in their block, parts named by their most frequent block."""
    return sum(int(torch.bincount(blocks[labels == part]).max()) for part in labels.unique()) / len(labels)


def test_two_cliques_are_two_parts_with_one_edge_between():
    graph = pairs_of(cliques())
    labels = partition(graph, 20, 2, seeded())
    assert len(labels[:10].unique()) == len(labels[10:].unique()) == 1
    assert labels[0] != labels[10]
    assert abstract_graph(graph, labels, 2).tolist() == [[0, 1], [1, 0]]
    assert cut(graph, labels) == 1


@pytest.mark.parametrize("seed", range(5))
def test_planted_parts_are_recovered(seed):
    adjacency, blocks = planted(seed)
    labels = partition(pairs_of(adjacency), 100, 4, seeded(seed))
    assert accuracy(labels, blocks) == 1
    assert torch.bincount(labels).tolist() == [25] * 4


def test_many_parts_stay_within_their_room_and_cut_less_than_chance():
    adjacency, _ = planted()
    graph = pairs_of(adjacency)
    labels = partition(graph, 100, 20, seeded())
    sizes = torch.bincount(labels, minlength=20)
    assert int(sizes.min()) >= 3
    assert int(sizes.max()) <= 6
    by_chance = cut(graph, torch.randperm(100, generator=seeded()) % 20)
    assert cut(graph, labels) < 0.85 * by_chance


def test_nodes_without_an_edge_fill_what_is_small():
    adjacency = torch.zeros(24, 24)
    adjacency[:20, :20] = cliques()
    labels = partition(pairs_of(adjacency), 24, 2, seeded())
    assert torch.bincount(labels).tolist() == [12, 12]
    assert partition(pairs_of(torch.zeros(6, 6)), 6, 3, seeded()).bincount().tolist() == [2, 2, 2]


def test_eigenvectors_of_larger_graphs_are_those_of_the_matrix(monkeypatch):
    graph = pairs_of(planted()[0])
    exact = _eigenvectors(graph, 100, 4, seeded())
    monkeypatch.setattr("scionwood.methods.vocabulary.graph.DENSE", 10)
    found = _eigenvectors(graph, 100, 4, seeded())
    overlap = torch.linalg.svdvals(exact.T @ found)
    assert float(overlap.min()) > 0.999


def test_the_abstract_graph_adds_the_weights():
    text = [torch.randint(12, (60,), generator=seeded())]
    graph = cooccurrence(text, 12, window=3)
    labels = torch.arange(12) % 3
    dense = torch.zeros(12, 12)
    dense[graph.rows, graph.columns] = graph.weights
    choice = torch.nn.functional.one_hot(labels).float()
    expected = (choice.T @ dense @ choice).fill_diagonal_(0)
    torch.testing.assert_close(abstract_graph(graph, labels, 3), expected)


def test_means_of_neighbours_are_weighted_and_leave_those_alone_who_have_none():
    graph = Pairs(torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 0, 0]), torch.tensor([1.0, 3.0, 1.0, 3.0]))
    rows = torch.tensor([[0.0], [4.0], [8.0], [5.0]])
    assert means_of_neighbours(graph, rows).flatten().tolist() == [7, 0, 0, 5]


def test_the_walks_put_neighbours_together():
    ring = torch.roll(torch.eye(12), 1, 0)
    vectors = walk_embedding(ring + ring.T, 8, seeded(), window=2)
    cosines = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
    near = cosines[torch.arange(12), (torch.arange(12) + 1) % 12].mean()
    far = cosines[torch.arange(12), (torch.arange(12) + 6) % 12].mean()
    assert near > far + 0.3


def test_what_is_near_is_what_walks_meet():
    adjacency = planted()[0][:8, :8] + 1 - torch.eye(8)
    here = torch.multinomial(adjacency.sum(1), 100_000, replacement=True, generator=seeded())
    start, met = here, torch.zeros(64)
    for _ in range(3):
        here = torch.multinomial(adjacency[here], 1, generator=seeded(int(here[0]))).flatten()
        met += torch.bincount(start * 8 + here, minlength=64)
    torch.testing.assert_close(near_on_walks(adjacency, 3), (met / met.sum()).view(8, 8), atol=2e-3, rtol=0)


def test_without_rounds_there_is_one_row_a_part():
    graph = pairs_of(cliques())
    rows = node_rows(graph, 20, 6, seeded(), parts=2, rounds=0, noise=0.0)
    assert len(rows.unique(dim=0)) == 2
    assert torch.equal(rows[:10], rows[:1].expand(10, -1))
    rows = node_rows(pairs_of(planted()[0]), 100, 6, seeded(), parts=7, rounds=0, noise=0.0)
    assert len(rows.unique(dim=0)) == 7


def test_too_many_rounds_make_all_rows_alike():
    spreads = [
        float(
            node_rows(pairs_of(planted()[0]), 100, 6, seeded(), parts=4, rounds=rounds, share=1.0, noise=0.0)
            .std(0)
            .max()
        )
        for rounds in (0, 3, 200)
    ]
    assert spreads[0] > spreads[1] > spreads[2]
    assert spreads[2] < 1e-5 * spreads[0]


@pytest.mark.parametrize(("rounds", "least"), [(0, 1.0), (1, 1.0), (3, 0.98)])
def test_the_rows_tell_planted_blocks_apart_before_training(rounds, least):
    """At the default of three rounds one node in a thousand comes to lie nearer to another block."""
    adjacency, blocks = planted()
    rows = node_rows(pairs_of(adjacency), 100, 16, seeded(), parts=4, rounds=rounds)
    centres = torch.stack([rows[blocks == block].mean(0) for block in range(4)])
    assert float((torch.cdist(rows, centres).argmin(1) == blocks).float().mean()) >= least


def test_tokens_of_a_text_get_rows_at_the_scale_of_the_table():
    generator = seeded()
    topic = torch.randint(4, (200, 1), generator=generator)
    text = topic * 10 + torch.randint(10, (200, 12), generator=generator)
    table = torch.randn(70, 16, generator=generator) * 0.02 + 0.01
    counts = torch.bincount(text.flatten(), minlength=45)
    result = graph_partition(table, counts, list(text), seeded(), parts=4)
    rows = table_of(result, table)[:40]
    assert statuses(result) == {"made": 40, "drawn": 5}
    assert float(rows.std()) == pytest.approx(0.02, rel=0.1)
    centres = rows.view(4, 10, 16).mean(1)
    assert torch.equal(torch.cdist(rows, centres).argmin(1), torch.arange(40) // 10)
    assert torch.equal(table_of(graph_partition(table, counts, list(text), seeded(), parts=4), table)[:40], rows)


def test_a_text_without_neighbours_is_no_graph():
    with pytest.raises(MethodError, match="so that there is no graph"):
        graph_partition(torch.randn(5, 3), torch.tensor([1, 1]), [torch.tensor([0]), torch.tensor([1])], seeded())
