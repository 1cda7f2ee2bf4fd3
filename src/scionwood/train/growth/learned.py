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
Where maps begin is ``scionwood.methods.grow.ligo``'s; by the verb (``scionwood grow --method ligo --text FILE``) the axes
come from the model's graph. Here they are named by the caller, for modules and losses of any kind.

Measured on a character model of docstrings (``tests/train/growth/test_learned.py``; width 32 to 64, 2 layers to 4, loss
on held-out text, means of two seeds; the small model has 1.88). Plain copying starts at 7.09, or at 2.27 where the
readers are divided by the counts; random mixtures start at 3.09. A hundred steps of LiGO bring these random mixtures to
1.86. But a hundred steps of ordinary training from the same start bring them to 1.83, copying with division to 1.85,
plain copying to 2.34 (learning its map: 2.05), a model from nothing to 2.62. So the map is worth a hundred steps, no
more: what helps here is the start by mixtures rather than copies. After 200 further steps: 1.77, 1.77, 1.79, 1.90, 2.31.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from scionwood.errors import MatchError, MethodError
from scionwood.methods.grow.ligo import Width, begun_at_random, depth_start, width_start

__all__ = ["LearnedGrowth", "LinearMap", "Weight", "fit", "teach"]

Axes: TypeAlias = Mapping[str, Sequence[str | None]]
Depth: TypeAlias = Literal["stack", "interlace", "random", "softmax"]


@dataclasses.dataclass(frozen=True)
class Weight:
    """How one large weight is made.

    Args:
        group: which small weights are mixed.
        row: of the group's mixtures.
        dims: for each dimension its axes, outermost first; none for a dimension that stays as it is.
        begun: for a dimension with new indices that are no mixtures (positions), the whole weight as it begins: what is
            made of the small ones is its corner.
    """

    group: str
    row: int
    dims: tuple[tuple[str, ...], ...]
    begun: Tensor | None = None


class LinearMap(nn.Module):
    """The linear map from small weights to large ones; called, it returns the large weights by name.

    A dimension may be a product of axes (heads and their width), and an axis may be several dimensions laid end to end
    (queries, keys and values in one projection): each axis grows by its own map wherever it occurs.

    >>> small = {"w": [torch.arange(4.0).view(4, 1)]}
    >>> weights = {"w": Weight("w", 0, (("heads", "width"), ()))}
    >>> growth = LinearMap(small, weights, {}, {"heads": torch.tensor([[0.5, 0.5]])}, sizes={"heads": 2, "width": 2})
    >>> growth()["w"].flatten().tolist()
    [0.0, 1.0, 2.0, 3.0, 1.0, 2.0]

    Args:
        small: the small weights of every group, of one shape; they are never changed.
        weights: the large weights by name.
        mixtures: how the layers of a group begin, (large ones, small ones); a group without is its first weight alone.
        new: what the new indices of an axis begin as, (new ones, old size); axes without stay.
        sizes: the old sizes of axes that stand beside others in a dimension, or are part of one.
        parts: for axes that are laid end to end, their dimensions.
    """

    def __init__(
        self,
        small: Mapping[str, Sequence[Tensor]],
        weights: Mapping[str, Weight],
        mixtures: Mapping[str, Tensor],
        new: Mapping[str, Tensor],
        *,
        sizes: Mapping[str, int] | None = None,
        parts: Mapping[str, Sequence[tuple[str, ...]]] | None = None,
    ) -> None:
        super().__init__()
        self._small = {group: torch.stack([weight.detach() for weight in held]) for group, held in small.items()}
        self._weights = dict(weights)
        self._sizes, self._parts = dict(sizes or {}), dict(parts or {})
        kind = next(iter(self._small.values())).dtype
        self.mixtures = _Tensors({group: start.to(kind) for group, start in mixtures.items()})
        self.new = _Tensors({axis: start.to(kind) for axis, start in new.items()})

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LinearMap":
        """Move the small weights along with the map."""
        self._small = {group: fn(weight) for group, weight in self._small.items()}
        return super()._apply(fn, recurse)

    def forward(self) -> dict[str, Tensor]:
        """Return the large weights."""
        return {name: self._grown(weight) for name, weight in self._weights.items()}

    def materialise(self) -> dict[str, Tensor]:
        """Return the large weights as tensors of their own, without gradients."""
        with torch.no_grad():
            return {name: weight.clone() for name, weight in self().items()}

    def _grown(self, weight: Weight) -> Tensor:
        stacked = self._small[weight.group]
        mixed = weight.group in self.mixtures
        tensor = torch.tensordot(self.mixtures[weight.group][weight.row], stacked, 1) if mixed else stacked[0]
        for place, dim in enumerate(weight.dims):
            tensor = self._along(tensor, place, dim)
        if weight.begun is None:
            return tensor
        whole = weight.begun.to(tensor, copy=True)
        whole[tuple(map(slice, tensor.shape))] = tensor
        return whole

    def _along(self, tensor: Tensor, place: int, dim: tuple[str, ...]) -> Tensor:
        """Grow a dimension, axis by axis."""
        if not any(self._grows(axis) for axis in dim):
            return tensor
        if len(dim) == 1:
            return self._axis(tensor, place, dim[0])
        tensor = tensor.unflatten(place, [self._size(axis) for axis in dim])
        for offset, axis in enumerate(dim):
            tensor = self._axis(tensor, place + offset, axis)
        return tensor.flatten(place, place + len(dim) - 1)

    def _axis(self, tensor: Tensor, place: int, axis: str) -> Tensor:
        if axis in self._parts:
            parts = self._parts[axis]
            pieces = tensor.split([self._length(part) for part in parts], place)
            return torch.cat(
                [self._along(piece, place, part) for piece, part in zip(pieces, parts, strict=True)], place
            )
        if axis not in self.new:
            return tensor
        added = (tensor.movedim(place, -1) @ self.new[axis].T).movedim(-1, place)
        return torch.cat([tensor, added], place)

    def _grows(self, axis: str) -> bool:
        return axis in self.new or any(self._grows(inner) for part in self._parts.get(axis, ()) for inner in part)

    def _size(self, axis: str) -> int:
        parts = self._parts.get(axis)
        return self._sizes[axis] if parts is None else sum(map(self._length, parts))

    def _length(self, dim: tuple[str, ...]) -> int:
        return math.prod(map(self._size, dim))


