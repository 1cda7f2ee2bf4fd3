"""The training loop of the demos: AdamW, linear warm-up then cosine, accuracy measured at chosen epochs.

The whole of it is here on purpose: what a student gains must come from its first weights, so there is one loop for
every student, and nothing in it knows where the weights came from.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Examples", "Recipe", "accuracy", "learning_rate_factor", "train"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything about a training run that is tuned.

    Args:
        learning_rate: the peak, reached after the warm-up; the end is 0.
        warmup: the share of the steps in which the learning rate rises.
        weight_decay: decoupled, on matrices only.
        batch_size: examples a step.
        label_smoothing: the probability spread over all classes.
        clip_norm: the largest norm of the whole gradient; None leaves it as it is.
        beta2: of AdamW; the first is 0.9.
        initializer_range: the standard deviation of fresh weights: it goes into the model's config.
        dropout: of the hidden activations: it goes into the model's config.
    """

    learning_rate: float
    warmup: float
    weight_decay: float
    batch_size: int
    label_smoothing: float
    clip_norm: float | None
    beta2: float
    initializer_range: float
    dropout: float

    def but(self, **changes: float | None) -> Self:
        """Return the same recipe with some values changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Examples:
    """A model's inputs by name, and the class of each."""

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> "Examples":
        return Examples({name: tensor[rows] for name, tensor in self.inputs.items()}, self.labels[rows])

    def few(self, per_class: int) -> "Examples":
        """Return the first examples of every class, so many of each."""
        classes = self.labels.unique().tolist()
        return self[torch.cat([(self.labels == label).nonzero()[:per_class, 0] for label in classes])]


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    """Return the learning rate of a step (the first is 1) as a share of the peak.

    >>> [round(learning_rate_factor(step, 10, 0.2), 2) for step in (1, 2, 6, 10)]
    [0.5, 1.0, 0.5, 0.0]
    """
    rise = max(1, round(warmup * steps))
    if step <= rise:
        return step / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def train(
    model: nn.Module,
    examples: Examples,
    *,
    recipe: Recipe,
    epochs: float,
    seed: int,
    evaluate_at: Sequence[float] = (),
    evaluate: Callable[[nn.Module], float] = lambda model: math.nan,  # noqa: ARG005
    after_step: Callable[[], None] = lambda: None,
) -> list[float]:
    """Train a model in place, and return what ``evaluate`` gave at each epoch of ``evaluate_at``.

    The seed decides the order of the examples and the dropout; the same seed gives the same numbers, and torch's own
    generator is left as it was.

    Args:
        model: called with the inputs by name, gives an object with ``logits``.
        examples: what it learns.
        recipe: how.
        epochs: passes over the examples; the steps are ``epochs * len(examples) / batch_size``, rounded.
        seed: of the order and the dropout.
        evaluate_at: epochs, rising; 0 is before the first step.
        evaluate: called with the model in evaluation mode.
        after_step: called after every step, for a progress bar.
    """
    steps = num_steps(epochs, len(examples), recipe.batch_size)
    due = [num_steps(epoch, len(examples), recipe.batch_size) for epoch in evaluate_at]
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, recipe.beta2),
        fused=True,
    )
    measured = [evaluate(model.eval()) for at in due if at == 0]
    order, queue = torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.long)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.train()
        for step in range(1, steps + 1):
            while len(queue) < recipe.batch_size:
                queue = torch.cat([queue, torch.randperm(len(examples), generator=order)])
            batch, queue = examples[queue[: recipe.batch_size]], queue[recipe.batch_size :]
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * learning_rate_factor(step, steps, recipe.warmup)
            logits = model(**batch.inputs).logits
            loss = functional.cross_entropy(logits, batch.labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            optimizer.step()
            after_step()
            if step in due:
                measured += [evaluate(model.eval())] * due.count(step)
                model.train()
    model.eval()
    return measured


def num_steps(epochs: float, examples: int, batch_size: int) -> int:
    """Return how many steps so many passes take.

    >>> num_steps(40, 200, 32), num_steps(0, 200, 32), num_steps(0.01, 200, 32)
    (250, 0, 1)
    """
    return max(round(epochs * examples / batch_size), 1 if epochs > 0 else 0)


def accuracy(model: nn.Module, examples: Examples, *, batch_size: int = 128) -> float:
    """Return the share of examples whose class gets the highest logit, in %."""
    right = 0
    with torch.inference_mode():
        for rows in torch.arange(len(examples)).split(batch_size):
            batch = examples[rows]
            right += int((model(**batch.inputs).logits.argmax(-1) == batch.labels).sum())
    return 100 * right / len(examples)
