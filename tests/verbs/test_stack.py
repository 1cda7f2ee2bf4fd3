"""Stacks of layers: renumbered, complete, and loaded by transformers."""

import dataclasses

import pytest
import torch

from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint import write
from scionwood.errors import MatchError, MethodError
from scionwood.verbs.layers import Layers, layer_settings, settings_of
from scionwood.verbs.merge import merge
from scionwood.verbs.stack import stack

transformers = pytest.importorskip("transformers")


def save(folder, *, seed=0, layers=4, tied=False, **settings):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        **settings,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def logits(folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.arange(10)[None]).logits


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_twice_has_twice_its_layers(tied, tmp_path):
    source = save(tmp_path / "a", tied=tied)
    made = stack([source, source])
    out = write(made, tmp_path / "out")
    written, original = open_checkpoint(out), open_checkpoint(source)
    assert written.config is not None
    assert written.config["num_hidden_layers"] == 8
    for number in range(4):
        name = f"model.layers.{number}.mlp.up_proj.weight"
        assert torch.equal(written[name], original[name])
        assert torch.equal(written[f"model.layers.{number + 4}.mlp.up_proj.weight"], original[name])
    assert logits(out).shape == (1, 10, 40)
    assert {entry.action for entry in made.ledger or ()} == {"stacked"}


def test_what_stands_around_the_layers_is_of_the_first_and_the_last_part(tmp_path):
    first, last = save(tmp_path / "a", seed=1), save(tmp_path / "b", seed=2)
    made = stack([first, last], layers=[(0, 2), (1, 4)])
    one, other = open_checkpoint(first), open_checkpoint(last)
    assert torch.equal(made["model.embed_tokens.weight"], one["model.embed_tokens.weight"])
    assert torch.equal(made["lm_head.weight"], other["lm_head.weight"])
    assert torch.equal(made["model.norm.weight"], other["model.norm.weight"])
    assert torch.equal(made["model.layers.2.mlp.up_proj.weight"], other["model.layers.1.mlp.up_proj.weight"])
    assert next(iter(made)) == "model.embed_tokens.weight"
    dropped = {(entry.name, entry.detail) for entry in made.ledger or () if entry.action == "dropped"}
    assert ("lm_head.weight", f"of {first}: no part holds it") in dropped
    assert ("model.layers.0.mlp.up_proj.weight", f"of {last}: no part holds it") in dropped
    assert len(list(made.ledger or ())) == 2 * len(one.tensors)
    assert logits(write(made, tmp_path / "out")).isfinite().all()


def test_added_layers_that_write_nothing_change_nothing(tmp_path):
    source = save(tmp_path / "a")
    silent = merge(
        [stack([source], layers=[(1, 3)])],
        method="passthrough",
        options={"scale": [{"tensors": ["*o_proj*", "*down_proj*"], "value": 0}, {"value": 1}]},
    )
    made = stack([source, silent, source], layers=[(0, 3), None, (3, 4)])
    out = write(made, tmp_path / "out")
    torch.testing.assert_close(logits(out), logits(source), rtol=1e-5, atol=1e-5)
    assert transformers.AutoConfig.from_pretrained(out).num_hidden_layers == 6


def test_what_a_config_lists_for_every_layer_is_cut_likewise(tmp_path):
    kinds = ["a", "b", "c", "d"]
    tensors = {f"h.{number}.w": torch.full((1,), float(number)) for number in range(4)}
    config = {"n_layer": 4, "layer_types": kinds, "eos_token_id": [1, 2, 3, 4], "text": {"x": 1}}
    model = dataclasses.replace(open_checkpoint(tensors), config=config)
    made = stack([model, model], layers=[(2, 4), (0, 3)])
    assert made.config == config | {"n_layer": 5, "layer_types": ["c", "d", "a", "b", "c"]}
    assert [float(made[f"h.{number}.w"]) for number in range(5)] == [2, 3, 0, 1, 2]


