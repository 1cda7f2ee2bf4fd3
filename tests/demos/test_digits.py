"""The digits demo through the whole library: its plumbing at a tiny budget, and its effect at a short one."""

import json
from dataclasses import replace

import pytest
import torch

from scionwood.demos import digits
from scionwood.demos.extras import quiet_transformers
from scionwood.demos.selections import Selections

TINY = {"few": replace(digits.SETTINGS["few"], epochs=(0, 0.2, 0.4), shown=(0.2, 0.4), budgets=(0.2,))}
SHORT = {"few": replace(digits.SETTINGS["few"], epochs=(0, 3, 5), shown=(5,), budgets=())}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits")
    return out, digits.run(out, seeds=2, settings=TINY, source_epochs=0.2, quiet=True)


def test_the_splits_are_fixed_and_share_no_digit():
    parts = digits.load()
    assert [len(part) for part in parts.values()] == [1097, 300, 400]
    pixels = {
        name: {tuple(row.flatten().tolist()) for row in part.inputs["pixel_values"]} for name, part in parts.items()
    }
    assert not pixels["train"] & pixels["test"]
    assert not pixels["validation"] & pixels["test"]
    few = digits.SETTINGS["few"].examples(parts["train"])
    assert few.labels.bincount().tolist() == [20] * 10


def test_results_hold_every_curve(tiny):
    out, results = tiny
    read = json.loads((out / "results.json").read_text())
    main, budgets = read["races"]
    assert list(main["accuracy"]) == list(digits.METHODS)
    assert all(len(curves) == 2 and len(curves[0]) == 3 for curves in main["accuracy"].values())
    assert [row["method"] for row in main["table"]] == list(digits.METHODS)
    assert main["recipe"]["initializer_range"] == digits.FEW.initializer_range
    assert budgets["epochs"] == [0.2, 0.4]
    for method in digits.BUDGET_METHODS:
        assert [seed[-1] for seed in budgets["accuracy"][method]] == [seed[-1] for seed in main["accuracy"][method]]
    assert read["source"]["test accuracy in %"] == results.source["test accuracy in %"]
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_source_and_the_students_are_ordinary_folders(tiny):
    from transformers import ViTForImageClassification

    out, _ = tiny
    assert ViTForImageClassification.from_pretrained(out / "source").config.hidden_size == 48
    names = {"uniform", "consecutive", "random-0", "random-1", "random_inconsistent-0", "random_inconsistent-1"}
    assert {folder.name for folder in (out / "students").iterdir()} == names
    for name in sorted(names):
        model, loaded = ViTForImageClassification.from_pretrained(out / "students" / name, output_loading_info=True)
        assert model.config.hidden_size == 24
        assert len(model.vit.layers if hasattr(model.vit, "layers") else model.vit.encoder.layer) == 3
        assert not any(loaded[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_a_second_run_gives_the_same_numbers_and_replaces_the_first(tiny):
    out, first = tiny
    again = digits.run(out, seeds=2, settings=TINY, source_epochs=0.2, quiet=True)
    assert [race.accuracy for race in again.races] == [race.accuracy for race in first.races]


def test_a_student_is_the_sources_weights_and_the_fresh_classifier_of_scratch(tiny):
    from transformers import ViTForImageClassification

    out, _ = tiny
    selections = Selections(out / "source", out / "student-config", out / "again")
    with quiet_transformers():
        source = ViTForImageClassification.from_pretrained(out / "source")
        fresh = digits.make_student("scratch", 1, digits.FEW, selections=selections)
        student = digits.make_student("uniform", 1, digits.FEW, selections=selections)
        inherited = digits.make_student("uniform", 1, digits.FEW, selections=selections, head="selected")
    assert torch.equal(student.vit.embeddings.cls_token, source.vit.embeddings.cls_token[..., ::2])
    assert torch.equal(student.classifier.weight, fresh.classifier.weight)
    assert not torch.equal(inherited.classifier.weight, fresh.classifier.weight)


def test_the_tables_are_printed(tmp_path, capsys):
    digits.run(tmp_path, seeds=1, settings=TINY, source_epochs=0.1)
    printed = capsys.readouterr()
    assert "from scratch (tuned)" in printed.out
    assert "random, inconsistent" in printed.out
    assert "uniform over scratch" in printed.out
    assert "steps done" in printed.err


def test_selected_students_learn_faster_than_scratch_and_consistency_matters(tmp_path):
    results = digits.run(tmp_path, seeds=3, settings=SHORT, source_epochs=15, quiet=True)
    assert results.source["test accuracy in %"] >= 95
    race = results.races[0]
    final = {method: race.mean(method)[-1] for method in digits.METHODS}
    consistent = [final[method] for method in ("uniform", "consecutive", "random")]
    assert min(consistent) >= final["scratch"] + 15, final
    assert sum(consistent) / 3 >= final["random_inconsistent"] + 5, final
    at_birth = [curve[0] for curves in race.accuracy.values() for curve in curves]
    assert max(at_birth) < 40, "the classifier is fresh: before the first step all are near chance"
