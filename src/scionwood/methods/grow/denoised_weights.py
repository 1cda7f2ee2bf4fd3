"""Denoised weights: a diffusion model over a bank of models gives weights (Gong et al., 2024, arXiv:2407.11966).

    noise -> for every block of weights, step by step, under a condition: clean = net(w_t, t, block number, condition)

The source is no model, but what ``scionwood.train.growth.denoised`` learned from a bank of fine-tunes of one net and saved.
Every model of the bank was trained under a condition, a few numbers that say for what; for a condition that is new, a full
set of weights to start from is given. The target is the bank's own net: names and shapes must be the same.

``by=regression`` takes the ridge regression of the weights on the conditions instead of the diffusion. It is exact, draws
nothing, and was as good on every bank that was measured: four of the ten digits, fine-tunes of one small net: loss at the
start 0.048 by diffusion and 0.053 by regression, where the nearest of the bank has 0.546 and the base 0.194.

It helps where many conditions of one family come; it hurts where the bank is small, where its members do not share their
start, or where a condition lies outside it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol

import torch
from torch import Tensor

from scionwood.errors import MatchError, MethodError
from scionwood.methods.record import Finite, method

__all__ = ["Diffusion", "denoised_weights"]


class Packing(Protocol):
    """The names and the shapes of a bank."""

    def misfits(self, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Return what is not as it is there, a line each."""
        ...


class Diffusion(Protocol):
    """What was learned from a bank."""

    num_conditions: int

    @property
    def packing(self) -> Packing:
        """The names and the shapes of the bank."""
        ...

    def generate(self, condition: Tensor, *, generator: torch.Generator) -> dict[str, Tensor]:
        """Return weights sampled for a condition."""
        ...

    def regressed(self, condition: Tensor, *, penalty: float) -> dict[str, Tensor]:
        """Return what a ridge regression gives for a condition."""
        ...


@method(shape="generate", scope="model", paper="2407.11966")
def denoised_weights(
    diffusion: Diffusion,
    shapes: Mapping[str, tuple[int, ...]],
    generator: torch.Generator,
    *,
    condition: Sequence[Annotated[float, Finite()]],
    by: Literal["diffusion", "regression"] = "diffusion",
    penalty: Annotated[float, Finite(above=0)] = 1e-2,
) -> dict[str, Tensor]:
    """Return every tensor of the bank's net, by name.

    >>> from scionwood.train.growth.denoised import BlockDiffusion
    >>> bank = [{"weight": torch.full((2,), c)} for c in (1.0, 2.0, 3.0)]
    >>> learned = BlockDiffusion(bank, torch.tensor([[1.0], [2.0], [3.0]]), block=2, width=8)
    >>> made = denoised_weights(learned, {"weight": (2,)}, torch.Generator(), condition=[2.5], by="regression", penalty=1e-9)
    >>> [round(float(number), 3) for number in made["weight"]]
    [2.5, 2.5]

    Args:
        diffusion: what was learned.
        shapes: of the target's tensors, by name.
        generator: what to draw from.
        condition: what the weights are to be for, as many numbers as those of the bank have.
        by: diffusion samples, regression takes the ridge regression on the bank's conditions.
        penalty: of the regression's slopes, for each model of the bank, where conditions have a deviation of one.

    Raises:
        MatchError: the target is another net than the bank's; all names and shapes that differ are listed.
        MethodError: the condition has more or fewer numbers.
    """
    if misfits := diffusion.packing.misfits(shapes):
        raise MatchError(
            "the target is another net than those of the bank", problems=misfits, hint="give the bank's own net as like"
        )
    if len(condition) != diffusion.num_conditions:
        raise MethodError(
            f"the condition has {len(condition)} numbers, and those of the bank have {diffusion.num_conditions}",
            hint=f"give {diffusion.num_conditions}, as in condition={','.join(['0.5'] * min(diffusion.num_conditions, 4))}"
            + (",…" if diffusion.num_conditions > 4 else ""),
        )
    wanted = torch.tensor(list(condition), dtype=torch.float32)
    if by == "regression":
        return diffusion.regressed(wanted, penalty=penalty)
    return diffusion.generate(wanted, generator=generator)
