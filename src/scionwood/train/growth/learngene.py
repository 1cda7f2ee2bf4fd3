"""Learngenes: a few trained blocks that become models of any depth (Xia et al., 2024, arXiv:2404.16897).

    stage-wise weight sharing   x <- block_s(x)  r_s times, for s = 1 … m;  a model of depth L copies block s n_s times
    linear expansion (TLEG, Xia et al., 2023, arXiv:2312.05614)   theta_l = B + (l - 1) / L A,   l = 1 … L

An auxiliary model with few weights is trained by distillation from a large one; its blocks (or its B and A) are kept
instead of one checkpoint for every size. Then models of many depths start from them, untied, with a fresh head. It
helps where several sizes are needed; a single model of one size is better off with weights selected from the teacher.
A model as deep as the auxiliary one computes exactly what that computed; others start near, the nearer the closer.

The formulas are ``scionwood.methods.grow.learngene``'s: trained blocks that were stored as a model of m blocks, or of B and
A, are grown by ``scionwood grow --depth stage_sharing`` or ``linear_expansion``, with the rest of the model and its width.

The papers say in what order stages stand, not how layers are divided among them: ``allocate`` shares them out as in
the auxiliary model, what remains to later stages. Nor do their abstracts give the distillation's weight and
temperature; 0.5 and 1 here are ours. No official code was found.

Measured on scikit-learn's digits: residual blocks of width 32, a teacher of 12 blocks, auxiliary models of 6 layers in 3
stages, test accuracy in per cent over 3 seeds and depths of 3, 4, 6, 9 and 12. After 10, 30 and 100 steps of AdamW:
from nothing 57, 86, 95.5; stage-wise 85, 95.5, 97.0; linear 79, 94.4, 96.8; the teacher's first blocks 82, 95.4, 96.9.
So the small shared trunks are as good a start as the whole teacher, and no better.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from scionwood.errors import MethodError
from scionwood.methods.grow.learngene import allocate, expanded

__all__ = ["LinearExpansion", "StageShared", "distillation_loss"]


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, *, alpha: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """Return (1 - alpha) CE(labels, student) + alpha KL(teacher || student), both softened by the temperature.

    >>> logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    >>> round(float(distillation_loss(logits, logits, torch.tensor([0, 1]))), 3)  # half the cross-entropy
    0.11

    Args:
        student: logits of the auxiliary model.
        teacher: logits of the large model; no gradient flows there.
        labels: class numbers.
        alpha: weight of the teacher. 0.5 is ours: the papers' abstracts do not say.
        temperature: divides both logits in the second term; 1 is ours.
    """
    soft = functional.kl_div(
        (student / temperature).log_softmax(-1),
        (teacher.detach() / temperature).log_softmax(-1),
        log_target=True,
        reduction="batchmean",
    )
    return (1 - alpha) * functional.cross_entropy(student, labels) + alpha * soft


class StageShared(nn.Module):
    """A trunk of stages, each one block applied several times: the auxiliary model of stage-wise weight sharing.

    >>> trunk = StageShared([nn.Linear(4, 4), nn.Linear(4, 4)], repeats=[3, 3])
    >>> sum(weight.numel() for weight in trunk.expand(6).parameters()) // sum(w.numel() for w in trunk.parameters())
    3

    Args:
        blocks: one for each stage, from a tensor to a tensor of the same shape; they are used, not copied.
        repeats: how often each is applied.
    """

    def __init__(self, blocks: Sequence[nn.Module], repeats: Sequence[int]) -> None:
        super().__init__()
        if len(blocks) != len(repeats):
            raise MethodError(f"{len(blocks)} blocks, but {len(repeats)} counts of how often each is applied")
        allocate(sum(repeats), repeats)
        self.blocks = nn.ModuleList(blocks)
        self.repeats = tuple(repeats)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        for block, times in zip(self.blocks, self.repeats, strict=True):
            for _ in range(times):
                x = block(x, *args, **kwargs)
        return x

    def expand(self, depth: int | Sequence[int]) -> nn.ModuleList:
        """Return the untied blocks of a model: copies of each stage's block, in the order of the stages.

        Args:
            depth: of the model, or the number of layers of each stage.
        """
        counts = allocate(depth, self.repeats) if isinstance(depth, int) else list(depth)
        if len(counts) != len(self.blocks) or min(counts) < 1:
            raise MethodError(f"{len(self.blocks)} stages need a number of layers each, found {counts}")
        return nn.ModuleList(
            copy.deepcopy(block) for block, count in zip(self.blocks, counts, strict=True) for _ in range(count)
        )


class LinearExpansion(nn.Module):
    """A trunk whose weights are linear in the position: the auxiliary model of TLEG.

    It starts with B = the block's weights and A = 0: all layers alike.

    >>> trunk = LinearExpansion(nn.Linear(1, 1, bias=False), depth=4)
    >>> for name, value in (("B", 1.0), ("A", 2.0)):
    ...     _ = nn.init.constant_(getattr(trunk, name)["weight"], value)
    >>> [float(block.weight.detach()) for block in trunk.expand(4)]
    [1.0, 1.5, 2.0, 2.5]

    Args:
        block: from a tensor to a tensor of the same shape; its weights are copied to B. Buffers must be constants.
        depth: how many layers the auxiliary model has.
    """

    B: nn.ParameterDict
    A: nn.ParameterDict

    def __init__(self, block: nn.Module, depth: int) -> None:
        super().__init__()
        if depth < 1:
            raise MethodError(f"a model has a layer at least, found {depth}")
        self.depth = depth
        start = {_key(name): weight.detach().clone() for name, weight in block.named_parameters()}
        self.B = nn.ParameterDict(start)
        self.A = nn.ParameterDict({name: torch.zeros_like(weight) for name, weight in start.items()})
        # In a tuple, so that the block's own weights are not parameters of this module.
        self._block = (copy.deepcopy(block),)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LinearExpansion":
        """Move the block along: its constants must be where the weights are."""
        self._block[0]._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def weights(self, layer: int, depth: int) -> dict[str, Tensor]:
        """Return the weights of one layer, counted from 0, of a model of some depth."""
        names = (name for name, _ in self._block[0].named_parameters())
        return {name: expanded(self.B[_key(name)], self.A[_key(name)], layer, depth) for name in names}

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._block[0].train(self.training)
        for layer in range(self.depth):
            x = functional_call(self._block[0], self.weights(layer, self.depth), (x, *args), kwargs)
        return x

    def expand(self, depth: int) -> nn.ModuleList:
        """Return the untied blocks of a model of any depth, by the formula with its own depth."""
        if depth < 1:
            raise MethodError(f"a model has a layer at least, found {depth}")
        return nn.ModuleList(self._with(self.weights(layer, depth)) for layer in range(depth))

    def blocks(self) -> nn.ModuleList:
        """Return B and A as two blocks: the list of a model of two blocks, which ``--depth linear_expansion`` grows from.

        >>> [float(block.weight.detach()) for block in LinearExpansion(nn.Linear(1, 1, bias=False), 3).blocks()][1]
        0.0
        """
        names = [name for name, _ in self._block[0].named_parameters()]
        return nn.ModuleList(self._with({name: held[_key(name)] for name in names}) for held in (self.B, self.A))

    def _with(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """A block of its own with these weights."""
        block = copy.deepcopy(self._block[0])
        for name, weight in block.named_parameters():
            weight.data = weights[name].detach().clone()
        return block


def _key(name: str) -> str:
    """Return a parameter's name without points, which a dictionary of parameters does not take."""
    return name.replace(".", ":")
