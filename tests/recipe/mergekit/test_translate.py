"""Configurations of mergekit as recipes: the data, the lines of what is wrong, the notes."""

import pytest

from scionwood.errors import RecipeError
from scionwood.methods import registry
from scionwood.methods.record import Record
from scionwood.recipe.document import parse_documents
from scionwood.recipe.mergekit import translate
from scionwood.recipe.mergekit.methods import METHODS
from scionwood.recipe.read import parse_recipe


def translated(text, **settings):
    """The recipe, without what every merge has; it must be a recipe that can be read."""
    translation = translate(parse_documents(text, "m.yml"), "m.yml", **settings)
    parse_recipe(translation.recipe)
    return without(translation.recipe.plain(), "differences")


def without(plain, key):
    if isinstance(plain, dict):
        return {name: without(value, key) for name, value in plain.items() if name != key}
    return [without(value, key) for value in plain] if isinstance(plain, list) else plain


def problems(text):
    with pytest.raises(RecipeError) as caught:
        translate(parse_documents(text, "m.yml"), "m.yml")
    return list(caught.value.problems)


def notes(text):
    return list(translate(parse_documents(text, "m.yml"), "m.yml").notes)


def of(method, parameters="{}", models="[{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 2}}]"):
    return f"merge_method: {method}\nbase_model: base\nmodels: {models}\nparameters: {parameters}\n"


# Methods.

