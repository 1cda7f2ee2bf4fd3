"""Denoised weights: a diffusion model over blocks of the weights of a bank of models (Gong et al., 2024, arXiv:2407.11966).

    theta -> blocks of B numbers, standardised each by its own mean and deviation over the bank
    clean = net(sqrt(k_t) w + sqrt(1 - k_t) noise, t, block number, condition),   loss = || w - clean ||^2

A bank of models of one architecture, each trained under a condition that is known (a concept, a task), teaches a
conditional denoiser; for a new condition it generates a full set of weights to start from. All models of the bank must
share their start (fine-tunes of one base) or be aligned first: permuted copies average to nothing. It helps where many
conditions of one family come; it hurts where the bank is small or a new condition lies outside it.

The paper's own setting is a bank of low-rank updates of image-to-image networks under text embeddings, a one-dimensional
U-net and one denoising step; no code was found. Ours differs in two ways. The net predicts the clean block, not the
noise: predicting noise, the textbook's loss, left samples of size 1e12 after the same training. And the 200 steps of the
schedule are scaled to what 1000 do, 5e-4 to 0.1: from 1e-4 to 0.02 they would leave 37% of the signal in what is sampled
as pure noise. Blocks of 256 and three layers of 512 are ours too.

Measured (``tests/train/growth/test_denoised.py``, 1500 steps, about 9 s on one core):

* a made-up bank of 64, theta = c u + 0.1 noise: squared error to c u of 0.0006 to 0.0012 for new c, where the nearest
  member has 0.010, the bank's mean 0.02 to 0.9, and a ridge regression of the weights on c 0.0002 to 0.0012;
* 100 fine-tunes of one small net on four of the ten digits, the condition says which; loss on new fours at the start:
  generated 0.048, nearest member 0.546, the bank's mean 0.174, the base 0.194, from nothing 2.333; ridge 0.053. Steps of
  training to a loss of 0.1: 0.7, 13.6, 13.8, 14.6, more than 60; ridge 3.0;
* 37 fine-tunes on digits with two labels exchanged: 1.030, nearest 1.933, mean 1.767, base 1.773; ridge 1.021.

So it beats the nearest member of the bank and whatever else was at hand, and by a wide margin; but on banks such as
these the regression, :meth:`BlockDiffusion.regressed`, is as good, exact, and costs nothing. Try that first.

Saved, it is a source of ``scionwood grow --method denoised_weights``. The file has no bank, only what a regression needs
of it: sums over its members, as many blocks as a condition has numbers.
"""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from scionwood.checkpoint import Source
from scionwood.errors import MatchError, MethodError
from scionwood.train.growth import saved

__all__ = ["BlockDiffusion", "Packing"]


