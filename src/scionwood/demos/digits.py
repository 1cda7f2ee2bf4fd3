"""Demo: a vision transformer that learned all of scikit-learn's digits gives first weights to one of half its width.

The source learns 1097 digits of 8 × 8 pixels. The students, of half its width and with three of its four blocks, learn
200 of them, and in a second race all of them, from five different first weights: drawn at random (scratch), or selected
from the source by four methods. All else is equal: data, order, recipe, epochs, and a fresh classifier. The recipe is
the best that was found *for scratch*, on validation digits, by ``python -m scionwood.demos.digits --tune``.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from scionwood.demos.extras import quiet_transformers, require
from scionwood.demos.output import Progress, facts, save
from scionwood.demos.race import BASELINE, Results
from scionwood.demos.selections import Selections
from scionwood.demos.setting import Setting
from scionwood.demos.training import Examples, Recipe, accuracy, num_steps, train
from scionwood.demos.tuning import Space, parse_arguments, tune
from scionwood.engine.threads import use_threads

if TYPE_CHECKING:
    from transformers import ViTConfig, ViTForImageClassification

__all__ = ["METHODS", "SETTINGS", "load", "run"]

METHODS = (BASELINE, "uniform", "consecutive", "random", "random_inconsistent")
BUDGET_METHODS = (BASELINE, "uniform", "random_inconsistent")
SOURCE = {"hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 4, "intermediate_size": 192}
STUDENT = {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 96}
# Rows of the shuffled data set: learned by the source (and by students), seen by the tuning; the rest is the test.
NUM_TRAIN, NUM_VALIDATION = 1097, 300

FEW = Recipe(
    learning_rate=2.8e-3,
    warmup=0.25,
    weight_decay=0.05,
    batch_size=16,
    label_smoothing=0.0,
    clip_norm=1.0,
    beta2=0.999,
    initializer_range=0.09,
    dropout=0.0,
)
FULL = Recipe(
    learning_rate=6.3e-3,
    warmup=0.25,
    weight_decay=0.0,
    batch_size=16,
    label_smoothing=0.1,
    clip_norm=1.0,
    beta2=0.99,
    initializer_range=0.2,
    dropout=0.0,
)
SOURCE_RECIPE, SOURCE_EPOCHS = FEW.but(batch_size=32), 40

SETTINGS = {
    "few": Setting(
        title="200 labels",
        per_class=20,
        epochs=(0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 36, 40),
        shown=(2, 5, 10, 20, 40),
        recipe=FEW,
        budgets=(5, 10, 20),
    ),
    "full": Setting(
        title="all 1097 labels",
        per_class=None,
        epochs=(0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9, 10),
        shown=(0.5, 1, 2, 5, 10),
        recipe=FULL,
    ),
}


def load() -> dict[str, Examples]:
    """Return the digits as ``train``, ``validation`` and ``test``: pixels with mean 0 and deviation 1, one channel."""
    from sklearn.datasets import load_digits

    rows, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(rows, dtype=torch.float32).reshape(-1, 1, 8, 8)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    train_rows = order[:NUM_TRAIN]
    pixels = (pixels - pixels[train_rows].mean()) / pixels[train_rows].std()
    every = Examples({"pixel_values": pixels}, torch.tensor(labels))
    parts = order.split([NUM_TRAIN, NUM_VALIDATION, len(order) - NUM_TRAIN - NUM_VALIDATION])
    return {name: every[rows] for name, rows in zip(("train", "validation", "test"), parts, strict=True)}


def config(sizes: dict[str, int], recipe: Recipe) -> "ViTConfig":
    """Return the config of a vision transformer for digits: patches of 2 × 2 pixels, ten classes."""
    from transformers import ViTConfig

    classes = {"num_labels": 10, "architectures": ["ViTForImageClassification"]}
    return ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        initializer_range=recipe.initializer_range,
        hidden_dropout_prob=recipe.dropout,
        **sizes,
        **classes,
    )


def scratch(sizes: dict[str, int], recipe: Recipe, seed: int) -> "ViTForImageClassification":
    """Return a model with the random first weights of its own class."""
    from transformers import ViTForImageClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ViTForImageClassification(config(sizes, recipe))


def train_source(
    examples: Examples, folder: Path, *, epochs: float = SOURCE_EPOCHS, progress: Progress
) -> "ViTForImageClassification":
    """Train the source on all training digits and save it as a Hugging Face folder."""
    model = scratch(SOURCE, SOURCE_RECIPE, seed=0)
    train(model, examples, recipe=SOURCE_RECIPE, epochs=epochs, seed=0, after_step=progress.step)
    model.save_pretrained(folder)
    return model


def make_student(
    method: str, seed: int, recipe: Recipe, *, selections: Selections, head: str = "fresh"
) -> "ViTForImageClassification":
    """Return a student with its first weights: random, or selected from the source and loaded by transformers.

    Args:
        method: ``scratch``, or a method of selection.
        seed: of everything random: the fresh weights, the indices of the random methods.
        recipe: its initializer range is that of every fresh weight.
        selections: from the source.
        head: ``fresh``, the classifier that scratch has with the same seed, or ``selected``, cut from the source's.
    """
    from transformers import ViTForImageClassification

    fresh = scratch(STUDENT, recipe, seed)
    if method == BASELINE:
        return fresh
    student = ViTForImageClassification.from_pretrained(selections.folder(method, seed), config=fresh.config)
    if head == "fresh":
        student.classifier.load_state_dict(fresh.classifier.state_dict())
    return student


def run(
    out: Path,
    *,
    seeds: int = 3,
    settings: Mapping[str, Setting] = SETTINGS,
    source_epochs: float = SOURCE_EPOCHS,
    head: Literal["fresh", "selected"] = "fresh",
    quiet: bool = False,
) -> Results:
    """Run the demo: train the source, select, race the students; write and print what came out.

    Args:
        out: a folder; it gets ``results.json``, ``curves.png``, the source, and the selected students.
        seeds: how often each student is trained.
        settings: the races to run.
        source_epochs: how long the source learns.
        head: the students' classifiers: ``fresh`` is the stricter comparison, as the source knows the same ten classes.
        quiet: print no tables.
    """
    require("sklearn", "matplotlib")
    with quiet_transformers(), use_threads(1):
        return _run(out, settings=settings, source_epochs=source_epochs, seeds=seeds, head=head, quiet=quiet)


def _run(
    out: Path, *, settings: Mapping[str, Setting], source_epochs: float, seeds: int, head: str, quiet: bool
) -> Results:
    began = time.monotonic()
    digits = load()
    out.mkdir(parents=True, exist_ok=True)
    config(STUDENT, FEW).save_pretrained(out / "student-config")
    selections = Selections(source=out / "source", like=out / "student-config", out=out / "students")
    runs = seeds * len(METHODS)
    source_steps = num_steps(source_epochs, NUM_TRAIN, SOURCE_RECIPE.batch_size)
    steps = source_steps + sum(runs * setting.num_steps(digits["train"]) for setting in settings.values())
    again = [shorter for setting in settings.values() for shorter in setting.shorter()]
    steps += sum(seeds * len(BUDGET_METHODS) * setting.num_steps(digits["train"]) for setting in again)
    with Progress(steps) as progress:
        progress.stage("the source learns all digits")
        source = train_source(digits["train"], out / "source", epochs=source_epochs, progress=progress)
        seconds = {"source": time.monotonic() - began}
        races = []
        for name, setting in settings.items():
            start = time.monotonic()
            make = partial(make_student, selections=selections, head=head)
            data = digits["train"], digits["test"]
            races.append(setting.race(make, METHODS, *data, seeds=seeds, progress=progress))
            if setting.budgets:
                races.append(
                    setting.budget_race(races[-1], make, BUDGET_METHODS, *data, seeds=seeds, progress=progress)
                )
            seconds[name] = time.monotonic() - start
    results = Results(
        demo="digits",
        task="handwritten digits of 8 × 8 pixels (scikit-learn), ten classes",
        source={**facts(source, SOURCE), "test accuracy in %": round(accuracy(source, digits["test"]), 2)},
        student=facts(scratch(STUDENT, FEW, seed=0), STUDENT),
        seeds=seeds,
        races=races,
        seconds={stage: round(taken, 1) for stage, taken in seconds.items()},
    )
    save(results, out, method="uniform", quiet=quiet)
    return results


SPACE = Space(
    learning_rate=(7e-4, 1.2e-2),
    warmup=(0.02, 0.1, 0.25),
    weight_decay=(0.0, 0.05, 0.3),
    batch_size=(16, 32, 64),
    label_smoothing=(0.0, 0.1),
    clip_norm=(1.0, None),
    beta2=(0.95, 0.99, 0.999),
    initializer_range=(0.02, 0.06, 0.09, 0.12, 0.16, 0.2, 0.3),
    dropout=(0.0, 0.1),
)


def _tune(options: argparse.Namespace) -> None:
    digits, setting = load(), SETTINGS[options.setting]
    config(STUDENT, FEW).save_pretrained(options.out / "student-config")
    selections = Selections(options.out / "source", options.out / "student-config", options.out / "students")
    if options.method != BASELINE:
        with Progress(num_steps(SOURCE_EPOCHS, NUM_TRAIN, SOURCE_RECIPE.batch_size)) as progress:
            train_source(digits["train"], selections.source, progress=progress)

    def curve(recipe: Recipe, seed: int) -> list[float]:
        shown = replace(setting, recipe=recipe, epochs=setting.shown)
        student = make_student(options.method, seed, recipe, selections=selections)
        return shown.curve(student, digits["train"], digits["validation"], seed=seed)

    tune(f"{options.setting}-{options.method}", curve, SPACE, setting.shown, options, first=[setting.recipe])


def main() -> None:
    """Run the demo, or with ``--tune`` the search for the best recipe."""
    options = parse_arguments("digits", list(SETTINGS), METHODS)
    require("sklearn", "matplotlib")
    if options.tune:
        with quiet_transformers(), use_threads(1):
            _tune(options)
    else:
        run(options.out, seeds=options.seeds)


if __name__ == "__main__":
    main()
