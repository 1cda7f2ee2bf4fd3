"""Configurations of mergekit, run by the command: the numbers that mergekit's own rules give, worked out by hand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from scionwood.checkpoint import open as open_checkpoint
from scionwood.cli import run

from .conftest import llama

UP, Q, HEAD, EMBED = "mlp.up_proj.weight", "self_attn.q_proj.weight", "lm_head.weight", "model.embed_tokens.weight"


def values(checkpoint, part, layers=4):
    """The one number that a tensor holds in every layer."""
    found = [checkpoint[f"model.layers.{layer}.{part}"] for layer in range(layers)]
    assert all(len(tensor.unique()) == 1 for tensor in found)
    return [float(tensor.flatten()[0]) for tensor in found]


def value(checkpoint, name):
    (only,) = checkpoint[name].unique().tolist()
    return only


def test_filters_and_gradients_beside_a_model(merged):
    made = merged("""
merge_method: linear
models:
  - model: A
    parameters: {weight: 1}
  - model: B
    parameters:
      weight:
        - filter: q_proj
          value: 7
        - value: [0, 10]
parameters: {normalize: false}
""")
    assert values(made, Q) == [7, 7, 7, 7]
    assert values(made, UP) == pytest.approx([0, 10 / 3, 20 / 3, 10], rel=1e-6)
    assert [value(made, name) for name in (EMBED, "model.norm.weight", HEAD)] == [0, 0, 0]  # the first anchor


def test_the_first_anchor_is_for_what_stands_around_the_layers(merged):
    text = "{merge_method: slerp, base_model: A, models: [{model: A}, {model: B}], parameters: {t: [0, 1]}}"
    made = merged(text)
    assert values(made, Q) == pytest.approx([0, 0.5, 0.75**0.5, 1], abs=1e-6)
    assert value(made, HEAD) == 0
    assert values(merged(text.replace("[0, 1]", "[1, 0]")), Q) == pytest.approx([1, 0.75**0.5, 0.5, 0], abs=1e-6)


def test_a_parameter_for_all_models_changes_nothing_beside_one_and_is_told(merged, capsys):
    made = merged("""
merge_method: slerp
base_model: A
models:
  - model: A
  - model: B
    parameters: {t: 0.9}
parameters: {t: 0.5}
""")
    assert value(made, HEAD) == pytest.approx(0.5**0.5)
    assert "config.yml:7: t " in capsys.readouterr().err


def test_gradients_run_over_the_layers_of_each_slice_and_of_one_layer_to_the_end(merged):
    made = merged("""
merge_method: linear
slices:
  - sources:
      - {model: A, layer_range: [0, 3]}
      - {model: B, layer_range: [1, 4], parameters: {weight: [0, 1]}}
  - sources:
      - {model: A, layer_range: [3, 4]}
      - {model: B, layer_range: [0, 1], parameters: {weight: [0, 1]}}
parameters: {weight: 1, normalize: false}
""")
    assert values(made, UP) == [0, 0.5, 1, 1]


def test_names_in_filters_are_the_outputs_for_all_and_the_models_own_beside_one(merged):
    made = merged("""
merge_method: linear
slices:
  - sources: [{model: A, layer_range: [0, 2]}, {model: B, layer_range: [0, 2]}]
  - sources:
      - {model: A, layer_range: [0, 2]}
      - model: B
        layer_range: [2, 4]
        parameters: {weight: [{filter: layers.3., value: 5}, {value: 1}]}
    parameters: {weight: [{filter: layers.2., value: 3}, {value: 1}]}
parameters: {weight: 1, normalize: false}
""")
    assert values(made, UP) == [1, 1, 1, 5]


def test_a_frankenmerge_renumbers_and_takes_what_stands_around_from_the_ends(merged):
    made = merged("""
merge_method: passthrough
slices:
  - sources: [{model: A, layer_range: [0, 2]}]
  - sources: [{model: B, layer_range: [1, 4]}]
