"""Random feature amplification: training turns random neurons towards useful directions (Frei et al., 2022, arXiv:2202.07626).

    x = one of +-mu_1, +-mu_2 (orthogonal, of length M), plus N(0, I);   y = 1 for +-mu_1, -1 for +-mu_2, some flipped
    f(x) = sum_j a_j relu(w_j x),   a_j = +-1 / sqrt(m) fixed,   w_j small and Gaussian; full batches, logistic loss

An XOR of clusters, which no linear model can tell apart. The alignment of a neuron is max_k |cos(w_j, mu_k)|: a probe of
how much of the final features was in the initial weights, and how much training made.

Measured over three seeds: alignment 0.17 to 0.20 before, 0.66 to 0.72 after; accuracy on true labels 0.42 to 0.60 before,
0.998 to 1 after; 0.88 to 0.92 on the flipped labels trained on; least squares 0.49 to 0.52. The sizes are a reconstruction from the abstract: the paper's theory gives none.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["Amplification", "alignment", "amplification"]


class Amplification(NamedTuple):
    """What training changed.

    Args:
        alignment: the mean alignment of the neurons, before and after.
        accuracy: on fresh examples with true labels, before and after.
        train_accuracy: after, on the examples trained on with their flipped labels.
        linear_accuracy: of least squares, on the fresh examples: the control.
    """

    alignment: tuple[float, float]
    accuracy: tuple[float, float]
    train_accuracy: float
    linear_accuracy: float


def alignment(weight: Tensor, directions: Tensor) -> float:
    """Return the mean over rows of the largest |cosine| with any of the directions (rows, too).

    >>> alignment(torch.tensor([[3.0, 4.0]]), torch.eye(2))
    0.8...

    Raises:
        MethodError: rows of different lengths.
    """
    if weight.dim() != 2 or directions.dim() != 2 or weight.shape[1] != directions.shape[1]:
        raise MethodError(
            f"An alignment is between rows of one length, not {tuple(weight.shape)} and {tuple(directions.shape)}."
        )
    cosines = F.normalize(weight, dim=1) @ F.normalize(directions, dim=1).T
    return float(cosines.abs().amax(dim=1).mean())


def amplification(
    *,
    dimensions: int = 40,
    examples: int = 400,
    neurons: int = 100,
    length: float = 8.0,
    flipped: float = 0.1,
    std: float = 0.01,
    rate: float = 0.05,
    steps: int = 500,
    seed: int = 0,
) -> Amplification:
    """Return what training does to random neurons on an XOR of clusters.

    >>> result = amplification(examples=100, neurons=20, steps=100)
    >>> result.alignment[1] > result.alignment[0]
    True

    Args:
        dimensions: p, at least 2.
        examples: n; as many fresh ones measure.
        neurons: m.
        length: M, of the clusters' centres.
        flipped: the fraction of labels flipped.
        std: of the initial weights.
        rate: of the descent.
        steps: how many.
        seed: of the examples and of the weights.

    Raises:
        MethodError: fewer than two dimensions.
    """
    if dimensions < 2:
        raise MethodError(f"The two centres need at least two dimensions, not {dimensions}.")
    generator = torch.Generator().manual_seed(seed)

    def gaussian(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    centres = length * torch.linalg.qr(gaussian(dimensions, 2))[0].T

    def draw() -> tuple[Tensor, Tensor]:
        which = torch.randint(2, (examples,), generator=generator)
        sign = 2.0 * torch.randint(2, (examples, 1), generator=generator) - 1
        return sign * centres[which] + gaussian(examples, dimensions), 1.0 - 2.0 * which.double()

    (inputs, true), (fresh, clean) = draw(), draw()
    labels = torch.where(torch.rand(examples, generator=generator) < flipped, -true, true)
    weight = std * gaussian(neurons, dimensions)
    head = torch.where(torch.arange(neurons) % 2 == 0, 1.0, -1.0).double() / neurons**0.5

    def accuracy(of: Tensor, truth: Tensor) -> float:
        return float((((of @ weight.T).relu() @ head).sign() == truth).double().mean())

    before = alignment(weight, centres), accuracy(fresh, clean)
    for _ in range(steps):
        hidden = inputs @ weight.T
        slope = -labels * torch.sigmoid(-labels * (hidden.relu() @ head)) / examples
        weight = weight - rate * ((slope[:, None] * head) * (hidden > 0)).T @ inputs
    line = torch.linalg.lstsq(F.pad(inputs, (0, 1), value=1.0), labels[:, None]).solution[:, 0]
    linear = (F.pad(fresh, (0, 1), value=1.0) @ line).sign() == clean
    return Amplification(
        (before[0], alignment(weight, centres)),
        (before[1], accuracy(fresh, clean)),
        accuracy(inputs, labels),
        float(linear.double().mean()),
    )
