"""A setting of a demo (how much is learned, with which recipe), and the race of the students in it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

from torch import nn

from scionwood.demos.output import LABELS, Progress
from scionwood.demos.race import Race
from scionwood.demos.training import Examples, Recipe, accuracy, num_steps, train

__all__ = ["MakeStudent", "Setting"]

# (method, seed, recipe) → a student with its first weights
MakeStudent = Callable[[str, int, Recipe], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How much the students learn from, and how.

    Args:
        title: a few words for people.
        per_class: labelled examples of every class; None is all there are.
        epochs: where the accuracy is measured; the last is the budget.
        shown: those that stand in the table.
        recipe: the best found for scratch at this budget.
        budgets: shorter budgets to train for as well, each with a schedule that ends there.
    """

    title: str
    per_class: int | None
    epochs: tuple[float, ...]
    shown: tuple[float, ...]
    recipe: Recipe
    budgets: tuple[float, ...] = ()

    def examples(self, examples: Examples) -> Examples:
        """Return those that the students see."""
        return examples if self.per_class is None else examples.few(self.per_class)

    def num_steps(self, examples: Examples) -> int:
        """Return how many steps one student takes."""
        return num_steps(self.epochs[-1], len(self.examples(examples)), self.recipe.batch_size)

    def shorter(self) -> list["Setting"]:
        """Return the same setting with each of the shorter budgets."""
        return [replace(self, epochs=(budget,), shown=(budget,), budgets=()) for budget in self.budgets]

    def curve(
        self,
        model: nn.Module,
        examples: Examples,
        test: Examples,
        *,
        seed: int,
        after_step: Callable[[], None] = lambda: None,
    ) -> list[float]:
        """Train one student and return its accuracy at each epoch."""
        return train(
            model,
            self.examples(examples),
            recipe=self.recipe,
            epochs=self.epochs[-1],
            seed=seed,
            evaluate_at=self.epochs,
            evaluate=lambda student: accuracy(student, test),
            after_step=after_step,
        )

    def race(
        self,
        make_student: MakeStudent,
        methods: Sequence[str],
        examples: Examples,
        test: Examples,
        *,
        seeds: int,
        progress: Progress,
    ) -> Race:
        """Train a student for every method and seed, and return all curves."""
        curves: dict[str, list[list[float]]] = {}
        for method in methods:
            for seed in range(seeds):
                progress.stage(f"{self.title}: {LABELS.get(method, method)}, seed {seed}")
                student = make_student(method, seed, self.recipe)
                curve = self.curve(student, examples, test, seed=seed, after_step=progress.step)
                curves.setdefault(method, []).append([round(value, 2) for value in curve])
        return Race(
            title=self.title,
            examples=len(self.examples(examples)),
            epochs=self.epochs,
            shown=self.shown,
            recipe=asdict(self.recipe),
            accuracy=curves,
        )

    def budget_race(
        self,
        main: Race,
        make_student: MakeStudent,
        methods: Sequence[str],
        examples: Examples,
        test: Examples,
        *,
        seeds: int,
        progress: Progress,
    ) -> Race:
        """Train again for each shorter budget; what the whole budget gives stands in the main race.

        A curve shows a student whose learning rate is still high. What a student is worth after few epochs is seen
        when its schedule ends there.
        """
        shorter = [
            setting.race(make_student, methods, examples, test, seeds=seeds, progress=progress)
            for setting in self.shorter()
        ]
        accuracy = {
            method: [
                [*(race.accuracy[method][seed][-1] for race in shorter), main.accuracy[method][seed][-1]]
                for seed in range(seeds)
            ]
            for method in methods
        }
        budgets = (*self.budgets, main.epochs[-1])
        title = f"{main.title}, a run for each budget"
        return replace(main, title=title, epochs=budgets, shown=budgets, accuracy=accuracy)
