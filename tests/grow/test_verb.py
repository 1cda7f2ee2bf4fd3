"""The verb: its round trips with selecting, its bytes, its gradients, its ledger, and what it refuses."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers
from tests.architectures.zoo import LISTED
from tests.grow.preservation import grown, random_source, stored
from torch import Tensor, nn

import scionwood
from scionwood.cli import run
from scionwood.errors import MatchError, MethodError, ScionwoodError
from scionwood.train.growth.learngene import LinearExpansion
from scionwood.verbs.target import target_config

LLAMA = LISTED["Llama"]
DOUBLE = {"hidden_size": 96, "num_attention_heads": 12, "num_key_value_heads": 6, "intermediate_size": 160}


@pytest.fixture(scope="module")
def small() -> scionwood.Checkpoint:
    module, _ = random_source(LLAMA)
    return stored(module, LLAMA)


@pytest.fixture(scope="module")
def folder(small: scionwood.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("grow") / "small"
    scionwood.write(small, where)
    return where


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).relu())


class Sized(nn.Module):
    """A net that computes something with its width, beyond its weights."""

    def __init__(self, width: int, does: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.up, self.down, self.does = nn.Linear(8, width), nn.Linear(width, 8), does

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.does(self.up(x), self.up.out_features))


def tensors(checkpoint: scionwood.Checkpoint) -> dict[str, Tensor]:
    return {name: checkpoint[name] for name in checkpoint.tensors}


def loaded(checkpoint: scionwood.Checkpoint) -> nn.Module:
    config = transformers.LlamaConfig(**{k: v for k, v in (checkpoint.config or {}).items() if k != "architectures"})
    module = transformers.LlamaForCausalLM(config)
    module.load_state_dict(tensors(checkpoint))
    return module


@pytest.mark.parametrize("how", [{"method": "copy_pad", "options": {"pad": "zero"}}, {"method": "masked"}])
def test_selecting_back_gives_the_source_bit_for_bit(small: scionwood.Checkpoint, how: dict[str, Any]) -> None:
    grown = scionwood.grow(small, set=DOUBLE, **how)
    back = scionwood.select(grown, like=LLAMA, method="consecutive")
    mine, theirs = tensors(back), tensors(small)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_selecting_back_a_clone_gives_what_was_copied_and_its_share_of_what_was_divided(
    small: scionwood.Checkpoint,
) -> None:
    grown = scionwood.grow(small, set=DOUBLE, options={"snr_db": None})
    back = tensors(scionwood.select(grown, like=LLAMA, method="consecutive"))
    for name, tensor in tensors(small).items():
        shares = (1.0,) if tensor.dim() == 1 or "embed" in name else (0.5,)
        assert any(torch.equal(back[name], tensor * share) for share in shares), name


@pytest.mark.slow
def test_growing_and_selecting_again_changes_nothing(small: scionwood.Checkpoint) -> None:
    how = {"method": "copy_pad", "options": {"pad": "zero"}}
    once = scionwood.select(scionwood.grow(small, set=DOUBLE, **how), like=LLAMA, method="consecutive")
    twice = scionwood.select(scionwood.grow(once, set=DOUBLE, **how), like=LLAMA, method="consecutive")
    assert all(torch.equal(twice[name], once[name]) for name in once.tensors)


def test_the_same_seed_gives_the_same_bytes_and_rows_read_alone_are_those_of_the_whole(
    small: scionwood.Checkpoint,
) -> None:
    first, again, other = (scionwood.grow(small, set=DOUBLE, seed=seed) for seed in (1, 1, 2))
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert torch.equal(first["lm_head.weight"], other["lm_head.weight"])  # heads and embeddings get no noise
    assert torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])
    clean = scionwood.grow(small, set=DOUBLE, options={"snr_db": None})
    for tensor in clean.tensors.values():
        whole = tensor.read()
        rows = [tensor.read(start, min(start + 5, len(whole))) for start in range(0, len(whole), 5)]
        assert torch.equal(torch.cat(rows), whole), tensor.name
        assert not getattr(tensor, "whole", False), tensor.name


def test_half_precision_is_rounded_once(small: scionwood.Checkpoint) -> None:
    from scionwood.checkpoint import cast

    half = scionwood.grow(cast(small, "bfloat16"), set=DOUBLE, options={"snr_db": None})
    name = "model.layers.0.mlp.up_proj.weight"
    wide = small[name].bfloat16().float()
    assert half[name].dtype == torch.bfloat16
    assert torch.equal(half[name], (wide.repeat(2, 2) / 2).bfloat16())


@pytest.mark.parametrize(
    ("dtype", "snr_db", "told"), [("bfloat16", 10.0, True), ("bfloat16", None, False), ("float32", 10.0, False)]
)
def test_noise_that_is_rounded_is_told(
    small: scionwood.Checkpoint, dtype: str, snr_db: float | None, told: bool
) -> None:
    from scionwood.checkpoint import cast

    grown = scionwood.grow(cast(small, dtype), set=DOUBLE, options={"snr_db": snr_db})
    (verdict,) = grown.ledger.of("preserved")
    assert ("bfloat16, which rounds the noise between copies" in verdict.detail) == told


def gradients(module: nn.Module) -> dict[str, Tensor]:
    ids = torch.arange(20).view(2, 10) % 97
    module(input_ids=ids, labels=ids).loss.backward()
    return {name: tensor.grad for name, tensor in module.named_parameters() if tensor.grad is not None}


def test_copies_without_noise_have_equal_gradients_and_with_noise_not(small: scionwood.Checkpoint) -> None:
    """The trap: what is equal stays equal, in exact arithmetic for ever."""
    found = {}
    for snr_db in (None, 10.0):
        grown = loaded(scionwood.grow(small, set={"intermediate_size": 160}, options={"snr_db": snr_db}))
        gate = gradients(grown)["model.layers.0.mlp.gate_proj.weight"]
        found[snr_db] = float((gate[:80] - gate[80:]).norm() / gate.norm())
    assert found[None] == 0.0
    # The halves of one block's own axis write alike; it is along what reads them that they differ.
    assert found[10.0] > 0.01


def test_an_idle_block_learns_through_what_it_adds_alone(small: scionwood.Checkpoint) -> None:
    """LLaMA-Pro: at the first step the gradient is there for what was zeroed, and zero for the rest of the new block."""
    grown = loaded(scionwood.grow(small, set={"num_hidden_layers": 3}))
    found = gradients(grown)
    new = {name: grad for name, grad in found.items() if ".layers.2." in name}
    moving = {name for name, grad in new.items() if bool(grad.any())}
    assert moving == {"model.layers.2.self_attn.o_proj.weight", "model.layers.2.mlp.down_proj.weight"}


def test_the_command_writes_a_folder_that_loads_and_computes_the_same(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "large"
    sizes = [f"--set={name}={value}" for name, value in DOUBLE.items()]
    assert run(["grow", str(folder), *sizes, "--set=num_hidden_layers=4", "--out", str(out)]) == 0
    before = transformers.AutoModelForCausalLM.from_pretrained(folder)
    after = transformers.AutoModelForCausalLM.from_pretrained(out)
    ids = torch.arange(12).view(2, 6)
    with torch.no_grad():
        assert torch.allclose(after(ids).logits, before(ids).logits, atol=1e-4)
    assert after.config.num_hidden_layers == 4
    recipe = json.dumps((lineage := scionwood.lineage(out)) and lineage.to_json(), default=str)
    assert "hypercloning" in recipe


def test_the_ledger_says_what_was_corrected(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    module, _ = random_source(LISTED["GPT-2"])
    grown = scionwood.grow(stored(module, LISTED["GPT-2"]), set={"n_embd": 96})
    assert grown.ledger is not None
    said = {entry.name: entry.detail for entry in grown.ledger}
    assert "times 0.7071: the attention's scores grow by 1.414" in said["transformer.h.0.attn.c_attn.weight"]
    assert "is tied: reading it counts 2 times" in said["transformer.ln_f.weight"]
    assert said["the function"] == "with 6 tensors corrected"
    assert any(line.startswith("preserved") for line in grown.ledger.summary())


def test_a_group_of_one_and_one_key_head_grow_into_several() -> None:
    """One key head, and six heads that are each their own group: axes that the source does not have."""
    for heads, settings in (
        (1, {"num_key_value_heads": 2, "num_attention_heads": 12, "head_dim": 8}),
        (6, {"num_attention_heads": 12, "head_dim": 8}),
    ):
        config = LLAMA | {"num_key_value_heads": heads, "head_dim": 8}
        module, (_, inputs) = random_source(config)
        grown = scionwood.grow(stored(module, config), set=settings)
        target = loaded(grown).eval()
        with torch.no_grad():
            assert torch.allclose(target(**inputs).logits, module(**inputs).logits, atol=1e-4)


BIGCODE = {"model_type": "gpt_bigcode", "architectures": ["GPTBigCodeForCausalLM"], "multi_query": True} | {
    "vocab_size": 97, "n_embd": 48, "n_layer": 2, "n_head": 6, "n_positions": 64, "n_inner": 80
}  # fmt: skip
ONE_KEY = LLAMA | {"num_key_value_heads": 1}


@pytest.mark.parametrize(
    ("config", "sizes"),
    [
        (ONE_KEY, {"num_key_value_heads": 2}),
        (ONE_KEY, {"num_key_value_heads": 6, "num_hidden_layers": 4}),
        (
            ONE_KEY,
            {"num_key_value_heads": 4, "num_attention_heads": 12, "head_dim": 8},
        ),  # smaller groups and more heads
        (LLAMA | {"num_key_value_heads": 2}, {"num_key_value_heads": 6, "intermediate_size": 160}),
        (BIGCODE, {"multi_query": False}),  # one tensor of all queries, and of keys and values beside them
        (LISTED["Falcon (multi-query)"], {"multi_query": False}),
        (LISTED["Falcon (new decoder)"], {"num_kv_heads": 6}),
        (LISTED["OLMo2"] | {"num_key_value_heads": 1}, {"num_key_value_heads": 3}),  # a norm along all keys
    ],
)
def test_queries_that_share_keys_get_copies_of_them(config: dict[str, Any], sizes: dict[str, Any]) -> None:
    made = grown(config, sizes)
    assert made.reasons == []
    assert made.difference < 1e-5


def test_keys_are_copied_in_a_row_and_queries_stay_where_they_are() -> None:
    config = LLAMA | {"num_key_value_heads": 2}
    module, _ = random_source(config)
    source = stored(module, config)
    made = scionwood.grow(source, set={"num_key_value_heads": 6})
    keys, queries = (f"model.layers.0.self_attn.{name}_proj.weight" for name in "kq")
    assert torch.equal(made[keys].view(2, 3, 8, 48), source[keys].view(2, 1, 8, 48).expand(2, 3, 8, 48))
    assert torch.equal(made[queries], source[queries])
    with pytest.raises(MatchError, match="group has 2 in the target, 3 in the source|cannot be made from"):
        scionwood.grow(source, set={"num_key_value_heads": 3, "num_attention_heads": 6, "head_dim": 4})


def test_copied_keys_under_a_norm_beside_padded_axes_are_no_claim() -> None:
    """The norm's statistics are right for copies, and the verb cannot tell them from padded ones."""
    how = {"method": "copy_pad", "options": {"pad": "rms"}}
    made = grown(
        LISTED["OLMo2"] | {"num_key_value_heads": 1}, {"num_key_value_heads": 3, "intermediate_size": 99}, **how
    )
    assert "k_norm.weight is along heads of keys that are copied" in made.reasons[0]


