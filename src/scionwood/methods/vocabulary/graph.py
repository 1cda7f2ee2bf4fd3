"""Parts of a graph with few edges between them, the graph of the parts, and its embedding: what GPA is made of.

    cut(parts) = sum of the weights of the edges between parts, with no part much larger than n / k
    DeepWalk's loss over all walks at once: -sum_ij N_ij log s(w_i . c_j) + (N_i. N_.j / N) log s(-w_i . c_j),
    N = vol(G) sum over steps up to the window of (D^-1 A)^step D^-1, weighted by D on both sides

Parts are sought as METIS's are, by other means: the eigenvectors of the normalised Laplacian, k-means over their rows with
the sizes held down, and nodes moved while the cut falls; into eight parts at a time, and each of these again.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, logsigmoid, normalize

from scionwood.methods.vocabulary.glove import Pairs

__all__ = ["abstract_graph", "cut", "means_of_neighbours", "near_on_walks", "partition", "walk_embedding"]

FAN = 8
"""Into how many parts a graph is cut at once."""

DENSE = 600
"""Up to how many nodes all eigenvectors are taken."""


def partition(graph: Pairs, size: int, parts: int, generator: torch.Generator, *, imbalance: float = 0.03) -> Tensor:
    """Return the part of each node; LongTensor (size,).

    Nodes without an edge fill up what is small.

    Args:
        graph: symmetric.
        size: how many nodes.
        parts: how many parts.
        generator: to draw from.
        imbalance: how much larger than the mean a part may be; METIS takes 0.03.
    """
    labels = torch.full((size,), -1)
    degrees = multiply(graph, size, torch.ones(size, 1)).flatten()
    work = [(torch.nonzero(degrees > 0).flatten(), 0, min(parts, size))]
    while work:
        nodes, first, count = work.pop()
        if count <= 1 or len(nodes) <= 1:
            labels[nodes] = first
            continue
        shares = [count // min(count, FAN) + (index < count % min(count, FAN)) for index in range(min(count, FAN))]
        room = [math.ceil(len(nodes) * share / count * (1 + imbalance)) for share in shares]
        found = _split(_induced(graph, size, nodes), len(nodes), room, generator)
        for index, share in enumerate(shares):
            work.append((nodes[found == index], first + sum(shares[:index]), share))
    filled = torch.bincount(labels[labels >= 0], minlength=parts)
    for node in torch.nonzero(labels < 0).flatten().tolist():
        labels[node] = filled.argmin()
        filled[labels[node]] += 1
    return labels


def cut(graph: Pairs, labels: Tensor) -> float:
    """Return the sum of the weights of the edges between parts."""
    return float(graph.weights[labels[graph.rows] != labels[graph.columns]].sum()) / 2


def abstract_graph(graph: Pairs, labels: Tensor, parts: int) -> Tensor:
    """Return the weights between the parts, (parts, parts), with nothing within them.

    >>> path = Pairs(torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 2, 1]), torch.ones(4))
    >>> abstract_graph(path, torch.tensor([0, 0, 1]), 2)
    tensor([[0., 1.],
            [1., 0.]])
    """
    keys = labels[graph.rows] * parts + labels[graph.columns]
    between = torch.zeros(parts * parts).index_add_(0, keys, graph.weights).view(parts, parts)
    return between.fill_diagonal_(0)


def walk_embedding(
    adjacency: Tensor, dim: int, generator: torch.Generator, *, window: int = 10, steps: int = 200, rate: float = 0.05
) -> Tensor:
    """Return a vector for each node of a small graph by DeepWalk's loss; nodes without an edge keep their start.

    Args:
        adjacency: (n, n), symmetric.
        dim: of the vectors.
        generator: to draw the start from.
        window: how far apart on a walk nodes count as near; DeepWalk's 10.
        steps: of Adam.
        rate: Adam's.
    """
    near = near_on_walks(adjacency, window)
    chance = near.sum(1, keepdim=True) * near.sum(0)
    tables = (torch.randn((2, len(adjacency), dim), generator=generator) / dim**0.5).requires_grad_()
    optimizer = torch.optim.Adam([tables], lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            products = tables[0] @ tables[1].T
            loss = -(near * logsigmoid(products) + chance * logsigmoid(-products)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return tables[0].detach()


def near_on_walks(adjacency: Tensor, window: int) -> Tensor:
    """Return how often two nodes stand within the window of each other on random walks, as shares of all pairs."""
    degrees = adjacency.sum(1)
    walk = adjacency / degrees.where(degrees > 0, torch.ones_like(degrees))[:, None]
    reached, near = torch.diag(degrees), torch.zeros_like(adjacency)
    for _ in range(window):
        reached = reached @ walk
        near += reached
    return near / near.sum().clamp(min=1e-30)


def means_of_neighbours(graph: Pairs, rows: Tensor) -> Tensor:
    """Return for each node the mean of its neighbours' rows, weighted by the edges; its own where it has none."""
    sums = multiply(graph, len(rows), torch.cat([rows, torch.ones(len(rows), 1)], 1))
    degrees = sums[:, -1:]
    return torch.where(degrees > 0, sums[:, :-1] / degrees.where(degrees > 0, torch.ones_like(degrees)), rows)