out_dtype: bfloat16
""")
    assert values(made, Q, 5) == [0, 0, 1, 1, 1]
    assert (value(made, EMBED), value(made, HEAD)) == (0, 1)
    assert made.config is not None
    assert made.config["num_hidden_layers"] == 5
    assert {tensor.dtype for tensor in made.tensors.values()} == {torch.bfloat16}


def logits(folder):
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.arange(8)[None]).logits


def test_layers_that_are_scaled_to_nothing_leave_the_function_as_it_is(merged, models):
    original = llama(models / "C", seed=3)
    made = merged("""
merge_method: passthrough
slices:
  - sources: [{model: C, layer_range: [0, 4]}]
  - sources:
      - model: C
        layer_range: [0, 4]
        parameters:
          scale: [{filter: o_proj, value: 0}, {filter: down_proj, value: 0}, {value: 1}]
""")
    own = open_checkpoint(original)
    for layer in range(4):
        assert torch.equal(made[f"model.layers.{layer + 4}.{UP}"], own[f"model.layers.{layer}.{UP}"])
        assert not made[f"model.layers.{layer + 4}.self_attn.o_proj.weight"].any()
    torch.testing.assert_close(logits(Path("OUT")), logits(original), atol=1e-5, rtol=0)


def test_documents_are_made_from_each_other_as_their_composed_weights_say(merged, models):
    for seed, name in enumerate(("one", "two", "three")):
        llama(models / name, seed=seed)
    made = merged("""
name: half
merge_method: linear
models: [{model: one, parameters: {weight: 1}}, {model: two, parameters: {weight: 3}}]
---
merge_method: linear
models: [{model: half, parameters: {weight: 2}}, {model: three, parameters: {weight: 2}}]
""")
    one, two, three = (open_checkpoint(models / name) for name in ("one", "two", "three"))
    for name in made:
        expected = one[name] / 8 + two[name] * 3 / 8 + three[name] / 2
        torch.testing.assert_close(made[name], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("listed", [True, False])
def test_a_base_is_no_member_whether_it_is_listed_or_not(listed, merged, models):
    llama(models / "base", 1)
    llama(models / "tuned", 3)
    own = "{model: base}, " if listed else ""
    made = merged(f"""
merge_method: task_arithmetic
base_model: base
models: [{own}{{model: tuned, parameters: {{weight: 0.5}}}}]
parameters: {{lambda: 0.5}}
""")
    assert value(made, HEAD) == 1 + 0.5 * 0.5 * 2


def test_a_base_that_is_not_listed_is_one_more_member_of_a_karcher_mean(merged, models):
    llama(models / "C", 4)
    made = merged("{merge_method: karcher, base_model: B, models: [{model: C}]}")
    assert value(made, HEAD) == pytest.approx((1 + 4) / 2)


def test_one_tensor_in_some_models_only_is_merged_among_them(merged, models):
    bias = {"model.layers.0.self_attn.q_proj.bias": torch.full((4,), 2.0)}
    llama(models / "C", 1, more=bias)
    llama(models / "D", 1, more={name: tensor * 3 for name, tensor in bias.items()})
    made = merged("""
merge_method: linear
models: [{model: A}, {model: C}, {model: D}]
parameters: {weight: 1}
""")
    assert value(made, "model.layers.0.self_attn.q_proj.bias") == 4
    assert value(made, HEAD) == pytest.approx(2 / 3)


def test_a_tied_head_falls_back_to_the_embedding(merged, models):
    llama(models / "C", 3, tied=True)
    made = merged("{merge_method: linear, models: [{model: C}, {model: B}], parameters: {weight: 1}}")
    assert value(made, HEAD) == 2


def pair(folder, number, config):
    """An encoder of three layers and a decoder of three, all of one number."""
    names = [f"{side}.block.{layer}.up.weight" for side in ("encoder", "decoder") for layer in range(3)]
    names += ["shared.weight", "encoder.final_layer_norm.weight", "decoder.final_layer_norm.weight", "lm_head.weight"]
    folder.mkdir()
    tensors = {name: torch.full((2, 2), float(number)) for name in names}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(config)
    return tensors


def test_modules_are_merged_each_by_its_own(merged, models):
    for name, number in (("C", 1), ("D", 3), ("E", 7)):
        pair(models / name, number, '{"model_type": "t5", "num_layers": 3, "num_decoder_layers": 3}')
    made = merged("""
