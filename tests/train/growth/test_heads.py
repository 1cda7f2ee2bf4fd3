"""Heads that grow under masks: grouped queries alone, fused projections side by side and woven; what cannot be served is said."""

import functools

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from scionwood.errors import MethodError
from scionwood.train.growth.heads import old_heads
from scionwood.train.growth.masks import MaskedGrowth, carry_state, place

VOCABULARY, WIDTH, HEAD = 64, 32, 8
TOKENS = torch.randint(0, VOCABULARY, (2, 11), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def llama(heads, kv_heads, head=HEAD, inner=48, attention="eager"):
    sizes = {
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head,
        "intermediate_size": inner,
    }
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=48,  # heads must divide it
            num_hidden_layers=2,
            max_position_embeddings=32,
            attn_implementation=attention,
            **sizes,
        )
    )


def gpt2(heads):
    """A GPT-2 whose heads have a size of their own; its class takes width / heads."""
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=WIDTH, n_layer=2, n_head=WIDTH // HEAD, **ends)
    )
    for block in model.transformer.h:
        block.attn.num_heads, block.attn.split_size = heads, heads * HEAD
        block.attn.c_attn, block.attn.c_proj = Conv1D(3 * heads * HEAD, WIDTH), Conv1D(WIDTH, heads * HEAD)
    return model


def neox(heads):
    """A GPT-NeoX whose heads have a size of their own."""
    model = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=48,
            num_attention_heads=WIDTH // HEAD,
            num_hidden_layers=2,
            max_position_embeddings=32,
        )
    )
    for layer in model.gpt_neox.layers:
        attention = layer.attention
        attention.query_key_value = nn.Linear(WIDTH, 3 * heads * HEAD)
        attention.dense = nn.Linear(heads * HEAD, WIDTH)
    return model


SDPA = functools.partial(llama, attention="sdpa")
CASES = {
    "grouped queries alone": (llama, (4, 2), (8, 2)),
    "grouped queries alone, not fourfold": (SDPA, (4, 2), (6, 2)),
    "grouped queries where there was one for each": (llama, (2, 2), (6, 2)),
    "queries on one key": (SDPA, (2, 1), (6, 1)),
    "keys and queries": (llama, (4, 2), (6, 3)),
    "keys, and more queries for each": (llama, (4, 2), (12, 4)),
    "fused side by side": (gpt2, (4,), (7,)),
    "fused and woven": (neox, (4,), (7,)),
}


def grown(case, steps=4):
    make, before, after = CASES[case]
    small, large = make(*before).eval(), make(*after).eval()
    for weight in small.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    for weight in large.parameters():
        nn.init.normal_(weight)
    heads = old_heads(small, large, {"input_ids": TOKENS})
    place(small.state_dict(), large, where=heads.where)
    return small, large, heads, MaskedGrowth(large, channels=heads.channels, inputs=heads.inputs, steps=steps)


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits


@pytest.mark.parametrize("case", CASES)
def test_at_nought_new_heads_change_nothing_whatever_they_hold(case):
    small, large, _, growth = grown(case)
    before = logits(small)
    torch.testing.assert_close(logits(large), before, atol=1e-5, rtol=1e-5)
    growth.step()
    assert (logits(large) - before).abs().max() > 1e-2
    growth._done = 4  # the masks are on, and are ones
    growth._masks = {}
    masked = logits(large)
    growth.remove()
    torch.testing.assert_close(masked, logits(large), atol=1e-5, rtol=1e-5)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in large.modules())


def test_what_is_masked_and_where_old_heads_stand():
    _, _, heads, _ = grown("grouped queries alone")
    assert not heads.channels
    assert set(heads.inputs) == {f"model.layers.{layer}.self_attn.o_proj" for layer in (0, 1)}
    old = [*range(16), *range(32, 48)]  # two of the four queries of each group
    assert heads.inputs["model.layers.0.self_attn.o_proj"].tolist() == old
    assert heads.where["model.layers.0.self_attn.q_proj.weight"][0].tolist() == old
    assert "model.layers.0.self_attn.k_proj.weight" not in heads.where
    _, _, heads, _ = grown("fused side by side")
    assert set(heads.channels) == {f"transformer.h.{layer}.attn.c_attn" for layer in (0, 1)}
    assert heads.channels["transformer.h.0.attn.c_attn"].tolist() == [
        part * 56 + channel for part in range(3) for channel in range(32)
    ]
    _, _, heads, _ = grown("fused and woven")
    assert heads.channels["gpt_neox.layers.0.attention.query_key_value"].tolist() == list(range(96))


