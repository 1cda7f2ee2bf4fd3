"""Heads, groups, rotary halves, slopes, latent attention, tables of positions, experts: what must stay together stays together."""

import pytest
import torch
from torch import nn
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

import scionwood
from scionwood.errors import MatchError

EVERY_SECOND = list(range(0, 32, 2))


def rows_of(made, source, places, name):
    return places(made[name], source[name].shape)[0].tolist()


def test_grouped_queries_stay_with_their_keys(drawn, smaller, tmp_path):
    """Silencing a key head of the student silences just what silencing its origin does in the source's own groups."""
    for method in ("uniform", "consecutive", "random", "magnitude", "whole_heads"):
        made = scionwood.select(drawn("llama"), like=smaller("llama"), method=method)
        source = scionwood.open(drawn("llama"))
        for layer in (0, 1):
            block = f"model.layers.{layer}.self_attn."
            # Columns differ, so find the rows by what they share: the columns of the residual stream that were chosen.
            columns = find(
                made["model.norm.weight"], made["model.embed_tokens.weight"], source["model.embed_tokens.weight"]
            )
            keys = find_rows(made[f"{block}k_proj.weight"], source[f"{block}k_proj.weight"][:, columns])
            queries = find_rows(made[f"{block}q_proj.weight"], source[f"{block}q_proj.weight"][:, columns])
            key_heads = [row // 8 for row in keys[::8]]
            query_heads = [row // 8 for row in queries[::8]]
            assert [head // 2 for head in query_heads] == [head for head in key_heads for _ in range(2)], method


def find(_, table, source):
    """The columns of a table in its source."""
    return find_rows(table.T, source.T)


def find_rows(rows, source):
    return [int((source == row).all(1).nonzero().item()) for row in rows]


def test_one_key_head_left(numbered, smaller, places):
    """Groups of two queries become one group; where one key head is left, its axis is gone from the target."""
    source = scionwood.open(numbered("llama"))
    made = scionwood.select(numbered("llama"), like=smaller("llama", num_attention_heads=2, num_key_value_heads=1))
    assert rows_of(made, source, places, "model.layers.0.self_attn.k_proj.weight") == list(range(8))
    assert rows_of(made, source, places, "model.layers.0.self_attn.q_proj.weight") == list(range(16))
    source = scionwood.open(numbered("phi3"))
    made = scionwood.select(numbered("phi3"), like=smaller("phi3"))  # 4 queries on 2 keys to 2 queries on 1 key
    expected = [*range(16), *range(32, 40), *range(48, 56)]
    assert rows_of(made, source, places, "model.layers.0.self_attn.qkv_proj.weight") == expected


def test_one_query_for_each_key(numbered, smaller, places):
    source = scionwood.open(numbered("llama"))
    made = scionwood.select(numbered("llama"), like=smaller("llama", num_attention_heads=4, num_key_value_heads=4))
    queries = rows_of(made, source, places, "model.layers.0.self_attn.q_proj.weight")
    assert [row // 8 for row in queries[::8]] == [0, 2, 4, 6]
    assert rows_of(made, source, places, "model.layers.0.self_attn.k_proj.weight") == list(range(32))


def test_fused_projections_part_by_part(numbered, smaller, places):
    source = scionwood.open(numbered("gpt2"))
    made = scionwood.select(numbered("gpt2"), like=smaller("gpt2"), method="consecutive")
    name = "transformer.h.0.attn.c_attn.weight"  # (in, out): GPT-2 stores its projections transposed
    rows, columns = places(made[name], source[name].shape)
    assert rows.tolist() == list(range(16))
    assert columns.tolist() == [32 * part + each for part in range(3) for each in range(16)]
    source = scionwood.open(numbered("phi3"))
    made = scionwood.select(numbered("phi3"), like=smaller("phi3"))
    gates_and_ups = [48 * part + each for part in range(2) for each in range(0, 48, 2)]
    assert rows_of(made, source, places, "model.layers.1.mlp.gate_up_proj.weight") == gates_and_ups


def test_bloom_keeps_query_key_and_value_inside_each_head(numbered, smaller, places):
    source = scionwood.open(numbered("bloom"))
    made = scionwood.select(numbered("bloom"), like=smaller("bloom"))
    rows = rows_of(made, source, places, "transformer.h.0.self_attention.query_key_value.weight")
    # 8 heads to 4, each of 3 parts of 4: the width of a head stays.
    assert [row // 12 for row in rows[::12]] in ([0, 2, 4, 6], [1, 3, 5, 7])
    assert [row % 12 for row in rows] == list(range(12)) * 4


def test_slopes_stay_with_their_heads(numbered, smaller, places):
    """A head's slope is 2^(-8 (h + 1) / H): of 8 heads, 1, 3, 5 and 7 have the slopes that a model of 4 gives its heads."""
    slopes = {heads: build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1] for heads in (8, 4)}
    source = scionwood.open(numbered("bloom"))
    made = scionwood.select(numbered("bloom"), like=smaller("bloom"))
    rows = rows_of(made, source, places, "transformer.h.0.self_attention.query_key_value.weight")
    heads = [row // 12 for row in rows[::12]]
    assert torch.equal(slopes[8][heads], slopes[4])
    dense = places(made["transformer.h.0.self_attention.dense.weight"], (32, 32))[1].tolist()
    assert [column // 4 for column in dense[::4]] == heads
    source = scionwood.open(numbered("mpt"))
    made = scionwood.select(numbered("mpt"), like=smaller("mpt"))
    rows = rows_of(made, source, places, "transformer.blocks.0.attn.Wqkv.weight")
    assert [row // 4 for row in rows[::4]] == [8 * part + head for part in range(3) for head in heads]
    entry = next(entry for entry in made.ledger if entry.name == "transformer.blocks.0.attn.Wqkv.weight")
    assert "keeps its constants" in entry.detail


@pytest.mark.parametrize("method", ["uniform", "consecutive", "random", "magnitude"])
def test_rotary_halves_keep_their_frequencies(method, numbered, larger, smaller, model_of, places):
    """The student's cosines are the source's at the chosen indices, for queries and keys alike."""
    sizes = {"head_dim": 4}
    made = scionwood.select(numbered("llama"), like=smaller("llama", **sizes), method=method)
    source = scionwood.open(numbered("llama"))
    tables = []
    for config in (larger("llama"), smaller("llama", **sizes)):
        rotary = model_of(config).model.rotary_emb
        tables.append(rotary(torch.zeros(1, 1), torch.arange(9)[None])[0][0])
    rows = rows_of(made, source, places, "model.layers.0.self_attn.k_proj.weight")
    for head in range(2):
        own = [row % 8 for row in rows[4 * head : 4 * head + 4]]
        torch.testing.assert_close(tables[0][:, own], tables[1])
        assert [own[0] + 4, own[1] + 4] == own[2:]  # the halves that rotate together are chosen together
    detail = next(e.detail for e in made.ledger if e.name == "model.layers.0.self_attn.k_proj.weight")
    assert "qk_dim keeps its constants: every 2nd index" in detail


@pytest.mark.parametrize("head_dim", [6, 2])
def test_rotary_sizes_that_do_not_divide_are_refused(head_dim, drawn, smaller):
    with pytest.raises(MatchError) as refused:
        scionwood.select(drawn("llama"), like=smaller("llama", head_dim=head_dim))
    message = str(refused.value)
    assert "model.layers.0.self_attn.q_proj.weight, dimension 0" in message
    assert f"qk_dim is positional and cannot go from 4 to {head_dim // 2} indices" in message
    assert ("3 does not divide 4" if head_dim == 6 else "the one that is left") in message


def test_another_rotary_base_is_refused(drawn, smaller):
    rope = {"rope_type": "default", "rope_theta": 500.0}
    with pytest.raises(MatchError, match="the target's constants are not every 2nd of the source's"):
        scionwood.select(drawn("llama"), like=smaller("llama", head_dim=4, rope_parameters=rope))


def test_latent_attention(numbered, smaller, places):
    source = scionwood.open(numbered("deepseek"))
    made = scionwood.select(numbered("deepseek"), like=smaller("deepseek"))
    block = "model.layers.1.self_attn."
    # Four heads to two, each of 8 plain and 4 rotated channels.
    queries = rows_of(made, source, places, f"{block}q_b_proj.weight")
    assert queries == [12 * head + each for head in (0, 2) for each in range(12)]
    both = rows_of(made, source, places, f"{block}kv_b_proj.weight")
    assert both == [16 * head + each for head in (0, 2) for each in range(16)]
    latent = places(made[f"{block}kv_b_proj.weight"], source[f"{block}kv_b_proj.weight"].shape)[1].tolist()
    compressed = rows_of(made, source, places, f"{block}kv_a_proj_with_mqa.weight")
    assert compressed == [*latent, 8, 9, 10, 11]  # the rotated key beside the latent stays as it is
    assert rows_of(made, source, places, f"{block}kv_a_layernorm.weight") == latent
    out = places(made[f"{block}o_proj.weight"], source[f"{block}o_proj.weight"].shape)[1].tolist()
    assert out == [8 * head + each for head in (0, 2) for each in range(8)]


def test_experts_go_with_their_router_rows(numbered, smaller, places):
    for family, experts, router in (
        ("mixtral", "block_sparse_moe.experts.{}.w1.weight", "block_sparse_moe.gate.weight"),
        ("qwen3_moe", "mlp.experts.{}.gate_proj.weight", "mlp.gate.weight"),
        ("deepseek", "mlp.experts.{}.gate_proj.weight", "mlp.gate.weight"),
    ):
        for method in ("uniform", "random"):
            made = scionwood.select(numbered(family), like=smaller(family), method=method)
            source = scionwood.open(numbered(family))
            entries = {entry.name: entry.source for entry in made.ledger if entry.action != "dropped"}
            rows = rows_of(made, source, places, f"model.layers.1.{router}")
            for mine, theirs in enumerate(rows):
                name = f"model.layers.1.{experts.format(mine)}"
                assert entries[name] == f"model.layers.1.{experts.format(theirs)}"
            if family == "deepseek":
                bias = "model.layers.1.mlp.gate.e_score_correction_bias"
                assert rows_of(made, source, places, bias) == rows


def test_positions_are_the_first(numbered, smaller, places):
    source = scionwood.open(numbered("gpt2"))
    made = scionwood.select(numbered("gpt2"), like=smaller("gpt2"))
    assert rows_of(made, source, places, "transformer.wpe.weight") == list(range(16))  # of 32
    entry = next(entry for entry in made.ledger if entry.name == "transformer.wpe.weight")
    assert entry.detail == "16 of 32 (the first: each keeps its meaning), 16 of 32"


def test_relative_biases_follow_their_heads(numbered, smaller, places):
    made = scionwood.select(numbered("t5"), like=smaller("t5"), method="random")
    source = scionwood.open(numbered("t5"))
    for stack, layer in (("encoder", 0), ("decoder", 0)):
        block = f"{stack}.block.{layer}.layer.0.SelfAttention."
        buckets, heads = places(
            made[f"{block}relative_attention_bias.weight"], source[f"{block}relative_attention_bias.weight"].shape
        )
        assert buckets.tolist() == list(range(32))
        rows = rows_of(made, source, places, f"{block}q.weight")
        assert [row // 8 for row in rows[::8]] == heads.tolist()
        # The bias of the first block is added in every block, so their heads are one axis.
        again = rows_of(made, source, places, f"{stack}.block.1.layer.0.SelfAttention.q.weight")
        assert again == rows


def test_shared_layers_are_written_once(numbered, smaller, places, loads, tmp_path):
    made = scionwood.select(numbered("albert"), like=smaller("albert"))
    assert [entry for entry in made.ledger if entry.action != "selected"] == []
    source = scionwood.open(numbered("albert"))
    name = "encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"
    rows, columns = places(made[name], source[name].shape)
    assert (rows.tolist(), columns.tolist()) == (list(range(0, 48, 2)), EVERY_SECOND)
    scionwood.write(made, tmp_path / "out")
    assert loads(tmp_path / "out").config.num_hidden_layers == 2


@pytest.mark.parametrize("family", ["gpt2", "t5", "recurrent_gemma"])
def test_tied_embeddings_stay_tied(family, drawn, smaller, loads, tmp_path):
    made = scionwood.select(drawn(family), like=smaller(family))
    assert "lm_head.weight" in made.ties
    scionwood.write(made, tmp_path / "out")
    model = loads(tmp_path / "out")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_statistics_follow_their_channels(larger, smaller, model_of, number, places, loads, tmp_path):
    teacher = number(model_of(larger("resnet")))
    for name, buffer in teacher.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.fill_(len(name))
    stage = "resnet.encoder.stages.1.layers"
    made = scionwood.select(teacher, like=smaller("resnet"), method="random", depth={stage: [0, 2]})
    scionwood.write(made, tmp_path / "out")
    student, source = loads(tmp_path / "out").state_dict(), teacher.state_dict()
    norms = [name.removesuffix(".weight") for name in student if name.endswith("normalization.weight")]
    assert len(norms) > 8
    origin = {entry.name: entry.source for entry in made.ledger if entry.action != "dropped"}
    assert origin[f"{stage}.1.layer.0.normalization.weight"] == f"{stage}.2.layer.0.normalization.weight"
    for norm in norms:
        (channels,) = places(student[f"{norm}.weight"], source[origin[f"{norm}.weight"]].shape)
        for statistic in ("bias", "running_mean", "running_var"):
            name = f"{norm}.{statistic}"
            assert torch.equal(student[name], source[origin[name]][channels])
        counter = f"{norm}.num_batches_tracked"
        assert origin[counter].rpartition(".")[0] == origin[f"{norm}.weight"].rpartition(".")[0]
        assert torch.equal(student[counter], source[origin[counter]])
        kernel = f"{norm.removesuffix('normalization')}convolution.weight"
        assert torch.equal(places(student[kernel], source[origin[kernel]].shape)[0], channels)


class Scaled(nn.Module):
    """Attention with one gain for each head, and a layer called head inside it."""

    def __init__(self, width, heads, classes):
        super().__init__()
        self.heads = heads
        self.embed = nn.Linear(6, width)
        self.attn = nn.ModuleDict({"head": nn.Linear(width, width)})
        self.head_scale = nn.Parameter(torch.randn(heads, 1))
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.embed(x)
        values = self.attn["head"](x).unflatten(-1, (self.heads, -1)) * self.head_scale
        return self.head(x + values.flatten(-2))


def test_what_is_only_called_a_head_is_selected():
    torch.manual_seed(0)
    teacher, student = Scaled(16, 4, 9), Scaled(8, 2, 5)
    made = scionwood.select(teacher, like=student, inputs=torch.zeros(2, 6))
    assert {entry.name for entry in made.ledger.of("fresh")} == {"head.weight", "head.bias"}
    assert torch.equal(made["head_scale"], teacher.head_scale[::2])
    # The residual stream is added to heads x width, so it is chosen as heads are: 0 and 2, whole.
    kept = [0, 1, 2, 3, 8, 9, 10, 11]
    assert torch.equal(made["attn.head.weight"], teacher.attn["head"].weight[kept][:, kept])
