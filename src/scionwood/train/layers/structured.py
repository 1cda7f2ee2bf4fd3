"""Structured layers for dense ones: low rank, TT, Monarch, BTT, in muP (Qiu et al., 2024, arXiv:2406.06248).

    low rank  x U V                                    TT       cores (r, n_i, m_i, r'), Kronecker at r = 1
    Monarch   two block-diagonal factors, a shuffle between them
    BTT       y[j] = x[j] W0[j];   z[k] = y[:, k] W1[k]        x as (m1, m0), y as (m1, n0, r), z as (n0, n1)

A factor is a dense block from d_in' to d_out' numbers: std = sqrt(min(d_in', d_out')) / d_in', and Adam's rate times
(d_in / d_in') / factors (``scionwood.methods.initialize.structured``). Without both, a structured layer looks worse than
it is; with them BTT matches dense layers at less compute in the paper. A layer of low rank gives outputs of rms
sqrt(r / d), which is meant: the operator's norm is bounded, not the rms. BTT of rank min(m0, n1) is any matrix at all
(``BTT.from_dense``).

Sizes are split most evenly into two, Monarch has 4 blocks, BTT rank 1: defaults of the published code.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from scionwood.errors import MethodError, nearest
from scionwood.methods.initialize.structured import Factor, factors

__all__ = ["BTT", "TT", "LowRank", "Monarch", "Structured", "factorize", "parameter_groups", "restructure"]

Structure = Literal["low_rank", "kronecker", "tt", "monarch", "btt"]


class Structured(nn.Module, ABC):
    """What structured layers have in common: factors with their first std, and a bias.

    Args:
        inputs: features in.
        outputs: features out.
        shapes: of the stored factors.
        blocks: (inputs, outputs) of each factor's dense block.
        bias: whether there is one, zero at first.
        zero: the last factor starts at zero, as at the end of a residual branch.
        normalize: keep the rms of each factor at or below its first std, times a learned scale that starts at 1.
        generator: the torch.Generator to draw from.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        shapes: Iterable[tuple[int, ...]],
        blocks: list[tuple[int, int]],
        *,
        bias: bool = True,
        zero: bool = False,
        normalize: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.starts: list[Factor] = factors(inputs, blocks)
        self.factors = nn.ParameterList()
        for number, (shape, start) in enumerate(zip(shapes, self.starts, strict=True), 1):
            last = zero and number == len(self.starts)
            self.factors.append(torch.zeros(shape) if last else torch.randn(shape, generator=generator) * start.std)
        self.scales = nn.Parameter(torch.ones(len(self.starts))) if normalize else None
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def weights(self) -> list[Tensor]:
        """Return the factors as they are multiplied by: normalised, where they are to be."""
        if self.scales is None:
            return list(self.factors)
        return [
            self.scales[number] * factor / (factor.square().mean().add(1e-8).sqrt() / start.std).clamp(min=1)
            for number, (factor, start) in enumerate(zip(self.factors, self.starts, strict=True))
        ]

    @abstractmethod
    def product(self, inputs: Tensor) -> Tensor:
        """Return the product with (batch, inputs), without the bias."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product plus the bias."""
        result = self.product(inputs.reshape(-1, self.in_features)).reshape(*inputs.shape[:-1], self.out_features)
        return result if self.bias is None else result + self.bias

    def dense(self) -> Tensor:
        """Return the weight of the dense layer that it equals, (outputs, inputs)."""
        reference = self.factors[0]
        return self.product(torch.eye(self.in_features, dtype=reference.dtype, device=reference.device)).T


class LowRank(Structured):
    """x U V of a rank, the square root of the smaller side where not given.

    >>> int(torch.linalg.matrix_rank(LowRank(16, 9).dense()))
    3
    """

    def __init__(self, inputs: int, outputs: int, *, rank: int | None = None, **options: Any) -> None:
        rank = rank or math.ceil(math.sqrt(min(inputs, outputs)))
        shapes = [(inputs, rank), (rank, outputs)]
        super().__init__(inputs, outputs, shapes, shapes, **options)

    def product(self, inputs: Tensor) -> Tensor:
        """Return x U V."""
        first, second = self.weights()
        return inputs @ first @ second


