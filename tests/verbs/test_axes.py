"""What axes are called where shapes do not fit."""

from scionwood.checkpoint import Checkpoint
from scionwood.verbs.axes import named_axes

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "vocab_size": 50,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def test_axes_are_named_from_the_config_alone():
    found = named_axes(Checkpoint({}, config=LLAMA, source="llama"))
    assert found["model.embed_tokens.weight"] == "vocab x hidden"
    assert found["model.layers.0.mlp.up_proj.weight"] == "inner x hidden"
    assert found["model.layers.0.self_attn.v_proj.weight"] == "kv_heads·v_dim x hidden"


def test_what_cannot_be_built_has_no_names():
    assert named_axes(Checkpoint({}, config={"model_type": "no such family"}, source="x")) == {}
    assert named_axes(Checkpoint({}, config=LLAMA | {"num_attention_heads": 5}, source="x")) == {}
    assert named_axes(Checkpoint({}, source="x")) == {}