def test_without_the_mask_or_in_the_corner_the_function_is_another():
    small, large, heads, growth = grown("grouped queries alone")
    growth.remove()
    assert (logits(large) - logits(small)).abs().max() > 1e-2
    for weight in large.parameters():
        nn.init.normal_(weight)
    place(small.state_dict(), large)
    corner = torch.arange(32)
    MaskedGrowth(large, inputs=dict.fromkeys(heads.inputs, corner))
    assert (logits(large) - logits(small)).abs().max() > 1e-2


def test_moments_go_where_the_weights_went():
    small, large, heads, _ = grown("fused side by side")
    first, second = (torch.optim.AdamW(model.parameters()) for model in (small, large))
    small(TOKENS, labels=TOKENS).loss.backward()
    first.step()
    new = dict(large.named_parameters())
    carry_state(
        first, second, ((weight, new[name], heads.where.get(name)) for name, weight in small.named_parameters())
    )
    name = "transformer.h.0.attn.c_attn.weight"
    held, old = second.state[new[name]]["exp_avg"], first.state[small.get_parameter(name)]["exp_avg"]
    rows, columns = heads.where[name]
    assert torch.equal(held[rows][:, columns], old)
    assert held.count_nonzero() == old.count_nonzero()


def test_the_mode_of_the_models_stays():
    small, large = llama(4, 2).train(), llama(8, 2).train()
    old_heads(small, large, {"input_ids": TOKENS})
    assert small.training
    assert large.model.layers[0].training


class Own(nn.Module):
    """An attention whose projections are used by the module around them, and whose heads may have one norm."""

    def __init__(self, heads, *, functional, normed):
        super().__init__()
        self.functional = functional
        self.query, self.key, self.value = (nn.Linear(8, heads * 4) for _ in range(3))
        self.out = nn.Linear(heads * 4, 8)
        self.norm = nn.RMSNorm(heads * 4) if normed else nn.Identity()

    def forward(self, x):
        query = torch.tanh(x @ self.query.weight.T + self.query.bias) if self.functional else self.query(x)
        sides = [side.unflatten(-1, (-1, 4)).transpose(1, 2) for side in (self.norm(query), self.key(x), self.value(x))]
        return self.out(nn.functional.scaled_dot_product_attention(*sides).transpose(1, 2).flatten(2))


def test_what_cannot_be_kept_is_said():
    tokens = {"input_ids": TOKENS}
    with pytest.raises(MethodError, match="these models do not differ in heads alone") as caught:
        old_heads(llama(4, 2), llama(8, 2, inner=64), tokens)
    assert any("48 to 64 are no heads: one dimension grows at a time" in problem for problem in caught.value.problems)
    with pytest.raises(MethodError, match="these models do not differ in heads alone") as caught:
        old_heads(llama(4, 2), llama(4, 2, head=16), tokens)
    assert any("4 to 8, and it is positional" in problem for problem in caught.value.problems)
    x = torch.randn(1, 5, 8)
    with pytest.raises(MethodError, match="masks on modules do not keep") as caught:
        old_heads(*(Own(heads, functional=False, normed=True) for heads in (2, 3)), x)
    assert caught.value.problems == (
        "norm.weight: a gain that has more heads, and is no projection of an attention that is known",
    )
    with pytest.raises(MethodError, match="masks on modules do not keep") as caught:
        old_heads(*(Own(heads, functional=True, normed=False) for heads in (2, 3)), x)
    assert caught.value.problems == ("query.weight: what query calls its output is not that of this weight alone",)