def test_new_positions_begin_and_old_ones_stay() -> None:
    module, _ = random_source(LISTED["GPT-2"])
    source = stored(module, LISTED["GPT-2"])
    grown = scionwood.grow(source, set={"n_positions": 80})
    assert torch.equal(grown["transformer.wpe.weight"][:64], source["transformer.wpe.weight"])
    assert grown["transformer.wpe.weight"][64:].std() == pytest.approx(0.02, rel=0.1)
    assert grown.ledger is not None
    assert next(grown.ledger.of("preserved")).detail == "by the maps of the axes alone"


def test_what_the_graph_never_looks_at_does_not_stand_in_the_way() -> None:
    made = grown(LISTED["DINOv2"], {"hidden_size": 96, "num_attention_heads": 12})  # its mask token
    assert made.claims
    assert made.difference < 1e-5


def in_layer(tensors: dict[str, Tensor], layer: int) -> dict[str, Tensor]:
    start = f"model.layers.{layer}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def test_a_learngene_of_two_blocks_is_expanded_by_position(small: scionwood.Checkpoint) -> None:
    """TLEG: layer l of L is B + (l - 1) / L A, and the rest of the model is the source's."""
    source = tensors(small)
    start, slope = in_layer(source, 0), in_layer(source, 1)
    grown = scionwood.grow(small, set={"num_hidden_layers": 5}, depth="linear_expansion")
    made = tensors(grown)
    for layer in range(5):
        found = in_layer(made, layer)
        assert found.keys() == start.keys()
        assert all(torch.equal(found[name], start[name] + layer / 5 * slope[name]) for name in found)
    assert all(torch.equal(made[name], source[name]) for name in made if ".layers." not in name)
    ledger = grown.ledger or ()
    assert not [entry for entry in ledger if entry.action == "dropped"]  # block 1 is used
    assert [entry.detail for entry in ledger if entry.action == "changed"] == [
        "model.layers is expanded from two blocks, which are no layers by themselves"
    ]
    loaded(grown)
    # A target of two blocks is asked for by the name of its list: block 1 is B + A / 2 then.
    same = tensors(scionwood.grow(small, set={"num_hidden_layers": 2}, depth={"model.layers": "linear_expansion"}))
    assert all(torch.equal(tensor, start[name] + 0.5 * slope[name]) for name, tensor in in_layer(same, 1).items())


