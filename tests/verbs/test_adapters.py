"""Adapters: put on their model as PEFT puts them, and merged as the differences they make."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from scionwood.checkpoint import Checkpoint, digest, write
from scionwood.checkpoint import open as open_checkpoint
from scionwood.errors import MatchError, MethodError, SourceError
from scionwood.verbs.adapter import apply_adapter
from scionwood.verbs.merge import merge

peft = pytest.importorskip("peft")

TOKENS = torch.arange(12).reshape(2, 6)


def llama(*, tied=False):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        attention_bias=True,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def gpt2():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=16)).eval()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3)
        self.point = nn.Conv2d(4, 5, 1)
        self.line = nn.Conv1d(6, 4, 3)
        self.embedding = nn.Embedding(9, 6)

    def forward(self, x):
        return self.point(self.conv(x))


def adapted(model, folder, seed, **settings):
    """An adapter with drawn factors, saved by PEFT; and the model with it, by PEFT."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = peft.get_peft_model(model, peft.LoraConfig(**settings)).eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for _, parameter in sorted(made.named_parameters()):
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        made.save_pretrained(folder)
    return made


VARIANTS = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "patterns": {"rank_pattern": {"down_proj": 2, "layers.0.self_attn.q_proj": 3}, "alpha_pattern": {"q_proj": 1}},
    "dora": {"use_dora": True},
    "dora of the embedding": {"use_dora": True, "target_modules": ["embed_tokens"]},
    "all biases": {"bias": "all"},
    "own biases": {"bias": "lora_only"},
    "bias of the factor": {"lora_bias": True, "target_modules": ["q_proj", "o_proj"]},
    "saved whole": {"modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_adapter_is_put_on_as_peft_does(tmp_path, variant):
    model = llama()
    base = open_checkpoint({name: tensor.clone() for name, tensor in model.state_dict().items()})
    expected = adapted(model, tmp_path / "adapter", 1, **VARIANTS[variant]).merge_and_unload().state_dict()
    made = apply_adapter(base, tmp_path / "adapter")
    assert set(made) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(made[name], tensor, rtol=1e-6, atol=1e-6, msg=name)
    assert any(not torch.equal(made[name], base[name]) for name in base)


@pytest.mark.parametrize("dora", [False, True])
def test_layers_with_inputs_first(tmp_path, dora):
    model = gpt2()
    base = open_checkpoint({name: tensor.clone() for name, tensor in model.state_dict().items()})
    settings = {"target_modules": ["c_attn"], "fan_in_fan_out": True, "use_dora": dora}
    expected = adapted(model, tmp_path / "adapter", 1, **settings).merge_and_unload().state_dict()
    made = apply_adapter(base, tmp_path / "adapter")
    for name in expected:
        torch.testing.assert_close(made[name], expected[name], rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("dora", [False, True])
def test_convolutions(tmp_path, dora):
    model = Net()
    base = open_checkpoint({name: tensor.clone() for name, tensor in model.state_dict().items()})
    settings = {"target_modules": ["conv", "point", "line"], "use_dora": dora}
    expected = adapted(model, tmp_path / "adapter", 1, **settings).merge_and_unload().state_dict()
    made = apply_adapter(base, tmp_path / "adapter")
    for name in expected:
        torch.testing.assert_close(made[name], expected[name], rtol=1e-6, atol=1e-6, msg=name)
