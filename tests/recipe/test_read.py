"""A recipe is read into steps, or every mistake in it is named with its line."""

import pytest

from scionwood.errors import RecipeError
from scionwood.recipe.document import parse_documents
from scionwood.recipe.read import Input, Link, Step, parse_recipe, read_recipe


def read(text):
    (document,) = parse_documents(text, "r.yml")
    return parse_recipe(document, "r.yml")


def problems(text):
    with pytest.raises(RecipeError) as caught:
        read(text)
    return list(caught.value.problems)


TWO = """\
steps:
  pair: {verb: merge, method: slerp, models: [chat, code], options: {t: 0.3}}
  all:
    verb: merge
    method: ties
    base: llama
    models: [pair, {model: math, weight: 2, density: 0.5}]
    options: {weights: 3}
    dtype: bfloat16
    seed: 4
"""


def test_steps_are_made_from_each_other_and_the_last_one_is_the_output():
    recipe = read(TWO)
    assert recipe.output == "all"
    assert [source.name for source in recipe.inputs()] == ["chat", "code", "llama", "math"]
    last = recipe.steps["all"]
    base, models = last.sources["base"], last.sources["models"]
    assert isinstance(base, Input)
    assert isinstance(models, tuple)
    assert [type(model) for model in models] == [Link, Input]
    assert last.dtype == "bfloat16"
    # pair has what options says of all, and the method's default where they say nothing.
    assert last.values == {"seed": 4, "method": "ties", "options": {"weights": [3, 2], "density": [0.2, 0.5]}}


def test_a_step_may_stand_inside_another():
    recipe = read("verb: merge\nmodels:\n  - {verb: merge, models: [a, b]}\n  - model: {verb: merge, models: [c]}\n")
    models = recipe.steps["merge"].sources["models"]
    assert isinstance(models, tuple)
    assert all(isinstance(model, Step) for model in models)
    assert [source.name for source in recipe.inputs()] == ["a", "b", "c"]