def test_expanding_and_widening_at_once_is_one_after_the_other(small: scionwood.Checkpoint) -> None:
    deep = scionwood.grow(small, set={"num_hidden_layers": 3}, depth="linear_expansion")
    apart = tensors(scionwood.grow(deep, set=DOUBLE, options={"snr_db": None}))
    sizes = {**DOUBLE, "num_hidden_layers": 3}
    at_once = tensors(scionwood.grow(small, set=sizes, depth="linear_expansion", options={"snr_db": None}))
    assert apart.keys() == at_once.keys()
    for name, tensor in at_once.items():
        torch.testing.assert_close(tensor, apart[name], atol=1e-6, rtol=1e-5)
    half = dataclasses.replace(
        small, tensors={name: tensor.cast(torch.bfloat16) for name, tensor in small.tensors.items()}
    )
    rounded = tensors(scionwood.grow(half, set={"num_hidden_layers": 3}, depth="linear_expansion"))
    start, slope = (in_layer(tensors(half), layer) for layer in (0, 1))
    for name, tensor in in_layer(rounded, 2).items():
        assert torch.equal(tensor, (start[name].float() + 2 / 3 * slope[name].float()).bfloat16())


def test_what_a_trunk_learned_is_grown_to_any_depth() -> None:
    torch.manual_seed(0)
    trunk = LinearExpansion(Residual(), depth=4)
    for slope in trunk.A.values():
        nn.init.normal_(slope, std=0.1)

    def net(blocks: nn.ModuleList) -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.Sequential(*blocks), nn.Linear(8, 2))

    source, target = net(trunk.blocks()), net(nn.ModuleList(Residual() for _ in range(6)))
    grown = scionwood.grow(source, like=target, inputs=torch.zeros(1, 4), depth="linear_expansion")
    target.load_state_dict(tensors(grown))
    x = wanted = torch.randn(5, 8)
    for block in trunk.expand(6):
        wanted = block(wanted)
    torch.testing.assert_close(cast("Any", target)[1](x), wanted)


