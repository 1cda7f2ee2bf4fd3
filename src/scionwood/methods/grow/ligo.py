"""The growth itself is a linear map, learned on text in about a hundred steps (Wang et al., 2023, arXiv:2303.00980).

    depth  V_i = sum_j w_ij W_j          width  W'_i = M_out V_i M_in^T,   b'_i = M_out sum_j u_ij b_j,   M = [I; S]

Every large layer is a mixture of the small ones, and every new index of an axis a mixture of the old ones, the same
wherever the axis occurs. The mixtures w and S are all that is learned, on the task's loss, with the small weights
frozen. What is here is where S and w begin; ``scionwood.train.growth.learned`` learns them, and says what it is worth.

The reading side is not divided by counts, so the function changes. By the verb, which axes there are comes from the
model's graph: whole heads are mixed, and what lies inside a head is left as it is, which keeps rotary positions true (the
paper mixes the channels of all heads). Depth begins by stacking, or by ``--depth interleave`` or a list of layers.

It helps where sizes do not divide, and where a hundred steps are cheap beside the training that follows; where they
divide, an exact growth starts lower. Width begins at random, as in the official code: begun as copies (``select``) it
learned less in our measurements. The official learning rate, 2e-4, is for BERT; 1e-2 is ours, for small models.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import torch
from torch import Tensor

from scionwood.methods.grow.growth import Growth
from scionwood.methods.record import Finite, method

__all__ = ["Width", "begun_at_random", "depth_start", "ligo", "width_start"]

Width: TypeAlias = Literal["random", "softmax", "select"]


@method(unit="axis", laws={"corner"}, paper="2303.00980", resizes=("free", "output", "positional"), learned=True)
def ligo(
    source: int,
    target: int,
    generator: torch.Generator,
    *,
    width: Width = "random",
    noise: Annotated[float, Finite(at_least=0)] = 0.03,
    # From here on they are for whoever learns: scionwood.train.growth.learned.
    steps: Annotated[int, Finite(at_least=1)] = 100,
    learning_rate: Annotated[float, Finite(above=0)] = 1e-2,
    batch: Annotated[int, Finite(at_least=1)] = 16,
    length: Annotated[int, Finite(at_least=2)] = 128,
    threads: Annotated[int, Finite(at_least=1)] = 1,
) -> Growth:
    """Return the index 0 … n - 1, and the mixtures that new indices begin as: S, (target - source, source).

    >>> growth = ligo(2, 3, torch.Generator().manual_seed(0))
    >>> growth.index.tolist(), [round(float(row.sum()), 4) for row in growth.mixing]
    ([0, 1, -1], [1.0])

    Args:
        width: how mixtures begin: random numbers that sum to one, softmax of such, or select: each is a copy.
        noise: from 0 to this is added to mixtures that begin as copies; in depth they sum to one again.
        steps: of AdamW.
        learning_rate: falls linearly to zero.
        batch: how many pieces of text a step takes.
        length: tokens of a piece; less, where the models have fewer positions.
        threads: that learn; the last bits depend on how many, so that it is no matter of the machine.
    """
    index = torch.cat([torch.arange(source), torch.full((target - source,), -1)])
    return Growth(index, mixing=width_start(width, source, target - source, noise, generator))


def width_start(kind: Width, old: int, added: int, noise: float, generator: torch.Generator) -> Tensor:
    """Return what new indices of an axis begin as, (added, old): mixtures that sum to one, or copies with noise.

    >>> width_start("select", 2, 1, 0.0, torch.Generator().manual_seed(0)).sum()
    tensor(1.)
    """
    if kind != "select":
        return begun_at_random(kind, added, old, generator)
    start = torch.rand(added, old, generator=generator) * noise
    start[torch.arange(added), torch.randint(old, (added,), generator=generator)] = 1.0
    return start


def depth_start(layers: Sequence[int], old: int, noise: float, generator: torch.Generator) -> Tensor:
    """Return what layers begin as, (len(layers), old): each a copy of one, with noise, summing to one.

    >>> depth_start([0, 1, 0], 2, 0.0, torch.Generator())
    tensor([[1., 0.],
            [0., 1.],
            [1., 0.]])
    """
    start = torch.rand(len(layers), old, generator=generator) * noise
    start[torch.arange(len(layers)), torch.tensor(layers)] = 1.0
    return start / start.sum(1, keepdim=True)


def begun_at_random(kind: Literal["random", "softmax"], rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Return random mixtures, (rows, columns), each summing to one.

    >>> begun_at_random("softmax", 1, 1, torch.Generator())
    tensor([[1.]])
    """
    drawn = torch.rand(rows, columns, generator=generator)
    return drawn.softmax(1) if kind == "softmax" else drawn / drawn.sum(1, keepdim=True)