def multiply(graph: Pairs, size: int, rows: Tensor) -> Tensor:
    """Return the graph's matrix times the rows."""
    starts = torch.searchsorted(graph.rows, torch.arange(size))
    weights = graph.weights.to(rows.dtype)
    return embedding_bag(graph.columns, rows, starts, mode="sum", per_sample_weights=weights)


def _induced(graph: Pairs, size: int, nodes: Tensor) -> Pairs:
    place = torch.full((size,), -1)
    place[nodes] = torch.arange(len(nodes))
    kept = (place[graph.rows] >= 0) & (place[graph.columns] >= 0)
    return Pairs(place[graph.rows[kept]], place[graph.columns[kept]], graph.weights[kept])


def _split(graph: Pairs, size: int, room: list[int], generator: torch.Generator) -> Tensor:
    """Cut a graph into as many parts as there are rooms, none larger than its room."""
    rows = normalize(_eigenvectors(graph, size, len(room), generator), dim=1)
    best, least = None, math.inf
    for _ in range(4):
        labels = _refine(graph, _balanced_means(rows, room, generator), room, generator)
        if (weight := cut(graph, labels)) < least:
            best, least = labels, weight
    assert best is not None
    return best


def _eigenvectors(graph: Pairs, size: int, count: int, generator: torch.Generator) -> Tensor:
    """Return the eigenvectors of the smallest eigenvalues of the normalised Laplacian, as columns."""
    degrees = multiply(graph, size, torch.ones(size, 1)).flatten()
    scale = degrees.clamp(min=1e-30).rsqrt() * (degrees > 0)
    even = Pairs(graph.rows, graph.columns, graph.weights * scale[graph.rows] * scale[graph.columns])
    if size <= DENSE:
        dense = torch.zeros(size, size, dtype=torch.float64)
        dense[even.rows, even.columns] = even.weights.double()
        return torch.linalg.eigh(dense).eigenvectors[:, -count:].float()
    columns = torch.randn((size, count + 4), generator=generator)
    for _ in range(60):
        columns = torch.linalg.qr((columns + multiply(even, size, columns)) / 2).Q
    ritz = torch.linalg.eigh(columns.T @ multiply(even, size, columns)).eigenvectors
    return (columns @ ritz)[:, -count:]


def _balanced_means(rows: Tensor, room: list[int], generator: torch.Generator, rounds: int = 20) -> Tensor:
    """k-means from centres drawn far apart, with no cluster larger than its room."""
    centres = rows[torch.randint(len(rows), (1,), generator=generator)]
    while len(centres) < len(room):
        far = torch.cdist(rows, centres).amin(1).square().clamp(min=1e-12)
        centres = torch.cat([centres, rows[torch.multinomial(far, 1, generator=generator)]])
    labels = torch.empty(0, dtype=torch.long)
    for _ in range(rounds):
        found = _assign(torch.cdist(rows, centres), room)
        if torch.equal(found, labels):
            break
        labels = found
        for index in range(len(room)):
            if bool((labels == index).any()):
                centres[index] = rows[labels == index].mean(0)
    return labels


def _assign(distances: Tensor, room: list[int]) -> Tensor:
    """Give each row its nearest column; where a column is full, those nearest to it stay and the others look on."""
    distances = distances.clone()
    labels = distances.argmin(1)
    for _ in range(len(room)):
        full = False
        for index, places in enumerate(room):
            members = torch.nonzero(labels == index).flatten()
            if len(members) > places:
                # Those go who lose least by going.
                others = distances[members].clone()
                others[:, index] = math.inf
                leaving = members[(others.amin(1) - distances[members, index]).argsort(stable=True)]
                leaving = leaving[: len(members) - places]
                distances[leaving, index] = math.inf
                labels[leaving] = distances[leaving].argmin(1)
                full = True
        if not full:
            break
    return labels


def _refine(graph: Pairs, labels: Tensor, room: list[int], generator: torch.Generator, rounds: int = 20) -> Tensor:
    """Move nodes to where more of their edges lead, a random half of those that gain at a time, while the cut falls."""
    least = cut(graph, labels)
    for _ in range(rounds):
        ties = multiply(graph, len(labels), torch.nn.functional.one_hot(labels, len(room)).float())
        gains, wanted = (ties - ties.gather(1, labels[:, None])).max(1)
        movers = torch.nonzero(gains > 0).flatten()
        movers = movers[torch.rand(len(movers), generator=generator) < 0.5] if len(movers) > 1 else movers
        moved = labels.clone()
        sizes = torch.bincount(labels, minlength=len(room)).tolist()
        for node in movers[gains[movers].argsort(descending=True, stable=True)].tolist():
            part = int(wanted[node])
            if sizes[part] < room[part]:
                sizes[part] += 1
                sizes[int(moved[node])] -= 1
                moved[node] = part
        if (weight := cut(graph, moved)) < least:
            labels, least = moved, weight
    return labels