def test_stages_are_shared_out_and_the_command_writes_them(
    folder: Path, small: scionwood.Checkpoint, tmp_path: Path
) -> None:
    out, source = tmp_path / "out", tensors(small)
    given = ["grow", str(folder), "--set=num_hidden_layers=5", "--depth=stage_sharing", "--out", str(out)]
    assert run(given) == 0
    made = tensors(scionwood.open(out))
    for layer, stage in enumerate([0, 0, 1, 1, 1]):
        found, stored_ = in_layer(made, layer), in_layer(source, stage)
        assert all(torch.equal(found[name], stored_[name]) for name in stored_)
    given[3:] = ["--depth=linear_expansion", "--out", str(tmp_path / "expanded")]
    assert run(given) == 0
    assert run(["reproduce", str(tmp_path / "expanded")]) == 0


def test_layer_kinds_follow_the_blocks() -> None:
    config = LISTED["Gemma2"] | {"layer_types": ["sliding_attention", "full_attention"]}
    module, _ = random_source(config)
    grown = scionwood.grow(stored(module, config), set={"num_hidden_layers": 4})
    assert grown.config is not None
    assert grown.config["layer_types"] == ["sliding_attention"] * 2 + ["full_attention"] * 2


@pytest.mark.parametrize(
    ("settings", "lists"),
    [
        ({"model_type": "llama", "eos_token_id": [1, 2]}, {"eos_token_id": [1, 2]}),
        ({"model_type": "vit", "image_size": [16, 8], "patch_size": 4}, {"image_size": [16, 8]}),
        ({"model_type": "mamba2", "num_heads": 8, "time_step_limit": [0.0, 4.0]}, {"time_step_limit": [0.0, 4.0]}),
        (
            {
                "model_type": "gemma3n_text",
                "num_kv_shared_layers": 0,
                "hidden_size_per_layer_input": 8,
                "layer_types": ["sliding_attention", "full_attention"],
                "intermediate_size": [24, 32],
            },
            {"intermediate_size": [24, 24, 32, 32], "layer_types": ["sliding_attention"] * 2 + ["full_attention"] * 2},
        ),
    ],
)
def test_lists_follow_the_layers_where_they_have_an_entry_for_each(
    settings: dict[str, Any], lists: dict[str, Any]
) -> None:
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "head_dim": 4}
    config = sizes | {"num_key_value_heads": 2, "num_hidden_layers": 2} | settings
    made = target_config(config, None, {"num_hidden_layers": 4}, "stack", deeper=lambda *_: [0, 0, 1, 1])
    assert {key: made[key] for key in lists} == lists


