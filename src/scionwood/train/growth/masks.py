"""Masked structural growth: new parts are faded in by a mask from 0 to 1 (Yao et al., 2024, arXiv:2305.02869).

    m = [1 … 1, c … c]                 c rises from 0 to 1 in so many steps, then the masks drop off
    widths   y = m * f(x)              inner units before their activation; queries, keys and values of new heads
    norms    y = m * norm_m(x)         mean = sum(m x) / sum(m), variance = sum(m (x - mean)^2) / sum(m)
    layers   y = c * block(x) + (1 - c) * x

At c = 0 the grown model computes exactly what the small one did, whatever the new weights are; at c = 1 it is a model
like any other. So new weights can have the ordinary first values, with no copies to tell apart later, and the loss does
not jump. It helps where training goes on for much longer than the ramp; it hurts where it does not: through the ramp the
new parts learn less than they could. The speed-ups that the paper names, 80% for BERT-base, count whole schedules of
growth. One dimension grows at a time, as there.

To grow: make the large model; ``place`` the small weights into its upper left corners; ``carry_state`` from optimiser to
optimiser; then a :class:`MaskedGrowth`, and in every step ``growth.step()`` *before* the forward pass: at c = 0 the new
weights get no gradient. (The official loop increments after the optimiser's step, so that the first one only decays
them.) An activation between a mask and what reads it must have f(0) = 0: GELU, SiLU and the rectifiers have.

Old channels stay first along every axis, which for heads is not always first in a tensor: a fused projection has new
queries between old queries and old keys, and where grouped queries grow alone, every group has new ones of its own.
:func:`scionwood.train.growth.heads.old_heads` finds out, and says what to mask.

Measured on a character model of docstrings (Llama's blocks; width 32 to 64, inner units 64 to 192, heads 4 to 8, layers 2
to 4; new weights N(0, 0.02); two seeds), loss on held-out text. Width without masks: 1.87 before, 2.28 after growth, and
some 50 steps to come back; with a ramp of 200 steps 1.87, and never over 1.89; of 50 steps, up to 1.93 within it. After
400 steps it is all one: 1.71 without, 1.72 and 1.71 with ramps of 50 and 200, where the small model has 1.74. In the other
dimensions so small new weights move the loss by 0.01 at most without masks too, and the masks show no gain.
"""

import copy
import re
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from scionwood.errors import MatchError, MethodError

__all__ = [
    "MaskedGrowth",
    "NewLayer",
    "carry_state",
    "deepen",
    "layer_sources",
    "linear_decay",
    "masked_layer_norm",
    "masked_rms_norm",
    "place",
]


