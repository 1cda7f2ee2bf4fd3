"""Random node initialisation: features that tell a graph's nodes apart (Abboud et al., 2020, arXiv:2010.01179).

    [random (nodes, int(ratio * width)), encoded (nodes, width - int(ratio * width))],  drawn anew at every forward

Message passing cannot tell graphs apart that colour refinement cannot (a cycle of six from two triangles); with random
features it can approximate any function of graphs, invariant in expectation. Predict with the mean over several
draws. Training converges more slowly, the more so the larger the ratio: the paper studies 12.5, 50, 87.5 and 100 %.

The deterministic part is a linear layer here; the published code has two graph convolutions. A ratio of 1 and normal
features are its defaults.
"""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from scionwood.errors import MethodError

__all__ = ["Distribution", "RandomNodes"]

Distribution = Literal["normal", "uniform", "xavier_normal", "xavier_uniform"]


class RandomNodes(nn.Module):
    """Node features of which a part is drawn at every forward.

    >>> layer = RandomNodes(3, 8, ratio=0.5)
    >>> first, second = layer(torch.ones(5, 3)), layer(torch.ones(5, 3))
    >>> first.shape, bool((first[:, 4:] == second[:, 4:]).all()), bool((first[:, :4] == second[:, :4]).any())
    (torch.Size([5, 8]), True, False)

    Args:
        features: of a node.
        width: of what is returned.
        ratio: the part that is random.
        distribution: normal, uniform on [-1, 1], or one of Xavier's on the matrix (nodes, random dimensions), whose
            size then depends on the graph's.
        generator: to draw from; PyTorch's own by default.

    Raises:
        MethodError: a ratio outside of 0 to 1, or an unknown distribution.
    """

    def __init__(
        self,
        features: int,
        width: int,
        *,
        ratio: float = 1.0,
        distribution: Distribution = "normal",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        problems = []
        if not 0 <= ratio <= 1:
            problems.append(f"ratio is from 0 to 1, not {ratio}")
        if distribution not in get_args(Distribution):
            problems.append(f"the distribution is one of {', '.join(get_args(Distribution))}, not {distribution!r}")
        if problems:
            raise MethodError("Nodes cannot be drawn so.", problems=problems)
        self.random = int(ratio * width)
        self.distribution = distribution
        self.generator = generator
        self.encoder = nn.Linear(features, width - self.random) if self.random < width else None

    def forward(self, nodes: Tensor) -> Tensor:
        """Return (nodes, width), random dimensions first."""
        parts = []
        if self.random:
            parts.append(self._draw(nodes))
        if self.encoder is not None:
            parts.append(self.encoder(nodes))
        return torch.cat(parts, dim=1)

    def _draw(self, nodes: Tensor) -> Tensor:
        drawn = nodes.new_empty(len(nodes), self.random)
        xavier = (2 / (len(nodes) + self.random)) ** 0.5
        if self.distribution in ("normal", "xavier_normal"):
            return drawn.normal_(0, 1 if self.distribution == "normal" else xavier, generator=self.generator)
        bound = 1 if self.distribution == "uniform" else 3**0.5 * xavier
        return drawn.uniform_(-bound, bound, generator=self.generator)
