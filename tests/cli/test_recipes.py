"""The commands around recipes, on real files."""

import json
from pathlib import Path

import pytest

RECIPE = """\
verb: merge
method: slerp
models: [teacher, other]
options: {t: 0.25}
"""


@pytest.fixture
def place(scionwood, teacher, tmp_path, monkeypatch) -> Path:
    """A folder with a teacher, another model of its shape, and a recipe that merges the two."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher").symlink_to(teacher)
    outcome = scionwood(
        "merge", "linear", "teacher", "--out", "other", "--set", "weights=2", "--set", "normalize=false"
    )
    assert outcome.code == 0, outcome.err
    (tmp_path / "recipe.yml").write_text(RECIPE)
    return tmp_path


def test_a_recipe_runs_as_the_short_command_does(scionwood, place):
    outcome = scionwood("run", "recipe.yml", "--out", "out")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("merged  ")
    scionwood("merge", "slerp", "teacher", "other", "--set", "t=0.25", "--out", "short")
    assert scionwood("digest", "out", "--full").out == scionwood("digest", "short", "--full").out
    assert Path("out/scionwood.yaml").read_text() == Path("short/scionwood.yaml").read_text()
    again = scionwood("run", "out/scionwood.yaml", "--out", "again")
    assert again.code == 0, again.err
    assert scionwood("digest", "out", "--full").out == scionwood("digest", "again", "--full").out
    assert scionwood("reproduce", "out").code == 0


def test_the_plan_says_what_a_dry_run_says(scionwood, place):
    plan = scionwood("plan", "recipe.yml", "--workers", "2")
    assert plan.code == 0, plan.err
    assert [line.split()[0] for line in plan.out.splitlines() if line] == [
        "step",
        "merge",
        "reads",
        "writes",
        "memory",
        "digest",
    ]
    assert scionwood("run", "recipe.yml", "--dry-run", "--workers", "2").out.endswith(plan.out)
    short = scionwood("merge", "slerp", "teacher", "other", "--set", "t=0.25", "--dry-run", "--workers", "2")
    assert plan.out.splitlines()[-1] in short.out
    as_json = scionwood("plan", "recipe.yml", "--json").json
    size = sum(path.stat().st_size for path in Path("teacher").glob("*.safetensors"))
    assert as_json["bytes_read"] == pytest.approx(4 * size, rel=0.1)
    assert as_json["steps"][0]["operations"] == {"merge.slerp": as_json["steps"][0]["tensors"]}


def test_an_expected_plan_is_run_and_another_refused(scionwood, place):
    digest = scionwood("plan", "recipe.yml", "--json").json["digest"]
    assert scionwood("run", "recipe.yml", "--out", "out", "--expect", digest).code == 0
    Path("recipe.yml").write_text(RECIPE.replace("0.25", "0.26"))
    refused = scionwood("run", "recipe.yml", "--out", "other out", "--expect", digest)
    assert refused.code == 2
    assert "no longer the expected one" in refused.err
    assert not Path("other out").exists()


def test_a_recipe_that_is_wrong_has_its_lines_told(scionwood, place):
    Path("recipe.yml").write_text(RECIPE.replace("slerp", "sleep").replace("models", "modles"))
    for command in (["plan"], ["run", "--dry-run"]):
        outcome = scionwood(*command, "recipe.yml")
        assert outcome.code == 2
        assert "recipe.yml:2: unknown method 'sleep' (did you mean 'slerp'?)" in outcome.err
        assert "recipe.yml:3: a step that is a merge has no 'modles' (did you mean 'models'?)" in outcome.err


def test_a_recipe_is_not_written_over_its_inputs(scionwood, place):
    outcome = scionwood("run", "recipe.yml", "--out", "other", "--overwrite")
    assert outcome.code == 2
    assert "input" in outcome.err


def test_the_schema_goes_to_a_new_file(scionwood, place):
    assert scionwood("recipe", "schema", "--out", "schema.json").code == 0
    assert json.loads(Path("schema.json").read_text())["title"] == "A recipe of scionwood"
    assert scionwood("recipe", "schema", "--out", "schema.json").code == 2