def test_what_cannot_be_stacked_is_refused_all_at_once(tmp_path):
    source = save(tmp_path / "a")
    with pytest.raises(MethodError) as caught:
        stack([source, source], layers=[(0, 5), (2, 2)])
    assert [problem.split(": ")[1] for problem in caught.value.problems] == [
        "[0, 5] is no range of them (the first, and one past the last)",
        "[2, 2] is no range of them (the first, and one past the last)",
    ]
    with pytest.raises(MethodError, match="2 ranges for 1 parts"):
        stack([source], layers=[(0, 1), (1, 2)])
    with pytest.raises(MethodError, match="there are no parts"):
        stack([])
    with pytest.raises(MethodError, match="has no layers that its names tell"):
        stack([{"weight": torch.zeros(1)}])
    both = {f"{side}.layers.{number}.w": torch.zeros(1) for side in ("encoder", "decoder") for number in range(2)}
    with pytest.raises(MethodError, match=r"several lists of layers: encoder.layers \(2\), decoder.layers \(2\)"):
        stack([both])


def pair(value):
    names = [f"{side}.layers.{number}.w" for side in ("encoder", "decoder") for number in range(3)]
    names += ["shared.weight", "encoder.norm.weight", "decoder.norm.weight", "decoder.odd.weight", "lm_head.weight"]
    tensors = {name: torch.full((1,), float(value)) for name in names}
    config = {"encoder_layers": 3, "decoder_layers": 3}
    return dataclasses.replace(open_checkpoint(tensors), config=config)


def test_one_list_of_several_is_stacked_and_the_rest_is_the_first_parts():
    made = stack([pair(1), pair(2)], layers=[(0, 2), (1, 3)], within=["*encoder.*"])
    assert made.config == {"encoder_layers": 4, "decoder_layers": 3}
    assert [float(made[f"encoder.layers.{number}.w"]) for number in range(4)] == [1, 1, 2, 2]
    assert [float(made[f"decoder.layers.{number}.w"]) for number in range(3)] == [1, 1, 1]
    around = ("shared.weight", "encoder.norm.weight", "decoder.norm.weight", "decoder.odd.weight", "lm_head.weight")
    assert [float(made[name]) for name in around] == [1, 2, 1, 1, 2]
    assert made.lineage is not None
    assert made.lineage.recipe["within"] == ["*encoder.*"]


@pytest.mark.parametrize(
    ("config", "lists", "expected"),
    [
        ({"num_hidden_layers": 4, "vision_config": {"depth": 4}}, ("model.layers", "visual.blocks"), [0, 1]),
        (
            {"text_config": {"num_hidden_layers": 4}, "vision_config": {"num_hidden_layers": 4}},
            ("vision_tower.encoder.layers", "language_model.model.layers"),
            [1, 0],
        ),
        ({"encoder_layers": 4, "decoder_layers": 4}, ("model.decoder.layers", "model.encoder.layers"), [1, 0]),
    ],
)
def test_settings_of_equal_numbers_count_the_list_that_they_name(config, lists, expected):
    paths = [path for path, _ in layer_settings(config)]
    found = settings_of(config, [Layers(prefix, 4) for prefix in lists])
    assert [found[prefix] for prefix in lists] == [[paths[place]] for place in expected]


def test_a_list_that_is_not_told_is_asked_for():
    with pytest.raises(MethodError, match=r"lists of layers encoder.layers \(3\), .*, and \*coder\.\* fits 2 of them"):
        stack([pair(1)], within="*coder.*")
    with pytest.raises(MethodError, match=r"decoder.odd.weight in memory"):
        stack([pair(1), pair(2)], within="decoder.*")
    alike = dataclasses.replace(pair(1), config={"num_layers": 3, "depth": 3})
    with pytest.raises(MethodError, match="num_layers and depth may count another list"):
        stack([alike], layers=[(0, 2)], within="decoder.*")


def test_layers_of_different_shapes_are_refused():
    models = [{f"layers.{number}.w": torch.zeros(size) for number in range(2)} for size in (3, 4)]
    with pytest.raises(MatchError, match=r"layers.0.w is \[3\], layers.2.w is \[4\]"):
        stack(models)


def test_a_name_that_does_not_tell_its_place_is_asked_about():
    models = [
        {**{f"layers.{number}.w": torch.zeros(3) for number in range(2)}, "mystery.weight": torch.zeros(1)}
        for _ in range(2)
    ]
    with pytest.raises(MethodError, match="mystery.weight in memory"):
        stack(models)
    checkpoint = open_checkpoint(models[0])
    assert "mystery.weight" in stack([checkpoint, checkpoint])
