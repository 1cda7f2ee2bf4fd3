"""AOL and SLL: layers that lengthen no difference, and how signals decay (Juston et al., 2025, arXiv:2503.00240).

    AOL  W = P diag(d)^(-1/2),  d_j = sum_i |P^T P|_ij                     convolutions: summed over all shifts
    SLL  y = x - 2 W diag(1/t) relu(W^T x + b),  t_i = sum_j |W^T W|_ij q_j / q_i

P and W are free; whatever they are, the layer's Lipschitz constant is at most 1 (Prach & Lampert, 2022, arXiv:2208.03160;
Araujo et al., 2023, arXiv:2303.03169). From Gaussian P the variance of an AOL layer of n inputs and m outputs is

    Var(W_ij) = 1 / (m + (n - 1) sqrt(2 m / pi)),

whatever the variance of P: square layers of width n shrink a mean square by sqrt(pi / (2 n)), with ReLU by half of that.
``decay_report`` counts it up. The start of ``initialize.lipschitz`` (orthogonal columns) is not shrunk at all, and SLL,
being residual, decays slowly. Since outputs shrink, the loss needs a scale or a temperature.

The variance was derived here, and matches simulation; SLL's q is exp of a free vector, where its published code has |q|.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)
from torch import Tensor, nn

from scionwood.methods.initialize.lipschitz import repeated_orthogonal

__all__ = [
    "AOLConv2d",
    "AOLLinear",
    "Decay",
    "SLLLinear",
    "aol_convolution",
    "aol_variance",
    "aol_weight",
    "decay_report",
    "sll_steps",
]


class Decay(NamedTuple):
    """What is left of a signal after a layer of Gaussian AOL.

    Args:
        layer: which, from 1.
        gain: by how much it multiplies the mean square of a signal's length, ReLU included where there is one.
        left: the product of all gains so far.
    """

    layer: int
    gain: float
    left: float


def aol_weight(parameter: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Return the weight (outputs, inputs) of an AOL layer.

    >>> aol_weight(torch.tensor([[3.0, 4.0]]), epsilon=0).square().tolist()  # |3| |3 + 4| and |4| |3 + 4|
    [[0.4285..., 0.5714...]]

    Args:
        parameter: (outputs, inputs), free.
        epsilon: added to the sums; that of the published code.
    """
    return parameter * (parameter.mT @ parameter).abs().sum(dim=0).add(epsilon).rsqrt()


def aol_convolution(parameter: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Return the kernel (outputs, inputs, height, width) of an AOL convolution, with any padding by zeros or around.

    >>> parameter = torch.randn(3, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(aol_convolution(parameter)[..., 0, 0], aol_weight(parameter[..., 0, 0]))
    True

    Args:
        parameter: (outputs, inputs, height, width), free.
        epsilon: added to the sums.
    """
    channels = parameter.transpose(0, 1)
    overlap = F.conv2d(channels, channels, padding=(parameter.shape[2] - 1, parameter.shape[3] - 1))
    return parameter * overlap.abs().sum(dim=(0, 2, 3)).add(epsilon).rsqrt()[:, None, None]


def sll_steps(weight: Tensor, q: Tensor) -> Tensor:
    """Return t of an SLL layer: (hidden,) from a weight (hidden, inputs), W^T of the formula, and positive q.

    >>> sll_steps(torch.eye(2), torch.tensor([1.0, 5.0])), sll_steps(torch.ones(2, 1), torch.tensor([1.0, 3.0]))
    (tensor([1., 1.]), tensor([4.0000, 1.3333]))
    """
    return ((weight @ weight.mT).abs() * q).sum(dim=1) / q


class AOLLinear(nn.Module):
    """A linear layer of Lipschitz constant 1.

    >>> layer = AOLLinear(8, 4, generator=torch.Generator().manual_seed(0))
    >>> float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) <= 1
    True

    Args:
        inputs: features in.
        outputs: features out.
        bias: whether there is one, zero at first.
        epsilon: added to the sums.
        generator: the torch.Generator to draw the repeated orthogonal start from.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        epsilon: float = 1e-6,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.parameter = nn.Parameter(
            repeated_orthogonal(outputs, inputs, generator or torch.default_generator).float()
        )
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @property
    def weight(self) -> Tensor:
        """The weight that it multiplies by."""
        return aol_weight(self.parameter, self.epsilon)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return W x + b."""
        return F.linear(inputs, self.weight, self.bias)


class AOLConv2d(nn.Module):
    """A convolution of images of Lipschitz constant 1, padded to the same size where its sides are odd.

    >>> layer = AOLConv2d(2, 3, generator=torch.Generator().manual_seed(0))
    >>> pixels = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    >>> layer(pixels).shape, bool(layer(pixels).norm() <= pixels.norm())
    (torch.Size([1, 3, 6, 6]), True)

    Args:
        inputs: channels in.
        outputs: channels out.
        size: side of the kernel.
        bias: whether there is one, zero at first.
        epsilon: added to the sums.
        generator: the torch.Generator to draw the start from: repeated orthogonal over channels, at the centre tap.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 3,
        *,
        bias: bool = True,
        epsilon: float = 1e-6,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.epsilon = epsilon
        start = torch.zeros(outputs, inputs, size, size)
        drawn = repeated_orthogonal(outputs, inputs, generator or torch.default_generator)
        start[:, :, size // 2, size // 2] = drawn.float()
        self.parameter = nn.Parameter(start)
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    @property
    def weight(self) -> Tensor:
        """The kernel that it convolves with."""
        return aol_convolution(self.parameter, self.epsilon)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the convolution, padded with zeros."""
        return F.conv2d(inputs, self.weight, self.bias, padding=self.parameter.shape[-1] // 2)


class SLLLinear(nn.Module):
    """A residual layer of Lipschitz constant 1.

    >>> layer = SLLLinear(4, generator=torch.Generator().manual_seed(0))
    >>> x, y = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    >>> bool((layer(x) - layer(y)).norm() <= (x - y).norm())
    True

    Args:
        width: features in and out.
        hidden: units of ReLU; as many as features where not given.
        generator: the torch.Generator to draw the Gaussian start from, of std 1 / sqrt(width); its scale does not matter.
    """

    def __init__(self, width: int, hidden: int | None = None, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        hidden = hidden or width
        self.weight = nn.Parameter(torch.randn(hidden, width, generator=generator) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.log_q = nn.Parameter(torch.zeros(hidden))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return x - 2 W diag(1/t) relu(W^T x + b)."""
        steps = sll_steps(self.weight, self.log_q.exp())
        return inputs - 2 * (F.relu(F.linear(inputs, self.weight, self.bias)) / steps) @ self.weight


def aol_variance(inputs: int, outputs: int) -> float:
    """Return the variance of an AOL layer's weights from Gaussian parameters, of any variance.

    >>> round(256 * aol_variance(256, 256), 4)
    0.0729
    """
    return 1 / (outputs + (inputs - 1) * math.sqrt(2 * outputs / math.pi))


def decay_report(widths: Sequence[int], *, relu: bool = True) -> list[Decay]:
    """Return how the mean square of a signal's length decays through AOL layers with a Gaussian start.

    >>> [(row.layer, round(row.left, 5)) for row in decay_report([256, 256, 256])]
    [(1, 0.03645), (2, 0.00133)]

    Args:
        widths: of the input and of every layer.
        relu: whether ReLU follows every layer.
    """
    rows: list[Decay] = []
    left = 1.0
    for layer, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
        gain = outputs * aol_variance(inputs, outputs) * (0.5 if relu else 1.0)
        left *= gain
        rows.append(Decay(layer, gain, left))
    return rows
