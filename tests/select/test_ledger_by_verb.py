"""The ledger accounts for every tensor of both models, truly; the recipe is enough to run again."""

import json

import pytest
import torch
from torch import nn

import scionwood

FAMILIES = ["bert", "llama", "convnext", "mixtral", "deepseek", "t5", "resnet", "albert", "phi3"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_accounted_for(family, drawn, smaller):
    source = scionwood.open(drawn(family))
    made = scionwood.select(drawn(family), like=smaller(family))
    mine = [entry for entry in made.ledger if entry.action != "dropped"]
    assert [entry.name for entry in mine] == list(made.tensors)
    assert {entry.action for entry in mine} <= {"selected", "copied", "fresh"}
    used = {name for entry in mine if entry.source for name in entry.source.split(", ")}
    dropped = {entry.name for entry in made.ledger.of("dropped")}
    assert used | dropped == set(source.tensors)
    assert not used & dropped
    for entry in made.ledger:
        held = source.tensors[entry.name] if entry.action == "dropped" else made.tensors[entry.name]
        assert entry.parameters == held.num_elements
        assert bool(entry.detail) == (entry.action != "copied")
        assert (entry.source is None) == (entry.action == "fresh")
        if entry.action == "copied":
            assert torch.equal(made[entry.name], source[entry.source])
    assert json.loads(json.dumps(made.ledger.to_json())) == made.ledger.to_json()


def detail(made, name):
    return next(entry.detail for entry in made.ledger if entry.name == name and entry.action != "dropped")


def test_the_ledger_says_where_the_rule_goes_axis_by_axis(drawn, smaller):
    made = scionwood.select(drawn("llama"), like=smaller("llama"))
    block = "model.layers.1.self_attn."
    assert detail(made, f"{block}q_proj.weight") == "32 of 64 (axis by axis: qk_dim is positional), 16 of 32"
    shares = "axis by axis: it shares kv_heads and group with a dimension whose qk_dim is positional"
    assert detail(made, f"{block}o_proj.weight") == f"16 of 32, 32 of 64 ({shares})"
    plain = scionwood.select(drawn("bert"), like=smaller("bert"))
    assert detail(plain, "bert.encoder.layer.0.attention.self.query.weight") == "16 of 32, 16 of 32"
    latent = scionwood.select(drawn("deepseek"), like=smaller("deepseek"))
    reason = "axis by axis: heads occurs around parts"
    assert detail(latent, f"{block}kv_b_proj.weight") == f"32 of 64 ({reason}), 4 of 8"


def test_what_is_dropped_says_why(drawn, smaller):
    made = scionwood.select(drawn("mixtral"), like=smaller("mixtral"))
    reasons = {entry.name: entry.detail for entry in made.ledger.of("dropped")}
    assert reasons["model.layers.0.block_sparse_moe.experts.1.w1.weight"] == "not among the experts chosen"
    assert reasons["model.layers.3.block_sparse_moe.experts.0.w1.weight"] == "its block is not among those kept"
    biased = scionwood.select(drawn("llama", attention_bias=True), like=smaller("llama", attention_bias=False))
    reasons = {entry.name: entry.detail for entry in biased.ledger.of("dropped")}
    assert reasons["model.layers.0.self_attn.q_proj.bias"] == "the target has no such tensor"
    assert reasons["model.layers.3.self_attn.q_proj.bias"] == "its block is not among those kept"
    stages = scionwood.select(drawn("convnext"), like=smaller("convnext"))
    reasons = {entry.name: entry.detail for entry in stages.ledger.of("dropped")}
    assert set(reasons.values()) == {"its block is not among those kept"}
    assert {name.split(".")[3] for name in reasons} == {"1", "2", "3"}  # stage 0 keeps all of its blocks


def test_the_summary_folds_blocks_and_experts(drawn, smaller):
    lines = scionwood.select(drawn("mixtral"), like=smaller("mixtral")).ledger.summary(lines_per_action=99)
    experts = "model.layers.{0-1}.block_sparse_moe.experts"
    assert f"  {experts}.{{0-1}}.w2.weight  from {experts}.{{0,2}}.w2.weight: 16 of 32, 24 of 48" in lines
    assert f"  {experts}.{{1,3}}.w2.weight: not among the experts chosen" in lines
    assert len(lines) < 40


def test_a_recipe_runs_again(drawn, smaller, same, tmp_path):
    """What the lineage of the written folder says is enough to make the same weights."""
    asked = {"method": "random", "depth": "last", "head": "fresh", "rescale": "variance", "seed": 5}
    made = scionwood.select(drawn("bert"), like=smaller("bert"), set={"intermediate_size": 20}, **asked)
    scionwood.write(made, tmp_path / "out")
    lineage = scionwood.lineage(tmp_path / "out")
    recipe = dict(lineage.recipe)
    assert recipe.pop("verb") == "select"
    assert lineage.parents[0].digest == scionwood.digest(drawn("bert"))
    assert lineage.seed == 5
    assert {"scionwood", "torch", "transformers"} <= set(lineage.versions)
    again = scionwood.select(recipe.pop("source"), seed=lineage.seed, **recipe)
    assert same(made, again)


def test_a_recipe_tells_the_target_by_its_name(drawn, smaller, tmp_path):
    smaller("bert").save_pretrained(tmp_path / "like")
    named = scionwood.select(drawn("bert"), like=tmp_path / "like")
    assert named.lineage.recipe["like"] == str(tmp_path / "like")
    given = scionwood.select(drawn("bert"), like=smaller("bert"))
    assert given.lineage.recipe["like"]["hidden_size"] == 16
    opened = scionwood.select(drawn("bert"), like=named)
    assert opened.lineage.recipe["like"] == named.source
    modules = [nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3)) for width in (8, 4)]
    plain = scionwood.select(modules[0], like=modules[1], inputs=torch.zeros(1, 4))
    assert plain.lineage.recipe["like"] == "Sequential"
    assert plain.config is None


def test_side_files_travel(drawn, smaller, tmp_path):
    import shutil

    shutil.copytree(drawn("bert"), tmp_path / "source")
    (tmp_path / "source" / "tokenizer.json").write_text("{}")
    made = scionwood.select(tmp_path / "source", like=smaller("bert"))
    scionwood.write(made, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"
