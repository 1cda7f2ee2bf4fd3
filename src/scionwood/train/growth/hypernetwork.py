"""LoGAH: a hypernetwork predicts first weights of low rank for nets it has not seen (Zhou et al., 2024, arXiv:2405.16287).

    node of a layer -> transformer encoder over the net's layers -> (2r, r) -> A (k, r), B (r, k)
    W = sqrt(2 / fan_in) A[:outputs] B[:, :inputs]           bias = tanh(0.2 p)

One small net is trained over many architectures at once: sample some, predict their weights, run a batch through each,
average the losses, and let the gradient through the weights into the predictor. Its decoder makes each matrix of two
thin factors, as LoGAH does, where GHN-3 (Knyazev et al., 2023, arXiv:2303.04143) tiles a block; so a matrix of any size
costs r (outputs + inputs) outputs, and has rank r at most. What it predicts is a good start, not a trained model. It
helps where many nets are tried for a few steps each; it hurts where one net is trained to the end, and beyond the sizes
and depths that it was trained on it is worth nothing.

This is the honest size for a CPU, not a port: plain nets, one layer after another, where GHN-3 reads a graph of
operations with shortest paths as edges; attention is full. It has 42 976 numbers. Published checkpoints are not loaded.

What it was trained for is one task. Saved, it is a source of ``scionwood grow --method hypernetwork``, which gives a
target's layers what is predicted for their shapes; there are no source weights.

Measured on scikit-learn's digits: 1200 steps of meta-training on nets of one to three hidden layers of 16 to 64, 15 to 28
seconds on one core; three seeds. Test accuracy in per cent of nets not seen, after 0, 20 and 50 steps of gradient descent
at a rate of 0.05, predicted, then from He's start: one layer of 40: 85, 87, 88, then 6, 23, 54; layers of 56 and 20: 86,
86, 87, then 8, 34, 61; three of 64: 80, 85, 86, then 10, 47, 77.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self, TypeAlias

import torch
from torch import Tensor, nn

from scionwood.checkpoint import Source
from scionwood.errors import MatchError, MethodError
from scionwood.train.growth import saved

__all__ = [
    "LowRankHyperNet",
    "Predicted",
    "forward_perceptron",
    "initialize_",
    "layer_shapes",
    "meta_train",
    "named_layers",
]

Shape: TypeAlias = tuple[int, ...]


class Predicted(NamedTuple):
    """The predicted weights of one layer."""

    weight: Tensor
    bias: Tensor


class LowRankHyperNet(nn.Module):
    """Predicts the weights of a net from the shapes of its layers.

    >>> network = LowRankHyperNet()
    >>> sum(weight.numel() for weight in network.parameters())
    42976
    >>> [tuple(layer.weight.shape) for layer in network([(20, 64), (10, 20)])]
    [(20, 64), (10, 20)]

    Args:
        width: of the encoder.
        heads: of its attention.
        layers: of the encoder.
        rank: of the predicted matrices at most.
        largest: the most outputs or inputs, times the kernel's side, that a layer may have.
        deepest: the most layers that a net may have.
    """

    def __init__(
        self,
        *,
        width: int = 32,
        heads: int = 4,
        layers: int = 2,
        rank: int = 8,
        largest: int = 64,
        deepest: int = 8,
    ) -> None:
        super().__init__()
        self.settings = {"width": width, "heads": heads, "layers": layers}
        self.settings |= {"rank": rank, "largest": largest, "deepest": deepest}
        self.rank, self.largest, self.deepest = rank, largest, deepest
        self.places = nn.Embedding(3, width)  # first, middle, last
        self.inputs, self.outputs = nn.Embedding(largest + 1, width), nn.Embedding(largest + 1, width)
        self.positions = nn.Embedding(deepest, width)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.decoder = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 2 * rank * rank))
        self.factors = nn.Linear(rank, largest, bias=False)
        self.biases = nn.Linear(width, largest)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write it to one ``.safetensors`` file, which ``scionwood grow --method hypernetwork`` takes as its source.

        Args:
            path: of the file.
            overwrite: put it in the place of an old one.

        Raises:
            OutputError: the name does not end with ``.safetensors``, the file exists, or it cannot be written.
        """
        saved.save(path, "hypernetwork", self.settings, self.state_dict(), overwrite=overwrite)

    @classmethod
    def load(cls, source: Source) -> Self:
        """Return what was saved: it predicts the same weights, bit for bit.

        Raises:
            SourceError: it is no saved hypernetwork, of another version, or damaged.
        """

        def build(settings: Mapping[str, Any], tensors: dict[str, Tensor]) -> Self:
            # Without storage it takes no random numbers, and sizes that do not fit the tensors no memory.
            with torch.device("meta"):
                network = cls(**settings)
            network.load_state_dict(tensors, assign=True)
            return network

        return saved.load(source, "hypernetwork", build)

    def forward(self, shapes: Sequence[Shape], names: Sequence[str] | None = None) -> list[Predicted]:
        """Return the weights of one net.

        Args:
            shapes: of each layer's weight, in order: (outputs, inputs) of a Linear, (outputs, inputs, height, width)
                of a convolution.
            names: what the layers are called in messages; by their numbers unless given.

        Raises:
            MethodError: a layer is larger than the net was made for, or there are too many.
        """
        self._check(shapes, names or [f"layer {layer}" for layer in range(len(shapes))])
        like = self.biases.weight.device
        count = len(shapes)
        places = [0 if layer == 0 else 2 if layer == count - 1 else 1 for layer in range(count)]
        sizes = [_sides(shape) for shape in shapes]
        node = (
            self.places(torch.tensor(places, device=like))
            + self.outputs(torch.tensor([outputs for outputs, _ in sizes], device=like))
            + self.inputs(torch.tensor([inputs for _, inputs in sizes], device=like))
            + self.positions(torch.arange(count, device=like))
        )
        found = self.encoder(node[None])[0]
        thin = self.factors(self.decoder(found).reshape(count, 2 * self.rank, self.rank).relu())
        biases = torch.tanh(0.2 * self.biases(found))
        made = []
        for layer, (shape, (outputs, inputs)) in enumerate(zip(shapes, sizes, strict=True)):
            left, right = thin[layer, : self.rank, :outputs], thin[layer, self.rank :, :inputs]
            fan_in = math.prod(shape[1:])
            weight = (left.T @ right) * (2 / fan_in) ** 0.5
            if len(shape) == 4:
                weight = weight.reshape(shape[0], shape[2], shape[1], shape[3]).transpose(1, 2)
            made.append(Predicted(weight, biases[layer, : shape[0]]))
        return made

    def _check(self, shapes: Sequence[Shape], names: Sequence[str]) -> None:
        problems = []
        if not 0 < len(shapes) <= self.deepest:
            problems.append(f"{len(shapes)} layers, from 1 to {self.deepest} are known")
        for name, shape in zip(names, shapes, strict=True):
            if len(shape) not in {2, 4} or (len(shape) == 4 and shape[2] != shape[3]):
                problems.append(f"{name}: {tuple(shape)} is neither a Linear's nor a square convolution's")
            elif max(_sides(shape)) > self.largest:
                problems.append(f"{name}: {tuple(shape)} has a side over {self.largest}")
        if problems:
            raise MethodError(
                "no weights are predicted for this net",
                problems=problems,
                hint="train one for larger nets: LowRankHyperNet(largest=…, deepest=…)",
            )


