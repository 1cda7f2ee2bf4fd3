"""The proof of an anatomy: permuting an axis it calls free, everywhere at once, must leave the model's function unchanged."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from scionwood.anatomy.anatomy import Anatomy, flat_index
from scionwood.anatomy.build import Model
from scionwood.errors import SymmetryError

__all__ = ["Symmetry", "verify"]


PLAIN = 0.05
"""An effect that nobody could overlook: the search for a stronger one ends."""


@dataclasses.dataclass(frozen=True)
class Symmetry:
    """What the check of one axis found.

    Attributes:
        axis: its name.
        kind: its kind: ``free``, or ``output``, whose permutation must come out as the same permutation of the outputs.
        error: the largest difference over all outputs, relative to the largest output.
        effect: the same when the axis is permuted in one of its tensors alone, or in one half of a tensor alone: how much a mistake would
            have shown. The search for a mistake that shows ends at ``PLAIN``.
    """

    axis: str
    kind: str
    error: float
    effect: float


def verify(
    model: Model, anatomy: Anatomy, *, seed: int = 0, tolerance: float = 1e-5, axes: Sequence[str] | None = None
) -> list[Symmetry]:
    """Permute every free axis, and every output axis, and compare all outputs.

    The weights are random, norms and biases and running statistics included, so that nothing hides behind a zero or a one. It runs in
    float64 where the model's code allows it.

    Args:
        model: what the anatomy was derived from; built anew with real weights, so keep its sizes small.
        anatomy: the claim to check.
        seed: of the weights, the inputs and the permutations.
        tolerance: the largest difference allowed, relative to the largest output.
        axes: only these; by default all free and output axes.

    Returns:
        One entry for each axis that was checked.

    Raises:
        SymmetryError: some axis is no symmetry; lists every one with its error.
    """
    generator = torch.Generator().manual_seed(seed)
    module = model.rebuild().eval()
    randomize(module, generator, anatomy)
    args, kwargs = pytree.tree_map_only(Tensor, lambda t: _random_input(t, anatomy, generator), model.inputs)
    pristine = copy.deepcopy(module)
    module, args, kwargs = _widest(module, args, kwargs)
    _calibrate(module, args, kwargs, generator)
    pristine = pristine.to(next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32))
    pristine.load_state_dict(module.state_dict())
    reference = _outputs(module, args, kwargs)
    if not any(bool(output.isfinite().any()) for output in reference):
        raise SymmetryError(f"{anatomy.source}: no output is finite with random weights: nothing can be proved")
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    wanted = (
        list(axes)
        if axes is not None
        else [n for n, a in anatomy.axes.items() if a.kind in ("free", "output") and a.parts is None]
    )
    results = []
    for name in wanted:
        axis = anatomy.axes[name]
        permutation = _derangement(axis.size, generator)
        moved = _permuted(anatomy, before, name, permutation)
        if not moved:
            continue
        expected = _expected(anatomy, reference, name, permutation)
        error = _difference(_with(module, before, moved, args, kwargs), expected)
        if error > tolerance:
            # Some modules keep what they once computed from their weights: ask one that has computed nothing yet.
            error = _difference(_with(copy.deepcopy(pristine), before, moved, args, kwargs), expected)
        effect = 0.0
        for mistake in _mistakes(anatomy, before, moved, name):
            effect = max(effect, _difference(_with(module, before, mistake, args, kwargs), expected))
            if effect >= PLAIN:
                break
        results.append(Symmetry(name, axis.kind, error, effect))
    module.load_state_dict(before)
    broken = [r for r in results if not r.error <= tolerance]
    if broken:
        raise SymmetryError(
            f"{anatomy.source}: {len(broken)} of {len(results)} axes are no symmetry of the model",
            problems=[
                f"{r.axis} (size {anatomy.axes[r.axis].size}, {r.kind}): outputs differ by {r.error:.2g}"
                for r in broken
            ],
        )
    return results


def _mistakes(
    anatomy: Anatomy, state: dict[str, Tensor], moved: dict[str, Tensor], name: str
) -> Iterator[dict[str, Tensor]]:
    """Ways to permute an axis wrongly: in one tensor alone, and in one half of a tensor alone."""
    if len(moved) > 1:
        for tensor, value in moved.items():
            yield {tensor: value}
    elif any(name in anatomy.leaves(dim) for output in anatomy.outputs for dim in output):
        yield {}
    for tensor, _ in anatomy.occurrences(name):
        for half in range(moved[tensor].dim()):
            rows = moved[tensor].shape[half]
            if rows > 1:
                mixed = moved[tensor].clone()
                mixed.narrow(half, 0, rows // 2).copy_(state[tensor].narrow(half, 0, rows // 2))
                yield {**moved, tensor: mixed}


def randomize(module: nn.Module, generator: torch.Generator, anatomy: Anatomy | None = None) -> None:
    """Give every floating-point parameter and stored buffer random values on the scale that keeps signals alive.

    That scale is set by how many numbers are summed: the sizes of the dimensions that read, where the anatomy says which they are.
    """
    seen: set[int] = set()
    stored = module.state_dict(keep_vars=True)
    buffers = {name for name, _ in module.named_buffers()}
    with torch.no_grad():
        for name, tensor in stored.items():
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.data_ptr() in seen:
                continue
            seen.add(tensor.data_ptr())
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor.dtype)
            if tensor.dim() >= 2 and min(tensor.shape[:2]) > 1:
                tensor.copy_(noise * (2 / _fan_in(name, tensor, anatomy)) ** 0.5)
            elif name in buffers:
                # Running variances must stay positive, and no other buffer minds.
                tensor.copy_((tensor + 0.3 * noise).abs() + 0.1)
            else:
                tensor.copy_(tensor.nan_to_num(0, 0, 0).clamp(-3, 3) + 0.3 * noise)


def _calibrate(module: nn.Module, args: Any, kwargs: Any, generator: torch.Generator) -> None:
    """Bring running statistics near those of the input: deep stacks of batch norms would otherwise put the signal out."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    norms = [part for part in norms if part.running_mean is not None and part.running_var is not None]
    if not norms:
        return
    kept = [part.momentum for part in norms]
    for part in norms:
        part.momentum = 1.0
        part.train()
    with contextlib.suppress(RuntimeError, ValueError):
        _outputs(module, args, kwargs)
    for part, momentum in zip(norms, kept, strict=True):
        part.eval()
        part.momentum = momentum
        mean, variance = part.running_mean, part.running_var
        assert mean is not None
        assert variance is not None
        deviation = variance.clamp_min(1e-4).sqrt()
        mean.add_(0.2 * deviation * torch.randn(mean.shape, generator=generator))
        variance.copy_((deviation * (1 + 0.2 * torch.rand(mean.shape, generator=generator))) ** 2)


