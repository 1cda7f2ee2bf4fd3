"""What a demo measures: students trained at equal budgets, seed by seed, and what follows from it."""

import json
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BASELINE", "Race", "Results"]

BASELINE = "scratch"


@dataclass(frozen=True, kw_only=True)
class Race:
    """Students that learn the same examples with the same recipe for the same number of epochs.

    >>> race = Race(title="8 labels", examples=8, epochs=(0, 1, 2), shown=(1, 2), recipe={}, accuracy={
    ...     "scratch": [[10, 30, 60], [10, 50, 80]], "uniform": [[10, 70, 90], [10, 72, 92]]})
    >>> race.mean("scratch")
    [10, 40, 70]
    >>> race.epochs_needed("uniform"), race.epochs_needed("scratch")
    (1, 2)

    Args:
        title: a few words for people.
        examples: how many labelled examples the students see.
        epochs: where the accuracy was measured.
        shown: those that stand in the table.
        recipe: how all of them were trained.
        accuracy: test accuracy in %: method, then seed, then epoch.
    """

    title: str
    examples: int
    epochs: tuple[float, ...]
    shown: tuple[float, ...]
    recipe: dict[str, Any]
    accuracy: dict[str, list[list[float]]] = field(default_factory=dict)

    def mean(self, method: str) -> list[float]:
        """Return the mean over the seeds at each epoch."""
        return [statistics.mean(at) for at in zip(*self.accuracy[method], strict=True)]

    def deviation(self, method: str) -> list[float]:
        """Return the sample standard deviation over the seeds at each epoch; 0 for a single seed."""
        return [statistics.stdev(at) if len(at) > 1 else 0.0 for at in zip(*self.accuracy[method], strict=True)]

    def epochs_needed(self, method: str) -> float | None:
        """Return the first measured epoch whose mean is where the baseline's ends, or higher; None if there is none.

        Means are compared as they are printed, to a tenth of a point: less than one test example decides beyond that.
        """
        goal = round(self.mean(BASELINE)[-1], 1)
        means = zip(self.epochs, self.mean(method), strict=True)
        return next((epoch for epoch, mean in means if round(mean, 1) >= goal), None)

    def gain(self, method: str, epoch: float) -> float:
        """Return by how many points a method's mean lies above the baseline's at an epoch."""
        at = self.epochs.index(epoch)
        return self.mean(method)[at] - self.mean(BASELINE)[at]

    def table(self) -> list[dict[str, Any]]:
        """Return every figure of the printed table: a row a method."""
        return [
            {
                "method": method,
                "accuracy": {
                    f"{epoch:g}": {"mean": round(mean, 2), "std": round(deviation, 2)}
                    for epoch, mean, deviation in zip(
                        self.epochs, self.mean(method), self.deviation(method), strict=True
                    )
                    if epoch in self.shown
                },
                "gain_over_scratch": {f"{epoch:g}": round(self.gain(method, epoch), 2) for epoch in self.shown},
                "epochs_to_final_of_scratch": self.epochs_needed(method),
            }
            for method in self.accuracy
        ]


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a demo found out.

    Args:
        demo: its name.
        task: what is learned, in a sentence.
        source: facts about the source model: parameters, sizes, accuracy.
        student: facts about the students.
        seeds: how often each student was trained.
        races: the comparisons.
        seconds: how long it took, by stage.
    """

    demo: str
    task: str
    source: dict[str, Any]
    student: dict[str, Any]
    seeds: int
    races: list[Race]
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``results.json`` holds: every figure of the tables and every single curve."""
        import torch
        import transformers

        races = [{**asdict(race), "table": race.table()} for race in self.races]
        versions = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
        return {**asdict(self), "races": races, "versions": versions}

    def write(self, path: Path) -> None:
        """Write ``results.json``."""
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