REFUSED = [
    ({"set": {"intermediate_size": 40}}, MatchError, "scionwood select"),
    ({"set": {"hidden_size": -5, "intermediate_size": -1}}, MethodError, "sizes must be positive"),
    ({"set": {"hidden_size": -5, "intermediate_size": -1}}, MethodError, "intermediate_size is -1"),
    ({"set": {"num_hidden_layers": 1}}, MatchError, "scionwood select"),
    ({"set": {"num_attention_heads": 12}}, MatchError, "unless it is set, too (head_dim)"),
    ({"set": {"vocab_size": 120}}, MatchError, "scionwood vocabulary"),
    ({"set": {"hidden_size": 96}}, MethodError, "layers.0.self_attn.qk_dim: 4 to 8: a constant (a rotary frequency"),
    ({"set": {"hidden_size": 96}}, MethodError, "the method copy_pad puts the old indices where their constants are"),
    ({"set": {"head_dim": 12}, "method": "copy_pad"}, MethodError, "qk_dim: 4 to 6: it is positional, and cannot grow"),
    ({"set": {"head_dim": 12}, "method": "copy_pad"}, MethodError, "not all of the source's occur in the target"),
    (
        {"set": {"hidden_size": 60, "head_dim": 8}},
        MethodError,
        "hidden: hypercloning makes whole copies: 60 is no multiple of 48",
    ),
    (
        {"set": {"num_hidden_layers": 5}},
        MethodError,
        "model.layers, 2 to 5 blocks: block_expansion adds a block after every s",
    ),
    ({"set": DOUBLE, "depth": {"layers": "stack"}}, MethodError, "no list of blocks is called 'layers' (did you mean"),
    ({"set": DOUBLE, "method": "hyperclone"}, MethodError, "hypercloning"),
    (
        {"set": DOUBLE, "depth": "linear_expansion"},
        MethodError,
        "no list of blocks grows, so that linear_expansion has",
    ),
    (
        {
            "set": {**DOUBLE, "num_hidden_layers": 4},
            "depth": "linear_expansion",
            "method": "bert2bert",
        },
        MethodError,
        "give --option expansion=fpi",
    ),
    ({"like": LISTED["BERT"]}, MatchError, "are of different families"),
    ({}, MethodError, "nothing says what the target shall be"),
]


