"""Configurations that are wrong: every mistake with its line, all of them at once, and nothing written."""

from pathlib import Path

import pytest

from scionwood.cli import run

from .conftest import llama

BOTH = "models: [{model: A}, {model: B}]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("merge_method: linaer\n" + BOTH, ["config.yml:1: unknown merge_method 'linaer' (did you mean 'linear'?)"]),
        (BOTH, ["config.yml:1: merge_method is missing"]),
        ("merge_method: linear\ndtyp: float32\n" + BOTH, ["config.yml:2:", "'dtyp' (did you mean 'dtype'?)"]),
        ("merge_method: linear\n" + BOTH + BOTH, ["config.yml:3:", "'models' is written twice, first in line 2"]),
        ("merge_method: linear\n" + BOTH + "slices: [{sources: []}]\n", ["config.yml:1:", "models and slices"]),
        ("merge_method: linear\n", ["config.yml:1:", "models, slices and modules"]),
        ("merge_method: linear\n" + BOTH, ["config.yml:2: weight is missing"]),
        ("merge_method: ties\n" + BOTH + "parameters: {weight: 1}\n", ["config.yml:2: ties needs base_model"]),
        (
            "merge_method: linear\n" + BOTH + "parameters:\n  wieght: 1\n",
            ["config.yml:4: linear has no parameter 'wieght' (did you mean 'weight'?)"],
        ),
        (
            "merge_method: linear\n" + BOTH + "parameters:\n  weight:\n    - filter: mlp\n      vlaue: 2\n",
            ["config.yml:6:", "'vlaue' (did you mean 'value'?)"],
        ),
        (
            "merge_method: linear\n" + BOTH + "parameters: {weight: much}\n",
            ["config.yml:3: weight is a number, not 'much'"],
        ),
        ("merge_method: linear\n" + BOTH + "parameters: {weight: 1}\ndtype: bf16\n", ["config.yml:4: dtype is one of"]),
        ("merge_method: slerp\nbase_model: A\n" + BOTH + "parameters: {t: .nan}\n", ["config.yml:4:", "finite"]),
        (
            "merge_method: ties\nbase_model: A\n" + BOTH + "parameters:\n  weight: 1\n  density: 0\n",
            ["config.yml:6:", "density"],
        ),
        (
            "merge_method: linear\n"
            + BOTH
            + "parameters: {weight: 1}\ntokenizer_source: union\ntokenizer: {source: base}\n",
            ["config.yml:", "tokenizer_source"],
        ),
        (
            "merge_method: linear\nmodels:\n  - model: {model: A, override_architecture: X}\n  - model: B\n",
            ["config.yml:3: override_architecture"],
        ),
        ("merge_method: linear\nmodels:\n  - model: A+b+c\n  - model: B\n", ["config.yml:3:", "path[@revision][+lora"]),
        (
            "merge_method: linear\nmodels:\n  - model: A\n  - model: A\n",
            ["config.yml:4: the model A is named twice, first in line 3"],
        ),
        (
            "merge_method: slerp\nbase_model: A\nmodels:\n  - model: A\nparameters: {t: 1}\n",
            ["config.yml:4: slerp takes 1 model beside the base, and here are 0"],
        ),
        ("merge_method: !!python/object:os.system linear\n" + BOTH, ["config.yml:1: the tag", "is not allowed"]),
        (
            "merge_method: passthrough\nmodules:\n  text: {models: [{model: A}]}\n  default: {models: [{model: A}]}\n",
            ["config.yml:3: the step 'join': These parts do not make a model.", "merge(A) gives nothing as text.*"],
        ),
        (
            "merge_method: passthrough\nmodules:\n  encoder: {models: [{model: A}]}\n",
            [
                "config.yml:3: the step 'join'",
                "no part gives model.layers.{0-3}.mlp.up_proj.weight",
                "a module default",
            ],
        ),
    ],
    ids=range(22),
)
def test_a_mistake_is_told_with_its_line(text, told, refused):
    said = refused(text)
    assert not [part for part in told if part not in said], said


SLICES = """merge_method: passthrough
slices:
  - sources:
      - model: A
        layer_range: {first}
  - sources:
      - model: B
        layer_range: [1, 4]
"""


@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("[2, 2]", "config.yml:5:"),
        ("[0]", "config.yml:5:"),
        ("[0, 9]", "A has the layers 0 to 3: [0, 9] is no range of them"),
        ("[-1, 2]", "config.yml:5:"),
    ],
)
def test_layers_that_there_are_not(first, told, refused):
    assert told in refused(SLICES.replace("{first}", first))


def test_slices_of_unequal_lengths(refused):
    said = refused("""merge_method: linear
slices:
  - sources:
      - {model: A, layer_range: [0, 2]}
      - {model: B, layer_range: [0, 3]}
parameters: {weight: 1}
""")
    assert "config.yml:4: the sources of a slice have equally many layers, and these 2, 3" in said


def test_all_mistakes_at_once(refused):
    said = refused("""merge_method: linear
models:
  - model: A
    parameters: {weight: half}
  - model: B
    paramters: {weight: 1}
dtype: float12
""")
    assert all(part in said for part in ("config.yml:4:", "config.yml:6:", "config.yml:7:"))


def test_all_models_that_are_missing_are_told_with_their_lines(refused):
    said = refused("""merge_method: linear
models:
  - model: ./nothing
  - model: ./neither
parameters: {weight: 1}
""")
    assert "config.yml:3:" in said
    assert "config.yml:4:" in said


def test_documents_in_a_circle(refused):
    said = refused("""name: first
merge_method: linear
models: [{model: second}]
parameters: {weight: 1}
---
name: second
merge_method: linear
models: [{model: first}]
parameters: {weight: 1}
""")
    assert "circle" in said
    assert "first" in said


def test_two_documents_without_a_name(refused):
    document = "merge_method: linear\nmodels: [{model: A}]\nparameters: {weight: 1}\n"
    assert "no name" in refused(f"{document}---\n{document}")


def test_shapes_that_differ_are_told_with_the_line_that_asks_for_them(models, refused):
    llama(models / "C", 1, layers=3)
    said = refused("merge_method: linear\nmodels: [{model: A}, {model: C}]\nparameters: {weight: 1}\n")
    assert "config.yml:2:" in said
    assert "A has model.layers.0 to 3" in said
    assert "C has model.layers.0 to 2" in said


def test_a_recipe_of_scionwoods_own_is_for_another_command(refused):
    assert "scionwood run config.yml --out OUT" in refused("verb: merge\nmodels: [A, B]\n")


def test_flags_that_say_what_the_file_says(models, capsys):
    Path("config.yml").write_text("merge_method: linear\n" + BOTH + "parameters: {weight: 1}\n")
    assert run(["merge", "config.yml", "OUT", "--base", "A", "--set", "normalize=false"]) == 2
    said = capsys.readouterr().err
    assert "--base is said by the configuration" in said
    assert "--set is said by the configuration" in said
    assert run(["merge", "config.yml", "OUT", "--out", "OTHER"]) == 2
    assert "2 places are given to write to" in capsys.readouterr().err
    assert run(["merge", "config.yml"]) == 2
    assert "--out" in capsys.readouterr().err
