"""The search for a recipe: the best at the end of the budget wins, and only finalists get more seeds."""

import io

from scionwood.demos.digits import FEW, SPACE
from scionwood.demos.output import Progress
from scionwood.demos.tuning import markdown, search


def test_the_best_final_mean_comes_first_and_the_search_is_deterministic():
    calls = []

    def curve(recipe, seed):
        calls.append((recipe, seed))
        return [99.0 - seed, -abs(recipe.learning_rate - 2.8e-3) * 1e4 + seed]

    def run():
        with Progress(0, stream=io.StringIO()) as progress:
            return search(curve, SPACE, trials=20, finalists=3, seeds=2, first=[FEW], progress=progress)

    found = run()
    assert found[0].recipe == FEW
    assert found[0].mean() == [98.5, 0.5]
    assert len(found) == 3
    assert len(calls) == 20 + 3
    assert [trial.recipe for trial in run()] == [trial.recipe for trial in found]
    table = markdown(found, (1, 2))
    assert table.splitlines()[2].endswith("| 98.5 | 0.5 |")
    assert "0.0028" in table.splitlines()[2]
