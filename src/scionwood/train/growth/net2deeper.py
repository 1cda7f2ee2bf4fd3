"""Net2DeeperNet: insert a layer that is the identity (Chen et al., 2016, arXiv:1511.05641).

    x -> activation(norm(I x)) = x    for every x = activation(z), if activation(activation(z)) = activation(z)

A Linear starts as the unit matrix, a convolution as a kernel that is one at its centre, so a net becomes deeper without
a change of what it computes. The activation must be idempotent, as ReLU is; GELU, SiLU or tanh applied twice are not
what they are once, and are refused. A batch normalisation between the two starts with the gain and shift that undo its
own statistics: gain = sqrt(var + eps), shift = mean. While it normalises by its running statistics it is the identity
exactly, in training mode only for the batch that those were measured on. It helps where a trained net turns out too
shallow; it hurts nothing at first, but an identity is also a place where gradients start out alike in every layer that
was inserted: the paper found the deeper nets no better than those it had trained from nothing, only sooner there.
"""

from typing import cast

import torch
from torch import Tensor, nn

from scionwood.errors import MethodError

__all__ = ["is_idempotent", "net2deeper", "undoing_batch_norm"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def is_idempotent(activation: nn.Module) -> bool:
    """Return whether an activation applied twice is what it is once, tried on 4001 points from -20 to 20.

    >>> is_idempotent(nn.ReLU()), is_idempotent(nn.ReLU6()), is_idempotent(nn.GELU()), is_idempotent(nn.LeakyReLU())
    (True, True, False, False)
    """
    points = torch.linspace(-20, 20, 4001)
    with torch.no_grad():
        once = activation(points)
        return torch.equal(activation(once), once)


def undoing_batch_norm(sample: Tensor, *, eps: float = 1e-5, momentum: float = 0.1) -> nn.Module:
    """Return a batch normalisation that is the identity: its gain and shift undo the statistics of a sample.

    >>> sample = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 0.0]])
    >>> norm = undoing_batch_norm(sample)
    >>> [[round(value, 4) for value in row] for row in norm(sample).tolist()]
    [[0.0, 1.0], [2.0, 5.0], [4.0, 0.0]]

    Args:
        sample: what the layer before it puts out: examples, channels, and any positions.
        eps: is added to the variance, as PyTorch does.
        momentum: how fast the running statistics follow, PyTorch's.

    Raises:
        MethodError: a sample that has no statistics.
    """
    if sample.dim() < 2 or sample.dim() > 5 or len(sample) * sample[0, 0].numel() < 2:
        raise MethodError(
            f"a sample of shape {tuple(sample.shape)} has no statistics: wanted are examples, channels, then positions,"
            f" and two values a channel at least"
        )
    kind = _NORMS[max(sample.dim() - 3, 0)]
    norm = kind(sample.shape[1], eps=eps, momentum=momentum)
    axes = [0, *range(2, sample.dim())]
    with torch.no_grad():
        mean = sample.mean(axes)
        spread = sample.var(axes, correction=0)
        # Running variances are of the unbiased sort, but a batch is normalised by the biased one: the latter is undone.
        for held, value in ((norm.running_mean, mean), (norm.running_var, spread)):
            cast("Tensor", held).copy_(value)
        norm.weight.copy_((spread + eps).sqrt())
        norm.bias.copy_(mean)
    return norm.to(sample.device, sample.dtype)


def net2deeper(
    layer: nn.Module, activation: nn.Module, *, kernel_size: int | None = None, sample: Tensor | None = None
) -> nn.Sequential:
    """Return what to put after ``activation(layer(x))``: an identity layer, perhaps a norm, and the activation again.

    >>> first, relu = nn.Linear(3, 5), nn.ReLU()
    >>> x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    >>> torch.equal(net2deeper(first, relu)(relu(first(x))), relu(first(x)))
    True

    Args:
        layer: a Linear or a convolution: the new layer has its number of outputs.
        activation: what follows the layer; it must be idempotent, and is used again, not copied.
        kernel_size: of a new convolution, odd; that of the layer where it is odd, else 3.
        sample: outputs of the activation; with them the new layer has a batch normalisation that undoes itself.

    Raises:
        MethodError: the activation is not idempotent, or the layer is neither a Linear nor a convolution.
    """
    if not is_idempotent(activation):
        raise MethodError(
            f"an identity layer before {type(activation).__name__} is no identity: the activation applied twice is not"
            " what it is once",
            hint="use a rectifier, or grow in depth by blocks that add to a residual stream",
        )
    identity: nn.Module
    if isinstance(layer, nn.Linear):
        if kernel_size is not None:
            raise MethodError("a Linear has no kernel: leave kernel_size out")
        identity = nn.Linear(layer.out_features, layer.out_features, bias=layer.bias is not None)
        with torch.no_grad():
            identity.weight.copy_(torch.eye(layer.out_features))
    elif isinstance(layer, _CONVOLUTIONS):
        size = kernel_size or (layer.kernel_size[0] if layer.kernel_size[0] % 2 else 3)
        if size % 2 == 0:
            raise MethodError(f"a kernel of {size} has no centre: kernel_size must be odd")
        kind = type(layer)
        identity = kind(
            layer.out_channels, layer.out_channels, size, padding=size // 2, bias=layer.bias is not None
        )  # groups and strides are the old layer's own business
        with torch.no_grad():
            nn.init.zeros_(identity.weight)
            channels = torch.arange(layer.out_channels)
            centre = (size // 2,) * (layer.weight.dim() - 2)
            identity.weight[(channels, channels, *centre)] = 1.0
    else:
        raise MethodError(f"a {type(layer).__name__} has no identity to insert: wanted is a Linear or a convolution")
    if identity.bias is not None:
        nn.init.zeros_(cast("Tensor", identity.bias))
    identity.to(layer.weight.device, layer.weight.dtype)
    if sample is None:
        return nn.Sequential(identity, activation)
    if sample.dim() < 2 or sample.shape[1] != layer.weight.shape[0]:
        raise MethodError(
            f"a sample of shape {tuple(sample.shape)} is not of this layer's outputs: it has {layer.weight.shape[0]}"
            " channels"
        )
    return nn.Sequential(identity, undoing_batch_norm(sample), activation)
