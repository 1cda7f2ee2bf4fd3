"""Plain PyTorch modules: each factory returns a module and its example inputs, as ``scionwood anatomy package.module:factory`` takes them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Made = tuple[nn.Module, Any]


def mlp() -> Made:
    return (
        nn.Sequential(nn.Linear(10, 24), nn.LayerNorm(24), nn.GELU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 4)),
        torch.zeros(2, 10),
    )


class VGG(nn.Module):
    """Channels and pixels share the classifier's input once they are flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Linear(12 * 4 * 4, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(pictures), 1))


def vgg() -> Made:
    return VGG(), torch.zeros(2, 3, 16, 16)


class DenseLayer(nn.Module):
    def __init__(self, given: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(given)
        self.conv = nn.Conv2d(given, growth, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([features, self.conv(torch.relu(self.norm(features)))], 1)


def densenet() -> Made:
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            DenseLayer(8, 6),
            DenseLayer(14, 6),
            nn.Conv2d(20, 10, 1),
            nn.AvgPool2d(2),
            DenseLayer(10, 6),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 5),
        ),
        torch.zeros(2, 3, 12, 12),
    )


class UNet(nn.Module):
    """What the way down leaves is joined to what comes up."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.down2 = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.GroupNorm(3, 12), nn.ReLU())
        self.bottom = nn.Sequential(nn.Conv2d(12, 20, 3, padding=1), nn.ReLU())
        self.up2 = nn.ConvTranspose2d(20, 14, 2, stride=2)
        self.merge2 = nn.Sequential(nn.Conv2d(26, 12, 3, padding=1), nn.ReLU())
        self.merge1 = nn.Conv2d(20, 2, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        first = self.down1(pictures)
        second = self.down2(functional.max_pool2d(first, 2))
        bottom = self.bottom(functional.max_pool2d(second, 2))
        up = self.merge2(torch.cat([self.up2(bottom), second], 1))
        up = functional.interpolate(up, scale_factor=2.0, mode="bilinear")
        return self.merge1(torch.cat([up, first], 1))


def unet() -> Made:
    return UNet(), {"pictures": torch.zeros(2, 1, 16, 16)}


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 12)
        self.body = kind(12, 20, batch_first=True, **options)
        self.head = nn.Linear(20, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.body(self.embedding(tokens))
        return self.head(states[:, -1])


def lstm() -> Made:
    return Recurrent(nn.LSTM, num_layers=2), torch.zeros(2, 6, dtype=torch.long)


def gru() -> Made:
    return Recurrent(nn.GRU), torch.zeros(2, 6, dtype=torch.long)


PLAIN: dict[str, Callable[[], Made]] = {
    "MLP": mlp,
    "VGG": vgg,
    "DenseNet": densenet,
    "U-Net": unet,
    "LSTM": lstm,
    "GRU": gru,
}