def masked_layer_norm(
    x: Tensor, mask: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-12
) -> Tensor:
    """Return a layer normalisation whose mean and variance weigh every channel by the mask; the output is not masked.

    >>> x = torch.tensor([1.0, 2, 3, 6, 50, -7])
    >>> [round(value, 4) for value in masked_layer_norm(x, torch.tensor([1.0, 1, 1, 1, 0, 0])).tolist()][:4]
    [-1.069, -0.5345, 0.0, 1.6036]

    Args:
        x: channels last.
        mask: one number between 0 and 1 for each channel.
        weight: the gain.
        bias: the shift.
        eps: is added to the variance; the paper's model has 1e-12.
    """
    total = mask.sum()
    mean = (mask * x).sum(-1, keepdim=True) / total
    variance = (mask * (x - mean).square()).sum(-1, keepdim=True) / total
    y = (x - mean) * torch.rsqrt(variance + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def masked_rms_norm(x: Tensor, mask: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Return a normalisation by the root of the mean square, every channel weighed by the mask; ours, for Llama's sort.

    >>> masked_rms_norm(torch.tensor([3.0, 4.0, 9.0]), torch.tensor([1.0, 1.0, 0.0]), eps=0.0)[:2].square().sum()
    tensor(2.)
    """
    square = (mask * x.square()).sum(-1, keepdim=True) / mask.sum()
    y = x * torch.rsqrt(square + eps)
    return y if weight is None else y * weight


_RUNNING: "weakref.WeakKeyDictionary[nn.Module, MaskedGrowth]" = weakref.WeakKeyDictionary()


class MaskedGrowth:
    """The masks of one dimension of a model, from 0 to 1.

    >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    >>> growth = MaskedGrowth(model, channels={"0": 3}, steps=2)
    >>> growth.value, growth.step(), growth.step(), growth.finished
    (0.0, 0.5, 1.0, True)

    Args:
        model: it is grown already; its forward pass is changed by hooks, its weights and names are not.
        channels: for each module how many of its output channels are old, or the indices of those; the rest is masked.
            Names as in ``named_modules``, ``*`` for anything between two points. Norms of the residual stream are masked
            in their statistics too: for its width name *every* norm that reads it.
        inputs: the same of modules whose input is masked: the output projections of attentions.
        blocks: names of new blocks, each of which is faded in beside its input.
        steps: of the ramp; the official code's 5000.

    Raises:
        MethodError: the model is growing already, or names, channels and norms do not fit; every problem is listed.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        channels: Mapping[str, int | Tensor] | None = None,
        inputs: Mapping[str, int | Tensor] | None = None,
        blocks: Sequence[str] = (),
        steps: int = 5000,
    ) -> None:
        if model in _RUNNING:
            raise MethodError(
                "the model is growing in another dimension: one grows at a time", hint="finish that first"
            )
        if bool(channels or inputs) == bool(blocks):
            raise MethodError("one dimension grows at a time: give either channels or blocks")
        if steps < 1:
            raise MethodError(f"a ramp has a step at least, found {steps}")
        self.steps, self._done = steps, 0
        self._model = weakref.ref(model)
        self._masks: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}
        modules, problems = dict(model.named_modules()), []
        planned: list[tuple[nn.Module, Callable[..., Any]]] = []
        for pattern, old in (channels or {}).items():
            for name in _named(pattern, modules, problems):
                hook = self._channel_hook(name, modules[name], old, problems)
                planned.append((modules[name], hook))
        reading = [
            (name, old) for pattern, old in (inputs or {}).items() for name in _named(pattern, modules, problems)
        ]
        for name, old in reading:
            problems += _unfit(name, old, _sizes(modules[name])[0])
        for pattern in blocks:
            planned += [(modules[name], self._block_hook) for name in _named(pattern, modules, problems)]
        if problems:
            raise MethodError("the masks do not fit the model", problems=problems)
        self._hooks: list[RemovableHandle] = [
            module.register_forward_hook(hook, with_kwargs=True) for module, hook in planned
        ]
        self._hooks += [modules[name].register_forward_pre_hook(self._input_hook(old)) for name, old in reading]
        _RUNNING[model] = self

    @property
    def value(self) -> float:
        """How far the new parts are faded in: c."""
        return self._done / self.steps

    @property
    def finished(self) -> bool:
        """Whether the masks have dropped off."""
        return not self._hooks

    def step(self) -> float:
        """Fade the new parts in by one step and return c; at 1 the masks drop off. Call it before the forward pass."""
        if not self.finished:
            self._done = min(self._done + 1, self.steps)
            self._masks = {}  # not changed in place: a backward pass may still need them
            if self._done == self.steps:
                self.remove()
        return self.value

    def remove(self) -> None:
        """Take the masks off, whatever c is; another dimension may then grow."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        model = self._model()
        if model is not None:
            _RUNNING.pop(model, None)

    def state_dict(self) -> dict[str, int]:
        """Return how far the ramp is, for a checkpoint of a run."""
        return {"done": self._done}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where a run stopped."""
        self._done, self._masks = min(state["done"], self.steps), {}
        if self._done == self.steps:
            self.remove()

    def _mask(self, old: int | Tensor, like: Tensor) -> Tensor:
        key = (old if isinstance(old, int) else id(old), like.shape[-1], like.device, like.dtype)
        if key not in self._masks:
            mask = torch.full((like.shape[-1],), self.value, device=like.device, dtype=like.dtype)
            mask[slice(old) if isinstance(old, int) else old.to(like.device)] = 1.0
            self._masks[key] = mask
        return self._masks[key]

    def _input_hook(self, old: int | Tensor) -> Callable[..., Any]:
        """Return the hook that masks what a module reads."""

        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (inputs[0] * self._mask(old, inputs[0]), *inputs[1:])

        return hook

    def _channel_hook(self, name: str, module: nn.Module, old: int | Tensor, problems: list[str]) -> Callable[..., Any]:
        """Return the hook that masks a module's output, and a norm's statistics."""
        problems += _unfit(name, old, _sizes(module)[1])
        norm = None
        if "Norm" in type(module).__name__ and not isinstance(module, nn.modules.batchnorm._BatchNorm):
            norm = _norm_of(module)
            if norm is None:
                problems.append(
                    f"{name}: {type(module).__name__} is no layer or root-mean-square norm over the last axis"
                )

        def hook(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> Tensor:
            mask = self._mask(old, output)
            if norm is None:
                return output * mask
            x = inputs[0] if inputs else next(iter(named.values()))
            return (norm(x, mask) * mask).to(output.dtype)

        return hook

    def _block_hook(self, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> Any:
        x = inputs[0] if inputs else named["hidden_states"]
        new = output if isinstance(output, Tensor) else output[0]
        mixed = self.value * new + (1 - self.value) * x
        return mixed if isinstance(output, Tensor) else (mixed, *output[1:])


def _named(pattern: str, modules: Mapping[str, nn.Module], problems: list[str]) -> list[str]:
    matcher = re.compile(re.escape(pattern).replace(r"\*", r"[^.]+"))
    found = [name for name in modules if matcher.fullmatch(name)]
    if not found:
        problems.append(f"{pattern}: the model has no such module")
    return found


def _sizes(module: nn.Module) -> tuple[int | None, int | None]:
    """How many channels a module reads and gives, where its weight says it; of either layout, the bias tells which."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, Tensor):
        return None, None
    if isinstance(module, nn.Embedding):
        return None, weight.shape[1]
    given = len(bias) if isinstance(bias, Tensor) else weight.shape[0]
    return weight.numel() // given if weight.dim() > 1 else given, given


def _unfit(name: str, old: int | Tensor, size: int | None) -> list[str]:
    """What is wrong with the old channels of so many."""
    if isinstance(old, int):
        return [f"{name}: {old} old channels of {size}"] if size is not None and not 0 < old <= size else []
    if not len(old):
        return [f"{name}: no old channels"]
    last = int(old.max())
    return [f"{name}: channel {last} of {size} is old"] if size is not None and last >= size else []


def _norm_of(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return a norm's masked form: the one that equals it, on random numbers, where the mask is all ones."""
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    eps = getattr(module, "eps", getattr(module, "variance_epsilon", None))
    if not isinstance(weight, Tensor) or weight.dim() != 1:
        return None
    if eps is None:
        eps = torch.finfo(weight.dtype).eps  # what PyTorch's RMSNorm adds when nothing is given
    forms: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
        lambda x, mask: masked_layer_norm(x, mask, module.weight, bias, eps),  # pyright: ignore[reportArgumentType]
        lambda x, mask: masked_rms_norm(x, mask, module.weight, eps),  # pyright: ignore[reportArgumentType]
        lambda x, mask: masked_rms_norm(x, mask, 1 + module.weight, eps),  # pyright: ignore[reportOperatorIssue]
    )
    probe = torch.randn(3, len(weight), generator=torch.Generator().manual_seed(0)).to(weight) + 0.5
    close = 1e-4 if weight.dtype in {torch.float32, torch.float64} else 3e-2
    with torch.no_grad():
        wanted = module(probe)
        for form in forms:
            if torch.allclose(form(probe, torch.ones_like(weight)), wanted, atol=close, rtol=close):
                return form
    return None


def place(
    small: Mapping[str, Tensor],
    large: nn.Module,
    *,
    sources: Mapping[str, str] | None = None,
    where: Mapping[str, Sequence[Tensor]] | None = None,
) -> list[str]:
    """Copy small weights into the upper left corners of large ones; the rest keeps its values. Return what has none.

    >>> large = nn.Linear(3, 2, bias=False)
    >>> _ = nn.init.zeros_(large.weight)
    >>> place({"weight": torch.ones(1, 2)}, large), large.weight.tolist()
    ([], [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])

    Args:
        small: weights by name.
        large: the model that gets them, with its own first weights.
        sources: names in the small model of what is called otherwise in the large one.
        where: for weights whose old numbers are not in the corner, their indices along each dimension
            (:func:`scionwood.train.growth.heads.old_heads`).

    Raises:
        MatchError: a small weight does not fit into the large one.
    """
    problems, unmatched = [], []
    for name, weight in large.named_parameters():
        held = small.get((sources or {}).get(name, name))
        if held is None:
            unmatched.append(name)
        elif held.dim() != weight.dim() or any(a > b for a, b in zip(held.shape, weight.shape, strict=True)):
            problems.append(f"{name}: {tuple(held.shape)} does not fit into {tuple(weight.shape)}")
        else:
            with torch.no_grad():
                weight[_box(held.shape, (where or {}).get(name))] = held.to(weight)
    if problems:
        raise MatchError("the small weights do not fit into the large ones", problems=problems)
    return unmatched


def carry_state(
    small: torch.optim.Optimizer,
    large: torch.optim.Optimizer,
    pairs: Iterable[tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Sequence[Tensor] | None]],
) -> None:
    """Take over an optimiser's state: moments go to the upper left corners, zeros elsewhere; steps are kept.

    A weight without state in the small optimiser, as that of a new layer, starts without in the large one.

    >>> small, large = nn.Linear(1, 1, bias=False), nn.Linear(2, 1, bias=False)
    >>> old, new = (torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9) for layer in (small, large))
    >>> small(torch.ones(1, 1)).sum().backward()
    >>> old.step()
    >>> carry_state(old, new, [(small.weight, large.weight)])
    >>> new.state[large.weight]["momentum_buffer"]
    tensor([[1., 0.]])

    Args:
        small: the optimiser of the small model.
        large: the optimiser of the large model.
        pairs: every small weight with the large one it went to, and where it went, if not into the corner.
    """
    for old, new, *where in pairs:
        state = {}
        for key, value in small.state.get(old, {}).items():
            if isinstance(value, Tensor) and value.dim() and value.shape == old.shape:
                state[key] = torch.zeros_like(new, dtype=value.dtype)
                state[key][_box(old.shape, *where)] = value
            else:
                state[key] = copy.deepcopy(value)
        if state:
            large.state[new] = state


