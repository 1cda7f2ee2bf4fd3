"""CW2V: new rows are mixtures of all old ones, learned as word2vec learns (Mundra et al., 2024, arXiv:2407.05841).

    e_new = softmax(A_1 A_2) E,  u_new = softmax(B_1 B_2) U;   E and U stay
    loss = -log s(e_centre . u_context) - sum over five drawn tokens of log s(-e_centre . u_drawn)

A row within the convex hull of the old rows of a head can never be the largest of the logits, whatever the hidden state:
its logit is a mean of old ones. So what the model generates for old text stays as it was, which is the paper's case
for such rows; the mean of all rows and the mean of the subwords have it too. The paper finds CW2V as good as the best
and the multivariate draw on a par. It helps with text of the new language to learn from; it hurts with little: a
mixture of everything is near the mean until it has learned.

Defaults are the published code's (window 5, five drawn, unigrams to the power 3/4, centres kept with probability
sqrt(threshold / count), k = 1024 from uniform [0, 1), Adam 3e-4, batches of 1024, five rounds). Two things of that code
are left out: it draws a batch's negatives without replacement, which small vocabularies cannot give; and it adds up the
products of the negatives inside one sigmoid, for which there is ``negatives="together"``. An inner size of
both sides or more is no restriction, and the full matrix is learned instead, from zeros: from the mean.
"""

from collections.abc import Sequence
from itertools import chain, islice
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from scionwood.errors import MethodError
from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.making import with_rows
from scionwood.methods.vocabulary.rows import MIXED, Rows

__all__ = ["Learned", "cw2v", "learn_mixtures", "mix", "skip_grams", "step_work"]

BLOCK = 1 << 25
"""How many weights are held at once."""


class Learned(NamedTuple):
    """What was learned.

    Args:
        factors: for each table the factors of the scores of its mixtures: two, or one where the full matrix is learned.
        taken: how many steps were taken.
        steps: how many there are in all rounds.
    """

    factors: list[list[Tensor]]
    taken: int
    steps: int