@pytest.mark.parametrize(("how", "kind", "text"), REFUSED, ids=range(len(REFUSED)))
def test_bad_requests(small: scionwood.Checkpoint, how: dict[str, Any], kind: type[ScionwoodError], text: str) -> None:
    with pytest.raises(kind) as caught:
        scionwood.grow(small, **how)
    assert text in "\n".join([caught.value.message, *caught.value.problems, caught.value.hint or ""])


MPT = LISTED["MPT"]


@pytest.mark.parametrize(
    ("family", "sizes", "pad"),
    [
        ("Llama", {"head_dim": 16}, "rms"),
        ("Llama", {"head_dim": 24}, "rms"),
        ("Llama", {"hidden_size": 96}, "rms"),
        ("Qwen3", {"head_dim": 20}, "rms"),  # with norms along the width of a head
        ("GPT-NeoX", {"hidden_size": 96}, "mean"),  # rotary on a part of the width
        ("DeepSeek-V3", {"qk_rope_head_dim": 16}, "rms"),  # beside a part without, and one key for all heads
        ("MPT", {"d_model": 96, "n_heads": 12}, "mean"),
        ("MPT", {"d_model": 64, "n_heads": 8}, "mean"),
        ("Falcon (ALiBi)", {"hidden_size": 96, "num_attention_heads": 12}, "mean"),
    ],
)
def test_padding_puts_old_indices_where_their_constants_are(family: str, sizes: dict[str, int], pad: str) -> None:
    made = grown(LISTED[family], sizes, method="copy_pad", options={"pad": pad}, eps=0.0)
    assert made.reasons == []
    assert made.difference < 1e-5


def test_rotary_pairs_stand_at_every_second_place_and_the_new_ones_are_zero(small: scionwood.Checkpoint) -> None:
    name = "model.layers.0.self_attn.k_proj.weight"
    grown = scionwood.grow(small, set={"head_dim": 16}, method="copy_pad")
    mine, old = grown[name].view(3, 2, 8, 48), small[name].view(3, 2, 4, 48)
    assert torch.allclose(mine[:, :, ::2], old * 2**0.25)
    assert not bool(mine[:, :, 1::2].any())
    back = scionwood.select(
        scionwood.grow(small, set={"head_dim": 16}, method="masked"), like=LLAMA, method="consecutive"
    )
    assert torch.allclose(back[name], small[name] * 2**0.25)
    assert torch.equal(back["model.layers.0.self_attn.v_proj.weight"], small["model.layers.0.self_attn.v_proj.weight"])


def test_heads_stand_where_their_slopes_are() -> None:
    """Six slopes are 2^-2, -4, -6, -8, -1, -3; twelve are 2^-1 to -8, and four between them."""
    module, _ = random_source(MPT)
    source = stored(module, MPT)
    name = "transformer.blocks.0.attn.out_proj.weight"
    made = scionwood.grow(source, set={"d_model": 96, "n_heads": 12}, method="copy_pad", options={"pad": "mean"})
    mine, old = made[name][:48].view(48, 12, 8), source[name].view(48, 6, 8)
    assert torch.equal(mine[:, [1, 3, 5, 7, 0, 2]], old)
    assert not bool(mine[:, [4, 6, 8, 9, 10, 11]].any())


def test_heads_with_slopes_are_not_copied_and_may_be_wider() -> None:
    module, _ = random_source(LISTED["BLOOM"])
    source = stored(module, LISTED["BLOOM"])
    with pytest.raises(
        MethodError, match="h.0.self_attention.heads: 6 to 12: a constant .* a copy or a mixture would have"
    ) as caught:
        scionwood.grow(source, set={"hidden_size": 96, "n_head": 12})
    assert "copy_pad" in (caught.value.hint or "")
    made = grown(LISTED["BLOOM"], {"hidden_size": 96})
    assert made.claims
    assert made.difference < 1e-5


