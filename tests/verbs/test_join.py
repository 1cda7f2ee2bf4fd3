"""Joined models: parts of several, complete, with a config that counts their layers."""

import pytest
import torch

from scionwood.checkpoint import open as open_checkpoint
from scionwood.checkpoint import write
from scionwood.errors import MatchError, MethodError
from scionwood.verbs.join import join
from scionwood.verbs.merge import merge
from scionwood.verbs.stack import stack

transformers = pytest.importorskip("transformers")


def save(folder, seed, *, width=16, kind="T5", encoder=3, decoder=3):
    torch.manual_seed(seed)
    if kind == "T5":
        config = transformers.T5Config(
            vocab_size=40, d_model=width, d_kv=4, d_ff=24, num_layers=encoder, num_decoder_layers=decoder, num_heads=4
        )
    else:
        config = transformers.BartConfig(
            vocab_size=40,
            d_model=width,
            encoder_layers=encoder,
            decoder_layers=decoder,
            encoder_ffn_dim=24,
            decoder_ffn_dim=24,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            max_position_embeddings=32,
        )
    config.decoder_start_token_id = 0
    getattr(transformers, f"{kind}ForConditionalGeneration")(config).save_pretrained(folder)
    return folder


def outputs(folder):
    model, info = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, output_loading_info=True)
    assert not [kind for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]]
    tokens = torch.arange(10)[None]
    with torch.no_grad():
        made = model.eval()(input_ids=tokens, decoder_input_ids=tokens)
    return made.logits, made.encoder_last_hidden_state


def test_an_encoder_of_one_and_a_decoder_of_another(tmp_path):
    one, other = save(tmp_path / "a", 1), save(tmp_path / "b", 2)
    made = join([one, other], tensors=[["encoder.*", "shared.*"], None])
    a, b = open_checkpoint(one), open_checkpoint(other)
    for name in made.tensors:
        assert torch.equal(made[name], (a if name.startswith(("encoder.", "shared.")) else b)[name])
    assert list(made.tensors) == list(a.tensors)
    assert {entry.action for entry in made.ledger or ()} == {"joined"}
    assert torch.equal(outputs(write(made, tmp_path / "out"))[1], outputs(one)[1])


@pytest.mark.parametrize("kind", ["T5", "Bart"])
def test_each_list_of_layers_is_counted_where_the_config_counts_it(kind, tmp_path):
    source = save(tmp_path / "a", 1, kind=kind)
    stacks = [
        stack([source, source], layers=[(0, 3), (start, 3)], within=f"*{side}.*")
        for side, start in (("encoder", 2), ("decoder", 1))
    ]
    patterns = "*encoder.*"
    made = join(stacks, tensors=[[patterns], None])
    assert made.config is not None
    keys = {"T5": ("num_layers", "num_decoder_layers"), "Bart": ("encoder_layers", "decoder_layers")}[kind]
    assert [made.config[key] for key in keys] == [4, 5]
    original = open_checkpoint(source)
    where = {"T5": "decoder.block.{}.layer.0.layer_norm.weight", "Bart": "model.decoder.layers.{}.fc1.weight"}[kind]
    for new, old in enumerate((0, 1, 2, 1, 2)):
        assert torch.equal(made[where.format(new)], original[where.format(old)])
    assert outputs(write(made, tmp_path / "out"))[0].isfinite().all()


def test_layers_that_the_giver_lacks_are_left_out_and_said(tmp_path):
    source = save(tmp_path / "a", 1)
    made = join([source, stack([source], layers=[(0, 2)], within="decoder.*")], tensors=["[!d]*", None])
    assert made.config is not None
    assert (made.config["num_layers"], made.config["num_decoder_layers"]) == (3, 2)
    dropped = [entry for entry in made.ledger or () if entry.action == "dropped"]
    assert dropped
    assert all(entry.name.startswith("decoder.block.2.") for entry in dropped)
    assert outputs(write(made, tmp_path / "out"))[0].isfinite().all()


def test_its_lineage_is_a_recipe(tmp_path):
    from scionwood.recipe.read import parse_recipe
    from scionwood.recipe.run import make

    one, other = save(tmp_path / "a", 1), save(tmp_path / "b", 2)
    made = join([merge([one, other]), other], tensors=["encoder.*", None])
    assert made.lineage is not None
    again = make(parse_recipe(made.lineage.recipe)).checkpoint
    assert all(torch.equal(again[name], made[name]) for name in made.tensors)


def test_what_makes_no_model_is_refused_all_at_once(tmp_path):
    one, other = save(tmp_path / "a", 1), save(tmp_path / "b", 2)
    with pytest.raises(MethodError) as caught:
        join([one, other], tensors=["encoder.*", "decodr.*"])
    problems = caught.value.problems
    assert problems[0] == f"{other} gives nothing as decodr.*"
    assert f"no part gives decoder.block.{{0-2}}.layer.0.SelfAttention.q.weight: of {one}" in problems
    assert f"no part gives shared.weight: of {one}" in problems
    with pytest.raises(MethodError, match="There are 1 models to join, and 2 lists of patterns"):
        join([one], tensors=["*", "*"])
    wide = save(tmp_path / "wide", 1, width=32)
    with pytest.raises(MatchError, match="different sizes") as mismatch:
        join([one, wide], tensors=["encoder.*", None])
    assert any(problem.startswith("shared.weight: [40, 16] in ") for problem in mismatch.value.problems)
