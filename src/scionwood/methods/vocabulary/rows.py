"""What a method of vocabularies gives back: for every target token a mixture of source rows, or a row of its own.

    new = M table,   M (Vt, Vs) sparse, one line a token;   lines of M that are convex stay inside the table's hull

A row inside the convex hull of the rows of a head can never have the largest logit: it is an average of theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["COPIED", "DRAWN", "MADE", "MIXED", "STATUSES", "UNUSED", "Rows", "Status", "drawn_rows", "of_mixtures"]

Status: TypeAlias = Literal["copied", "mixed", "made", "drawn"]

STATUSES: tuple[Status, ...] = get_args(Status)
COPIED, MIXED, MADE, DRAWN = range(4)
UNUSED = 4
"""Of a row that no token has, and that is not counted."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of all target tokens.

    Args:
        indices: which source rows each token is mixed from, (Vt, n); where fewer, the rest has no weight.
        weights: of the mixture, (Vt, n).
        status: of each token, (Vt,): 0 copied, 1 mixed, 2 made of something else than source rows, 3 drawn at random;
            4 where no token has the row.
        tokens: which tokens have rows of their own, (t,).
        values: those rows, (t, d); what ``indices`` says of these tokens does not count.
        note: what else is to be said of how they were made.

    >>> rows = of_mixtures(torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    >>> rows.apply(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])
    """

    indices: Tensor
    weights: Tensor
    status: Tensor
    tokens: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    values: Tensor | None = None
    note: str = ""

    def __post_init__(self) -> None:
        count = len(self.status)
        problems = []
        if self.indices.shape != self.weights.shape or self.indices.dim() != 2 or len(self.indices) != count:
            shapes = f"{tuple(self.indices.shape)}, {tuple(self.weights.shape)} and {tuple(self.status.shape)}"
            problems.append(f"indices, weights and status are of the shapes {shapes}")
        if len(self.tokens) != (0 if self.values is None else len(self.values)):
            problems.append(f"{len(self.tokens)} tokens have rows of their own, but not as many rows are given")
        if not bool(self.weights.isfinite().all()) or (
            self.values is not None and not bool(self.values.isfinite().all())
        ):
            problems.append("some weights or rows are not finite")
        if problems:
            raise MethodError("These are no rows of a vocabulary.", problems=problems)

    def __len__(self) -> int:
        return len(self.status)

    def apply(self, table: Tensor) -> Tensor:
        """Return the new table (Vt, d) from the source's rows (Vs, d), in float32."""
        made = table.new_zeros((len(self), table.shape[1]), dtype=torch.float32)
        for column in range(self.indices.shape[1]):
            weights = self.weights[:, column]
            used = weights != 0
            made[used] += weights[used, None] * table[self.indices[used, column]].float()
        if self.values is not None:
            made[self.tokens] = self.values.float()
        return made

    def part(self, start: int, stop: int) -> "Rows":
        """Return the rows of the tokens from ``start`` to before ``stop``."""
        inside = (self.tokens >= start) & (self.tokens < stop)
        return Rows(
            indices=self.indices[start:stop],
            weights=self.weights[start:stop],
            status=self.status[start:stop],
            tokens=self.tokens[inside] - start,
            values=None if self.values is None else self.values[inside],
            note=self.note,
        )

    @property
    def counts(self) -> Mapping[Status, int]:
        """How many tokens have which status.

        >>> of_mixtures(torch.tensor([[0], [1]]), torch.ones(2, 1)).counts["mixed"]
        2
        """
        found = torch.bincount(self.status.long(), minlength=UNUSED).tolist()
        return dict(zip(STATUSES, found[:UNUSED], strict=True))

    def is_convex(self, tolerance: float = 1e-5) -> bool:
        """Whether every row is a mixture of source rows with weights that are not negative and sum to 1."""
        sums = self.weights.double().sum(1)
        return self.values is None and bool((self.weights >= 0).all()) and bool(((sums - 1).abs() <= tolerance).all())


def of_mixtures(indices: Tensor, weights: Tensor, status: Tensor | None = None) -> Rows:
    """Return rows that are all mixtures; of status ``mixed`` unless given."""
    told = torch.full((len(indices),), MIXED, dtype=torch.uint8) if status is None else status
    return Rows(indices=indices, weights=weights, status=told)


def drawn_rows(table: Tensor, count: int, generator: torch.Generator, *, scale: float = 1.0) -> Tensor:
    """Return rows drawn from N(mean, (scale std)^2) of the table's rows, dimension by dimension: the common last resort.

    >>> drawn_rows(torch.ones(5, 2), 3, torch.Generator().manual_seed(0))
    tensor([[1., 1.],
            [1., 1.],
            [1., 1.]])

    Args:
        table: the rows of the source's tokens, (Vs, d).
        count: how many.
        generator: to draw from.
        scale: of the deviations.
    """
    exact = table.double()
    deviation = exact.std(0, correction=0) if len(exact) else exact.new_zeros(table.shape[1])
    noise = torch.randn((count, table.shape[1]), generator=generator, dtype=torch.float64)
    return (exact.mean(0) + scale * deviation * noise).float()