class Packing:
    """How the weights of a model lie in blocks of one size, and back.

    >>> packing = Packing({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, block=5)
    >>> blocks = packing.pack({"weight": torch.ones(2, 3), "bias": torch.zeros(2)})
    >>> blocks.tolist(), packing.mask.tolist()[1]
    ([[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]], [True, True, True, False, False])

    Args:
        like: weights by name: their names, shapes, order and dtypes are kept.
        block: numbers in a block; the last one is filled up with zeros.
    """

    def __init__(self, like: Mapping[str, Tensor], block: int = 256) -> None:
        if block < 1 or not like:
            raise MethodError(f"{len(like)} tensors do not lie in blocks of {block}")
        self.block = block
        self._like = {name: (weight.shape, weight.dtype) for name, weight in like.items()}
        self.size = sum(shape.numel() for shape, _ in self._like.values())
        self.count = -(-self.size // block)
        self.mask = (torch.arange(self.count * block) < self.size).reshape(self.count, block)

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return blocks × numbers, in float32 (in float64 if a weight is).

        Raises:
            MatchError: names or shapes are not those of the model.
        """
        problems = self.misfits({name: tuple(weight.shape) for name, weight in weights.items()})
        if problems:
            raise MatchError("these weights are not those of the model", problems=problems)
        kind = torch.float64 if any(dtype == torch.float64 for _, dtype in self._like.values()) else torch.float32
        flat = torch.cat([weights[name].detach().reshape(-1).to(kind) for name in self._like])
        return functional.pad(flat, (0, self.count * self.block - self.size)).reshape(self.count, self.block)

    def misfits(self, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Return what of another model's names and shapes is not as it is here, a line each.

        >>> Packing({"w": torch.zeros(2)}).misfits({"w": (3,), "v": (1,)})
        ['v: not of this model', 'w: (3,), not (2,)']
        """
        problems = [f"{name}: missing" for name in self._like if name not in shapes]
        problems += [f"{name}: not of this model" for name in shapes if name not in self._like]
        problems += [
            f"{name}: {tuple(shape)}, not {tuple(self._like[name][0])}"
            for name, shape in shapes.items()
            if name in self._like and tuple(shape) != tuple(self._like[name][0])
        ]
        return problems

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the weights, in order."""
        return tuple(self._like)

    @property
    def told(self) -> list[tuple[str, list[int], str]]:
        """Name, shape and dtype of each, as plain data."""
        return [(name, list(shape), str(dtype).removeprefix("torch.")) for name, (shape, dtype) in self._like.items()]

    def unpack(self, blocks: Tensor) -> dict[str, Tensor]:
        """Return the weights by name, as they were."""
        flat, made, start = blocks.reshape(-1), {}, 0
        for name, (shape, dtype) in self._like.items():
            made[name] = flat[start : start + shape.numel()].reshape(shape).to(dtype)
            start += shape.numel()
        return made


class _Denoiser(nn.Module):
    """Predicts a clean block from a noisy one, the time, its number, and the condition."""

    def __init__(self, block: int, count: int, condition: int, width: int) -> None:
        super().__init__()
        self.place, self.time = nn.Embedding(count, width), nn.Linear(width, width)
        self.condition, self.entry = nn.Linear(condition, width), nn.Linear(block, width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.exit = nn.Linear(width, block)
        self.width = width

    def forward(self, x: Tensor, step: Tensor, number: Tensor, condition: Tensor) -> Tensor:
        half = self.width // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=x.device) / half)
        angles = step[:, None] * rates
        told = self.time(torch.cat([angles.sin(), angles.cos()], 1)) + self.place(number) + self.condition(condition)
        h = functional.silu(self.entry(x) + told)
        for layer in self.inner:
            h = functional.silu(layer(h) + told)
        return self.exit(h)


class BlockDiffusion:
    """A conditional diffusion model over the weights of a bank.

    Args:
        bank: for each model its weights by name; at least two.
        conditions: a row of numbers for each.
        block: numbers in a block.
        steps: of the diffusion; the noise of each rises in a straight line from 1e-4 to 0.02, times 1000 / steps.
        width: of the denoiser's layers.
        seed: of its first weights, its training and its samples.
    """

    def __init__(
        self,
        bank: Sequence[Mapping[str, Tensor]],
        conditions: Tensor,
        *,
        block: int = 256,
        steps: int = 200,
        width: int = 512,
        seed: int = 0,
    ) -> None:
        if len(bank) < 2 or len(conditions) != len(bank) or conditions.dim() != 2:
            raise MethodError(
                f"a bank of {len(bank)} models with conditions of shape {tuple(conditions.shape)}: wanted are two models"
                " or more and a row of numbers for each"
            )
        self._set_up(Packing(bank[0], block), conditions.shape[1], steps, width)
        stacked = torch.stack([self.packing.pack(member) for member in bank]).float()
        # Layers differ in scale, and most numbers of a fine-tune hardly move: each block has its own.
        self._mean, held = stacked.mean(0), self.packing.mask
        centred = (stacked - self._mean) * held
        spread = centred.square().sum((0, 2)) / (held.sum(1) * len(bank))
        self._deviation = spread.sqrt().clamp(min=1e-8)[:, None]
        self._centre = conditions.float().mean(0)
        self._scale = conditions.float().std(0, correction=0).clamp(min=1e-8)
        self._blocks, self._conditions = centred / self._deviation, self._told(conditions)
        # All that a ridge regression needs of the bank, whatever its penalty.
        self._members = len(bank)
        self._gram = self._conditions.T @ self._conditions
        self._sums = self._conditions.T @ self._blocks.flatten(1)
        self._generator.manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = _Denoiser(block, self.packing.count, conditions.shape[1], width)

    def _set_up(self, packing: Packing, conditions: int, steps: int, width: int) -> None:
        """Begin with what a bank and a file have in common."""
        self.packing, self.num_conditions = packing, conditions
        self._sizes = {"conditions": conditions, "steps": steps, "width": width}
        noise = torch.linspace(1e-4, 0.02, steps) * (1000 / steps)
        self._noise, self._kept = noise.clamp(max=0.999), torch.cumprod(1 - noise.clamp(max=0.999), 0)
        self._generator = torch.Generator()
        self._blocks: Tensor | None = None
        self._conditions: Tensor | None = None

    @property
    def _saved(self) -> dict[str, tuple[int, ...]]:
        """What a file keeps beside the denoiser, and the shapes."""
        blocks, count, numbers = self.packing.count, self.num_conditions, self.packing.count * self.packing.block
        found = {"mean": (blocks, self.packing.block), "deviation": (blocks, 1), "centre": (count,), "scale": (count,)}
        return {**found, "gram": (count, count), "sums": (count, numbers)}

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write it to one ``.safetensors`` file, which ``scionwood grow --method denoised_weights`` takes as its source.

        The bank is left out: what is loaded generates and regresses, and is not fitted further.

        Args:
            path: of the file.
            overwrite: put it in the place of an old one.

        Raises:
            OutputError: the name does not end with ``.safetensors``, the file exists, or it cannot be written.
        """
        settings = {**self._sizes, "members": self._members, "block": self.packing.block, "weights": self.packing.told}
        tensors = {name: getattr(self, f"_{name}") for name in self._saved}
        tensors["generator"] = self._generator.get_state()
        tensors |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        saved.save(path, "denoised_weights", settings, tensors, overwrite=overwrite)

    @classmethod
    def load(cls, source: Source) -> Self:
        """Return what was saved: it gives the same weights, bit for bit, and draws on where it was.

        Raises:
            SourceError: it is no saved diffusion model, of another version, or damaged.
        """
        return saved.load(source, "denoised_weights", cls._built)

    @classmethod
    def _built(cls, settings: Mapping[str, Any], tensors: dict[str, Tensor]) -> Self:
        like = {
            name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
            for name, shape, dtype in settings["weights"]
        }
        made = cls.__new__(cls)
        made._set_up(Packing(like, settings["block"]), settings["conditions"], settings["steps"], settings["width"])
        for name, shape in made._saved.items():
            tensor = tensors.pop(name)
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, not {shape}")
            setattr(made, f"_{name}", tensor)
        made._members = settings["members"]
        made._generator.set_state(tensors.pop("generator"))
        with torch.device("meta"):
            made.network = _Denoiser(settings["block"], made.packing.count, settings["conditions"], settings["width"])
        made.network.load_state_dict(
            {name.removeprefix("network."): tensor for name, tensor in tensors.items()}, assign=True
        )
        return made

    def _told(self, conditions: Tensor) -> Tensor:
        return (conditions.float() - self._centre) / self._scale

    def fit(self, steps: int = 2000, *, batch_size: int = 64, learning_rate: float = 1e-3) -> list[float]:
        """Train the denoiser with Adam and a cosine to zero; return the loss of every step.

        Args:
            steps: of training.
            batch_size: blocks in a step, drawn from all models and all places.
            learning_rate: at the start.

        Raises:
            MethodError: it was loaded from a file, which has no bank.
        """
        if self._blocks is None or self._conditions is None:
            raise MethodError("what was loaded from a file has no bank to fit to", hint="fit it before it is saved")
        optimizer = torch.optim.Adam(self.network.parameters(), learning_rate)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
        models, count, losses = len(self._blocks), self.packing.count, []
        for _ in range(steps):
            model, number, step = (
                torch.randint(size, (batch_size,), generator=self._generator)
                for size in (models, count, len(self._noise))
            )
            clean, kept = self._blocks[model, number], self._kept[step][:, None]
            noise = torch.randn(clean.shape, generator=self._generator)
            found = self.network(kept.sqrt() * clean + (1 - kept).sqrt() * noise, step, number, self._conditions[model])
            # What fills up the last block is no weight: it does not count.
            held = self.packing.mask[number]
            loss = ((clean - found).square() * held).sum() / held.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cosine.step()
            losses.append(loss.item())
        return losses

    @torch.no_grad()
    def generate(self, condition: Tensor, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Return weights for a condition, sampled step by step from noise.

        Args:
            condition: one row of numbers, as those of the bank.
            generator: what to draw from; its own, which goes on from call to call, unless given.

        Raises:
            MethodError: the condition has more or fewer numbers.
        """
        generator = self._generator if generator is None else generator
        count, numbers = self.packing.count, torch.arange(self.packing.count)
        told = self._told(self._checked(condition)[None]).expand(count, -1)
        x = torch.randn(count, self.packing.block, generator=generator)
        for step in reversed(range(len(self._noise))):
            noise, kept = self._noise[step], self._kept[step]
            clean = self.network(x, torch.full((count,), step), numbers, told)
            before = self._kept[step - 1] if step else torch.ones(())
            x = (before.sqrt() * noise * clean + (1 - noise).sqrt() * (1 - before) * x) / (1 - kept)
            if step:
                spread = (noise * (1 - before) / (1 - kept)).sqrt()
                x = x + spread * torch.randn(x.shape, generator=generator)
        return self.packing.unpack(x * self._deviation + self._mean)

    def regressed(self, condition: Tensor, *, penalty: float = 1e-2) -> dict[str, Tensor]:
        """Return the weights that a ridge regression on the conditions of the bank gives: what to beat.

        Args:
            condition: one row of numbers, as those of the bank.
            penalty: of the slopes, for each model of the bank, where conditions have a deviation of one.

        Raises:
            MethodError: the condition has more or fewer numbers.
        """
        told = self._told(self._checked(condition)[None])
        gram = self._gram + penalty * self._members * torch.eye(self.num_conditions)
        found = (told @ torch.linalg.solve(gram, self._sums)).reshape(self._mean.shape)
        return self.packing.unpack(found * self._deviation + self._mean)

    def _checked(self, condition: Tensor) -> Tensor:
        if condition.shape != self._centre.shape:
            raise MethodError(
                f"a condition of shape {tuple(condition.shape)}, but the bank's have {tuple(self._centre.shape)}"
            )
        return condition
