"""A grown model computes what its source computes, wherever the ledger says so; and the ledger says nothing else."""

import pytest
import torch
from tests.architectures.zoo import LISTED
from tests.grow.preservation import grown
from tests.grow.zoo import DOUBLED, WIDER

from scionwood.errors import MethodError

QUICK = {
    "Llama": ("all",),
    "GPT-2": ("head width",),
    "BERT": ("all",),
    "ConvNeXt": ("all",),
    "GPT-NeoX": ("head width",),
    "Mixtral": ("experts", "experts alone"),
    "Falcon (ALiBi)": ("head width",),
}
CONSTANTS = {
    *((family, "head width") for family in ("Llama", "Qwen3", "GPT-NeoX")),
    *((family, "heads") for family in ("Falcon (ALiBi)", "MPT")),
}
"""Where every index has a constant of its own, which its copy would not have."""

CASES = [
    pytest.param(family, name, marks=[] if name in QUICK.get(family, ()) else [pytest.mark.slow])
    for family, sizes in DOUBLED.items()
    for name in sizes
]


@pytest.mark.parametrize(("family", "name"), CASES)
def test_hypercloning_preserves(family: str, name: str) -> None:
    if (family, name) in CONSTANTS:
        with pytest.raises(MethodError, match="cannot make") as caught:
            grown(LISTED[family], DOUBLED[family][name])
        assert "a constant (a rotary frequency, a head's slope) tells its indices apart" in caught.value.problems[0]
        return
    made = grown(LISTED[family], DOUBLED[family][name])
    if (family, name) == ("BERT", "depth"):
        assert made.reasons == [f"encoder.layer.{n}: the stream passes layer_norm inside the block" for n in (1, 3)]
        assert made.difference > 0.1
        return
    if (family, name) == (
        "Falcon (ALiBi)",
        "head width",
    ):  # slopes are divided by the root of the width, with the scores
        assert all("a constant that goes into scaled_dot_product" in reason for reason in made.reasons)
        assert len(made.reasons) == 1
        assert made.difference > 0.01
        return
    if name == "experts alone":
        assert all("it must take 4 (num_experts_per_tok)" in reason for reason in made.reasons)
        assert made.difference > 0.1
        return
    assert made.reasons == []
    assert made.difference < 1e-5


@pytest.mark.parametrize(("family", "pad"), [("Llama", "rms"), ("GPT-2", "mean")])
def test_padding_is_exact_but_for_the_norms_eps(family: str, pad: str) -> None:
    name = "all" if family == "Llama" else "hidden"
    made = grown(LISTED[family], WIDER[family][name], method="copy_pad", options={"pad": pad}, eps=0.0)
    assert made.claims
    assert made.difference < 1e-5
    (said,) = [entry.detail for entry in made.checkpoint.ledger or () if entry.action == "preserved"]
    assert "but for the norms' eps, which weighs 1." in said


@pytest.mark.parametrize(
    ("family", "name", "how", "reason"),
    [
        ("GPT-2", "hidden", {"method": "copy_pad", "options": {"pad": "zero"}}, "a norm is along an axis padded"),
        ("GPT-2", "hidden", {"method": "copy_pad", "options": {"pad": "rms"}}, "new zeros move the mean that a layer"),
        ("BERT", "hidden", {"method": "copy_pad", "options": {"pad": "mean"}}, "is not only read but passed on"),
        (
            "Llama",
            "hidden",
            {"method": "net2net"},
            "a mean is along|a norm is along an axis of 48 that is copied unequally",
        ),
        ("BERT", "inner", {"method": "masked"}, "new weights are drawn on both sides"),
        ("BERT", "inner", {"method": "bert2bert"}, "new rows are the next block's"),
    ],
)
def test_what_changes_the_function_is_said(family: str, name: str, how: dict, reason: str) -> None:
    import re

    made = grown(LISTED[family], WIDER[family][name], **how)
    assert not made.claims
    assert all(re.search(reason, said) for said in made.reasons), made.reasons
    assert made.difference > 3e-4


def test_branches_that_are_added_one_after_the_other_are_idle_both() -> None:
    config = LISTED["Llama"] | {"model_type": "cohere", "architectures": ["CohereForCausalLM"], "pad_token_id": 0}
    made = grown(config | {"num_hidden_layers": 1}, {"num_hidden_layers": 2})
    assert made.claims, made.reasons
    assert made.difference < 1e-5


def test_a_table_that_is_scaled_where_it_is_looked_up_takes_one_factor() -> None:
    config = LISTED["BART"] | {"scale_embedding": True, "encoder_layers": 1, "decoder_layers": 1}
    made = grown(config, {"d_model": 96, "encoder_attention_heads": 12, "decoder_attention_heads": 8})
    assert made.claims, made.reasons
    assert made.difference < 1e-5


@pytest.mark.parametrize("rule", ["stack", "interleave", "depth_up_scaling"])
def test_blocks_that_come_twice_change_the_function(rule: str) -> None:
    made = grown(LISTED["GPT-2"], {"n_layer": 3}, depth=rule)
    assert made.reasons == ["transformer.h has blocks of the source several times"]
    assert made.difference > 0.01


@pytest.mark.parametrize("method", ["net2net", "bert2bert", "copy_pad"])
def test_inner_axes_of_any_size_are_exact_without_norms_along_them(method: str) -> None:
    options = {"bert2bert": {"expansion": "fpi"}}.get(method, {})
    made = grown(LISTED["BERT"], WIDER["BERT"]["inner"], method=method, options=options)
    assert made.claims
    assert made.difference < 1e-5