def layer_shapes(module: nn.Module) -> list[Shape]:
    """Return the shapes of a net's Linears and convolutions, in the order of its modules.

    >>> layer_shapes(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)))
    [(8, 1, 3, 3), (10, 32)]
    """
    return [tuple(layer.weight.shape) for layer in named_layers(module).values()]


def named_layers(module: nn.Module) -> "dict[str, nn.Linear | nn.Conv2d]":
    """Return a net's Linears and two-dimensional convolutions by name, in the order of its modules; of those that share a weight the first.

    >>> list(named_layers(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))))
    ['0', '2']
    """
    found: dict[str, nn.Linear | nn.Conv2d] = {}
    weights: set[int] = set()
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear | nn.Conv2d) and id(part.weight) not in weights:
            found[name] = part
            weights.add(id(part.weight))
    return found


def initialize_(module: nn.Module, network: LowRankHyperNet) -> None:
    """Give a net's Linears and convolutions predicted weights, in place; a weight used twice is predicted once.

    >>> net, network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), LowRankHyperNet()
    >>> initialize_(net, network)
    >>> torch.equal(net[2].bias, network([(6, 4), (2, 6)])[1].bias)
    True

    Raises:
        MatchError: the net has no such layers.
        MethodError: it has too many, or too large ones.
    """
    layers = named_layers(module)
    if not layers:
        raise MatchError("the net has no Linear and no convolution to predict weights for")
    with torch.no_grad():
        found = network(layer_shapes(module), list(layers))
        for layer, predicted in zip(layers.values(), found, strict=True):
            layer.weight.copy_(predicted.weight)
            if layer.bias is not None:
                layer.bias.copy_(predicted.bias)


