"""LiGO: the growth itself is a linear map, learned in about a hundred steps (Wang et al., 2023, arXiv:2303.00980).

    depth  V_i = sum_j w_ij W_j          width  W'_i = M_out V_i M_in^T,   b'_i = M_out sum_j u_ij b_j,   M = [I; S]

Every large layer is a mixture of the small ones, and every new channel a mixture of the old channels; the mixtures w and
S are all that is learned, on the task's loss, with the small weights frozen. Then the large weights are computed once
and trained as usual. One S serves a whole residual stream: the embedding, the norms, and all that read from it or write
to it; queries, keys, values and inner units of each layer have their own. It helps where plain copying leaves the large
model far above the small one's loss, and where a hundred steps are cheap beside what follows; it is not function
preserving, so where the sizes divide, an exact growth starts lower. The reading side is not divided by counts.

The official code's recipe is the default: depth by stacking with noise of 0.03, width at random, both summing to one,
AdamW, 100 steps. Its learning rate for BERT is 2e-4; ours, 1e-2, is for small models, where 2e-4 hardly moves the map.

Measured on a character model of docstrings (``tests/train/growth/test_learned.py``; width 32 to 64, 2 layers to 4, loss
on held-out text, means of two seeds; the small model has 1.88). Plain copying starts at 7.09, or at 2.27 where the
readers are divided by the counts; random mixtures start at 3.09. A hundred steps of LiGO bring these random mixtures to
1.86. But a hundred steps of ordinary training from the same start bring them to 1.83, copying with division to 1.85,
plain copying to 2.34 (learning its map: 2.05), a model from nothing to 2.62. So the map is worth a hundred steps, no
more: what helps here is the start by mixtures rather than copies. After 200 further steps: 1.77, 1.77, 1.79, 1.90, 2.31.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from scionwood.errors import MatchError, MethodError

__all__ = ["LearnedGrowth", "fit"]

Axes: TypeAlias = Mapping[str, Sequence[str | None]]


class LearnedGrowth(nn.Module):
    """The linear map from small weights to large ones; called, it returns the large weights by name.

    >>> small = {"layers.0.weight": torch.tensor([[1.0, 2], [3, 4]]), "layers.1.weight": torch.tensor([[5.0, 6], [7, 8]])}
    >>> growth = LearnedGrowth(small, {"layers.0.weight": (3, 3)}, {"layers.*.weight": ("hidden", "hidden")})
    >>> _ = growth.mixtures["layers.*.weight"].data.copy_(torch.tensor([[0.25, 0.75]]))
    >>> _ = nn.init.constant_(growth.new["hidden"], 0.5)
    >>> growth()["layers.0.weight"].tolist()
    [[4.0, 5.0, 4.5], [6.0, 7.0, 6.5], [5.0, 6.0, 5.5]]

    Args:
        small: the small model's weights by name; they are never changed.
        shapes: of the large model's weights, by name.
        axes: for every weight the names of its dimensions: dimensions of one name grow by one map, ``None`` is one
            that does not grow. A ``*`` in a weight's name stands for the number of a layer, also in its axes' names:
            ``{"layers.*.up.weight": ("*.inner", "hidden")}``.
        depth: how the mixtures of layers start: ``stack``, layer i from i mod L; ``interlace``, from i L // L';
            ``random``; ``softmax``, of random numbers.
        width: how the mixtures of channels start: ``random``, ``softmax``, or ``select``: each new channel is a copy.
        noise: from 0 to this is added to mixtures that start as copies; in depth they are normalised again.
        seed: of all that is random.

    Raises:
        MatchError: names, shapes and axes do not fit each other; every problem is listed.
    """

    def __init__(
        self,
        small: Mapping[str, Tensor],
        shapes: Mapping[str, Sequence[int]],
        axes: Axes,
        *,
        depth: Literal["stack", "interlace", "random", "softmax"] = "stack",
        width: Literal["random", "softmax", "select"] = "random",
        noise: float = 0.03,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if depth not in {"stack", "interlace", "random", "softmax"} or width not in {"random", "softmax", "select"}:
            raise MethodError(
                f"no such start: depth={depth!r}, width={width!r}",
                hint="depth is stack, interlace, random or softmax; width is random, softmax or select",
            )
        generator = torch.Generator().manual_seed(seed)
        self._plan: dict[str, tuple[str, int, tuple[str | None, ...]]] = {}
        problems: list[str] = []
        sizes: dict[str, tuple[int, int]] = {}
        sources: dict[str, list[Tensor]] = {}
        depths: dict[str, int] = {}
        for name, shape in shapes.items():
            pattern, layer = _pattern(name, axes)
            if pattern is None:
                problems.append(f"{name}: no entry of axes is for it")
                continue
            if pattern not in sources:
                sources[pattern] = _layers(pattern, small)
            if not sources[pattern]:
                problems.append(f"{name}: the small model has no {pattern}")
                continue
            names = tuple(axis and axis.replace("*", str(layer)) for axis in axes[pattern])
            have = tuple(sources[pattern][0].shape)
            if not len(names) == len(have) == len(shape):
                problems.append(f"{name}: axes {names} for {have} → {tuple(shape)}")
                continue
            for axis, old, new in zip(names, have, shape, strict=True):
                if axis is None and old != new:
                    problems.append(f"{name}: {have} → {tuple(shape)}, but the dimension of {old} has no axis")
                elif axis is not None and new < old:
                    problems.append(f"{name}: axis {axis} is {old} → {new}, which is smaller")
                elif axis is not None and sizes.setdefault(axis, (old, new)) != (old, new):
                    had = sizes[axis]
                    problems.append(f"{name}: axis {axis} is {old} → {new}, elsewhere {had[0]} → {had[1]}")
            self._plan[name] = (pattern, layer, names)
            depths[pattern] = max(depths.get(pattern, 0), layer + 1)
        if problems:
            raise MatchError("the small weights do not grow to the large ones", problems=problems)
        self._small = {pattern: torch.stack([w.detach() for w in layers]) for pattern, layers in sources.items()}
        kind = next(iter(small.values())).dtype
        self.mixtures = _Tensors(
            {
                pattern: _depth_start(depth, len(sources[pattern]), count, noise, generator).to(kind)
                for pattern, count in depths.items()
                if "*" in pattern
            }
        )
        self.new = _Tensors(
            {
                axis: _width_start(width, old, new - old, noise, generator).to(kind)
                for axis, (old, new) in sizes.items()
                if new > old
            }
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LearnedGrowth":
        """Move the small weights along with the map."""
        self._small = {pattern: fn(weight) for pattern, weight in self._small.items()}
        return super()._apply(fn, recurse)

    def forward(self) -> dict[str, Tensor]:
        """Return the large weights."""
        return {name: self._grown(*plan) for name, plan in self._plan.items()}

    def materialise(self) -> dict[str, Tensor]:
        """Return the large weights as tensors of their own, without gradients."""
        with torch.no_grad():
            return {name: weight.clone() for name, weight in self().items()}

    def _grown(self, pattern: str, layer: int, names: Sequence[str | None]) -> Tensor:
        stacked = self._small[pattern]
        weight = torch.tensordot(self.mixtures[pattern][layer], stacked, 1) if "*" in pattern else stacked[0]
        for dim, axis in enumerate(names):
            if axis is not None and axis in self.new:
                added = (weight.movedim(dim, -1) @ self.new[axis].T).movedim(-1, dim)
                weight = torch.cat([weight, added], dim)
        return weight


def fit(
    small: Mapping[str, Tensor],
    large: nn.Module,
    batches: Iterable[Any],
    *,
    axes: Axes,
    loss: Callable[[nn.Module, Any], Tensor],
    steps: int = 100,
    learning_rate: float = 1e-2,
    growth: LearnedGrowth | None = None,
) -> LearnedGrowth:
    """Learn the map from a small model's weights to a large model's, and put the result into the large model.

    Args:
        small: the small model's weights by name.
        large: a model of the size wanted; its weights are overwritten.
        batches: of the task; each is handed to the loss.
        axes: as :class:`LearnedGrowth` takes them.
        loss: of the model on a batch.
        steps: of AdamW; there must be as many batches.
        learning_rate: falls linearly to zero.
        growth: a map made beforehand, for other starts than the default.

    Raises:
        MatchError: names, shapes and axes do not fit each other.
        MethodError: the batches end before the steps do.
    """
    shapes = {name: weight.shape for name, weight in large.named_parameters()}
    growth = LearnedGrowth(small, shapes, axes) if growth is None else growth
    growth.to(next(large.parameters()).device)
    wrapped, trained = _WithLoss(large, loss), list(growth.parameters())
    optimizer = torch.optim.AdamW(trained, learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(steps, 1))
    remaining = iter(batches)
    for step in range(steps):
        try:
            batch = next(remaining)
        except StopIteration:
            raise MethodError(f"the batches ended after {step} of {steps} steps") from None
        value = functional_call(wrapped, {f"model.{name}": weight for name, weight in growth().items()}, (batch,))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
    grown = growth.materialise()
    with torch.no_grad():
        for name, weight in large.named_parameters():
            weight.copy_(grown[name])
    return growth


class _WithLoss(nn.Module):
    """A model whose output is its loss, so that its weights can be exchanged for one call."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], Tensor]) -> None:
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, batch: Any) -> Tensor:
        return self._loss(self.model, batch)


