"""What is said of a race: every figure from the curves, and nothing that they do not show."""

import json
from itertools import pairwise

import pytest

from scionwood.demos.curves import draw, spaced
from scionwood.demos.output import finding, headline, race_table
from scionwood.demos.race import Race, Results


def race_of(**accuracy):
    return Race(title="20 labels", examples=20, epochs=(0, 1, 2, 4), shown=(1, 4), recipe={}, accuracy=accuracy)


HELPS = race_of(scratch=[[10, 20, 40, 60], [10, 30, 50, 70]], uniform=[[10, 50, 70, 80], [10, 52, 72, 84]])
HURTS = race_of(scratch=[[10, 20, 40, 60]], uniform=[[10, 15, 30, 55]])


def test_epochs_needed_is_the_first_measured_epoch_at_or_above_the_end_of_scratch():
    assert HELPS.epochs_needed("uniform") == 2
    assert HELPS.epochs_needed("scratch") == 4
    assert HURTS.epochs_needed("uniform") is None


def test_means_that_print_alike_count_as_reached():
    race = race_of(scratch=[[10, 20, 40, 87.83]], uniform=[[10, 50, 87.77, 90]], late=[[10, 50, 87.74, 90]])
    assert race.epochs_needed("uniform") == 2
    assert race.epochs_needed("late") == 4


def test_the_table_has_the_shown_epochs_with_mean_and_sample_deviation():
    row = HELPS.table()[0]
    assert row["method"] == "scratch"
    assert row["accuracy"] == {"1": {"mean": 25, "std": 7.07}, "4": {"mean": 65, "std": 7.07}}
    assert HURTS.table()[1]["accuracy"]["4"] == {"mean": 55, "std": 0}


def test_the_printed_table_holds_the_same_figures():
    from rich.console import Console

    console = Console(width=120)
    with console.capture() as printed:
        console.print(race_table(HELPS))
        console.print(race_table(HURTS))
    lines = printed.get().splitlines()
    assert any("25.0 ± 7.1" in line and "65.0 ± 7.1" in line and line.strip().endswith("4") for line in lines)
    assert any("epochs to 65.0 %" in line for line in lines)
    assert any("55.0" in line and line.strip().endswith("not reached") for line in lines)


def test_words_say_it_when_selection_does_not_help():
    assert "does not reach" in finding(HURTS)
    assert "5.0 points below" in finding(HURTS)
    assert "no sooner" in headline(HURTS)
    assert "needs 2 epochs for what takes 4" in headline(HELPS)
    assert "17.0 points above" in finding(HELPS)


def test_results_are_json_with_every_curve_and_every_figure(tmp_path):
    results = Results(demo="x", task="t", source={}, student={}, seeds=2, races=[HELPS], seconds={"few": 1.0})
    results.write(tmp_path / "results.json")
    read = json.loads((tmp_path / "results.json").read_text())
    assert read["races"][0]["accuracy"] == HELPS.accuracy
    assert read["races"][0]["table"] == HELPS.table()
    assert {"python", "torch", "transformers"} <= set(read["versions"])


def test_the_picture_is_a_png_and_tells_races_apart(tmp_path):
    draw([HELPS, HURTS], tmp_path / "both.png", title="title", subtitle="subtitle")
    draw([HELPS, HELPS], tmp_path / "same.png", title="title", subtitle="subtitle")
    both, same = (tmp_path / "both.png").read_bytes(), (tmp_path / "same.png").read_bytes()
    assert both.startswith(b"\x89PNG")
    assert both != same


@pytest.mark.parametrize("values", [[50, 50, 50, 50], [90, 10, 50], [1, 2, 3, 4, 30], [7]])
def test_labels_are_apart_and_keep_their_order(values):
    placed = spaced(values, 5)
    ranked = sorted(placed)
    assert all(high - low >= 5 - 1e-9 for low, high in pairwise(ranked))
    assert [placed.index(height) for height in ranked] == sorted(range(len(values)), key=values.__getitem__)
    assert sum(placed) == pytest.approx(sum(values))