class LearnedGrowth(LinearMap):
    """The linear map between models whose axes the caller names.

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
        depth: Depth = "stack",
        width: Width = "random",
        noise: float = 0.03,
        seed: int = 0,
    ) -> None:
        if depth not in {"stack", "interlace", "random", "softmax"} or width not in {"random", "softmax", "select"}:
            raise MethodError(
                f"no such start: depth={depth!r}, width={width!r}",
                hint="depth is stack, interlace, random or softmax; width is random, softmax or select",
            )
        generator = torch.Generator().manual_seed(seed)
        weights: dict[str, Weight] = {}
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
            weights[name] = Weight(pattern, layer, tuple(() if axis is None else (axis,) for axis in names))
            depths[pattern] = max(depths.get(pattern, 0), layer + 1)
        if problems:
            raise MatchError("the small weights do not grow to the large ones", problems=problems)
        mixtures = {
            pattern: _depth_start(depth, len(sources[pattern]), count, noise, generator)
            for pattern, count in depths.items()
            if "*" in pattern
        }
        new = {
            axis: width_start(width, old, new - old, noise, generator)
            for axis, (old, new) in sizes.items()
            if new > old
        }
        super().__init__(sources, weights, mixtures, new)


def fit(
    small: Mapping[str, Tensor],
    large: nn.Module,
    batches: Iterable[Any],
    *,
    axes: Axes,
    loss: Callable[[nn.Module, Any], Tensor],
    steps: int = 100,
    learning_rate: float = 1e-2,
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

    Raises:
        MatchError: names, shapes and axes do not fit each other.
        MethodError: the batches end before the steps do.
    """
    growth = LearnedGrowth(small, {name: weight.shape for name, weight in large.named_parameters()}, axes)
    teach(growth, large, batches, loss=loss, steps=steps, learning_rate=learning_rate)
    return growth


def teach(
    growth: LinearMap,
    large: nn.Module,
    batches: Iterable[Any],
    *,
    loss: Callable[[nn.Module, Any], Tensor],
    steps: int = 100,
    learning_rate: float = 1e-2,
) -> None:
    """Let a map learn, wherever it begins, and put the weights that it makes into the large model.

    Args:
        growth: the map.
        large: a model of the size wanted; what the map does not make stays as it is.
        batches: as :func:`fit` takes them, and so are the others.

    Raises:
        MethodError: the batches end before the steps do.
    """
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
    large.load_state_dict(growth.materialise(), strict=False)


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


def _depth_start(kind: Depth, old: int, new: int, noise: float, generator: torch.Generator) -> Tensor:
    if kind in ("random", "softmax"):
        return begun_at_random(kind, new, old, generator)
    layers = [layer % old if kind == "stack" else layer * old // new for layer in range(new)]
    return depth_start(layers, old, noise, generator)