class TT(Structured):
    """A tensor train of cores (rank before, n_i, m_i, rank after); at rank 1 a Kronecker product.

    >>> layer = TT(6, 10)
    >>> first, second = (factor[0, ..., 0] for factor in layer.factors)
    >>> torch.allclose(layer.dense(), torch.kron(first, second).T)
    True
    """

    def __init__(self, inputs: int, outputs: int, *, rank: int = 1, cores: int = 2, **options: Any) -> None:
        self.inner, outer = factorize(inputs, cores), factorize(outputs, cores)
        ranks = [1, *[rank] * (cores - 1), 1]
        shapes = [(ranks[i], self.inner[i], outer[i], ranks[i + 1]) for i in range(cores)]
        blocks = [(shape[0] * shape[1], shape[2] * shape[3]) for shape in shapes]
        super().__init__(inputs, outputs, shapes, blocks, **options)

    def product(self, inputs: Tensor) -> Tensor:
        """Return x times the train."""
        values = inputs.reshape(len(inputs), *self.inner, 1)
        for core in self.weights():
            # Each core takes the first dimension and the rank, and puts its own at the end.
            values = torch.einsum("bn...k,knml->b...ml", values, core)
        return values.reshape(len(inputs), -1)


class Monarch(Structured):
    """Two block-diagonal factors with a shuffle between them, and blocks shuffled together after.

    >>> sum(factor.numel() for factor in Monarch(1024, 1024).factors)
    524288
    """

    def __init__(self, inputs: int, outputs: int, *, blocks: int = 4, **options: Any) -> None:
        if inputs % blocks or outputs % blocks:
            raise MethodError(
                f"A Monarch layer from {inputs} to {outputs} features cannot have {blocks} blocks.",
                hint="The number of blocks divides both sizes.",
            )
        into, out = inputs // blocks, outputs // blocks
        middle = min(into, out)
        shapes = [(blocks, middle, into), (blocks, out, middle)]
        super().__init__(inputs, outputs, shapes, [(shape[2], shape[1]) for shape in shapes], **options)
        self.blocks = blocks

    def product(self, inputs: Tensor) -> Tensor:
        """Return x times both factors."""
        first, second = self.weights()
        batch = len(inputs)
        values = torch.einsum("bki,kji->bkj", inputs.reshape(batch, self.blocks, -1), first)
        # What a block wrote is dealt out to all blocks of the second factor.
        values = values.reshape(batch, -1, self.blocks).transpose(1, 2)
        return torch.einsum("bki,kji->bjk", values, second).reshape(batch, -1)


class BTT(Structured):
    """Block tensor train of two cores: dense blocks over a split input, then over a split output.

    >>> sum(factor.numel() for factor in BTT(1024, 1024).factors)
    65536
    """

    def __init__(self, inputs: int, outputs: int, *, rank: int = 1, **options: Any) -> None:
        (m0, m1), (n0, n1) = factorize(inputs, 2), factorize(outputs, 2)
        self.sizes = (m0, m1, n0, n1)
        shapes = [(m1, m0, rank * n0), (n0, rank * m1, n1)]
        super().__init__(inputs, outputs, shapes, [(shape[1], shape[2]) for shape in shapes], **options)
        self.rank = rank

    def product(self, inputs: Tensor) -> Tensor:
        """Return x times both cores."""
        m0, m1, n0, _ = self.sizes
        first, second = self.weights()
        batch = len(inputs)
        values = torch.einsum("bji,jio->bjo", inputs.reshape(batch, m1, m0), first)
        values = values.reshape(batch, m1, n0, self.rank).transpose(1, 2).reshape(batch, n0, m1 * self.rank)
        return torch.einsum("bki,kil->bkl", values, second).reshape(batch, -1)

    @classmethod
    def from_dense(cls, weight: Tensor, rank: int | None = None, *, bias: Tensor | None = None) -> "BTT":
        """Return the nearest layer of a rank to a dense weight (outputs, inputs); exact at the rank min(m0, n1).

        >>> weight = torch.randn(15, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> torch.allclose(BTT.from_dense(weight).dense(), weight)
        True
        """
        outputs, inputs = weight.shape
        (m0, m1), (n0, n1) = factorize(inputs, 2), factorize(outputs, 2)
        rank = min(m0, n1) if rank is None else rank
        layer = cls(inputs, outputs, rank=rank, bias=bias is not None).to(weight.dtype)
        # Block (j, k) of the matrix is m0 x n1, and of rank r: W0[j][:, k] W1[k][j].
        blocks = weight.T.reshape(m1, m0, n0, n1).permute(0, 2, 1, 3)
        left, values, right = torch.linalg.svd(blocks, full_matrices=False)
        kept = min(rank, values.shape[-1])
        root = values[..., :kept].sqrt()
        first = torch.zeros(m1, m0, n0, rank, dtype=weight.dtype, device=weight.device)
        second = torch.zeros(n0, m1, rank, n1, dtype=weight.dtype, device=weight.device)
        first[..., :kept] = (left[..., :kept] * root[..., None, :]).permute(0, 2, 1, 3)
        second[:, :, :kept] = (root[..., :, None] * right[..., :kept, :]).transpose(0, 1)
        with torch.no_grad():
            layer.factors[0].copy_(first.reshape(m1, m0, n0 * rank))
            layer.factors[1].copy_(second.reshape(n0, m1 * rank, n1))
            if layer.bias is not None and bias is not None:
                layer.bias.copy_(bias)
        return layer


