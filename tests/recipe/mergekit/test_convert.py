"""A configuration that is converted is the same run; and rules say what mergekit's own order of looking says."""

import json
import random
import warnings
from pathlib import Path

import pytest
import torch
import yaml

from scionwood.checkpoint import open as open_checkpoint
from scionwood.cli import run
from scionwood.recipe.document import parse_documents
from scionwood.recipe.mergekit import translate
from scionwood.recipe.read import parse_recipe
from scionwood.recipe.run import make

from .conftest import llama

CONFIGURATIONS = {
    "ties": """
merge_method: ties
base_model: one
models:
  - {model: two, parameters: {weight: [0.2, 1], density: 0.5}}
  - {model: three, parameters: {weight: 0.5, density: [{filter: mlp, value: 0.3}, {value: 0.8}]}}
parameters: {normalize: true, int8_mask: true}
dtype: bfloat16
""",
    "slices": """
merge_method: slerp
base_model: one
slices:
  - sources: [{model: one, layer_range: [0, 3]}, {model: two, layer_range: [0, 3]}]
  - sources: [{model: one, layer_range: [1, 4]}, {model: two, layer_range: [1, 4]}]
parameters: {t: [{filter: self_attn, value: [0, 0.5, 1]}, {value: 0.3}]}
""",
    "documents": """
name: pair
merge_method: dare_ties
base_model: one
models: [{model: two}, {model: three}]
parameters: {weight: 0.5, density: 0.5}
---
merge_method: passthrough
slices:
  - sources: [{model: pair, layer_range: [0, 2]}]
  - sources: [{model: one, layer_range: [1, 4], parameters: {scale: 0.5}}]
""",
}


@pytest.fixture
def three(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("one", "two", "three")):
        llama(tmp_path / name, seed=seed)
    return tmp_path


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_conversion_makes_the_same_bytes(name, three):
    Path("config.yml").write_text(CONFIGURATIONS[name])
    assert run(["merge", "config.yml", "OUT"]) == 0
    assert run(["recipe", "convert", "config.yml", "--out", "recipe.yml"]) == 0
    assert run(["run", "recipe.yml", "--out", "AGAIN"]) == 0
    assert Path("AGAIN/model.safetensors").read_bytes() == Path("OUT/model.safetensors").read_bytes()
    assert json.loads(Path("AGAIN/config.json").read_text()) == json.loads(Path("OUT/config.json").read_text())


def test_a_conversion_prints_the_recipe_and_its_notes(three, capsys):
    Path("config.yml").write_text(CONFIGURATIONS["ties"])
    assert run(["recipe", "convert", "config.yml"]) == 0
    printed = capsys.readouterr()
    assert yaml.safe_load(printed.out)["options"]["density"][0] == 0.5
    assert printed.err == "note: config.yml:7: int8_mask has no effect: nothing is gained by it here\n"


@pytest.mark.parametrize("arguments", [["convert"], ["schema", "config.yml"], ["convert", "recipe.yml"]])
def test_what_cannot_be_converted_is_refused(arguments, three, capsys):
    Path("recipe.yml").write_text("{verb: merge, models: [one, two]}")
    assert run(["recipe", *arguments]) == 2
    assert capsys.readouterr().out == ""


def test_an_adapter_is_put_on_its_model(three):
    torch.manual_seed(0)
    down, up = torch.randn(2, 4), torch.randn(4, 2)
    lora = three / "lora"
    lora.mkdir()
    place = "base_model.model.model.layers.1.self_attn.q_proj"
    torch.save({f"{place}.lora_A.weight": down, f"{place}.lora_B.weight": up}, lora / "adapter_model.bin")
    settings = {
        "peft_type": "LORA",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
        "base_model_name_or_path": "one",
    }
    (lora / "adapter_config.json").write_text(json.dumps(settings))
    text = "{merge_method: linear, dtype: float32, models: [{model: one+lora}, {model: two}], parameters: {weight: 1}}"
    made = make(parse_recipe(translate(parse_documents(text)).recipe)).checkpoint
    name = "model.layers.1.self_attn.q_proj.weight"
    expected = (open_checkpoint("one")[name] + 2 * up @ down + open_checkpoint("two")[name]) / 2
    torch.testing.assert_close(made[name], expected, rtol=1e-6, atol=1e-6)


# An oracle: every tensor's value is looked up by itself, as mergekit says it is.

FILTERS = ["mlp", "self_attn", "layers.1", "layers.2.", "layers.3.mlp", "q_proj", "lm_head", "norm", "*", "embed"]


def setting(draw):
    def value():
        return draw.choice([draw.randint(1, 9), [draw.randint(1, 9) for _ in range(draw.randint(2, 4))]])

    if draw.random() < 0.3:
        return value()
    return [{"filter": draw.choice(FILTERS), "value": value()} for _ in range(draw.randint(1, 3))]


def looked_up(levels, name, depth):
    for level in levels:
        if level is None:
            continue
        conditions = level if isinstance(level, list) and isinstance(level[0], dict) else [{"value": level}]
        for condition in conditions:
            part = condition.get("filter", "*")
            if part == "*" or part in name:
                values = condition["value"]
                if not isinstance(values, list):
                    return values
                place = depth * (len(values) - 1)
                first = int(place)
                second = min(first + 1, len(values) - 1)
                return (1 - place + first) * values[first] + (place - first) * values[second]
    raise AssertionError


@pytest.mark.parametrize("seed", range(12))
def test_rules_are_what_looking_up_every_tensor_is(seed, models):
    draw = random.Random(seed)
    lengths = [draw.randint(1, 3) for _ in range(draw.randint(1, 3))]
    top = draw.choice([7, [2, 4, 9], [{"filter": draw.choice(FILTERS), "value": 3}, {"value": [5, 6]}]])
    slices = []
    for length in lengths:
        source = {"model": "B", "layer_range": [start := draw.randint(0, 4 - length), start + length]}
        source["parameters"] = {"weight": setting(draw)} if draw.random() < 0.7 else {}
        slices.append({"sources": [source], "parameters": {"weight": setting(draw)} if draw.random() < 0.5 else {}})
    config = {"merge_method": "linear", "slices": slices, "parameters": {"weight": top, "normalize": False}}
    translation = translate(parse_documents(yaml.safe_dump(config)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* fits no tensor")
        made = make(parse_recipe(translation.recipe)).checkpoint
    number = 0
    for each in slices:
        (source,) = each["sources"]
        levels = [source["parameters"].get("weight"), each["parameters"].get("weight"), top]
        first, stop = source["layer_range"]
        for layer in range(first, stop):
            depth = (layer - first) / (stop - first - 1) if stop - first > 1 else 1
            for part in ("mlp.up_proj", "self_attn.q_proj", "input_layernorm"):
                expected = looked_up(levels, f"model.layers.{layer}.{part}.weight", depth)
                found = made[f"model.layers.{number}.{part}.weight"]
                torch.testing.assert_close(found, torch.full_like(found, expected))
            number += 1
        for name in (["model.embed_tokens.weight"] if each is slices[0] else []) + (
            ["model.norm.weight", "lm_head.weight"] if each is slices[-1] else []
        ):
            expected = looked_up(levels, name, 0)
            torch.testing.assert_close(made[name], torch.full_like(made[name], expected))
    assert number == sum(lengths)
