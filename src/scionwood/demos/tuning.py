"""The search for the best recipe of a baseline: many recipes once, then the best of them with more seeds.

A comparison is worth what its baseline is worth. This is the search that found the recipes in the demos, kept so that
anyone can search longer. Accuracy is measured on validation examples; the test examples are never seen.
"""

import argparse
import json
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scionwood.demos.output import Progress, stdout
from scionwood.demos.training import Recipe

__all__ = ["Space", "Trial", "markdown", "parse_arguments", "search"]


@dataclass(frozen=True, kw_only=True)
class Space:
    """What is searched: the learning rate between two bounds, evenly in its logarithm, and a choice for the rest."""

    learning_rate: tuple[float, float]
    warmup: Sequence[float]
    weight_decay: Sequence[float]
    batch_size: Sequence[int]
    label_smoothing: Sequence[float]
    clip_norm: Sequence[float | None]
    beta2: Sequence[float]
    initializer_range: Sequence[float]
    dropout: Sequence[float]

    def sample(self, numbers: random.Random) -> Recipe:
        """Return a recipe drawn from the space; its learning rate has two digits."""
        low, high = self.learning_rate
        return Recipe(
            learning_rate=float(f"{low * (high / low) ** numbers.random():.1e}"),
            warmup=numbers.choice(self.warmup),
            weight_decay=numbers.choice(self.weight_decay),
            batch_size=numbers.choice(self.batch_size),
            label_smoothing=numbers.choice(self.label_smoothing),
            clip_norm=numbers.choice(self.clip_norm),
            beta2=numbers.choice(self.beta2),
            initializer_range=numbers.choice(self.initializer_range),
            dropout=numbers.choice(self.dropout),
        )


@dataclass
class Trial:
    """One recipe and its validation curves, one for each seed."""

    recipe: Recipe
    curves: list[list[float]]

    def mean(self) -> list[float]:
        """Return the mean over the seeds at each epoch."""
        return [statistics.mean(at) for at in zip(*self.curves, strict=True)]


def search(
    curve: Callable[[Recipe, int], list[float]],
    space: Space,
    *,
    trials: int,
    finalists: int,
    seeds: int,
    first: Sequence[Recipe] = (),
    progress: Progress,
) -> list[Trial]:
    """Try recipes with one seed, then the best of them with more, and return these, the best first.

    The best is the one with the highest mean accuracy at the end of the budget.

    Args:
        curve: trains one model with a recipe and a seed, and gives its validation accuracy at some epochs.
        space: where recipes are drawn from.
        trials: how many are tried once.
        finalists: how many of them are tried with all seeds.
        seeds: how many seeds a finalist gets.
        first: recipes to try before any that is drawn, such as the ones known to be good.
        progress: counts the runs.
    """
    numbers = random.Random(0)
    drawn = [*first, *(space.sample(numbers) for _ in range(trials - len(first)))]
    tried = []
    for number, recipe in enumerate(drawn, 1):
        progress.stage(f"recipe {number} of {trials}")
        tried.append(Trial(recipe, [curve(recipe, 0)]))
        progress.step()
    best = sorted(tried, key=lambda trial: -trial.curves[0][-1])[:finalists]
    for number, trial in enumerate(best, 1):
        for seed in range(1, seeds):
            progress.stage(f"finalist {number} of {finalists}, seed {seed}")
            trial.curves.append(curve(trial.recipe, seed))
            progress.step()
    return sorted(best, key=lambda trial: -trial.mean()[-1])


def markdown(trials: Sequence[Trial], epochs: Sequence[float]) -> str:
    """Return the finalists as a Markdown table, the best first."""
    names = list(asdict(trials[0].recipe))
    header = [*(name.replace("_", " ") for name in names), *(f"{epoch:g} epochs" for epoch in epochs)]
    rows = [
        [*(f"{value:g}" if value is not None else "none" for value in asdict(trial.recipe).values())]
        + [f"{mean:.1f}" for mean in trial.mean()]
        for trial in trials
    ]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def tune(
    name: str,
    curve: Callable[[Recipe, int], list[float]],
    space: Space,
    epochs: Sequence[float],
    options: argparse.Namespace,
    first: Sequence[Recipe] = (),
) -> list[Trial]:
    """Search, print the finalists, and write them as ``tuning-NAME.md`` and ``tuning-NAME.json``."""
    runs = options.trials + options.finalists * (options.seeds - 1)
    with Progress(runs, unit="runs") as progress:
        found = search(
            curve,
            space,
            trials=options.trials,
            finalists=options.finalists,
            seeds=options.seeds,
            first=first,
            progress=progress,
        )
    options.out.mkdir(parents=True, exist_ok=True)
    table = markdown(found, epochs)
    (options.out / f"tuning-{name}.md").write_text(table, encoding="utf-8")
    record = [{"recipe": asdict(trial.recipe), "validation accuracy": trial.curves} for trial in found]
    text = json.dumps({"space": asdict(space), "epochs": list(epochs), "finalists": record}, indent=1)
    (options.out / f"tuning-{name}.json").write_text(text + "\n", encoding="utf-8")
    stdout().print(f"validation accuracy in %, mean of {options.seeds} seeds, {options.trials} recipes tried")
    print(table)
    return found


def parse_arguments(demo: str, settings: Sequence[str], methods: Sequence[str]) -> argparse.Namespace:
    """Read the command line of ``python -m scionwood.demos.DEMO``."""
    parser = argparse.ArgumentParser(
        prog=f"python -m scionwood.demos.{demo}", description="Run the demo, or search for the best recipe."
    )
    parser.add_argument("--out", type=Path, default=Path("demo-output") / demo, help="where the results go")
    parser.add_argument("--seeds", type=int, default=3, help="how often each student, or finalist, is trained")
    parser.add_argument("--tune", action="store_true", help="search for the best recipe instead of running the demo")
    parser.add_argument("--setting", choices=settings, default=settings[0], help="what the tuned student learns")
    parser.add_argument("--method", choices=methods, default=methods[0], help="whose recipe is tuned")
    parser.add_argument("--trials", type=int, default=80, help="how many recipes are tried once")
    parser.add_argument("--finalists", type=int, default=12, help="how many are tried with all seeds")
    return parser.parse_args()
