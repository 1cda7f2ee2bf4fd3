"""Interpolate: from the first model to the second in a straight line (Wortsman et al., 2021, arXiv:2109.01903).

    theta = (1 - alpha) theta_1 + alpha theta_2

Between a model and its own fine-tuning the line often holds models that are better than both ends: more robust, more
diverse, less forgetful. It hurts between models that never shared a start, with a barrier of loss between them. Known
under other names, each a way to choose the ends and alpha:

* WiSE-FT: zero-shot to fine-tuned model, alpha 0.5 without data to choose it by;
* SALSA (arXiv:2411.01798): two instruction tunings with different seeds, alpha 0.5; the result is the frozen reference
  of a policy that starts from the first, so their divergence is not zero at the start;
* Goedel-Prover-V2 (arXiv:2508.03613): start of a training to its end, alpha from 0.4 to 1 by pass@k, to restore the
  diversity that reinforcement took;
* Dynamic Y-KD (arXiv:2303.06015): before and after a continual step, for what both share; heads of one task alone are
  copied from the model that has them;
* the part-wise average of AMA (arXiv:2309.06256): aligned to unaligned model, an alpha for every block of layers.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor

from scionwood.errors import MethodError
from scionwood.methods.record import Finite, method

__all__ = ["interpolate"]


@method(space="weight", scope="element", laws={"homogeneous", "idempotent", "linear"}, paper="2109.01903")
def interpolate(tensors: Sequence[Tensor], *, alpha: Annotated[float, Finite()] = 0.5) -> Tensor:
    """Return the point at alpha on the line from the first tensor to the second.

    >>> interpolate([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0])], alpha=0.25)
    tensor([1.5000, 2.0000])

    Args:
        tensors: the two tensors.
        alpha: 0 is the first model, 1 the second; beyond them it extrapolates.

    Raises:
        MethodError: there are not two models.
    """
    if len(tensors) != 2:
        raise MethodError(
            f"A line goes between two models, and {len(tensors)} are given.", hint="linear takes any number."
        )
    return torch.lerp(tensors[0], tensors[1], alpha)
