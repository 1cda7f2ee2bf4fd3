"""Coordinate networks with sines: SIREN, FINER and Fourier features (Sitzmann et al., 2020, arXiv:2006.09661).

    SIREN     sin(w (W x + b)):              first layer U(+-1 / in) and its own w, others U(+-sqrt(6 / in) / w)
    FINER     sin(w (|z| + 1) z), z = W x + b:     the same, first bias U(+-k)       (Liu et al., 2023, arXiv:2312.02434)
    Fourier   [cos(2 pi B x), sin(2 pi B x)], B ~ N(0, sigma), then ReLU       (Tancik et al., 2020, arXiv:2006.10739)

Coordinates are from -1 to 1. A linear layer ends each. What an untrained one shows is what it learns fastest: that is
set by the first frequency, by k and by sigma, all to be chosen for the signal, as by ``inspect.fresh``. Frequencies
above the signal's fit the samples and not what lies between them. Other biases are PyTorch's, as in the published
codes, and so is FINER's first where no k is given; |z| + 1 counts as a constant in gradients, as there.

A photograph of 64 by 64, a SIREN of 3 times 64, 300 steps of Adam at 1e-3, mean of three seeds, in decibels:

    SIREN's own start                                   39.1       trained on half of the pixels, the others   23.0
    FreSh's first frequency (50 of 10, 20, .. 200)      40.0                                                   20.5
    first frequency 10                                                                                         24.3
    ``initialize.vi3nr``, hidden layers, phases of std 1 / 2 / 4       39.1 / 40.0 / 31.4        std 2:        21.8
    the same in all layers, std 1 / 2                   26.7 / 29.2
    FreSh's, and vi3nr with std 2 in hidden layers      39.4

So both win a decibel on the samples and lose more than that between them; they do not add up. VI3NR with one std for
all layers takes the first layer's frequencies away, whose phases SIREN spreads by seven. Its std of 1 is SIREN's own.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from scionwood.errors import MethodError

__all__ = ["Finer", "FourierFeatures", "FourierNetwork", "Sine", "Siren", "VariableSine", "grid"]


def grid(*sides: int) -> Tensor:
    """Return the coordinates of a signal's samples, (samples, dimensions), from -1 to 1.

    >>> grid(2, 3).tolist()
    [[-1.0, -1.0], [-1.0, 0.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    return torch.cartesian_prod(*(torch.linspace(-1, 1, side) for side in sides)).reshape(-1, len(sides))


class Sine(nn.Module):
    """sin(frequency x).

    >>> Sine(math.pi)(torch.tensor([0.5]))
    tensor([1.])
    """

    def __init__(self, frequency: float = 1.0) -> None:
        super().__init__()
        self.frequency = frequency

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sines."""
        return torch.sin(self.frequency * inputs)

    def extra_repr(self) -> str:
        """Return what is printed of it."""
        return f"frequency={self.frequency:g}"


class VariableSine(Sine):
    """sin(frequency (|x| + 1) x): the further from 0, the higher its frequency.

    >>> VariableSine(math.pi / 4)(torch.tensor([1.0]))
    tensor([1.])
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sines."""
        return torch.sin(self.frequency * (inputs.detach().abs() + 1) * inputs)


class Siren(nn.Module):
    """Sine layers and a linear one.

    >>> network = Siren(2, 3, width=64, depth=2)
    >>> network(grid(4, 4)).shape
    torch.Size([16, 3])

    Args:
        inputs: how many coordinates.
        outputs: how many values.
        width: of the hidden layers.
        depth: how many sine layers.
        first_frequency: of the first layer; the default is the paper's.
        frequency: of the others; likewise.
        generator: to draw from; PyTorch's own by default.

    Raises:
        MethodError: a size below 1, or a frequency that is not above 0.
    """

    activation: type[Sine] = Sine

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 256,
        depth: int = 4,
        first_frequency: float = 30.0,
        frequency: float = 30.0,
        generator: torch.Generator | None = None,
    ) -> None:
        _check(
            {"inputs": inputs, "outputs": outputs, "width": width, "depth": depth},
            {"first_frequency": first_frequency, "frequency": frequency},
        )
        sizes = [inputs, *[width] * depth, outputs]
        linears = [nn.utils.skip_init(nn.Linear, fan_in, size) for fan_in, size in pairwise(sizes)]
        frequencies = [first_frequency, *[frequency] * (depth - 1)]
        parts: list[nn.Module] = []
        for linear, each in zip(linears, frequencies, strict=False):
            parts += [linear, self.activation(each)]
        super().__init__()
        self.layers = nn.Sequential(*parts, linears[-1])
        self.frequency = frequency
        self.reset_parameters(generator)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Return the values at coordinates, (..., inputs)."""
        return self.layers(coordinates)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew."""
        for number, linear in enumerate(part for part in self.layers if isinstance(part, nn.Linear)):
            fan_in = linear.in_features
            bound = 1 / fan_in if number == 0 else math.sqrt(6 / fan_in) / self.frequency
            linear.weight.uniform_(-bound, bound, generator=generator)
            linear.bias.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)


class Finer(Siren):
    """A SIREN whose sines are faster away from 0, with first biases spread over several of those frequencies.

    >>> network = Finer(1, 1, width=64, depth=2, bias=5.0)
    >>> bool(network.layers[0].bias.abs().max() > 1)
    True

    Args:
        inputs: how many coordinates.
        outputs: how many values.
        width: of the hidden layers.
        depth: how many sine layers.
        first_frequency: of the first layer.
        frequency: of the others.
        bias: k, the bound of the first layer's biases; PyTorch's where it is None.
        generator: to draw from; PyTorch's own by default.

    Raises:
        MethodError: a size below 1, a frequency that is not above 0, or a bias below 0.
    """

    activation = VariableSine

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 256,
        depth: int = 4,
        first_frequency: float = 30.0,
        frequency: float = 30.0,
        bias: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        if bias is not None and not bias >= 0:
            raise MethodError(f"The bound of the first biases is at least 0, not {bias}.")
        # Before the base's, which draws the weights.
        self.bias = bias
        super().__init__(
            inputs,
            outputs,
            width=width,
            depth=depth,
            first_frequency=first_frequency,
            frequency=frequency,
            generator=generator,
        )

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew."""
        super().reset_parameters(generator)
        first = self.layers[0]
        if self.bias is not None and isinstance(first, nn.Linear):
            first.bias.uniform_(-self.bias, self.bias, generator=generator)


class FourierFeatures(nn.Module):
    """Cosines and sines of random frequencies, which are not learned.

    >>> features = FourierFeatures(2, 8, sigma=5.0)(grid(3, 3))
    >>> features.shape, (features[:, :4] ** 2 + features[:, 4:] ** 2).allclose(torch.ones(9, 4))
    (torch.Size([9, 8]), True)

    Args:
        inputs: how many coordinates.
        features: how many are returned, half cosines and half sines.
        sigma: std of the frequencies, in periods per unit of the coordinates.
        generator: to draw from; PyTorch's own by default.

    Raises:
        MethodError: an odd number of features, a size below 1, or a sigma that is not above 0.
    """

    frequencies: Tensor

    def __init__(
        self, inputs: int, features: int, *, sigma: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        _check({"inputs": inputs, "features": features}, {"sigma": sigma})
        if features % 2:
            raise MethodError(f"Fourier features come in pairs: {features} is odd.")
        super().__init__()
        self.register_buffer("frequencies", sigma * torch.randn(features // 2, inputs, generator=generator))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the features."""
        phase = 2 * math.pi * inputs @ self.frequencies.T
        return torch.cat([phase.cos(), phase.sin()], dim=-1)


class FourierNetwork(nn.Module):
    """Fourier features before ReLU layers, which start as PyTorch starts them, and a linear one.

    >>> FourierNetwork(2, 3, width=64, depth=2, sigma=5.0)(grid(4, 4)).shape
    torch.Size([16, 3])

    Args:
        inputs: how many coordinates.
        outputs: how many values.
        width: of the features and the hidden layers.
        depth: how many ReLU layers.
        sigma: std of the frequencies, in periods per unit of the coordinates.
        generator: to draw from; PyTorch's own by default.

    Raises:
        MethodError: an odd width, a size below 1, or a sigma that is not above 0.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        width: int = 256,
        depth: int = 3,
        sigma: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        _check({"outputs": outputs, "depth": depth}, {})
        parts: list[nn.Module] = [FourierFeatures(inputs, width, sigma=sigma, generator=generator)]
        for fan_in, size in pairwise([*[width] * (depth + 1), outputs]):
            linear = nn.utils.skip_init(nn.Linear, fan_in, size)
            for parameter in linear.parameters():
                parameter.data.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
            parts += [linear, nn.ReLU()]
        super().__init__()
        self.layers = nn.Sequential(*parts[:-1])

    def forward(self, coordinates: Tensor) -> Tensor:
        """Return the values at coordinates, (..., inputs)."""
        return self.layers(coordinates)


def _check(sizes: dict[str, int], positive: dict[str, float]) -> None:
    problems = [f"{name} is at least 1, not {value}" for name, value in sizes.items() if value < 1]
    problems += [f"{name} is above 0, not {value}" for name, value in positive.items() if not value > 0]
    if problems:
        raise MethodError("There is no such coordinate network.", problems=problems)