def _fan_in(name: str, tensor: Tensor, anatomy: Anatomy | None) -> int:
    known = anatomy.tensors.get(anatomy.ties.get(name, name)) if anatomy is not None else None
    read = [size for size, role in zip(known.shape, known.roles, strict=True) if "reads" in role] if known else []
    return math.prod(read) if read and len(read) < tensor.dim() else tensor.numel() // tensor.shape[0]


def _random_input(example: Tensor, anatomy: Anatomy, generator: torch.Generator) -> Tensor:
    """Noise for numbers; integers as they were given, or tokens of the smallest vocabulary if nothing was."""
    if example.is_floating_point():
        return torch.randn(example.shape, generator=generator)
    if example.numel() and bool((example != 0).any()):
        return example
    sizes = [axis.size for axis in anatomy.axes.values() if "vocab" in axis.tags]
    return torch.randint(0, min(sizes, default=2), example.shape, generator=generator, dtype=example.dtype)


def _widest(module: nn.Module, args: Any, kwargs: Any) -> tuple[nn.Module, Any, Any]:
    """Float64 where the model's own code allows it: some cast to float32 in the middle and then cannot add the two, or overflow."""
    wide = copy.deepcopy(module).double()
    wide_args, wide_kwargs = pytree.tree_map_only(
        Tensor, lambda t: t.double() if t.is_floating_point() else t, (args, kwargs)
    )
    try:
        outputs = _outputs(wide, wide_args, wide_kwargs)
    except RuntimeError:
        return module, args, kwargs
    if not any(bool(output.isfinite().any()) for output in outputs):
        return module, args, kwargs
    return wide, wide_args, wide_kwargs


def _outputs(module: nn.Module, args: Any, kwargs: Any) -> list[Tensor]:
    with torch.no_grad():
        torch.manual_seed(0)
        return [leaf for leaf in pytree.tree_leaves(module(*args, **kwargs)) if isinstance(leaf, Tensor)]


def _derangement(size: int, generator: torch.Generator) -> Tensor:
    """A random permutation that moves something."""
    while True:
        permutation = torch.randperm(size, generator=generator)
        if size < 2 or not torch.equal(permutation, torch.arange(size)):
            return permutation


def _permuted(anatomy: Anatomy, state: dict[str, Tensor], name: str, permutation: Tensor) -> dict[str, Tensor]:
    moved: dict[str, Tensor] = {}

    def choose(axis: str) -> Tensor:
        return permutation if axis == name else torch.arange(anatomy.axes[axis].size)

    for tensor_name, place in anatomy.occurrences(name):
        current = moved.get(tensor_name, state[tensor_name])
        index = flat_index(anatomy, anatomy.tensors[tensor_name].dims[place], choose)
        moved[tensor_name] = current.index_select(place, index)
    return moved


def _expected(anatomy: Anatomy, reference: list[Tensor], name: str, permutation: Tensor) -> list[Tensor]:
    def choose(axis: str) -> Tensor:
        return permutation if axis == name else torch.arange(anatomy.axes[axis].size)

    result = []
    for tensor, dims in zip(reference, anatomy.outputs, strict=True):
        expected = tensor
        for place, dim in enumerate(dims):
            if name in anatomy.leaves(dim):
                expected = expected.index_select(place, flat_index(anatomy, dim, choose))
        result.append(expected)
    return result


def _with(
    module: nn.Module, state: dict[str, Tensor], moved: dict[str, Tensor], args: Any, kwargs: Any
) -> list[Tensor]:
    current = module.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, value in moved.items():
            current[name].copy_(value)
        try:
            return _outputs(module, args, kwargs)
        finally:
            for name in moved:
                current[name].copy_(state[name])


def _difference(found: list[Tensor], expected: list[Tensor]) -> float:
    worst = 0.0
    for mine, theirs in zip(found, expected, strict=True):
        if theirs.numel() == 0:
            continue
        if not theirs.is_floating_point():
            worst = max(worst, float(not torch.equal(mine, theirs)))
            continue
        if mine.shape != theirs.shape:
            return float("inf")
        kept = theirs.isfinite()
        if not torch.equal(mine.isfinite(), kept):
            return float("inf")
        if bool(kept.any()):
            scale = max(theirs[kept].abs().max().item(), 1e-12)
            worst = max(worst, (mine - theirs)[kept].abs().max().item() / scale)
    return worst