def forward_perceptron(layers: Sequence[Predicted], x: Tensor) -> Tensor:
    """Run a multilayer perceptron of predicted weights, with rectifiers between its layers.

    >>> layer = Predicted(torch.tensor([[1.0], [-1.0]]), torch.zeros(2))
    >>> forward_perceptron([layer, Predicted(torch.ones(1, 2), torch.ones(1))], torch.tensor([[3.0]]))
    tensor([[4.]])
    """
    for layer in layers[:-1]:
        x = nn.functional.linear(x, layer.weight, layer.bias).relu()
    return nn.functional.linear(x, layers[-1].weight, layers[-1].bias)


def meta_train(
    network: LowRankHyperNet,
    batches: Iterable[tuple[Tensor, Tensor]],
    architectures: Callable[[], Sequence[Shape]],
    *,
    forward: Callable[[Sequence[Predicted], Tensor], Tensor] = forward_perceptron,
    steps: int = 1200,
    meta_batch: int = 4,
    learning_rate: float = 2e-3,
    clip_norm: float = 5.0,
) -> list[float]:
    """Train the predictor over many architectures; return the loss of every step.

    Args:
        network: is trained in place.
        batches: inputs and class numbers; one is taken for each architecture, so ``steps * meta_batch`` in all.
        architectures: draws the shapes of a net's layers.
        forward: runs a net of predicted weights.
        steps: of AdamW, with a cosine to zero.
        meta_batch: how many architectures a step averages; GHN-3 takes 8.
        learning_rate: at the start; GHN-3 takes 4e-4 for its larger nets.
        clip_norm: of the whole gradient.

    Raises:
        MethodError: the batches end before the steps do.
    """
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
    remaining, losses = iter(batches), []
    for step in range(steps):
        total = torch.zeros((), device=network.biases.weight.device)
        for _ in range(meta_batch):
            try:
                x, labels = next(remaining)
            except StopIteration:
                raise MethodError(f"the batches ended after {step} of {steps} steps") from None
            total = total + nn.functional.cross_entropy(forward(network(architectures()), x), labels)
        loss = total / meta_batch
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        optimizer.step()
        cosine.step()
        losses.append(loss.item())
    return losses


def _sides(shape: Shape) -> tuple[int, int]:
    """Return the sides of the matrix that is predicted: a convolution's kernel is shared out among both."""
    kernel = shape[2] if len(shape) == 4 else 1
    return shape[0] * kernel, shape[1] * kernel