merge_method: linear
modules:
  shared: {models: [{model: C}]}
  encoder:
    slices:
      - sources: [{model: C, layer_range: [0, 2]}, {model: D, layer_range: [1, 3]}]
        parameters: {weight: [{filter: norm, value: 1}, {value: [1, 3]}]}
      - sources: [{model: E, layer_range: [1, 3]}]
  decoder:
    models: [{model: C}, {model: E, parameters: {weight: [0, 2]}}]
    parameters: {normalize: false}
parameters: {weight: 1}
""")
    assert [value(made, f"encoder.block.{layer}.up.weight") for layer in range(4)] == [2, 2, 7, 7]
    assert [value(made, f"decoder.block.{layer}.up.weight") for layer in range(3)] == [1, 8, 15]
    around = ("shared.weight", "lm_head.weight", "encoder.final_layer_norm.weight", "decoder.final_layer_norm.weight")
    assert [value(made, name) for name in around] == [1, 1, 7, 1]
    assert made.config is not None
    assert (made.config["num_layers"], made.config["num_decoder_layers"]) == (4, 3)


def test_embeddings_of_unequal_rows_are_cut_and_that_is_said_once(merged, models, capsys):
    llama(models / "C", 3, rows=9)
    made = merged("""
merge_method: linear
slices:
  - sources: [{model: C, layer_range: [0, 2]}, {model: B, layer_range: [0, 2]}]
  - sources: [{model: C, layer_range: [2, 4]}, {model: B, layer_range: [2, 4]}]
parameters: {weight: 1}
""")
    said = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert said.count("warning: The models have vocabularies of 8, 9 rows: the first 8 are merged") == 1
    assert "tokenizer_source: union in a file of mergekit) keeps them all." in said
    assert made.tensors[EMBED].shape == (8, 4)
    assert made.config is not None
    assert made.config["vocab_size"] == 8


def test_half_precision_is_merged_in_float32_and_rounded_once(merged, models):
    for name, number in (("C", 0.125), ("D", 0.375)):
        llama(models / name, number, dtype=torch.bfloat16)
    made = merged("""
merge_method: linear
models: [{model: C, parameters: {weight: 0.1}}, {model: D, parameters: {weight: 0.9}}]
dtype: bfloat16
""")
    assert value(made, HEAD) == 0.349609375


def test_checkpoints_without_a_config_are_merged(merged, models):
    save_file({"up": torch.ones(2)}, models / "one.safetensors")
    save_file({"up": torch.full((2,), 3.0)}, models / "two.safetensors")
    made = merged("""
merge_method: linear
models: [{model: one.safetensors, parameters: {weight: [1, 9]}}, {model: two.safetensors, parameters: {weight: 1}}]
""")
    assert value(made, "up") == 2


def test_the_lineage_makes_the_same_again(merged):
    first = merged("""
merge_method: linear
slices:
  - sources: [{model: A, layer_range: [0, 2]}, {model: B, layer_range: [0, 2]}]
  - sources: [{model: A, layer_range: [1, 4]}, {model: B, layer_range: [1, 4]}]
parameters: {weight: [{filter: mlp, value: [1, 3]}, {value: 1}]}
dtype: bfloat16
""")
    assert run(["run", "OUT/scionwood.yaml", "--out", "AGAIN"]) == 0
    again = open_checkpoint("AGAIN")
    assert list(again) == list(first)
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_transformers_is_not_imported(models):
    Path("config.yml").write_text("{merge_method: linear, models: [{model: A}, {model: B}], parameters: {weight: 1}}")
    script = "import sys; from scionwood.cli import run; assert run(['merge', 'config.yml', 'OUT']) == 0; "
    script += "assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
