"""Initial states for recurrent models that are to run longer than they were trained (Buitrago Ruiz & Gu, 2025, arXiv:2507.02782).

A recurrent model trained on short sequences from a zero state never sees the states that long sequences lead to. A few
hundred steps of further training (500, or 0.1 % of the pretraining) from other initial states teach it them:

    random     N(0, s^2)
    fitted     N(mean, std^2), fitted to the final states, per layer and head
    passing    the final states of the batch before, shuffled over the batch
    truncated  the final states of the batch before, unshuffled: batches are then consecutive pieces of long sequences

The paper reports that passing and truncated work at 370 M and at 1.3 B parameters, fitted at 370 M only, random not
even there. No gradient flows into a state. A state is kept in float32. Where blocks have a second state (Mamba's
convolution), name it like the others and it is treated like them; whatever is not observed starts at zero.

The probability of a non-zero start and the shuffling are reconstructions: the authors published no code.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor

from scionwood.errors import MethodError

__all__ = ["Mode", "States"]

Mode = Literal["random", "fitted", "passing", "truncated"]


class States:
    """A sampler of initial states: ``observe`` the final states of a batch, ``sample`` the initial ones of the next.

    >>> states = States("passing")
    >>> states.sample({"0": (2, 1, 3)})["0"].tolist()  # nothing was observed yet
    [[[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]]
    >>> states.observe({"0": torch.ones(2, 1, 3)})
    >>> states.sample({"0": (2, 1, 3)})["0"].tolist()
    [[[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]]]

    Args:
        mode: random, fitted, passing or truncated.
        std: s, of mode random.
        probability: of a non-zero start, drawn for each sequence.
        seed: of the generator.

    Raises:
        MethodError: an unknown mode, or a value out of its range.
    """

    def __init__(self, mode: Mode = "passing", *, std: float = 1.0, probability: float = 1.0, seed: int = 0) -> None:
        problems = []
        if mode not in get_args(Mode):
            problems.append(f"the mode is one of {', '.join(get_args(Mode))}, not {mode!r}")
        if not std >= 0:
            problems.append(f"std is at least 0, not {std}")
        if not 0 <= probability <= 1:
            problems.append(f"probability is from 0 to 1, not {probability}")
        if problems:
            raise MethodError("States cannot be sampled so.", problems=problems)
        self.mode = mode
        self.std = std
        self.probability = probability
        self._generator = torch.Generator().manual_seed(seed)
        self._last: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._means: dict[str, Tensor] = {}
        self._squares: dict[str, Tensor] = {}

    def observe(self, final: Mapping[str, Tensor]) -> None:
        """Take in the final states of a batch.

        Args:
            final: name of a layer to its state (batch, heads, ...).
        """
        for name, state in final.items():
            seen = state.detach().to("cpu", torch.float32)
            if self.mode == "fitted":
                self._fit(name, seen)
            elif self.mode != "random":
                self._last[name] = seen

    def _fit(self, name: str, state: Tensor) -> None:
        """Merge a batch into the running moments of each head (Chan's rule, which does not cancel)."""
        values = state.movedim(1, 0).flatten(1).double()
        count, mean = values.shape[1], values.mean(dim=1)
        squares = (values - mean[:, None]).square().sum(dim=1)
        if name in self._counts:
            before = self._counts[name]
            shift = mean - self._means[name]
            mean = self._means[name] + shift * count / (before + count)
            squares = self._squares[name] + squares + shift.square() * before * count / (before + count)
            count += before
        self._counts[name], self._means[name], self._squares[name] = count, mean, squares

    def fitted(self, name: str) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of each head of a layer.

        Raises:
            MethodError: the layer was not observed, or the mode is another.
        """
        if name not in self._counts:
            known = ", ".join(self._counts) or "none"
            raise MethodError(f"No states of {name!r} were fitted; fitted are: {known}.")
        return self._means[name].clone(), (self._squares[name] / self._counts[name]).sqrt()

    def sample(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
        """Return initial states, float32 on the CPU, without gradients.

        Args:
            shapes: name of a layer to the shape of its state, (batch, heads, ...); one batch for all.

        Raises:
            MethodError: batches differ, or a state observed has another shape.
        """
        batches = sorted({shape[0] for shape in shapes.values()})
        if len(batches) > 1:
            raise MethodError(f"All layers share one batch, but the shapes have {batches}.")
        if not batches:
            return {}
        # One order and one mask for all layers: a state is one sequence's, through the whole model.
        order = torch.arange(batches[0])
        if self.mode == "passing":
            order = torch.randperm(batches[0], generator=self._generator)
        kept = torch.rand(batches[0], generator=self._generator) < self.probability
        states = {}
        for name, shape in shapes.items():
            state = self._draw(name, shape, order)
            states[name] = state * kept.reshape(-1, *[1] * (len(shape) - 1))
        return states

    def _draw(self, name: str, shape: tuple[int, ...], order: Tensor) -> Tensor:
        if self.mode == "random":
            return self.std * torch.randn(shape, generator=self._generator)
        if self.mode == "fitted":
            if name not in self._counts:
                return torch.zeros(shape)
            mean, std = (moment.float().reshape(-1, *[1] * (len(shape) - 2)) for moment in self.fitted(name))
            if len(mean) != shape[1]:
                raise MethodError(f"The states of {name!r} had {len(mean)} heads when observed, not {shape[1]}.")
            return mean + std * torch.randn(shape, generator=self._generator)
        if name not in self._last:
            return torch.zeros(shape)
        last = self._last[name]
        if tuple(last.shape) != tuple(shape):
            raise MethodError(f"The state of {name!r} was {tuple(last.shape)} when observed, not {tuple(shape)}.")
        return last[order]
