"""Options that vary over tensors and layers, and between models."""

import dataclasses
import time

import pytest
import torch
from tests.timed import assert_linear

from scionwood.checkpoint import open as open_checkpoint
from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.verbs.layers import Layers, find_layers
from scionwood.verbs.merge import merge
from scionwood.verbs.varying import Options

LAYERS = 5
NAMES = [
    "embed.weight",
    *(f"layers.{number}.{part}.weight" for number in range(LAYERS) for part in ("up", "norm")),
    "head.weight",
]


def model(number):
    return {name: torch.full((2, 3), float(number)) for name in NAMES}


def values(merged):
    return {name: round(float(merged[name].mean()), 5) for name in NAMES}


def along(found, part="up"):
    return [found[f"layers.{number}.{part}.weight"] for number in range(LAYERS)]


def test_the_first_rule_that_fits_holds():
    rules = [
        {"tensors": ["*.norm.*", "embed.*"], "value": 1.0},
        {"tensors": "layers.0.*", "value": 0.25},
        {"tensors": "layers.*", "layers": [0, 1, 0]},
        {"value": 0.75},
    ]
    found = values(merge([model(0), model(1)], method="interpolate", options={"alpha": rules}))
    assert along(found, "norm") == [1] * LAYERS
    assert found["embed.weight"] == 1
    assert found["head.weight"] == 0.75
    # Three values over five layers: the ends, the middle, and half-way between them.
    assert along(found) == [0.25, 0.5, 1.0, 0.5, 0.0]


def test_outside_of_the_layers_the_first_value_holds():
    found = values(merge([model(0), model(1)], method="interpolate", options={"alpha": [{"layers": [0.25, 1]}]}))
    assert found["embed.weight"] == found["head.weight"] == 0.25
    assert along(found)[-1] == 1


def test_what_is_no_number_holds_until_the_next_one_begins():
    options = {"weights": [1, 2], "normalize": [{"tensors": "*up*", "layers": [False, True, False]}]}
    found = values(merge([model(1), model(10)], options=options))
    assert along(found) == [21, 21, 7, 7, 21]  # values at 0, 1/2 and 1 of the way
    assert along(found, "norm") == [7] * LAYERS
    written = {"weights": [[{"layers": ["0", "4"]}], 1], "normalize": [{"layers": ["no", "off"]}]}
    assert along(values(merge([model(1), model(10)], options=written))) == [10, 11, 12, 13, 14]


def test_a_whole_number_is_met_on_the_way_or_refused():
    models = [{f"layers.{number}.w": torch.randn(2, 3) for number in range(3)} for _ in range(2)]
    merge(models, method="karcher", options={"max_iter": [{"layers": [10, 20]}]})
    with pytest.raises(MethodError, match=r"layers.1.w: [\s\S]*not 10\.5"):
        merge(models, method="karcher", options={"max_iter": [{"layers": [10, 11]}]})


def test_each_model_has_rules_of_its_own():
    options = {"weights": [[{"tensors": "layers.*", "layers": [0, 4]}, {"value": 2}], 1], "normalize": False}
    found = values(merge([model(1), model(10)], options=options))
    assert along(found) == [10, 11, 12, 13, 14]
    assert found["head.weight"] == 12


def test_where_no_rule_fits_the_default_holds():
    with pytest.warns(UserWarning, match=r"t: the rule for \*\.none\.\* fits no tensor"):
        found = values(
            merge([model(1), model(1)], method="slerp", options={"t": [{"tensors": "*.none.*", "value": 1}]})
        )
    assert found["embed.weight"] == 1
    weights = {"weights": [[{"tensors": "head.*", "value": 3}], 1]}
    found = values(merge([model(0), model(4)], options=weights))
    assert (found["head.weight"], found["embed.weight"]) == (1, 2)


def test_every_list_of_layers_has_its_own_ends():
    names = ["encoder.layers.0.w", "encoder.layers.3.w", "decoder.layers.0.w", "decoder.layers.1.w", "w.x"]
    layers = (Layers("encoder.layers", 4), Layers("decoder.layers", 2))
    options = Options(registry.load("merge.slerp"), {"t": [{"layers": [0, 0.9]}]}, layers)
    assert [options.of(name)["t"] for name in names] == [0, 0.9, 0, 0.9, 0]
    assert Layers("h", 1).depth("h.0.w") == 1


def test_a_merge_that_varies_is_told_as_it_was_asked():
    rules = [{"tensors": "*.up.*", "layers": [0, 1]}, {"value": 0.5}]
    merged = merge([model(0), model(1)], method="slerp", options={"t": rules})
    assert merged.lineage is not None
    told = merged.lineage.recipe["options"]
    assert told == {"t": rules}
    again = merge([open_checkpoint(model(0)), model(1)], method="slerp", options=told)
    assert values(again) == values(merged)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"t": [{"tensor": "*", "value": 1}]}, "a rule of 't' has no 'tensor' (did you mean 'tensors'?)"),
        ({"t": [{"tensors": "*"}]}, "a rule of 't' has either value or layers"),
        ({"t": [{"layers": [1], "value": 1}]}, "a rule of 't' has either value or layers"),
        ({"t": [{"layers": ["a"]}]}, "option 't' must be a finite number"),
        ({"t": [{"layers": []}]}, "layers of a rule of 't' are values"),
        ({"t": [{"value": "far"}]}, "option 't' must be a finite number"),
        ({"u": [{"value": 1}]}, "merge.slerp has no option 'u'"),
    ],
)
def test_a_rule_that_is_none_is_refused(options, words):
    with pytest.raises(MethodError) as caught:
        merge([model(0), model(1)], method="slerp", options=options)
    assert words in str(caught.value)


def test_what_a_method_refuses_at_one_place_names_it():
    rules = {"weights": [[{"tensors": "head.*", "value": -1}, {"value": 1}], 1]}
    with pytest.raises(MethodError, match=r"head\.weight: The weights .* sum to zero"):
        merge([model(0), model(1)], options=rules)


def test_experts_by_the_thousand_are_planned_in_no_time():
    def seconds(experts):
        names = [
            f"layers.{layer}.experts.{expert}.{part}"
            for layer in range(94)
            for expert in range(experts)
            for part in "abc"
        ]
        tensor = torch.zeros(1)
        models = [open_checkpoint(dict.fromkeys(names, tensor.clone())) for _ in range(2)]
        rules = {"t": [{"tensors": "*.a", "value": 0.25}, {"layers": [0, 0.5, 1]}]}
        began = time.process_time()
        merge(models, method="slerp", options=rules)
        return time.process_time() - began

    assert_linear(seconds, 128)


def test_layers_are_as_many_as_the_config_says():
    tensors = {f"h.{number}.{expert}.w": torch.zeros(1) for number in range(3) for expert in range(2)}
    checkpoint = open_checkpoint(tensors)
    assert find_layers(checkpoint) == [Layers("h", 3)]
    tensors |= {f"pooling.{number}.w": torch.zeros(1) for number in range(2)}
    both = open_checkpoint(tensors)
    assert find_layers(both) == [Layers("h", 3), Layers("pooling", 2)]
    assert find_layers(dataclasses.replace(both, config={"n_layer": 3})) == [Layers("h", 3)]