class _Tensors(nn.Module):
    """Parameters by names that may hold points and stars."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._places = {name: f"p{place}" for place, name in enumerate(values)}
        for name, place in self._places.items():
            self.register_parameter(place, nn.Parameter(values[name]))

    def __getitem__(self, name: str) -> nn.Parameter:
        return getattr(self, self._places[name])

    def __contains__(self, name: object) -> bool:
        return name in self._places


def _pattern(name: str, axes: Axes) -> tuple[str | None, int]:
    """Return the entry of axes that a weight falls under, and the number of its layer."""
    if name in axes:
        return name, 0
    for pattern in axes:
        if "*" in pattern:
            found = re.fullmatch(re.escape(pattern).replace(r"\*", r"(\d+)", 1), name)
            if found:
                return pattern, int(found[1])
    return None, 0


def _layers(pattern: str, small: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the small weights under an entry, by the number of their layer."""
    if "*" not in pattern:
        return [small[pattern]] if pattern in small else []
    found = []
    while (name := pattern.replace("*", str(len(found)), 1)) in small:
        found.append(small[name])
    return found


def _depth_start(kind: str, old: int, new: int, noise: float, generator: torch.Generator) -> Tensor:
    if kind in {"random", "softmax"}:
        return _mixtures(kind, new, old, generator)
    start = torch.rand(new, old, generator=generator) * noise
    layers = torch.arange(new)
    start[layers, layers % old if kind == "stack" else layers * old // new] = 1.0
    return start / start.sum(1, keepdim=True)


def _width_start(kind: str, old: int, added: int, noise: float, generator: torch.Generator) -> Tensor:
    if kind in {"random", "softmax"}:
        return _mixtures(kind, added, old, generator)
    start = torch.rand(added, old, generator=generator) * noise
    start[torch.arange(added), torch.randint(old, (added,), generator=generator)] = 1.0
    return start


def _mixtures(kind: str, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(rows, columns, generator=generator)
    return drawn.softmax(1) if kind == "softmax" else drawn / drawn.sum(1, keepdim=True)
