"""TokAlign: each token takes the row of the source token used alike, by GloVe (Li et al., 2025, arXiv:2506.03523).

    r(t) = (cos(v_t, v_p) for each pivot p), in each space with its own vectors;   map(t) = argmax_s sim(r(t), r(s))
    e_t = e_map(t);   tokens with the same text map to each other, and some of these are the pivots

Both tokenizers cut one text; each cut trains its own GloVe vectors, and cosines to shared tokens can be compared though
the spaces cannot. The paper's text has gigabytes, and its vectors 300 dimensions for tokens seen five times; texts of
megabytes cannot fill as many, and 100 for tokens seen twice are trained here. It helps where little else is known of the target. It hurts for what the text seldom has.

The paper and its code take the plain product of the r for their similarity. Real vectors share a direction, and then
tokens near everything win: with one added, the product maps one token of 400 right, the cosine of the r all of them. So
the cosine is the default here and ``similarity="dot"`` is theirs. The map is called one to one, but many tokens may take
one row, and tokens without a vector take that of any that the text has, which counts as drawn; ``bleu_1`` tells how well a map does, and ``replace`` spoils a share of it, as the official option does for
its control. With ``dot`` and the same pivots the map is that of the official code, on 220 of 220 tokens; which pivots are
picked there hangs on Python's own random numbers. Its exception for ``<unk>`` is for a vector that the GloVe program adds
for rare words, and that is not made here. Training goes in two stages: ``scionwood.train.vocabulary.TOKALIGN_STAGES``.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.glove import Trainer, given_or_trained
from scionwood.methods.vocabulary.making import with_mixtures
from scionwood.methods.vocabulary.neighbours import BLOCK, has_vector, unit_rows
from scionwood.methods.vocabulary.rows import DRAWN, Rows

__all__ = ["align", "bleu_1", "tokalign"]


@method(unit="axis", resizes=("input", "output"), paper="2506.03523")
def tokalign(
    table: Tensor,
    overlap: Tensor,
    source_vectors: Tensor | Trainer,
    target_vectors: Tensor | Trainer,
    generator: torch.Generator,
    wordless: Tensor | None = None,
    *,
    pivots: Annotated[int, Finite(at_least=1)] = 300,
    similarity: Literal["cosine", "dot"] = "cosine",
    replace: Annotated[float, Finite(at_least=0, at_most=1)] = 0.0,
    dim: Annotated[int, Finite(at_least=1)] | None = None,
    min_count: Annotated[int, Finite(at_least=1)] | None = None,
    iterations: Annotated[int, Finite(at_least=1)] | None = None,
) -> Rows:
    """Return for each target token the row of one source token; of one drawn where it has no vector.

    Args:
        table: the rows of the source's tokens, (Vs, d).
        overlap: for each target token the source token with the same text, or -1.
        source_vectors: (Vs, k), of one text cut by the source's tokenizer; or what trains them on it.
        target_vectors: (Vt, m), of the same text cut by the target's; likewise.
        generator: to draw from.
        wordless: whether each source token stands for no text; such a one is neither found nor drawn.
        pivots: how many shared tokens the others are compared to.
        similarity: between the lists of cosines; dot is the paper's.
        replace: the share of the map that is replaced by tokens at random.
        dim: of vectors that are trained; 100 where nothing is said, and 300 in the paper.
        min_count: how often a token occurs that gets one; 2 where nothing is said, and 5 in the paper.
        iterations: how often every pair of tokens is seen; 15 where nothing is said, as in the paper.

    Raises:
        MethodError: vectors are given and asked for all the same, or no token with a vector in both spaces has the same text.
    """
    asked = {"dim": dim, "min_count": min_count, "iterations": iterations}
    source_vectors, target_vectors = (given_or_trained(some, **asked) for some in (source_vectors, target_vectors))
    worded = torch.ones(len(table), dtype=torch.bool) if wordless is None else ~wordless
    source_vectors = source_vectors * worded[:, None]
    chosen = align(overlap, source_vectors, target_vectors, generator, pivots=pivots, similarity=similarity)
    spoiled = torch.rand(len(overlap), generator=generator) < replace
    copied = torch.where(spoiled, -1, overlap)
    tokens = torch.nonzero(copied < 0).flatten()
    seen = has_vector(source_vectors)  # what the text never shows may never have been trained
    anywhere = torch.nonzero(seen if bool(seen.any()) else worded).flatten()
    places = torch.randint(len(anywhere), (len(overlap),), generator=generator)
    drawn = spoiled | (chosen < 0)
    chosen = torch.where(drawn, anywhere[places], chosen)[tokens][:, None]
    made = with_mixtures(table, copied, tokens, chosen, torch.ones(chosen.shape), generator)
    return dataclasses.replace(made, status=torch.where(drawn, DRAWN, made.status).to(made.status.dtype))


def align(
    overlap: Tensor,
    source_vectors: Tensor,
    target_vectors: Tensor,
    generator: torch.Generator,
    *,
    pivots: int = 300,
    similarity: Literal["cosine", "dot"] = "cosine",
) -> Tensor:
    """Return for each target token the source token used alike, or -1 where it has no vector.

    Raises:
        MethodError: no token with a vector in both spaces has the same text.
    """
    known, known_source = has_vector(target_vectors), has_vector(source_vectors)
    shared = torch.nonzero((overlap >= 0) & known).flatten()
    shared = shared[known_source[overlap[shared]]]
    tokens = torch.nonzero((overlap < 0) & known).flatten()
    chosen = overlap.clone()
    if not len(tokens):
        return chosen
    if not len(shared):
        raise MethodError(
            "No token that both vocabularies have has a vector in both, so that nothing can be compared.",
            hint="Give more text, or a target vocabulary that shares tokens with the source.",
        )
    picked = shared[torch.randperm(len(shared), generator=generator)[:pivots]]
    candidates = torch.nonzero(known_source).flatten()
    relative_source = unit_rows(source_vectors[candidates]) @ unit_rows(source_vectors[overlap[picked]]).T
    relative_target = unit_rows(target_vectors[tokens]) @ unit_rows(target_vectors[picked]).T
    if similarity == "cosine":  # the length of the query does not change which is nearest
        relative_source = unit_rows(relative_source)
    step = max(1, BLOCK // len(candidates))
    for start in range(0, len(tokens), step):
        nearest = (relative_target[start : start + step] @ relative_source.T).argmax(1)
        chosen[tokens[start : start + step]] = candidates[nearest]
    return chosen


def bleu_1(references: Sequence[Tensor], candidates: Sequence[Tensor]) -> float:
    """Return BLEU-1 between sentences cut by the source's tokenizer and, mapped to its tokens, by the target's.

        exp(min(0, 1 - r / c)) times the share of the c mapped tokens that are among the r of their sentence

    >>> bleu_1([torch.tensor([1, 2, 3, 4])], [torch.tensor([1, 2, 2, 9])])
    0.5

    Args:
        references: the source's tokens, sentence by sentence.
        candidates: the mapped tokens of the same sentences.
    """
    matched = sum(
        (Counter(reference.tolist()) & Counter(candidate.tolist())).total()
        for reference, candidate in zip(references, candidates, strict=True)
    )
    wanted, given = (sum(len(sentence) for sentence in sentences) for sentences in (references, candidates))
    return matched / given * math.exp(min(0.0, 1 - wanted / given)) if given else 0.0
