"""Which blocks stay, list by list, and what of the config goes with them."""

import json

import pytest
import torch

import scionwood
from scionwood.errors import MatchError, MethodError
from scionwood.verbs.target import target_config


@pytest.fixture
def blocks_of():
    """blocks_of(checkpoint, stem): the source block of every block, by the ledger."""

    def blocks_of(made, stem):
        place = len(stem.split("."))
        return {
            int(entry.name.split(".")[place]): int(entry.source.split(".")[place])
            for entry in made.ledger
            if entry.action in ("selected", "copied") and entry.name.startswith(f"{stem}.")
        }

    return blocks_of


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        ("first", [0, 1, 2]),
        ("last", [3, 4, 5]),
        ("even", [0, 2, 5]),
        ("stride", [0, 2, 4]),
        ("without_middle", [0, 1, 5]),
        ([1, 2, 4], [1, 2, 4]),
        ({"model.layers": "last"}, [3, 4, 5]),
    ],
    ids=str,
)
def test_depth_rules(depth, expected, drawn, larger, blocks_of):
    source = drawn("llama", num_hidden_layers=6)
    made = scionwood.select(source, like=larger("llama", num_hidden_layers=3), depth=depth)
    assert list(blocks_of(made, "model.layers").values()) == expected
    weights = scionwood.open(source)
    for mine, theirs in enumerate(expected):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert torch.equal(made[name.format(mine)], weights[name.format(theirs)])
    kept = {entry.name for entry in made.ledger.of("dropped")}
    assert {int(name.split(".")[2]) for name in kept} == set(range(6)) - set(expected)
    assert {entry.detail for entry in made.ledger.of("dropped")} == {"its block is not among those kept"}


@pytest.mark.parametrize(
    ("depth", "problem"),
    [
        ([0, 1], "it names 2 blocks, and the target has 3"),
        ([0, 1, 9], "blocks [9] are not in a source of 6"),
        ([2, 1, 0], "the numbers must increase"),
    ],
)
def test_lists_of_blocks_that_do_not_fit(depth, problem, drawn, larger):
    with pytest.raises(MethodError) as refused:
        scionwood.select(drawn("llama", num_hidden_layers=6), like=larger("llama", num_hidden_layers=3), depth=depth)
    assert problem in str(refused.value)


def test_stages_have_rules_of_their_own(drawn, smaller, blocks_of):
    stages = "convnext.encoder.stages.{}.layers"
    made = scionwood.select(
        drawn("convnext"),
        like=smaller("convnext", depths=[1, 2, 3, 1]),
        depth={stages.format(0): "last", stages.format(2): [0, 2, 3]},
    )
    assert [list(blocks_of(made, stages.format(stage)).values()) for stage in range(4)] == [[1], [0, 1], [0, 2, 3], [0]]


def test_a_list_is_for_the_stacks_that_shrink(drawn, larger, blocks_of):
    made = scionwood.select(drawn("t5"), like=larger("t5", num_decoder_layers=2), depth=[1, 3])
    assert list(blocks_of(made, "decoder.block").values()) == [1, 3]
    assert list(blocks_of(made, "encoder.block").values()) == [0, 1, 2]


def test_a_deeper_target_points_to_growing(drawn, larger):
    with pytest.raises(MatchError) as refused:
        scionwood.select(drawn("llama"), like=larger("llama", num_hidden_layers=5))
    assert "model.layers has 5 blocks in the target, 4 in the source" in str(refused.value)
    assert "grow" in refused.value.hint


def test_blocks_of_another_kind_are_refused(drawn, larger, blocks_of):
    """RecurrentGemma: two recurrent blocks, then one of attention."""
    target = larger("recurrent_gemma", num_hidden_layers=3)
    with pytest.raises(MatchError) as refused:
        scionwood.select(drawn("recurrent_gemma"), like=target, depth="stride")  # 0, 2 and 4
    assert refused.value.problems[0].startswith(
        "model.layers.1 would come from block 2 of the source, which is of another kind (it has no model.layers.2."
    )
    assert "choose the blocks by an explicit list" in str(refused.value)
    made = scionwood.select(drawn("recurrent_gemma"), like=target, depth=[0, 4, 5])
    assert list(blocks_of(made, "model.layers").values()) == [0, 4, 5]


@pytest.mark.parametrize("family", ["gemma3", "qwen3"])
@pytest.mark.parametrize("depth", ["first", "last", [0, 5]], ids=str)
def test_lists_with_an_entry_for_each_layer_follow(family, depth, drawn, blocks_of, loads, tmp_path):
    kinds = ["sliding_attention", "full_attention"] * 2 + ["sliding_attention", "sliding_attention"]
    use = {"use_sliding_window": True} if family == "qwen3" else {}
    source = drawn(family, num_hidden_layers=6, layer_types=kinds, sliding_window=4, **use)
    made = scionwood.select(source, set={"num_hidden_layers": 2}, depth=depth)
    kept = list(blocks_of(made, "model.layers").values())
    assert made.config["layer_types"] == [kinds[block] for block in kept]
    scionwood.write(made, tmp_path / "out")
    assert loads(tmp_path / "out").config.layer_types == [kinds[block] for block in kept]


def test_settings_worked_out_from_others_follow(drawn):
    source = drawn("bert")
    made = scionwood.select(source, set={"hidden_size": 16, "num_attention_heads": 2})
    before = json.loads((source / "config.json").read_text())
    assert made.config == before | {"hidden_size": 16, "num_attention_heads": 2, "dtype": "float32"}
    # A Llama's width of a head is the hidden size by its heads, unless the file says otherwise.
    usual, own = ({"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "head_dim": d} for d in (8, 16))
    assert target_config(usual, None, {"hidden_size": 16}, "first")["head_dim"] == 4
    assert target_config(own, None, {"hidden_size": 16}, "first")["head_dim"] == 16
    assert target_config(usual, None, {"hidden_size": 16, "head_dim": 2}, "first")["head_dim"] == 2


def test_settings_by_their_usual_names(drawn):
    made = scionwood.select(drawn("gpt2"), set={"num_hidden_layers": 1, "hidden_size": 16})
    assert (made.config["n_layer"], made.config["n_embd"]) == (1, 16)
    assert "num_hidden_layers" not in made.config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hiden_size": 16}, "hiden_size (did you mean 'hidden_size'?)"),
        ({"text_config.hidden_size": 16}, "text_config.hidden_size"),
        ({}, "nothing says what the target shall be"),
    ],
)
def test_settings_that_there_are_not(changes, message, drawn):
    with pytest.raises(MethodError) as refused:
        scionwood.select(drawn("bert"), set=changes)
    assert message in str(refused.value)


def test_settings_change_what_like_says(drawn, smaller):
    made = scionwood.select(drawn("bert"), like=smaller("bert"), set={"intermediate_size": 20, "num_hidden_layers": 1})
    assert made.tensors["bert.encoder.layer.0.intermediate.dense.weight"].shape == (20, 16)
    assert not [name for name in made if ".layer.1." in name]
