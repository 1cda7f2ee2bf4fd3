"""A net out of two of half its width: the two on the diagonal, mixtures of their weights beside it (arXiv:2311.04251).

    W = [[W_0, W(a_2, T_s)], [W(a_3, T_t), W_1]],      W(a, T) = sum_l a_l T_l

Two nets of one shape, trained each on its own, stand side by side in one of twice the width (MixtureGrowth, Pham et al.,
2024). The blocks beside the diagonal are no new weights but mixtures of templates that a net was trained with, by new
coefficients a. Here the templates of a weight are the net's own layers: the tensor of that name in every block of its
list, of which the net itself uses one. ``own`` mixes from that one alone.

By the verb, any architecture will do: which axes are twice as large, and where they are, comes from the graph. Embeddings
and gains of norms stand side by side, the head reads both, so that logits are the sum of the members', and its bias is the
sum of theirs; ``average`` halves both. Where no axis of a tensor grows, it is the mean of the two. With coefficients of
zero, and norms that see one channel at a time (batch norms) or none, the logits are those of the members, added up or
averaged, exactly; norms along the whole stream see both members, and then it is near.

New coefficients are orthogonal to those of both members, and to each other, while there are directions left, and else in
the direction used least (the official code's rule); which of several is drawn. Its scale of 1 is kept. The official
layers, with trained coefficients and several templates each, are in ``scionwood.train.growth.mixture``; its ``plain_state``
is a member as a plain net's weights.

It helps where two halves are there anyway; it hurts where their training counts. Measured on docstrings, letter by letter
(Llamas of 32 channels and 2 layers, 400 steps each, to 64 channels; held-out nats a letter at once and after 200 steps at the
best of three rates, 2 seeds): members 2.22 and 1.92; zero and averaged 2.31, 1.73; orthogonal 2.96, 1.78, with a scale of 0.1
2.31, 1.73; of its own weight 3.00, 1.79; random 2.82, 1.76; copy 3.64, 1.93; from scratch 4.56, 2.35; hypercloning of one
member trained for 800 steps 1.73, 1.70. So the new blocks are worth nothing here, as on digits, and zero is the best of them.
No command prints these figures.
"""

from typing import Annotated, Literal, TypeAlias

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.grow.growth import Growth
from scionwood.methods.record import Finite, method

__all__ = ["How", "joining_coefficients", "mixture_growth", "orthogonal_coefficients"]

How: TypeAlias = Literal["orthogonal", "copy", "random", "zero"]


@method(unit="axis", paper="2311.04251", joins=True)
def mixture_growth(
    source: int,
    target: int,
    *,
    # All of these are for whoever joins: scionwood.verbs.grow.joining.
    coefficients: How = "orthogonal",
    scale: Annotated[float, Finite(at_least=0)] = 1.0,
    templates: Literal["layers", "own"] = "layers",
    crossed: bool = False,
    average: bool = False,
) -> Growth:
    """Return the index 0 … n - 1 twice: the first is the one member's, the second the other's.

    >>> growth = mixture_growth(2, 4)
    >>> growth.index.tolist(), growth.second.tolist()
    ([0, 1, 0, 1], [False, False, True, True])

    Args:
        coefficients: of the blocks beside the diagonal: orthogonal; copy, of the member that they mix from, with noise;
            random, from 0 to 1; zero, where the members stay side by side.
        scale: of the orthogonal and the random ones, and of the copies' noise; the official code's 1.
        templates: what is mixed: the tensor of that name in all blocks, or in its own alone.
        crossed: what reads the second member's channels is mixed from the second's weights, and not from the first's;
            and the other way round.
        average: halve the head, so that logits are the members' mean and not their sum.

    Raises:
        MethodError: the target is not twice as large.
    """
    if target != 2 * source:
        raise MethodError(
            f"{source} to {target}: two members side by side make {2 * source}",
            hint="give the target twice the source's sizes, heads and groups of them included",
        )
    return Growth(torch.arange(source).repeat(2), second=torch.arange(target) >= source)


def orthogonal_coefficients(previous: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return a unit vector orthogonal to the rows, or, where they span everything, the direction they use least.

    >>> previous = torch.tensor([[1.0, 0, 0.5, 0], [0, 1, 0, 0.5]])
    >>> found = orthogonal_coefficients(previous)
    >>> round(float(found.norm()), 4), bool((previous @ found).abs().max() < 1e-6)
    (1.0, True)

    Args:
        previous: coefficients so far, a row each.
        generator: draws which of several directions it is, so that it is the same one everywhere; without, it is the one
            that the decomposition has last, as in the official code.
    """
    if generator is None:
        return torch.linalg.svd(previous, full_matrices=True).Vh[-1]
    wide = previous.double()
    values, vectors = torch.linalg.eigh(wide.T @ wide)
    least = vectors[:, values <= values[0] + 1e-9 * max(1.0, float(values[-1]))]
    drawn = torch.randn(len(values), generator=generator, dtype=torch.float64)
    # The projection is the same whatever basis the decomposition gives these directions.
    found = least @ (least.T @ drawn)
    return (found / found.norm()).to(previous.dtype)


def joining_coefficients(
    how: How, members: Tensor, held: int, scale: float, generator: torch.Generator | None
) -> Tensor:
    """Return the coefficients of one block beside the diagonal, as many as there are templates.

    >>> joining_coefficients("copy", torch.eye(2), 1, 0.0, None).tolist()
    [0.0, 1.0]

    Args:
        how: as in :func:`mixture_growth`.
        members: the coefficients of both members, and of the other such block where it is there, a row each.
        held: the member whose templates the block mixes.
        scale: of the orthogonal and the random ones, and of the copies' noise.
        generator: to draw from.
    """
    if how == "orthogonal":
        return orthogonal_coefficients(members, generator) * scale
    if how == "zero":
        return torch.zeros_like(members[held])
    drawn = torch.rand(members.shape[1], generator=generator).to(members)
    if how == "random":
        return scale * drawn
    if how == "copy":
        return members[held] + scale * drawn / drawn.norm()
    raise MethodError(f"no such coefficients: {how!r}", hint="orthogonal, copy, random or zero are")