@method(unit="axis", resizes=("input", "output"), paper="2407.05841")
def cw2v(
    table: Tensor,
    overlap: Tensor,
    tables: Sequence[Tensor],
    role: str,
    text: Sequence[Tensor],
    generator: torch.Generator,
    kept: dict[str, Any] | None = None,
    *,
    inner: Annotated[int, Finite(at_least=1)] = 1024,
    window: Annotated[int, Finite(at_least=1)] = 5,
    drawn: Annotated[int, Finite(at_least=1)] = 5,
    threshold: Annotated[float, Finite(above=0)] | None = 3.0,
    epochs: Annotated[int, Finite(at_least=0)] = 5,
    learning_rate: Annotated[float, Finite(above=0)] = 3e-4,
    batch: Annotated[int, Finite(at_least=1)] = 1024,
    negatives: Literal["apart", "together"] = "apart",
    steps: Annotated[int, Finite(at_least=0)] | None = None,
) -> Rows:
    """Return copies of what is shared, and learned mixtures of all source tokens.

    Args:
        table: the rows of the source's tokens, (Vs, d).
        overlap: for each target token the source token with the same text, or -1.
        tables: the rows of the input embedding and of the head; one alone where they are tied.
        role: what the table is: input, output or bias.
        text: token ids by the target's tokenizer, document by document.
        generator: to draw from.
        kept: what was learned for another table of the model, which is the same; where nothing is kept, it is learned again.
        inner: the size between the two factors of the weights; the full matrix where it is no smaller.
        window: how far from its centre a context may stand.
        drawn: how many negatives for each pair.
        threshold: centres that occur more often than this are thinned out; none where nothing is said.
        epochs: how often every pair is seen.
        learning_rate: Adam's.
        batch: how many pairs a step takes.
        negatives: each in a sigmoid of its own, or together in one as in the published code.
        steps: after how many learning stops, whatever the rounds; with none it does not.

    Raises:
        MethodError: there is no such role.
    """
    if role not in ("input", "output", "bias"):
        raise MethodError(f"A table is input, output or bias, not {role!r}.")
    tokens = torch.nonzero(overlap < 0).flatten()
    if not len(tokens):
        return with_rows(table, overlap, tokens, table[:0], generator)
    known = {} if kept is None else kept
    learned = known.get("mixtures") or learn_mixtures(
        tables,
        overlap,
        text,
        generator,
        inner=inner,
        window=window,
        drawn=drawn,
        threshold=threshold,
        epochs=epochs,
        learning_rate=learning_rate,
        batch=batch,
        negatives=negatives,
        steps=steps,
    )
    known["mixtures"] = learned
    factors = learned.factors[0 if role == "input" else -1]
    step = max(1, BLOCK // len(table))
    rows = [
        mix(factors, table, torch.arange(len(tokens))[start : start + step]) for start in range(0, len(tokens), step)
    ]
    note = f"learned {learned.taken:,} of {learned.steps:,} steps" if learned.taken < learned.steps else ""
    return with_rows(table, overlap, tokens, torch.cat(rows), generator, status=MIXED, note=note)


def step_work(old: int, new: int, dim: int, *, inner: int = 1024, drawn: int = 5, batch: int = 1024) -> int:
    """Return how many multiplications a step of learning takes at most, for each table.

    >>> step_work(1000, 1200, 128, inner=64)  # all new tokens, their weights of 64 and rows of 128, forth and twice back
    691200000

    Args:
        old: source tokens.
        new: target tokens that are not shared.
        dim: of the rows.
        inner: as of the method, like the others.
        drawn: likewise.
        batch: likewise.
    """
    tokens = min(new, batch * (1 + drawn))
    return 3 * tokens * old * (dim + (inner if inner < min(old, new) else 0))


def mix(factors: Sequence[Tensor], table: Tensor, places: Tensor) -> Tensor:
    """Return the mixtures of some of the new tokens."""
    scores = factors[0][places]
    for factor in factors[1:]:
        scores = scores @ factor
    return torch.softmax(scores, dim=1).to(table.dtype) @ table


def learn_mixtures(
    tables: Sequence[Tensor],
    overlap: Tensor,
    text: Sequence[Tensor],
    generator: torch.Generator,
    *,
    inner: int = 1024,
    window: int = 5,
    drawn: int = 5,
    threshold: float | None = 3.0,
    epochs: int = 5,
    learning_rate: float = 3e-4,
    batch: int = 1024,
    negatives: Literal["apart", "together"] = "apart",
    steps: int | None = None,
) -> Learned:
    """Return for each table the factors of the scores of its mixtures; the arguments are those of the method."""
    place = torch.full((len(overlap),), -1)
    fresh = torch.nonzero(overlap < 0).flatten()
    place[fresh] = torch.arange(len(fresh))
    shape = (len(fresh), len(tables[0]))
    if inner >= min(shape):
        factors = [[torch.zeros(shape)] for _ in tables]
    else:
        factors = [
            [torch.rand(size, generator=generator) for size in ((shape[0], inner), (inner, shape[1]))] for _ in tables
        ]
    centres, contexts = skip_grams(text, len(overlap), generator, window=window, threshold=threshold)
    rounds = (torch.randperm(len(centres), generator=generator).split(batch) for _ in range(epochs))
    every = epochs * -(-len(centres) // batch)
    most = every if steps is None else min(steps, every)
    if not most:
        return Learned(factors, 0, every)
    counts = torch.bincount(torch.cat([part.long() for part in text]), minlength=len(overlap))
    noise = counts.double().pow(0.75)
    parameters = [factor.requires_grad_() for some in factors for factor in some]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, fused=True)
    with torch.enable_grad():
        for chosen in islice(chain.from_iterable(rounds), most):
            away = torch.multinomial(noise, len(chosen) * drawn, replacement=True, generator=generator)
            centre, first = centres[chosen].unique(return_inverse=True)
            other, second = torch.cat([contexts[chosen], away]).unique(return_inverse=True)
            # Every product of two tokens is made once, and taken wherever they meet: far less than a row for each pair.
            products = (
                _rows(tables[0], factors[0], overlap, place, centre)
                @ _rows(tables[-1], factors[-1], overlap, place, other).T
            )
            near = products[first, second[: len(chosen)]]
            far = products[first[:, None], second[len(chosen) :].view(len(chosen), drawn)]
            pushed = far.sum(1, keepdim=True) if negatives == "together" else far
            loss = -(logsigmoid(near) + logsigmoid(-pushed).sum(1)).mean()
            if not loss.requires_grad:
                continue  # old tokens alone
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return Learned([[factor.detach() for factor in some] for some in factors], most, every)


def skip_grams(
    text: Sequence[Tensor], size: int, generator: torch.Generator, *, window: int, threshold: float | None
) -> tuple[Tensor, Tensor]:
    """Return the centres and contexts of all pairs within the window; frequent centres are thinned out.

    >>> centres, contexts = skip_grams([torch.tensor([4, 5, 6])], 7, torch.Generator(), window=1, threshold=None)
    >>> sorted(zip(centres.tolist(), contexts.tolist()))
    [(4, 5), (5, 4), (5, 6), (6, 5)]
    """
    parts = [part.long() for part in text if len(part)]
    if not parts:
        return torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)
    ids = torch.cat(parts)
    documents = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(part) for part in parts]))
    counts = torch.bincount(ids, minlength=size)[ids]
    kept = torch.ones(len(ids), dtype=torch.bool)
    if threshold is not None:
        kept = torch.rand(len(ids), generator=generator) < (threshold / counts).sqrt()
    centres, contexts = [], []
    for distance in range(1, min(window, len(ids) - 1) + 1):
        together = documents[:-distance] == documents[distance:]
        for centre, context in (
            (slice(None, -distance), slice(distance, None)),
            (slice(distance, None), slice(None, -distance)),
        ):
            used = together & kept[centre]
            centres.append(ids[centre][used])
            contexts.append(ids[context][used])
    return torch.cat(centres or [ids[:0]]), torch.cat(contexts or [ids[:0]])


def _rows(table: Tensor, factors: Sequence[Tensor], overlap: Tensor, place: Tensor, tokens: Tensor) -> Tensor:
    """Return the rows of tokens, old and new; of no token twice."""
    rows = table[overlap[tokens].clamp(min=0)]
    new = torch.nonzero(place[tokens] >= 0).flatten()
    if not len(new):
        return rows
    return rows.index_copy(0, new, mix(factors, table, place[tokens[new]]))
