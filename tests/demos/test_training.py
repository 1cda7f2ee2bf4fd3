"""The loop of the demos: deterministic, no side effects, the schedule it promises."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from scionwood.demos.training import Examples, Recipe, accuracy, learning_rate_factor, num_steps, train

RECIPE = Recipe(
    learning_rate=0.05,
    warmup=0.1,
    weight_decay=0.0,
    batch_size=8,
    label_smoothing=0.0,
    clip_norm=1.0,
    beta2=0.99,
    initializer_range=0.1,
    dropout=0.0,
)


class Linear(nn.Module):
    """Two points in the plane apart, with dropout so that the seed of it shows."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.drop, self.layer = nn.Dropout(dropout), nn.Linear(2, 2)
        nn.init.zeros_(self.layer.weight)

    def forward(self, x):
        return SimpleNamespace(logits=self.layer(self.drop(x)))


@pytest.fixture
def examples():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    return Examples({"x": torch.randn(40, 2, generator=generator) + 4 * labels[:, None]}, labels)


def test_it_learns_and_measures_where_asked(examples):
    model = Linear()
    measured = train(
        model,
        examples,
        recipe=RECIPE,
        epochs=20,
        seed=0,
        evaluate_at=(0, 1, 20),
        evaluate=lambda it: accuracy(it, examples),
    )
    assert len(measured) == 3
    assert measured[-1] > 90 > measured[0]
    assert measured[-1] == accuracy(model, examples)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_seed_decides_everything(examples, dropout):
    def weights(seed):
        model = Linear(dropout)
        torch.manual_seed(1)
        model.layer.reset_parameters()
        train(model, examples, recipe=RECIPE, epochs=3, seed=seed)
        return model.layer.weight.detach()

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_torchs_own_generator_is_left_as_it_was(examples):
    torch.manual_seed(7)
    expected = torch.rand(1)
    model = Linear(0.5)
    torch.manual_seed(7)
    train(model, examples, recipe=RECIPE, epochs=1, seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_evaluation_runs_without_dropout_and_training_goes_on_with_it(examples):
    modes = []
    model = Linear(0.5)
    model.layer.register_forward_hook(lambda *_: modes.append(model.training))
    train(
        model, examples, recipe=RECIPE, epochs=2, seed=0, evaluate_at=(1,), evaluate=lambda it: accuracy(it, examples)
    )
    assert modes == [True] * 5 + [False] + [True] * 5


def test_every_step_is_counted(examples):
    steps = []
    train(Linear(), examples, recipe=RECIPE, epochs=3, seed=0, after_step=lambda: steps.append(1))
    assert len(steps) == num_steps(3, 40, 8) == 15


def test_only_matrices_decay(examples):
    model = Linear()
    nn.init.ones_(model.layer.weight)
    nn.init.ones_(model.layer.bias)
    same = Examples({"x": torch.zeros(40, 2)}, torch.arange(40) % 2)  # the weight gets no gradient
    train(model, same, recipe=RECIPE.but(weight_decay=0.5, learning_rate=0.1), epochs=2, seed=0)
    assert (model.layer.weight < 1).all()
    assert model.layer.bias.mean().item() == pytest.approx(1)


def test_the_learning_rate_rises_then_falls_to_zero():
    factors = [learning_rate_factor(step, 100, 0.25) for step in range(1, 101)]
    assert factors.index(max(factors)) == 24
    assert max(factors) == 1
    assert factors[-1] == pytest.approx(0)
    assert factors[:25] == sorted(factors[:25])
    assert factors[24:] == sorted(factors[24:], reverse=True)


def test_few_takes_the_first_of_every_class(examples):
    few = examples.few(3)
    assert few.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(few.inputs["x"][3:], examples.inputs["x"][[1, 3, 5]])
