"""OFA: shared tokens are copied, others mixed from neighbours among words (Liu et al., 2023, arXiv:2311.08849).

    E = U S V^T,  F = U_k,  P = S_k V_k^T;   f_t = f_overlap(t), or sum over the ten nearest of softmax(cos / 0.1)_j f_j
    e_t = f_t P

The vectors of tokens are the means of multilingual word vectors over the words they occur in (``mean_of_words``). With
fewer primitives than dimensions the rows are those of the nearest matrix of that rank; the paper takes 100, 200 and 400 of
768, and finds 400 to do as well as all. Without ``rank`` nothing is factorised, as officially. It helps where
both vocabularies are multilingual. It hurts where word vectors cover little: the rest is drawn from N(mean, std) of F.

F's columns are orthonormal, so that its entries are near 1 / sqrt(Vs) and the scale lies in P: the rows given back are
the product, and a model that keeps the factors wants different learning rates. Officially source tokens without a
vector can be neighbours, with cosine 0; here they cannot. Beside the official code on 500 tokens of 32 dimensions the
rows differ by 1.0e-6, with 12 primitives by 7.8e-7, in float32.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.making import with_mixtures, with_rows
from scionwood.methods.vocabulary.neighbours import has_vector
from scionwood.methods.vocabulary.rows import Rows, of_mixtures
from scionwood.methods.vocabulary.wechsel import neighbour_mixtures

__all__ = ["factors", "mean_of_words", "ofa"]


@method(unit="axis", resizes=("input", "output"), paper="2311.08849")
def ofa(
    table: Tensor,
    overlap: Tensor,
    source_vectors: Tensor,
    target_vectors: Tensor,
    generator: torch.Generator,
    *,
    neighbours: Annotated[int, Finite(at_least=1)] = 10,
    temperature: Annotated[float, Finite(above=0)] = 0.1,
    rank: Annotated[int, Finite(at_least=1)] | None = None,
) -> Rows:
    """Return copies of what is shared, and mixtures of neighbours.

    Args:
        table: the rows of the source's tokens, (Vs, d).
        overlap: for each target token the source token with the same text, or -1.
        source_vectors: (Vs, k).
        target_vectors: (Vt, k), in the same space.
        generator: to draw from.
        neighbours: how many source tokens are mixed.
        temperature: of the softmax; smaller leans on the nearest.
        rank: how many primitives the rows are made of; all dimensions where nothing is said.

    Raises:
        MethodError: no source token has a vector, or the two spaces differ in width.
    """
    tokens = torch.nonzero((overlap < 0) & has_vector(target_vectors)).flatten()
    indices, weights = neighbour_mixtures(
        source_vectors, target_vectors[tokens], neighbours=neighbours, temperature=temperature
    )
    if rank is None or rank >= table.shape[1]:
        return with_mixtures(table, overlap, tokens, indices, weights, generator)
    coordinates, primitives = factors(table, rank)
    mixed = of_mixtures(indices, weights).apply(coordinates)
    return with_rows(coordinates, overlap, tokens, mixed, generator, primitives=primitives)


def factors(table: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return coordinates with orthonormal columns and primitives: the nearest product of that rank.

    >>> coordinates, primitives = factors(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), 1)
    >>> coordinates @ primitives
    tensor([[3., 0.],
            [0., 0.]])

    Args:
        table: (n, d).
        rank: at most d.
    """
    exact = table.double()
    # The table is tall: d x d inner products have its right singular vectors, at a fraction of the work.
    squares, right = torch.linalg.eigh(exact.T @ exact)
    right = right.flip(1)[:, :rank]
    values = squares.flip(0)[:rank].clamp(min=0).sqrt()
    kept = values > 1e-7 * values[0]
    coordinates = (exact @ right) * torch.where(kept, 1 / values.where(kept, 1.0), 0.0)
    return coordinates.to(table.dtype), (values[:, None] * right.T).to(table.dtype)


def mean_of_words(words: Sequence[Tensor], word_vectors: Tensor, frequencies: Tensor | None = None) -> Tensor:
    """Return for each token the mean of the vectors of its words; zeros where it has none.

    >>> mean_of_words([torch.tensor([0, 1]), torch.tensor([], dtype=torch.long)], torch.eye(2))
    tensor([[0.5000, 0.5000],
            [0.0000, 0.0000]])

    Args:
        words: for each token the words it occurs in.
        word_vectors: (words, k).
        frequencies: how often each word occurs, up to a factor: the weights that WECHSEL takes; OFA weighs all alike.
    """
    token = torch.repeat_interleave(torch.arange(len(words)), torch.tensor([len(some) for some in words]))
    word = torch.cat([some.long() for some in words]) if len(words) else token
    weights = torch.ones(len(word)) if frequencies is None else frequencies[word].to(word_vectors.dtype)
    sums = word_vectors.new_zeros(len(words), word_vectors.shape[1])
    totals = word_vectors.new_zeros(len(words)).index_add_(0, token, weights)
    sums.index_add_(0, token, word_vectors[word] * weights[:, None])
    return sums / totals.where(totals > 0, 1.0)[:, None]
