"""HyperOFA: a network learns from a token's words to its coordinates (Özeren et al., 2025, arXiv:2504.21018).

    E = F P (see ofa);   H(word vectors of s) ~ f_s over the source's tokens;   f_t = f_overlap(t), or H(words of t)
    e_t = f_t P

OFA takes a mean of neighbours, whose rows lie within those of the source; the network may leave them. It helps where
many source tokens have words to learn from: 300 rounds over some ten thousand tokens, which takes a GPU at the paper's
sizes. It hurts where few have: then it learns them by heart, and OFA is safer. Networks and loss stand in
``set_network``; one source token in forty is held out, and the network is kept as it knew these best. The loss does not
depend on the scale of the coordinates, which are brought to a standard deviation of 1 meanwhile.

A bias over tokens has no directions that the loss could tell apart, and rows that are all alike have nothing to tell:
there is no network for either, and new tokens are mixed as OFA mixes them, of the ten nearest by the means of their words.

Defaults are those of the published configurations; an earlier SetFormer of the same repository widens the vectors to the
outputs before its layers, and is not this one. On rows that are a matrix times the word vectors, 250 tokens
teach small networks 50 others at a cosine of 0.98 (SetFormer) and 0.87 (BiLSTM) in 60 rounds.
"""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Finite, method
from scionwood.methods.vocabulary.making import with_rows
from scionwood.methods.vocabulary.ofa import factors, mean_of_words, ofa
from scionwood.methods.vocabulary.rows import Rows
from scionwood.methods.vocabulary.set_network import Kind, predict, train_network

__all__ = ["hyperofa"]


@method(unit="axis", resizes=("input", "output"), paper="2504.21018")
def hyperofa(
    table: Tensor,
    overlap: Tensor,
    source_words: Sequence[Tensor],
    target_words: Sequence[Tensor],
    word_vectors: Tensor,
    generator: torch.Generator,
    *,
    rank: Annotated[int, Finite(at_least=1)] | None = None,
    network: Kind = "lstm",
    layers: Annotated[int, Finite(at_least=1)] = 28,
    heads: Annotated[int, Finite(at_least=1)] = 10,
    widening: Annotated[int, Finite(at_least=1)] = 8,
    hidden: Annotated[int, Finite(at_least=1)] = 800,
    dropout: Annotated[float, Finite(at_least=0, below=1)] | None = None,
    epochs: Annotated[int, Finite(at_least=1)] | None = None,
    learning_rate: Annotated[float, Finite(above=0)] = 1e-4,
    batch: Annotated[int, Finite(at_least=2)] = 256,
    context: Annotated[int, Finite(at_least=1)] = 256,
    contrast: Annotated[float, Finite(at_least=0, at_most=1)] = 0.1,
    temperature: Annotated[float, Finite(above=0)] = 0.25,
    subset_above: Annotated[int, Finite(at_least=1)] = 4,
    held_out: Annotated[float, Finite(at_least=0, below=1)] = 0.025,
    steps: Annotated[int, Finite(at_least=1)] | None = None,
) -> Rows:
    """Return copies of what is shared, and what the network says of the others.

    Args:
        table: the rows of the source's tokens, (Vs, d); nothing is learned of a bias, (Vs, 1), or of rows all alike.
        overlap: for each target token the source token with the same text, or -1.
        source_words: for each source token the words it occurs in.
        target_words: for each target token the words it occurs in.
        word_vectors: (words, k).
        generator: to draw from.
        rank: how many primitives the rows are made of; all dimensions where nothing is said.
        network: lstm reads the words in order, setformer has no order.
        layers: of the setformer.
        heads: of the setformer; they share the width of the word vectors.
        widening: how many times the setformer's inner layers are wider than the word vectors.
        hidden: the lstm's width, each way.
        dropout: while it learns; 0.2 for the lstm and 0.4 for the setformer where nothing is said.
        epochs: how often every source token is seen; 300 for the lstm and 500 for the setformer where nothing is said.
        learning_rate: Adam's; it falls by a twentieth every ten epochs.
        batch: how many tokens a step takes.
        context: how many words of a token are read at most.
        contrast: the weight of telling the tokens of a batch apart; the rest is the distance.
        temperature: of telling them apart.
        subset_above: of tokens with more words than this, a random half to all are read in half of the cases.
        held_out: the share of the source tokens that tell when the network is best; with none its last state is taken.
        steps: after how many learning stops, whatever the rounds; with none it does not.

    Raises:
        MethodError: fewer than two source tokens have words, or the heads do not divide the width.
    """
    if table.shape[1] == 1 or bool((table == table[:1]).all()):
        source, target = (mean_of_words(words, word_vectors) for words in (source_words, target_words))
        return ofa(table, overlap, source, target, generator)
    whole = rank is None or rank >= table.shape[1]
    coordinates, primitives = (table, None) if whole else factors(table, rank or 0)
    taught = [index for index, some in enumerate(source_words) if len(some)]
    tokens = [token for token in torch.nonzero(overlap < 0).flatten().tolist() if len(target_words[token])]
    if not tokens:  # nothing to say, nothing to learn
        return with_rows(coordinates, overlap, overlap[:0], coordinates[:0], generator, primitives=primitives)
    if len(taught) < 2:
        raise MethodError(f"A network needs source tokens with words to learn from; {len(taught)} have any.")
    if network == "setformer" and word_vectors.shape[1] % heads:
        raise MethodError(
            f"{heads} heads cannot share word vectors of {word_vectors.shape[1]} dimensions.",
            hint="Give heads=... that divides the dimensions.",
        )
    if network == "lstm":
        sizes = {"hidden": hidden, "dropout": 0.2 if dropout is None else dropout}
    else:
        sizes = {"layers": layers, "heads": heads, "widening": widening, "dropout": 0.4 if dropout is None else dropout}
    targets = coordinates[taught].float()
    scale = targets.std().clamp(min=1e-30)
    rounds = epochs or (300 if network == "lstm" else 500)
    every = rounds * math.ceil((len(taught) - int(len(taught) * held_out)) / batch)
    note = f"learned {steps:,} of {every:,} steps" if steps is not None and steps < every else ""
    trained = train_network(
        word_vectors,
        [source_words[index] for index in taught],
        targets / scale,
        generator,
        network=network,
        epochs=rounds,
        learning_rate=learning_rate,
        batch=batch,
        context=context,
        contrast=contrast,
        temperature=temperature,
        subset_above=subset_above,
        held_out=held_out,
        steps=steps,
        **sizes,
    )
    said = predict(trained, word_vectors, [target_words[token] for token in tokens], batch=batch, context=context)
    made = torch.tensor(tokens)
    return with_rows(coordinates, overlap, made, said * scale, generator, primitives=primitives, note=note)