ONE = "[{model: a}]"
TWO = "[{model: a}, {model: b}]"
EXPECTED = {
    "linear": (of("linear", "{weight: 1}", TWO), "linear", {"weights": 1.0}),
    "slerp": (of("slerp", "{t: 0.3}", ONE), "slerp", {"t": 0.3}),
    "nuslerp": (of("nuslerp"), "nuslerp", {"weights": [1.0, 2.0]}),
    "multislerp": (
        of("multislerp", "{normalize_weights: false}"),
        "multislerp",
        {"weights": [1.0, 2.0], "normalize": False},
    ),
    "karcher": (of("karcher", "{max_iter: 20}"), "karcher", {"max_iter": 20}),
    "task_arithmetic": (
        of("task_arithmetic", "{lambda: 0.5}"),
        "task_arithmetic",
        {"weights": [1.0, 2.0], "scale": 0.5},
    ),
    "ties": (of("ties"), "ties", {"weights": [1.0, 2.0], "density": 1.0}),
    "dare_linear": (
        of("dare_linear", "{density: 0.5}"),
        "dare",
        {"weights": [1.0, 2.0], "density": 0.5, "rescale": "l1", "consensus": False},
    ),
    "dare_ties": (
        of("dare_ties"),
        "dare",
        {"weights": [1.0, 2.0], "density": 1.0, "rescale": "l1", "consensus": True},
    ),
    "breadcrumbs": (
        of("breadcrumbs", "{gamma: 0.1}"),
        "breadcrumbs",
        {"weights": [1.0, 2.0], "density": 1.0, "gamma": 0.1, "consensus": False},
    ),
    "breadcrumbs_ties": (
        of("breadcrumbs_ties", "{rescale: true}"),
        "breadcrumbs",
        {"weights": [1.0, 2.0], "density": 1.0, "rescale": "l1", "consensus": True},
    ),
    "della": (
        of("della", "{epsilon: 0.1}"),
        "della",
        {"weights": [1.0, 2.0], "density": 1.0, "rescale": "l1", "epsilon": 0.1, "consensus": True},
    ),
    "della_linear": (
        of("della_linear"),
        "della",
        {"weights": [1.0, 2.0], "density": 1.0, "rescale": "l1", "normalize": False, "consensus": False},
    ),
    "sce": (of("sce", "{select_topk: 0.1}", TWO), "sce", {"select_topk": 0.1, "least_energy": 1e-6}),
    "ram": (of("ram", "{epsilon: 0.001}", TWO), "ram", {"epsilon": 0.001}),
    "ramplus_tl": (of("ramplus_tl", "{}", TWO), "ram", {"r": 0.1, "scope": "tensor"}),
    "model_stock": (of("model_stock", "{filter_wise: true}", TWO), "model_stock", {"filter_wise": True, "clamp": False}),
    "nearswap": (of("nearswap", "{t: 0.001}", ONE), "nearswap", {"t": 0.001}),
    "arcee_fusion": (of("arcee_fusion", "{}", ONE), "arcee_fusion", {"precision": "float32"}),
    "passthrough": ("merge_method: passthrough\nmodels: [{model: a, parameters: {scale: 2}}]\n", "passthrough", {"scale": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_one_of_ours(name):
    text, method, options = EXPECTED[name]
    found = translated(text)
    assert (found["method"], found.get("options", {})) == (method, options)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_is_left_out_has_the_same_default_here(name):
    method = METHODS[name]
    options = {option.name: option for option in Record.of(registry.load(method.method, family="merge")).options}
    for key, parameter in method.parameters.items():
        assert parameter.option in options, key
        if parameter.same and not parameter.required and parameter.option != "arc":
            assert options[parameter.option].default == parameter.default, key
    assert method.options.keys() <= options.keys()


def test_where_the_base_goes():
    assert translated(EXPECTED["slerp"][0])["models"] == ["base", "a"]
    assert translated(EXPECTED["linear"][0])["models"] == ["base", "a", "b"]
    ties = translated(of("ties", "{}", "[{model: a, parameters: {weight: 1}}, {model: base}]"))
    assert (ties["models"], ties["base"]) == (["a"], "base")
    second = translated("{merge_method: slerp, base_model: b, models: [{model: a}, {model: b}], parameters: {t: 0.1}}")
    assert second["models"] == ["b", "a"]


@pytest.mark.parametrize(("flatten", "row_wise", "arc"), [("false", "false", "row"), ("false", "true", "column")])
def test_nuslerp_goes_the_other_way_than_its_name(flatten, row_wise, arc):
    text = of("nuslerp", f"{{nuslerp_flatten: {flatten}, nuslerp_row_wise: {row_wise}}}")
    assert translated(text)["options"]["arc"] == arc
    assert "arc" not in translated(of("nuslerp", "{nuslerp_row_wise: true}"))["options"]


# Values, filters, gradients, levels.


def test_values_are_read_as_mergekit_reads_them():
    text = of("ties", '{lambda: "1e-3", normalize: no, density: true}')
    assert translated(text)["options"] == {"weights": [1.0, 2.0], "density": 1.0, "function": "sum", "scale": 0.001}


def test_filters_are_patterns_and_gradients_are_layers():
    text = of("slerp", "{t: [{filter: 'mlp*[0]', value: [0, 0.5]}, {filter: self_attn, value: 1}, {value: 0.5}]}", ONE)
    assert translated(text)["options"]["t"] == [
        {"tensors": "*mlp[*][[]0]*", "layers": [0.0, 0.5]},
        {"tensors": "*self_attn*", "value": 1.0},
        {"value": 0.5},
    ]
    for everything in ("{value: 0.5}", "[{filter: '*', value: 0.5}]", "[0.5]", "[{value: 0.5}, {filter: x, value: 1}]"):
        assert translated(of("slerp", f"{{t: {everything}}}", ONE))["options"]["t"] == 0.5


def test_true_and_false_have_gradients_too():
    found = translated(of("ties", "{normalize: [true, no, 1], rescale: [{filter: mlp, value: [on, 0]}]}"))["options"]
    assert found["function"] == [{"layers": ["mean", "sum", "mean"]}]
    assert found["rescale"] == [{"tensors": "*mlp*", "layers": ["l1", None]}]


def test_files_have_no_layers_and_gradients_are_their_first_value():
    text = """
merge_method: linear
models: [{model: a/one.safetensors}, {model: b/two.bin, parameters: {weight: [{filter: mlp, value: [3, 4]}, {value: 5}]}}]
parameters: {weight: [1, 2]}
"""
    rules = [{"value": 3.0, "tensors": "*mlp*"}, {"value": 5.0}]
    assert translated(text)["options"] == {"weights": [[{"value": 1.0}], rules]}
    assert notes(text)[0] == "m.yml:4: weight is its first value everywhere: files have no layers, as in mergekit"
    assert translated(text.replace(".bin", ""))["options"]["weights"][0] == [{"layers": [1.0, 2.0]}]


@pytest.mark.parametrize(
    ("parameters", "arc"),
    [
        ("{nuslerp_flatten: [true, false], nuslerp_row_wise: true}", [{"layers": ["tensor", "column"]}]),
        (
            "{nuslerp_flatten: false, nuslerp_row_wise: [{filter: mlp, value: [true, false]}]}",
            [{"tensors": "*mlp*", "layers": ["column", "row"]}, {"value": "row"}],
        ),
        ("{nuslerp_flatten: {filter: mlp, value: false}}", [{"tensors": "*mlp*", "value": "row"}]),
        ("{nuslerp_row_wise: [true, false]}", None),
    ],
)
def test_which_way_nuslerp_goes_may_vary(parameters, arc):
    assert translated(of("nuslerp", parameters))["options"].get("arc") == arc


def test_the_nearest_level_that_has_a_value_holds():
    text = """
merge_method: ties
base_model: base
modules:
  default:
    slices:
      - parameters: {density: [{filter: mlp, value: 0.4}]}
        sources:
          - {model: base, layer_range: [0, 2]}
          - {model: a, layer_range: [0, 2], parameters: {density: [{filter: q_proj, value: 0.1}]}}
          - {model: b, layer_range: [0, 2], parameters: {density: 0.2, weight: 2}}
    parameters: {density: [{filter: lm_head, value: 0.3}]}
parameters: {weight: 1, density: 0.5}
"""
    merge = translated(text)
    rules = [
        {"tensors": "*q_proj*", "value": 0.1},
        {"tensors": "*mlp*", "value": 0.4},
        {"tensors": "*lm_head*", "value": 0.3},
        {"value": 0.5},
    ]
    assert merge["options"] == {"weights": [1.0, 2.0], "density": [rules, 0.2]}


def test_filters_without_a_rest_end_in_mergekits_default():
    found = translated(of("ties", "{density: [{filter: mlp, value: 0.4}]}"))
    assert found["options"]["density"] == [{"tensors": "*mlp*", "value": 0.4}, {"value": 1.0}]


# Slices.


def test_slices_are_a_stack():
    text = """
merge_method: passthrough
dtype: bfloat16
slices:
  - sources: [{model: a, layer_range: [0, 3]}]
  - sources: [{model: b, layer_range: [1, 4], parameters: {scale: [{filter: o_proj, value: 0}, {filter: down_proj, value: 0}]}}]
"""
    part = {"verb": "stack", "parts": [{"model": "b", "layers": [1, 4]}]}
    scale = [{"tensors": "*o_proj*", "value": 0.0}, {"tensors": "*down_proj*", "value": 0.0}]
    merge = {
        "verb": "merge",
        "method": "passthrough",
        "models": [part],
        "options": {"scale": scale},
        "dtype": "float32",
    }
    assert translated(text) == {
        "verb": "stack",
        "parts": [{"model": "a", "layers": [0, 3]}, {"model": merge}],
        "dtype": "bfloat16",
    }


SHIFTED = """
merge_method: slerp
base_model: a
slices:
  - sources: [{{model: a, layer_range: [0, 2]}}, {{model: b, layer_range: [0, 2]}}]
  - sources: [{{model: a, layer_range: [8, 12]}}, {{model: b, layer_range: [8, 12]}}]
parameters:
  t: [{{filter: {filter}, value: 1}}, {{value: 0}}]
"""


@pytest.mark.parametrize(
    ("pattern", "second"),
    [
        ("layers.3.mlp", ["*layers.1.mlp*"]),  # the output's layer 3 is the second slice's 1
        ("layers.1", []),
        ("layers.1.", []),
        ("layers.5", ["*layers.3.*"]),
        ("experts.3.", ["*experts.3.*"]),
        ("mlp", ["*mlp*"]),
    ],
)
def test_a_filter_that_tells_a_layer_moves_with_the_slice(pattern, second):
    text = SHIFTED.format(filter=pattern)
    first, moved = (part["model"]["options"]["t"] for part in translated(text)["parts"])
    assert first[0]["tensors"] == f"*{pattern}*"
    assert [rule["tensors"] for rule in moved[:-1]] == second if second else moved == 0.0


MODULES = """
merge_method: passthrough
modules:
  default: {models: [{model: c}], parameters: {scale: 0.5}}
  text.layers:
    slices:
      - sources: [{model: a, layer_range: [0, 3]}]
      - sources: [{model: b, layer_range: [1, 4], parameters: {scale: 2}}]
  vision_tower: {models: [{model: b}]}
dtype: bfloat16
chat_template: chatml
"""


def test_modules_are_joined_and_the_default_has_the_rest():
    cut = {"verb": "stack", "parts": [{"model": "b", "layers": [1, 4]}], "within": ["text.layers.*"]}
    first = {"verb": "stack", "parts": [{"model": "a", "layers": [0, 3]}], "within": ["text.layers.*"]}
    merge = {"verb": "merge", "method": "passthrough"}
    found = translated(MODULES)
    assert found["verb"] == "join"
    text, vision, rest = found["parts"]
    assert text == {
        "model": {
            "verb": "stack",
            "parts": [
                {"model": {**merge, "models": [first], "chat_template": "chatml", "dtype": "float32"}},
                {"model": {**merge, "models": [cut], "options": {"scale": 2.0}, "dtype": "float32"}},
            ],
            "within": ["text.layers.*"],
            "dtype": "bfloat16",
        },
        "tensors": ["text.layers.*"],
    }
    assert vision["model"] == {**merge, "models": ["b"], "dtype": "bfloat16"}
    assert "visual.*" in vision["tensors"]
    assert rest == {"model": {**merge, "models": ["c"], "options": {"scale": 0.5}, "dtype": "bfloat16"}}


def test_parameters_of_a_module_go_before_those_of_all():
    text = """
merge_method: linear
modules:
  encoder:
    models: [{model: a}, {model: b, parameters: {weight: 3}}]
    parameters: {weight: [{filter: norm, value: 2}], normalize: false}
  default: {models: [{model: a}, {model: b}]}
parameters: {weight: 1}
"""
    encoder, rest = (part["model"]["options"] for part in translated(text)["parts"])
    rules = [{"tensors": "*norm*", "value": 2.0}, {"value": 1.0}]
    assert encoder == {"weights": [rules, 3.0], "normalize": False}
    assert rest == {"weights": 1.0}


def test_a_filter_of_weights_means_the_models_own_layers():
    text = """
merge_method: linear
slices:
  - sources:
      - {model: a, layer_range: [0, 20], parameters: {weight: [{filter: layers.1, value: 1}, {value: 0}]}}
      - {model: b, layer_range: [4, 24], parameters: {weight: [{filter: layers.1, value: 1}, {value: 0}]}}
"""
    own, other = translated(text)["options"]["weights"]
    assert own[0]["tensors"] == "*layers.1*"
    assert other[0]["tensors"] == [f"*layers.{number - 4}.*" for number in range(10, 20)]


def test_a_layer_of_a_block_may_be_one_of_the_model():
    assert any(
        "m.yml:8: the filter 'layer.0' may tell a layer" in each for each in problems(SHIFTED.format(filter="layer.0"))
    )
    (_, moved) = (
        part["model"]["options"]["t"] for part in translated(SHIFTED.format(filter="block.3.layer.0"))["parts"]
    )
    assert moved[0]["tensors"] == "*block.1.layer.0*"


def test_a_filter_that_may_tell_a_layer_is_refused_where_layers_move():
    assert problems(SHIFTED.format(filter="'3.mlp'")) == [
        (
            "m.yml:8: the filter '3.mlp' may tell a layer, and the layers of this slice begin with 2: "
            "write what stands before the number, as in layers.3"
        )
    ]


# What stands beside.


def test_models_with_revisions_and_adapters():
    text = """
merge_method: linear
out_dtype: torch.float16
dtype: float32
parameters: {weight: 1}
models:
  - model: acme/oak@v2
  - model: acme/oak+acme/lora@v1
  - model: {model: {path: acme/elm, revision: main}, lora: {path: acme/lora}}
"""
    found = translated(text)
    held = {"verb": "apply_adapter", "dtype": "float32"}
    assert found["models"] == [
        "acme/oak@v2",
        {**held, "model": "acme/oak", "adapter": "acme/lora@v1"},
        {**held, "model": "acme/elm@main", "adapter": "acme/lora"},
    ]
    assert found["dtype"] == "float16"
    assert translated(text, dtype="bfloat16")["dtype"] == "bfloat16"


def test_tokenizers():
    text = of("ties") + "chat_template: chatml\n"
    assert translated(text + "tokenizer_source: a\n")["tokenizer"] == "a"
    block = """
tokenizer:
  pad_to_multiple_of: 64
  tokens:
    <a>: {source: a, force: true}
    <b>: {source: {kind: zero}}
    <c>: {source: {kind: model_token, model: b, token_id: 3}}
"""
    found = translated(text + block)
    assert (found["tokenizer"], found["pad_to_multiple_of"], found["chat_template"]) == ("union", 64, "chatml")
    assert found["tokens"] == {
        "<a>": {"model": "a", "force": True},
        "<b>": {"zero": True},
        "<c>": {"model": "b", "token_id": 3},
    }


def test_documents_are_steps():
    text = of("ties").replace("model: a,", "model: pair,") + "---\nname: pair\n" + of("linear", "{weight: 1}", TWO)
    found = translated(text)
    assert list(found["steps"]) == ["output", "pair"]
    recipe = parse_recipe(translate(parse_documents(text)).recipe)
    assert recipe.output == "output"
    assert [source.name for source in recipe.inputs()] == ["b", "base", "a"]


def test_the_tokenizer_of_another_document_is_the_bases():
    text = """
name: first
merge_method: linear
models: [{model: a}, {model: b}]
parameters: {weight: 1}
---
merge_method: linear
models: [{model: first}, {model: c}]
parameters: {weight: 1}
tokenizer_source: first
"""
    assert translated(text)["steps"]["output"]["tokenizer"] == "base"
    swapped = text.replace("[{model: first}, {model: c}]", "[{model: c}, {model: first}]")
    assert problems(swapped) == [
        "m.yml:10: the tokenizer of first is made here: name a model that is there, or make first the base"
    ]
    based = translated(swapped + "base_model: first\n")["steps"]["output"]
    assert (based["models"], based["tokenizer"]) == (["first", "c"], "base")


def test_settings_are_every_merges():
    translation = translate(parse_documents(SHIFTED.format(filter="mlp")), settings={"seed": 3})
    assert [part["model"]["seed"] for part in translation.recipe.plain()["parts"]] == [3, 3]


def test_slices_are_drawn_for_apart():
    text = SHIFTED.format(filter="mlp").replace("slerp", "dare_ties").replace("  t:", "  weight: 1\n  density:")
    parts = translate(parse_documents(text), settings={"seed": 3}).recipe.plain()["parts"]
    assert [part["model"]["seed"] for part in parts] == [3, 4]


def test_the_yaml_is_read_as_the_same_recipe():
    for text in (SHIFTED.format(filter="'[x'"), of("linear", "{weight: 1e-6}", '[{model: "0o14"}, {model: "no"}]')):
        translation = translate(parse_documents(text))
        assert [each.plain() for each in parse_documents(translation.to_yaml())] == [translation.recipe.plain()]


# What is wrong, and what has no effect.


def test_everything_that_is_wrong_is_told_with_its_line():
    text = """\
merge_method: tie
base_modl: a
models:
  - model: a
    paramters: {}
  - model: a
  - {}
  - model: {path: x, override_architecture: Llama}
  - model: {model: x, override_architecture: Llama}
  - model: a+b+c
dtype: int64
tokenizer_source: union
tokenizer: {sorce: base}
"""
    told = problems(text)
    starts = [
        "m.yml:1: unknown merge_method 'tie' (did you mean 'ties'?)",
        "m.yml:2: a configuration has no 'base_modl' (did you mean 'base_model'?)",
        "m.yml:5: an entry of models has no 'paramters' (did you mean 'parameters'?)",
        "m.yml:6: the model a is named twice, first in line 4",
        "m.yml:7: an entry of models is a mapping with model",
        "m.yml:8: a model is a path",
        "m.yml:9: override_architecture is not taken",
        "m.yml:10: a model is path[@revision][+lora[@revision]]",
        "m.yml:11: dtype is one of",
        "m.yml:13: tokenizer and tokenizer_source say the same",
        "m.yml:13: a tokenizer has no 'sorce' (did you mean 'source'?)",
    ]
    for start in starts:
        assert any(each.startswith(start) for each in told), (start, told)
    assert len(told) == len(starts)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: [{model: a}]", "m.yml:1: merge_method is missing"),
        ("merge_method: linear", "m.yml:1: a configuration has one of models, slices and modules, and here is none"),
        (of("ties").replace("base_model: base\n", ""), "m.yml:2: ties needs base_model"),
        (of("ties", "{}", TWO), "m.yml:3: weight is missing"),
        (of("linear"), "m.yml:2: weight is missing"),  # the base is one more model
        (of("slerp", "{}", ONE), "m.yml:3: t is missing"),
        (of("slerp", "{t: [{filter: mlp, value: 1}]}", ONE), "m.yml:4: t is missing where no filter fits"),
        (of("slerp", "{t: 1}", TWO), "m.yml:3: slerp takes 1 model beside the base, and here are 2"),
        (of("slerp", "{t: x}", ONE), "m.yml:4: t is a number, not 'x'"),
        (of("slerp", "{t: [1, {value: 2}]}", ONE), "m.yml:4: t: values and filters are not mixed"),
        (of("slerp", "{t: {valu: 2}}", ONE), "m.yml:4: a condition of t has no 'valu' (did you mean 'value'?)"),
        (
            of("nuslerp", "{nuslerp_flatten: [true, false], nuslerp_row_wise: [true, false]}"),
            "m.yml:4: nuslerp_flatten and nuslerp_row_wise both vary",
        ),
        (
            of("ties") + "dtype: float64\n",
            "m.yml:5: dtype is one of bfloat16, float16, float32, not 'float64': the arith",
        ),
        (of("ties", "{densty: 1}"), "m.yml:4: ties has no parameter 'densty' (did you mean 'density'?)"),
        (of("passthrough", "{}", TWO), "m.yml:3: passthrough takes 1 model, and here are 3"),
        (
            "merge_method: linear\nmodules: [a]",
            "m.yml:2: modules is a mapping from names to what is merged, not a list",
        ),
        ("merge_method: linear\nmodules:\n  a: {}\n  b: 3", "m.yml:3: a module has either models or slices"),
        ("merge_method: linear\nmodules:\n  a: {}\n  b: 3", "m.yml:4: a module has models or slices, not 3"),
        (
            "merge_method: linear\nmodules:\n  a: {models: [{model: a}], weight: 1}",
            "m.yml:3: a module has no 'weight': it has models, slices, parameters",
        ),
        (
            (
                "merge_method: linear\nparameters: {weight: 1}\ntokenizer_source: union\nmodules:\n"
                "  encoder: {models: [{model: a}, {model: b}]}\n  default: {models: [{model: a}]}"
            ),
            "m.yml:3: a union of tokenizers is made where models are merged",
        ),
        ("merge_method: passthrough\nslices:\n- sources: [{model: a}]", "m.yml:3: a source of a slice has layer_range"),
        (
            "merge_method: linear\nslices:\n- sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 3]}]",
            "m.yml:3: the sources of a slice have equally many layers, and these 2, 3",
        ),
        (
            (
                "merge_method: passthrough\ntokenizer_source: union\nslices:\n"
                "- sources: [{model: a, layer_range: [0, 2]}]\n- sources: [{model: b, layer_range: [0, 3]}]"
            ),
            "m.yml:2: a union of tokenizers is made where models are merged",
        ),
        (of("ties") + "---\n" + of("ties"), "m.yml:6: two documents have no name"),
    ],
)
def test_what_cannot_be_done_is_refused(text, told):
    assert any(problem.startswith(told) for problem in problems(text)), problems(text)


def test_what_has_no_effect_is_noted():
    text = """\
merge_method: ties
base_model: base
models:
  - model: base
    parameters: {weight: 1}
  - model: a
    parameters: {weight: 1, normalize: false}
parameters:
  int8_mask: true
  t: 0.5
"""
    assert notes(text) == [
        "m.yml:9: int8_mask has no effect: nothing is gained by it here",
        "m.yml:10: ties has no t: it has no effect, as in mergekit",
        "m.yml:7: normalize is one for all models: beside a model it has no effect, as in mergekit",
        "m.yml:5: weight has no effect beside the base, as in mergekit",
    ]
    assert translated(text)["options"] == {"weights": 1.0, "density": 1.0}