@pytest.mark.parametrize(
    ("settings", "sizes", "reason"),
    [
        ({}, {"num_experts": 15, "num_experts_per_tok": 6}, None),
        ({}, {"num_experts": 15, "num_experts_per_tok": 6, "hidden_size": 96, "num_hidden_layers": 4}, None),
        ({"norm_topk_prob": True}, {"num_experts": 10, "num_experts_per_tok": 4}, None),
        ({"norm_topk_prob": True, "num_experts_per_tok": 1}, {"num_experts": 10}, None),
        (
            {"num_experts_per_tok": 1},
            {"num_experts": 10},
            "shares of copied experts, 0.5 of what they were, go through add",
        ),
        ({}, {"num_experts": 10, "num_experts_per_tok": 3}, "the router takes 3 of 10 experts, copies among them"),
        ({}, {"num_experts_per_tok": 3}, "the router takes 3 of 5 experts, where it took 2"),
    ],
)
def test_copied_experts_share_what_one_was_given(settings: dict, sizes: dict, reason: str | None) -> None:
    made = grown(LISTED["Qwen3-MoE"] | settings, sizes)
    assert len(made.reasons) == (0 if reason is None else 2), made.reasons
    assert all(str(reason) in said for said in made.reasons)
    assert (made.difference < 1e-5) == (reason is None)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("net2net", "experts are copied unequally, from 5 to 7"),
        ("copy_pad", "nothing keeps the router from choosing new ones"),
    ],
)
def test_new_experts_and_unequal_copies_are_no_claim(method: str, reason: str) -> None:
    made = grown(LISTED["Mixtral"], {"num_local_experts": 7}, method=method)
    assert len(made.reasons) == 2
    assert all(reason in said for said in made.reasons)
    assert made.difference > 0.1


ONE = {"Llama": {"num_hidden_layers": 1}, "T5": {"num_layers": 1}, "Mixtral": {"num_hidden_layers": 1}}


@pytest.mark.parametrize(
    ("family", "settings", "changed", "reason"),
    [
        ("Llama", {}, {"rms_norm_eps": 0.01}, "add takes the constant 0.01, the source's 1e-06"),
        ("BERT", {"num_hidden_layers": 1}, {"layer_norm_eps": 0.1}, "eps of layer_norm is 0.1, the source's 1e-12"),
        ("Llama", {}, {"hidden_act": "relu"}, "model.layers.0.mlp.act_fn: it computes relu, the source's silu"),
        ("Llama", {}, {"hidden_act": "gelu_pytorch_tanh"}, "it computes gelu, the source's silu"),
        (
            "Llama",
            {},
            {"tie_word_embeddings": True},
            "lm_head: linear reads model.embed_tokens.weight, where the source reads lm_head.weight",
        ),
        (
            "GPT-NeoX",
            {"num_hidden_layers": 1},
            {"use_parallel_residual": False},
            "gpt_neox.layers.0: add takes what other operations give than in the source",
        ),
        pytest.param(
            "T5",
            {},
            {"tie_word_embeddings": False},
            "the model: it computes nothing there, the source's mul",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "T5",
            {"relative_attention_num_buckets": 8},
            {"relative_attention_num_buckets": 16},
            "relative_attention_bias: a constant that goes into embedding is another",
            marks=pytest.mark.slow,
        ),
        ("Mixtral", {"sliding_window": 4}, {"sliding_window": 12}, "scaled_dot_product_attention is another"),
        ("Mixtral", {"sliding_window": None}, {"sliding_window": 4}, "scaled_dot_product_attention is another"),
    ],
)
def test_settings_that_are_no_sizes_are_seen(family: str, settings: dict, changed: dict, reason: str) -> None:
    made = grown(LISTED[family] | ONE.get(family, {}) | settings, changed)
    assert not made.claims
    assert any(reason in said for said in made.reasons), made.reasons
    assert made.difference > 0.01


@pytest.mark.parametrize(
    ("family", "settings", "changed", "reason"),
    [
        (
            "Mixtral",
            {"sliding_window": 12},
            {"sliding_window": 20},
            "sliding_window is 20, was 12: in a text of 23 tokens, model.layers.0.self_attn: a constant that goes into",
        ),
        (
            "Mixtral",
            {"sliding_window": 4096},
            {"sliding_window": None},
            "sliding_window is None, was 4096: what this does may show only in texts of more than 512 tokens",
        ),
        pytest.param(
            "T5",
            {"relative_attention_max_distance": 16},
            {"relative_attention_max_distance": 32},
            "relative_attention_max_distance is 32, was 16: in a text of 35 tokens, encoder.block.0",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_only_longer_texts_show_is_seen(family: str, settings: dict, changed: dict, reason: str) -> None:
    made = grown(LISTED[family] | ONE[family] | settings, changed)
    assert made.difference == 0  # the inputs here are short
    assert not made.claims
    assert made.reasons[0].startswith(reason), made.reasons


def test_settings_that_compute_nothing_are_no_reasons() -> None:
    changed = {"max_position_embeddings": 128, "attention_dropout": 0.1, "eos_token_id": 5, "initializer_range": 0.1}
    made = grown(LISTED["Llama"] | ONE["Llama"], changed)
    assert made.claims
    assert made.difference == 0


def test_a_mistake_is_seen() -> None:
    """The comparison itself: a correction left out shows."""
    made = grown(LISTED["GPT-2"], DOUBLED["GPT-2"]["head width"])
    with torch.no_grad():
        made.target.state_dict(keep_vars=True)["transformer.ln_f.weight"].mul_(2)
    assert made.again() > 0.1