class NewLayer(NamedTuple):
    """Where a layer of a deeper model comes from, and whether it is a new one, to be faded in."""

    source: int
    new: bool


def layer_sources(old: int, target: int, order: Literal["stack", "interpolate"] = "stack") -> list[NewLayer]:
    """Return the layers of a deeper model: ``stack`` appends copies, ``interpolate`` puts each after its source.

    A stack appends all layers from bottom to top as often as they fit, then the last ones, as many as are missing.
    Interpolation starts from the top where there are fewer new layers than old ones.

    >>> [layer.source for layer in layer_sources(3, 8)], [layer.source for layer in layer_sources(3, 5, "interpolate")]
    ([0, 1, 2, 0, 1, 2, 1, 2], [0, 1, 1, 2, 2])

    Raises:
        MethodError: fewer layers than there are, or an interpolation to more than twice as many.
    """
    if not 0 < old <= target:
        raise MethodError(f"{old} layers do not grow to {target}")
    layers = [NewLayer(layer, new=False) for layer in range(old)]
    if order == "stack":
        added = list(range(old)) * (target // old - 1) + list(range(old))[old - target % old :]
        return layers + [NewLayer(layer, new=True) for layer in added]
    if order != "interpolate":
        raise MethodError(f"no such order of layers: {order!r}", hint="stack or interpolate are")
    if target > 2 * old:
        raise MethodError(
            f"interpolation puts one layer after each: {old} layers grow to {2 * old} at most, not {target}"
        )
    doubled = set(range(2 * old - target, old))
    return [
        NewLayer(layer, new=new) for layer in range(old) for new in ((False, True) if layer in doubled else (False,))
    ]


def deepen(
    blocks: nn.ModuleList, target: int, order: Literal["stack", "interpolate"] = "stack"
) -> tuple[nn.ModuleList, list[int]]:
    """Return a deeper list of blocks, new ones as copies, and the places of the new ones.

    Old blocks are the same objects, so that an optimiser still knows their weights; attributes ``layer_idx`` are
    numbered anew.

    >>> blocks, new = deepen(nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)]), 3)
    >>> len(blocks), new
    (3, [2])

    Args:
        blocks: of the small model.
        target: how many there shall be.
        order: as :func:`layer_sources` takes it.
    """
    plan = layer_sources(len(blocks), target, order)
    grown = nn.ModuleList(copy.deepcopy(blocks[layer.source]) if layer.new else blocks[layer.source] for layer in plan)
    for number, block in enumerate(grown):
        for part in block.modules():
            if isinstance(getattr(part, "layer_idx", None), int):
                part.layer_idx = number  # pyright: ignore[reportArgumentType]
    return grown, [number for number, layer in enumerate(plan) if layer.new]


def linear_decay(step: int, *, total: int, warmup: int = 0, rewinds: Sequence[int] = ()) -> float:
    """Return the factor of the learning rate: up in the warm-up, down to zero, and up again to one at each rewind.

    >>> [linear_decay(step, total=10, rewinds=(4,)) for step in (0, 3, 4, 9)]
    [1.0, 0.7, 1.0, 0.5]

    Args:
        step: counted from the start of training.
        total: steps that a decay takes, warm-up included; the official code keeps it after a rewind.
        warmup: steps of the first rise; it is not repeated.
        rewinds: steps at which growth starts and the decay begins again.
    """
    if step < warmup:
        return step / warmup
    last = max((rewind for rewind in rewinds if rewind <= step), default=None)
    done = step - warmup if last is None else step - last
    return max(0.0, (total - warmup - done) / max(1, total - warmup))


def _box(shape: Sequence[int], where: Sequence[Tensor] | None = None) -> tuple[slice | Tensor, ...]:
    """What a small tensor takes of a large one: the corner, or the given indices along each dimension."""
    if where is None:
        return tuple(slice(size) for size in shape)
    return tuple(index.view(-1, *[1] * (len(where) - 1 - place)) for place, index in enumerate(where))