def test_a_lineage_is_a_recipe():
    recipe = read("schema: 1\nrecipe: {verb: merge, models: [a, b]}\nseed: 3\nversions: {torch: '2'}\nparents: []\n")
    assert recipe.steps["merge"].values["seed"] == 3
    assert problems("schema: 2\nrecipe: {verb: merge, models: [a, b]}\n") == [
        "r.yml:1: this lineage has the form 2, and this version of scionwood knows 1"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a", "r.yml:1: a recipe is a mapping, not a list"),
        ("models: [a]\nfoo: 1", "r.yml:1: a step says what it does by verb: one of merge, select,"),
        ("verb: mrege\nmodels: [a]", "r.yml:1: unknown verb 'mrege' (did you mean 'merge'?)"),
        ("verb: [a]", "r.yml:1: unknown verb a list: there are merge,"),
        ("verb: merge", "r.yml:1: a merge needs models"),
        ("verb: merge\nmodels: []", "r.yml:2: models is a list of sources, not an empty one"),
        ("verb: merge\nmodels: a", "r.yml:2: models is a list of sources, not 'a'"),
        ("verb: merge\nmodels: [3]", "r.yml:2: a source is a path, a hub id, or a step, not 3"),
        ("verb: merge\nmodels:\n- {mod: a}", "r.yml:3: a source is a path, a hub id, or a step, not a mapping without"),
        ("verb: merge\nmodels:\n- a\n- b\n- a", "r.yml:5: the model 'a' is named twice, first in line 3"),
        ("verb: merge\nmodels: [a]\nbasse: b", "r.yml:3: a step that is a merge has no 'basse' (did you mean 'base'?)"),
        ("verb: merge\nmodels: [a]\nmethod: tis", "r.yml:3: unknown method 'tis' (did you mean 'ties'?)"),
        ("verb: merge\nmodels: [a]\nmethod: uniform", "r.yml:3: unknown method 'uniform'"),
        ("verb: merge\nmodels: [a]\nmethod: 3", "r.yml:3: a method is named by text, not by 3"),
        ("verb: merge\nmodels: [a]\noptions: 3", "r.yml:3: options is a mapping, not 3"),
        (
            "verb: merge\nmodels: [a]\noptions:\n  weigths: 3",
            "r.yml:4: merge.linear has no option 'weigths' (did you mean 'weights'?)",
        ),
        ("verb: merge\nmodels: [a]\noptions:\n  weights: x", "r.yml:4: option 'weights' must be a finite number"),
        (
            "verb: merge\nmethod: slerp\nmodels:\n- {model: a, t: 1}\n- b",
            "r.yml:4: option 't' is one for all models, and stands under options",
        ),
        (
            "verb: merge\nmodels:\n- {model: a, wieght: 1}\n- b",
            "r.yml:3: unknown option 'wieght' of a model (did you mean 'weight'?)",
        ),
        (
            "verb: merge\nmodels:\n- {model: a, weight: 1}\n- b\noptions: {weights: [1, 2]}",
            "r.yml:3: option 'weights' is given for each model, in options and beside the model",
        ),
        ("verb: merge\nmodels: [a]\nseed: x", "r.yml:3: seed must be a whole number, not 'x'"),
        ("verb: merge\nmodels: [a]\ndtype: 8", "r.yml:3: dtype must be"),
        ("verb: select\nsource: a\nset: 3", "r.yml:3: set is a mapping from names to values, not 3"),
        ("verb: select\nsource: a\nlike: 3", "r.yml:3: like is a path, or the settings of a config, not 3"),
        ("verb: select\nsource: a\nhead: old", "r.yml:3: head must be one of selected, fresh, not 'old'"),
        ("verb: stack\nparts: a", "r.yml:2: parts is a list of models with their layers, not 'a'"),
        ("verb: stack\nparts:\n- {model: a, layers: [0]}", "r.yml:3: layers is [first, one past the last], not [0]"),
        ("verb: stack\nparts:\n- {model: a, layer: [0]}", "r.yml:3: a part has no 'layer' (did you mean 'layers'?)"),
        ("verb: join\nparts: a", "r.yml:2: parts is a list of models with their tensors, not 'a'"),
        (
            "verb: join\nparts:\n- {model: a, tensors: [3]}",
            "r.yml:3: tensors is patterns of names, such as encoder.*, not [3]",
        ),
        ("steps: 3", "r.yml:1: steps holds a mapping from names to steps, not 3"),
        ("steps: {a: 3}", "r.yml:1: a step is a mapping with a verb, not 3"),
        ("steps:\n  a: {verb: merge, models: [b]}\n  b: {verb: merge, models: [a]}", "in a circle: a → b → a"),
        ("steps:\n  a: {verb: merge, models: [a]}", "in a circle: a → a"),
        (
            "steps:\n  a: {verb: merge, models: [x]}\n  b: {verb: merge, models: [y]}\noutput: b",
            "r.yml:2: the step 'a' is not used for the output 'b'",
        ),
        (
            "steps:\n  a: {verb: merge, models: [x]}\n  b: {verb: merge, models: [y]}",
            "r.yml:1: output: says which step is the output, and is missing: a and b are used by no other",
        ),
        (
            "steps:\n  all: {verb: merge, models: [x]}\noutput: al",
            "r.yml:3: no step is called 'al' (did you mean 'all'?)",
        ),
        ("steps:\n  a: {verb: merge, models: [x]}\n  a: {verb: merge, models: [x]}", "'a' is written twice"),
        ("stepps: 1\nsteps:\n  a: {verb: merge, models: [x]}", "r.yml:1: a recipe of several steps has no 'stepps'"),
    ],
)
def test_a_mistake_is_named_with_its_line(text, expected):
    found = problems(text)
    assert any(problem.startswith(expected) or expected in problem for problem in found), found


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("[{tensors: '*.up.*', value: 0.5}, {layers: [0, 0.5, 1]}, {value: 0.3}]", None),
        ("[{tensors: ['*.up.*', head.*], layers: [0, 1]}, {value: 1}]", None),
        ("[{tensor: '*', value: 0.5}]", "a rule of 'weights' has no 'tensor' (did you mean 'tensors'?)"),
        ("[{tensors: '*'}]", "a rule of 'weights' has either value or layers"),
        ("[{value: 1, layers: [1]}]", "a rule of 'weights' has either value or layers"),
        ("[{tensors: 3, value: 1}]", "tensors takes patterns of names, such as '*.self_attn.*', not 3"),
        ("[{layers: 3}]", "layers takes the values from the first layer to the last, not 3"),
        ("[{value: high}]", "option 'weights' must be a finite number"),
        ("[{layers: [0, high]}]", "option 'weights' must be a finite number"),
    ],
)
def test_rules_are_checked_with_their_lines(rules, expected):
    text = f"verb: merge\nmodels: [a, b]\noptions:\n  weights: {rules}\n"
    if expected is None:
        assert isinstance(read(text).steps["merge"].values["options"]["weights"], list)
    else:
        (problem,) = problems(text)
        assert problem.startswith(f"r.yml:4: {expected}")


def test_everything_that_is_wrong_is_told_at_once():
    found = problems("steps:\n  a: {verb: mrege}\n  b:\n    verb: merge\n    modles: [x]\n    method: tis\n")
    assert [problem.partition(" ")[0] for problem in found] == ["r.yml:2:", "r.yml:5:", "r.yml:4:", "r.yml:6:"]


def test_a_file_of_mergekit_is_recognised(tmp_path):
    path = tmp_path / "config.yml"
    path.write_text("merge_method: ties\nmodels: [{model: a}]\n")
    with pytest.raises(RecipeError, match="scionwood recipe convert"):
        read_recipe(path)


def test_a_recipe_is_one_document(tmp_path):
    path = tmp_path / "recipe.yml"
    path.write_text("---\nverb: merge\nmodels: [a]\n...\n")
    assert read_recipe(path).output == "merge"
    path.write_text("verb: merge\n---\nverb: merge\n")
    with pytest.raises(RecipeError, match="holds 2 documents, and a recipe is one"):
        read_recipe(path)
    path.write_text("")
    with pytest.raises(RecipeError, match="holds no documents"):
        read_recipe(path)