def test_another_base_of_rotary_frequencies_is_no_claim(small: scionwood.Checkpoint) -> None:
    larger = LLAMA | {"intermediate_size": 160}
    for base, action in ((10000.0, "preserved"), (500000.0, "changed")):
        like = larger | {"rope_parameters": {"rope_type": "default", "rope_theta": base}}
        ledger = scionwood.grow(small, like=like).ledger
        assert ledger is not None
        said = [entry.detail for entry in ledger.of(action)]
        assert said
        assert action == "preserved" or "a constant that goes into mul is another in the target" in said[0]


def test_plain_modules_need_their_source_as_a_module(small: scionwood.Checkpoint) -> None:
    with pytest.raises(MatchError, match="a plain module as target needs the module itself as source"):
        scionwood.grow(small, like=nn.Linear(2, 2), inputs=torch.zeros(1, 2))
    bare = dataclasses.replace(small, config=None)
    with pytest.raises(MatchError, match="has no config that says which model it is"):
        scionwood.grow(bare, set=DOUBLE)
    coded = dataclasses.replace(small, config={**LLAMA, "quantization_config": {"quant_method": "awq"}})
    with pytest.raises(MatchError, match=re.escape("is quantized (awq): its tensors are codes, and cannot be grown")):
        scionwood.grow(coded, set=DOUBLE)


@pytest.mark.parametrize("depth", ["stak", {"": "stak"}])
def test_an_unknown_depth_rule_is_refused_where_no_depth_grows_too(depth: Any) -> None:
    small, large = (nn.Sequential(nn.Linear(4, n), nn.Linear(n, 2)) for n in (3, 6))
    with pytest.raises(MethodError, match="unknown depth rule 'stak' .did you mean 'stack'"):
        scionwood.grow(small, like=large, inputs=torch.zeros(1, 4), depth=depth)


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        (lambda x, width: x + 1 / width, "add takes the constant 0.05, the source's 0.1"),
        (lambda x, width: width - x, "rsub takes the constant 20, the source's 10"),
        (lambda x, width: x.abs() ** (1 / width), "exponent of pow is 0.05, the source's 0.1"),
        (lambda x, width: x.clamp(min=-1 / width), "min of clamp is -0.05, the source's -0.1"),
        (lambda x, width: nn.functional.threshold(x, 1 / width, 0), "threshold of threshold is 0.05, the source's 0.1"),
        (lambda x, width: nn.functional.leaky_relu(x, 1 / width), "negative_slope of leaky_relu is 0.05, the source's"),
        (lambda x, width: x * float(width > 10), "mul takes the constant 1, the source's 0"),
        (lambda x, width: x.relu() if width > 10 else x.sigmoid(), "it computes relu, the source's sigmoid"),
        (lambda x, width: x.relu() if width > 10 else x, "it computes relu, the source's nothing there"),
        (lambda x, width: x if width > 10 else x.relu(), "it computes nothing there, the source's relu"),
    ],
)
def test_what_is_computed_from_a_width_is_said(does: Callable[[Tensor, int], Tensor], reason: str) -> None:
    large = scionwood.grow(Sized(10, does), like=Sized(20, does), inputs=torch.zeros(2, 8))
    said = [entry.detail for entry in large.ledger or () if entry.action == "changed"]
    assert len(said) == 1
    assert f"the model: {reason}" in said[0]


def test_tables_that_a_class_makes_for_each_size_and_never_stores_change_the_function(tmp_path: Path) -> None:
    sizes = {"d_model": 12, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = transformers.MarianConfig(
        vocab_size=20, **sizes, **heads, max_position_embeddings=32, pad_token_id=1, decoder_start_token_id=1
    )
    transformers.MarianMTModel(config).save_pretrained(tmp_path)
    wider = {"d_model": 24, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    said = [e for e in scionwood.grow(tmp_path, set=wider).ledger or () if e.name == "the function"]
    name = "model.encoder.embed_positions.weight"
    assert said[0].detail == f"{name} is fresh: the checkpoint holds no {name}, which would grow"
    inner = scionwood.grow(tmp_path, set={"encoder_ffn_dim": 16}).ledger or ()
    assert [e.action for e in inner if e.name == "the function"] == ["preserved"]
