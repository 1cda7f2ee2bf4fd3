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

It takes shapes and no weights, and what it was trained for is one task: it is no method of ``scionwood grow``.

Measured on scikit-learn's digits: 1200 steps of meta-training on nets of one to three hidden layers of 16 to 64, 15 to 28
seconds on one core; three seeds. Test accuracy in per cent of nets not seen, after 0, 20 and 50 steps of gradient descent
at a rate of 0.05, predicted, then from He's start: one layer of 40: 85, 87, 88, then 6, 23, 54; layers of 56 and 20: 86,
86, 87, then 8, 34, 61; three of 64: 80, 85, 86, then 10, 47, 77.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from scionwood.errors import MatchError, MethodError

__all__ = ["LowRankHyperNet", "Predicted", "forward_perceptron", "initialize_", "layer_shapes", "meta_train"]

Shape: TypeAlias = tuple[int, ...]
DEEPEST = 8


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
    """

    def __init__(self, *, width: int = 32, heads: int = 4, layers: int = 2, rank: int = 8, largest: int = 64) -> None:
        super().__init__()
        self.rank, self.largest = rank, largest
        self.places = nn.Embedding(3, width)  # first, middle, last
        self.inputs, self.outputs = nn.Embedding(largest + 1, width), nn.Embedding(largest + 1, width)
        self.positions = nn.Embedding(DEEPEST, width)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.decoder = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 2 * rank * rank))
        self.factors = nn.Linear(rank, largest, bias=False)
        self.biases = nn.Linear(width, largest)

    def forward(self, shapes: Sequence[Shape]) -> list[Predicted]:
        """Return the weights of one net.

        Args:
            shapes: of each layer's weight, in order: (outputs, inputs) of a Linear, (outputs, inputs, height, width)
                of a convolution.

        Raises:
            MethodError: a layer is larger than the net was made for, or there are too many.
        """
        self._check(shapes)
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

    def _check(self, shapes: Sequence[Shape]) -> None:
        problems = []
        if not 0 < len(shapes) <= DEEPEST:
            problems.append(f"{len(shapes)} layers, from 1 to {DEEPEST} are known")
        for layer, shape in enumerate(shapes):
            if len(shape) not in {2, 4} or (len(shape) == 4 and shape[2] != shape[3]):
                problems.append(f"layer {layer}: {tuple(shape)} is neither a Linear's nor a square convolution's")
            elif max(_sides(shape)) > self.largest:
                problems.append(f"layer {layer}: {tuple(shape)} has a side over {self.largest}")
        if problems:
            raise MethodError("no weights are predicted for this net", problems=problems)


def layer_shapes(module: nn.Module) -> list[Shape]:
    """Return the shapes of a net's Linears and convolutions, in the order of its modules.

    >>> layer_shapes(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 10)))
    [(8, 1, 3, 3), (10, 32)]
    """
    return [tuple(layer.weight.shape) for layer in _layers(module)]


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
    layers = _layers(module)
    if not layers:
        raise MatchError("the net has no Linear and no convolution to predict weights for")
    with torch.no_grad():
        for layer, predicted in zip(layers, network(layer_shapes(module)), strict=True):
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


def _layers(module: nn.Module) -> "list[nn.Linear | nn.Conv2d]":
    found: list[nn.Linear | nn.Conv2d] = []
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d) and not any(part.weight is held.weight for held in found):
            found.append(part)
    return found


def _sides(shape: Shape) -> tuple[int, int]:
    """Return the sides of the matrix that is predicted: a convolution's kernel is shared out among both."""
    kernel = shape[2] if len(shape) == 4 else 1
    return shape[0] * kernel, shape[1] * kernel