_LAYERS: dict[str, Callable[..., Structured]] = {
    "low_rank": LowRank, "kronecker": TT, "tt": TT, "monarch": Monarch, "btt": BTT,
}  # fmt: skip


def factorize(size: int, count: int) -> tuple[int, ...]:
    """Return factors of a size, as even as handing out its primes makes them, ascending.

    >>> factorize(1024, 2), factorize(24, 2), factorize(7, 2)
    ((32, 32), (4, 6), (1, 7))
    """
    primes, rest, prime = [], size, 2
    while rest > 1:
        while rest % prime == 0:
            primes.append(prime)
            rest //= prime
        prime = prime + 1 if prime * prime <= rest else rest
    found = [1] * count
    for prime in sorted(primes, reverse=True):
        found[found.index(min(found))] *= prime
    return tuple(sorted(found))


def restructure(
    model: nn.Module,
    structure: Structure = "btt",
    *,
    choose: Callable[[str, nn.Linear], bool] | None = None,
    zero: Callable[[str, nn.Linear], bool] | None = None,
    generator: torch.Generator | None = None,
    **options: Any,
) -> list[str]:
    """Put fresh structured layers in the place of a model's dense ones, and return the names of those replaced.

    >>> model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    >>> restructure(model, "low_rank", choose=lambda name, layer: name != "2", rank=2)
    ['0']

    Args:
        model: changed in place.
        structure: low_rank, kronecker, tt, monarch or btt.
        choose: which layers; all linear ones otherwise. The paper leaves the head dense.
        zero: which layers start with a last factor of zero: those at the end of a residual branch, in the paper.
        generator: the torch.Generator to draw from.
        options: of the layer: rank, cores, blocks, normalize.

    Raises:
        MethodError: an unknown structure, or options that it does not have.
    """
    if structure not in _LAYERS:
        raise MethodError(f"There is no structure {structure!r}{nearest(structure, list(_LAYERS))}.")
    if structure == "kronecker" and options.get("rank", 1) != 1:
        raise MethodError("A Kronecker product has rank 1.", hint="Use tt for a higher rank.")
    found = [
        (name, layer)
        for name, layer in model.named_modules()
        if type(layer) is nn.Linear and name and (choose is None or choose(name, layer))
    ]
    for name, layer in found:
        home, _, last = name.rpartition(".")
        try:
            fresh = _LAYERS[structure](
                layer.in_features, layer.out_features, bias=layer.bias is not None, zero=zero is not None and zero(name, layer),
                generator=generator, **options,
            )  # fmt: skip
        except TypeError as error:
            raise MethodError(f"A {structure} layer does not take these options: {error}.") from None
        setattr(model.get_submodule(home), last, fresh.to(layer.weight))
    return [name for name, _ in found]


def parameter_groups(model: nn.Module, rate: float, *, base_inputs: int | None = None) -> list[dict[str, Any]]:
    """Return a model's parameters as groups for an optimiser of Adam's kind, each factor with its own learning rate.

    >>> groups = parameter_groups(nn.Sequential(LowRank(1024, 1024, rank=32)), 0.001)
    >>> [(group["lr"], len(group["params"])) for group in groups]
    [(0.0005, 1), (0.001, 1), (0.016, 1)]

    Args:
        model: with structured layers, and others, which keep the rate.
        rate: what a dense layer is trained with.
        base_inputs: the width that the rate was found at; rates of factors are multiplied by this over the layer's own.
    """
    multiples: dict[nn.Parameter, float] = {}
    for layer in model.modules():
        if isinstance(layer, Structured):
            own = base_inputs / layer.in_features if base_inputs else 1.0
            multiples |= {factor: start.rate * own for factor, start in zip(layer.factors, layer.starts, strict=True)}
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        groups.setdefault(multiples.get(parameter, 1.0), []).append(parameter)
    return [{"params": groups[multiple], "lr": rate * multiple} for multiple in sorted(groups)]
