"""LoGAH: a trained hypernetwork predicts first weights of low rank (Zhou et al., 2024, arXiv:2405.16287).

    shapes of a net's layers -> network -> W = sqrt(2 / fan_in) A[:outputs] B[:, :inputs],   bias = tanh(0.2 p)

The source is no model, but what ``scionwood.train.growth.hypernetwork`` trained for one task and saved: weights of any net
of plain layers are predicted from their shapes alone, in one pass. Linears and square convolutions are; what else a target
has begins as its class begins it. A weight that several layers share is predicted once.

What is predicted is a good start, not a trained model, and is worth nothing beyond the sizes and depths that the network
was trained on: those it was not made for are refused. It helps where many nets are tried for a few steps each; it hurts
where one net is trained to the end. A net of 40 hidden units begins at 85 per cent of scikit-learn's digits, where He's
start has 6; after 50 steps of gradient descent they have 88 and 54.

This is the honest size for a CPU, and no port: published checkpoints of GHN-3 and LoGAH are not read.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from scionwood.errors import MatchError
from scionwood.methods.record import method

__all__ = ["Network", "hypernetwork"]


class Network(Protocol):
    """What predicts the weight and the bias of every layer of a net."""

    def __call__(self, shapes: Sequence[tuple[int, ...]], names: Sequence[str]) -> Sequence[tuple[Tensor, Tensor]]:
        """Return a weight and a bias for each of these shapes; the names are for messages."""
        ...


@method(shape="generate", scope="model", paper="2405.16287")
def hypernetwork(network: Network, layers: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return the weight and the bias of every layer, by the layer's name.

    >>> from scionwood.train.growth.hypernetwork import LowRankHyperNet
    >>> made = hypernetwork(LowRankHyperNet(), {"0": (20, 64), "2": (10, 20)})
    >>> {name: tuple(tensor.shape) for name, tensor in made.items()}
    {'0.weight': (20, 64), '0.bias': (20,), '2.weight': (10, 20), '2.bias': (10,)}

    Args:
        network: what was trained.
        layers: the shapes of the weights by the layers' names, in order.

    Raises:
        MatchError: there is no layer.
        MethodError: there are too many, or too large ones, for what was trained; all of them at once.
    """
    if not layers:
        raise MatchError(
            "the target has no Linear and no convolution to predict weights for",
            hint="for first weights of any tensor: scionwood init",
        )
    found: dict[str, Tensor] = {}
    for name, (weight, bias) in zip(layers, network(list(layers.values()), list(layers)), strict=True):
        prefix = f"{name}." if name else ""
        found |= {f"{prefix}weight": weight, f"{prefix}bias": bias}
    return found
