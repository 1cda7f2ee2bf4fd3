"""Adapters: put on their model as PEFT puts them, and merged as the differences they make."""

import warnings
from dataclasses import replace

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from scionwood.checkpoint import Checkpoint, digest, lineage, write
from scionwood.checkpoint import open as open_checkpoint
from scionwood.cli import run
from scionwood.errors import MatchError, MethodError, SourceError
from scionwood.verbs.adapter import apply_adapter
from scionwood.verbs.adapter.apply import put_on
from scionwood.verbs.merge import merge

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


def state(model):
    """A model's weights, kept from what is done to it later."""
    return open_checkpoint({name: tensor.clone() for name, tensor in model.state_dict().items()})


def test_rows_are_rounded_once_and_do_not_depend_on_how_they_are_read(tmp_path):
    torch.manual_seed(1)
    weight = torch.randn(700, 600).bfloat16()
    a, b = torch.randn(3, 600), torch.randn(700, 3)
    factors = {"base_model.model.up.lora_A.weight": a, "base_model.model.up.lora_B.weight": b}
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6}
    made = apply_adapter({"up.weight": weight}, replace(open_checkpoint(factors), config=config))
    lazy = made.tensors["up.weight"]
    assert torch.equal(lazy.read(), (weight.float() + 2 * (b @ a)).bfloat16())
    pieces = torch.cat([lazy.read(start, min(start + 11, 700)) for start in range(0, 700, 11)])
    assert torch.equal(pieces, lazy.read())
    for name, workers in (("one", 1), ("four", 4)):
        write(made, tmp_path / f"{name}.safetensors", workers=workers)
    assert digest(tmp_path / "one.safetensors", full=True) == digest(tmp_path / "four.safetensors", full=True)


@pytest.mark.parametrize("tied", [False, True])
def test_a_model_with_its_adapter_loads_and_answers_as_pefts(tmp_path, tied):
    model = llama(tied=tied)
    model.save_pretrained(tmp_path / "base")
    settings = {"target_modules": ["q_proj", "embed_tokens"], "modules_to_save": None if tied else ["lm_head"]}
    with torch.no_grad():
        expected = adapted(model, tmp_path / "adapter", 1, **settings)(TOKENS).logits
        made = apply_adapter(tmp_path / "base", tmp_path / "adapter")
        write(made, tmp_path / "out")
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
        torch.testing.assert_close(loaded(TOKENS).logits, expected, rtol=1e-5, atol=1e-5)
    assert made.config["tie_word_embeddings"] is False
    entries = {entry.name: entry for entry in made.ledger}
    assert entries["model.layers.0.self_attn.q_proj.weight"].detail == "rank 4, scale 2"
    assert entries["model.norm.weight"].action == "copied"
    assert ("no longer tied" in entries["model.embed_tokens.weight"].detail) == tied
    assert [parent.role for parent in made.lineage.parents] == ["base", "adapter"]


def test_names_are_found_where_the_base_begins_them_differently(tmp_path):
    model = llama()
    whole = state(model)
    expected = adapted(model, tmp_path / "adapter", 1).merge_and_unload().state_dict()
    inner = open_checkpoint({name.removeprefix("model."): whole[name] for name in whole if name.startswith("model.")})
    made = apply_adapter(inner, tmp_path / "adapter")
    name = "layers.1.mlp.down_proj.weight"
    torch.testing.assert_close(made[name], expected[f"model.{name}"], rtol=1e-6, atol=1e-6)


def test_what_does_not_match_is_listed_with_what_is_near(tmp_path):
    model = llama()
    whole = state(model)
    adapted(model, tmp_path / "adapter", 1)
    other = {name.replace("layers.1.mlp.down_proj", "layers.1.mlp.down_prj"): tensor for name, tensor in whole.items()}
    other["model.layers.0.mlp.down_proj.weight"] = torch.zeros(16, 20)
    with pytest.raises(MatchError) as raised:
        apply_adapter(other, tmp_path / "adapter")
    assert "did you mean 'model.layers.1.mlp.down_prj.weight'" in str(raised.value)
    assert "is for [16, 24], and model.layers.0.mlp.down_proj.weight is [16, 20]" in str(raised.value)
    assert len(raised.value.problems) == 2


CONFIG = {"peft_type": "LORA", "r": 1, "lora_alpha": 1}


def small(b, a, **settings):
    """An adapter of one module called up."""
    factors = {"base_model.model.up.lora_A.weight": a, "base_model.model.up.lora_B.weight": b}
    tensors = {name: torch.tensor(values) for name, values in factors.items()}
    return replace(open_checkpoint(tensors), config={**CONFIG, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "an adapter of the kind IA3"),
        ({"peft_type": "IA3"}, "LORA"),
        ({"r": 2}, r"A is \[1, 1\], where the config has the rank 2"),
        ({"r": None}, "its rank is None"),
        ({"use_qalora": True, "layer_replication": [[0, 2]]}, "layers that are repeated"),
    ],
)
def test_adapters_that_are_not_understood_are_refused(settings, message):
    adapter = small([[1.0]], [[1.0]], **settings)
    with pytest.raises(SourceError, match=message):
        apply_adapter({"up.weight": torch.zeros(1, 1)}, adapter)


def test_a_convolution_in_groups_is_refused(tmp_path):
    factors = {"up.lora_A.weight": torch.ones(2, 4, 3, 3), "up.lora_B.weight": torch.ones(8, 1, 1, 1)}
    adapter = replace(open_checkpoint(factors), config={**CONFIG, "r": 2})
    with pytest.raises(SourceError, match="a convolution in groups"):
        apply_adapter({"up.weight": torch.zeros(8, 2, 3, 3)}, adapter)


def test_codes_are_not_adapted():
    with pytest.raises(MatchError, match="int8: codes"):
        apply_adapter({"up.weight": torch.zeros(1, 1, dtype=torch.int8)}, small([[1.0]], [[1.0]]))


# Merges.


def change(adapter, module="up"):
    """What an adapter adds to a weight of zeros."""
    factors = [adapter[f"base_model.model.{module}.lora_{side}.weight"].float() for side in "BA"]
    config = adapter.config
    rank = config.get("rank_pattern", {}).get(module, config["r"])
    alpha = config.get("alpha_pattern", {}).get(module, config["lora_alpha"])
    return alpha / rank * factors[0] @ factors[1]


def test_the_mean_of_factors_is_not_the_factor_of_the_mean():
    adapters = [small([[1.0]], [[1.0]]), small([[-1.0]], [[-1.0]])]
    assert change(merge(adapters)).item() == 1.0
    assert change(merge(adapters, merge_space="factors")).item() == 0.0


MIXED = [
    {"r": 4, "target_modules": ["q_proj", "down_proj"]},
    {"r": 2, "target_modules": ["q_proj", "v_proj"], "use_rslora": True, "lora_alpha": 3},
    {"r": 3, "target_modules": ["q_proj", "down_proj"], "rank_pattern": {"layers.1.self_attn.q_proj": 5}},
]


def several(tmp_path, kinds, model=llama):
    """Adapters saved by PEFT, the base, and the weights that each makes of the base by PEFT."""
    base = state(model())
    whole = [
        state(adapted(model(), tmp_path / f"adapter{number}", number, **settings).merge_and_unload())
        for number, settings in enumerate(kinds)
    ]
    return [open_checkpoint(tmp_path / f"adapter{number}") for number in range(len(kinds))], base, whole


def answers(model, weights):
    model.load_state_dict(dict(weights))
    with torch.no_grad():
        return model(TOKENS).logits


def answers_of_peft(model, folder):
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.PeftModel.from_pretrained(model, folder).eval()(TOKENS).logits


@pytest.mark.parametrize(
    ("method", "options", "shares"),
    [
        ("linear", {}, (1 / 3, 1 / 3, 1 / 3)),
        ("linear", {"weights": (1, 2, 1)}, (0.25, 0.5, 0.25)),
        ("task_arithmetic", {"weights": (1, -1, 0), "scale": 0.5}, (0.5, -0.5, 0.0)),
    ],
)
def test_linear_merges_are_exact_and_load_with_peft(tmp_path, method, options, shares):
    adapters, base, whole = several(tmp_path, MIXED)
    made = merge(adapters, method=method, options=options)
    write(made, tmp_path / "out")
    weights = {
        name: base[name] + sum(share * (each[name] - base[name]) for share, each in zip(shares, whole)) for name in base
    }
    expected = answers(llama(), weights)
    torch.testing.assert_close(answers_of_peft(llama(), tmp_path / "out"), expected, rtol=1e-5, atol=1e-5)
    assert (expected - answers(llama(), base)).abs().max() > 1e-3
    put = apply_adapter(base, tmp_path / "out")
    for name in base:
        torch.testing.assert_close(put[name], weights[name], rtol=1e-5, atol=1e-6, msg=name)
    module = "model.layers.1.self_attn.q_proj"
    entry = next(entry for entry in made.ledger if entry.name == f"base_model.model.{module}.lora_A.weight")
    assert entry.detail == ("rank 4 + 2 + 5, exact" if shares[2] else "rank 4 + 2, exact")


KINDS = {
    "saved whole": ({"modules_to_save": ["lm_head"]}, llama),
    "biases": ({"bias": "all"}, llama),
    "bias of the factor": ({"lora_bias": True, "target_modules": ["q_proj", "o_proj"]}, llama),
    "embedding": ({"target_modules": ["embed_tokens", "q_proj"]}, llama),
    "inputs first": ({"target_modules": ["c_attn"], "fan_in_fan_out": True}, gpt2),
}


@pytest.mark.parametrize("method", ["linear", "slerp"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tensor_is_merged(tmp_path, kind, method):
    settings, model = KINDS[kind]
    adapters, base, whole = several(tmp_path, [settings, settings], model)
    write(merge(adapters, method=method, rank=16 if method == "slerp" else None), tmp_path / "out")
    put = apply_adapter(base, tmp_path / "out")
    read = [open_checkpoint(tmp_path / f"adapter{number}") for number in range(2)]
    for name in base:
        ends = [each[name] for each in whole]
        saved = any(key.endswith(("." + name, name.replace(".bias", ".base_layer.bias"))) for key in read[0])
        if not saved:  # a difference; what is saved is merged as it is
            ends = [end - base[name] for end in ends]
        expected = merge([{"w": ends[0]}, {"w": ends[1]}], method=method)["w"] if ends[0].any() else ends[0]
        torch.testing.assert_close(put[name] - (0 if saved else base[name]), expected, rtol=1e-4, atol=2e-6, msg=name)
    torch.testing.assert_close(answers_of_peft(model(), tmp_path / "out"), answers(model(), put), rtol=1e-5, atol=1e-5)


def test_convolutions_are_merged(tmp_path):
    settings = {"target_modules": ["conv", "point", "line"]}
    adapters, base, whole = several(tmp_path, [settings, {**settings, "r": 2}], Net)
    put = apply_adapter(base, merge(adapters))
    for name in base:
        torch.testing.assert_close(put[name], (whole[0][name] + whole[1][name]) / 2, rtol=1e-5, atol=1e-6)


def test_a_rank_takes_the_largest_singular_values(tmp_path):
    adapters, _, _ = several(tmp_path, [MIXED[0], MIXED[0]])
    exact, cut = merge(adapters), merge(adapters, rank=3)
    assert cut.config["r"] == 3
    module = "model.layers.0.mlp.down_proj"
    whole, small_one = change(exact, module), change(cut, module)
    u, s, v = torch.linalg.svd(whole.double())
    best = (u[:, :3] * s[:3]) @ v[:3]
    torch.testing.assert_close(small_one, best.float(), rtol=1e-4, atol=1e-6)
    entry = next(entry for entry in cut.ledger if entry.name == f"base_model.model.{module}.lora_B.weight")
    told = float(entry.detail.rpartition(" ")[2])
    assert told == pytest.approx(float((whole - small_one).norm() / whole.norm()), rel=0.01)
    assert cut[entry.name].norm() == pytest.approx(cut[entry.name.replace("_B", "_A")].norm())


@pytest.mark.parametrize(("method", "options"), [("ties", {"density": 0.4}), ("dare", {"density": 0.5}), ("slerp", {})])
def test_other_methods_see_the_differences_themselves(tmp_path, method, options):
    adapters, _, _ = several(tmp_path, [MIXED[0], MIXED[0]])
    names = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"]
    made = merge(adapters, method=method, options=options, seed=3, rank=16)
    whole = [{f"{name}.weight": change(adapter, name) for name in names} for adapter in adapters]
    zeros = {name: torch.zeros_like(tensor) for name, tensor in whole[0].items()}
    base = {} if method == "slerp" else {"base": zeros}
    expected = merge(whole, method=method, options=options, seed=3, **base)
    for name in names:
        assert expected[f"{name}.weight"].abs().max() > 0
        torch.testing.assert_close(change(made, name), expected[f"{name}.weight"], rtol=1e-4, atol=1e-6)
    cut = merge(adapters, method=method, options=options, seed=3)
    assert cut.config["r"] == 8  # the ranks added
    missed = float((change(cut, names[0]) - change(made, names[0])).norm() / change(made, names[0]).norm())
    entry = next(entry for entry in cut.ledger if entry.name == f"base_model.model.{names[0]}.lora_A.weight")
    assert float(entry.detail.rpartition(" ")[2]) == pytest.approx(missed, rel=0.02, abs=1e-6)


@pytest.mark.parametrize("dora", [False, True])
def test_with_a_base_the_model_is_merged(tmp_path, dora):
    kinds = [{**settings, "use_dora": dora} for settings in MIXED[:2]]
    adapters, base, whole = several(tmp_path, kinds)
    half = open_checkpoint({name: tensor.bfloat16() for name, tensor in base.items()})
    full = [put_on(half, adapter, dtype=torch.float32) for adapter in adapters]
    made = merge(adapters, base=half, method="ties", options={"density": 0.5})
    expected = merge(full, base=half, method="ties", options={"density": 0.5})
    name = "model.layers.0.self_attn.q_proj.weight"
    assert made[name].dtype == torch.bfloat16
    assert torch.equal(made[name], expected[name])
    assert not torch.equal(made[name], half[name])
    mean = merge(adapters, base=base, method="linear")
    for name in base:
        torch.testing.assert_close(mean[name], (whole[0][name] + whole[1][name]) / 2, rtol=1e-5, atol=1e-6)
    assert not mean.is_adapter


def test_a_head_that_parts_from_the_embedding_in_one_model_does_in_all(tmp_path):
    llama(tied=True).save_pretrained(tmp_path / "base")
    adapted(llama(tied=True), tmp_path / "one", 1, target_modules=["embed_tokens", "q_proj"])
    adapted(llama(tied=True), tmp_path / "two", 2)
    base = open_checkpoint(tmp_path / "base")
    made = merge([tmp_path / "one", tmp_path / "two"], base=base, method="task_arithmetic", options={"scale": 0.5})
    write(made, tmp_path / "out")
    with torch.no_grad():
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
        one = apply_adapter(base, tmp_path / "one")
    embedding = "model.embed_tokens.weight"
    torch.testing.assert_close(loaded.get_input_embeddings().weight, (base[embedding] + one[embedding]) / 2)
    assert torch.equal(loaded.get_output_embeddings().weight, base[embedding])
    assert not torch.equal(one[embedding], base[embedding])


def test_factors_of_one_run_are_averaged(tmp_path):
    adapters, _, _ = several(tmp_path, [MIXED[0], MIXED[0]])
    made = merge(adapters, merge_space="factors", options={"weights": (3, 1)})
    for name in made.tensors:
        torch.testing.assert_close(made[name], 0.75 * adapters[0][name] + 0.25 * adapters[1][name])
    assert made.config == adapters[0].config
    other, _, _ = several(tmp_path, [MIXED[0], MIXED[1]])
    with pytest.raises(MatchError) as raised:
        merge(other, merge_space="factors")
    assert "rank 4 with scale 2, rank 2 with scale 2.121" in str(raised.value)
    assert "is not in" in str(raised.value)


def test_the_same_adapters_give_the_same_bytes(tmp_path):
    adapters, _, _ = several(tmp_path, MIXED)
    for name in ("one", "two"):
        write(merge(adapters, method="ties", rank=4), tmp_path / name)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_different_base_models_are_told():
    adapters = [small([[1.0]], [[1.0]], base_model_name_or_path=name) for name in ("llama", "mistral")]
    with pytest.warns(UserWarning, match="different base models: llama by memory, mistral by memory"):
        merge(adapters)
    merge([adapters[0], small([[1.0]], [[1.0]]), adapters[0]])


def test_what_is_saved_whole_is_merged_by_name_in_any_order():
    def saved(names, value):
        factors = small([[1.0]], [[1.0]]).state_dict()
        whole = {f"base_model.model.{name}.weight": torch.tensor([value + len(name)]) for name in names}
        return replace(open_checkpoint({**factors, **whole}), config=CONFIG)

    made = merge([saved(["a", "bb"], 0.0), saved(["bb", "a"], 10.0)])
    assert made["base_model.model.a.weight"].item() == 6.0
    assert made["base_model.model.bb.weight"].item() == 7.0
    # Differences cannot be told from what is saved whole: it is averaged, and the ledger says so.
    added = merge([saved(["a"], 0.0), saved(["a"], 10.0)], method="task_arithmetic")
    assert added["base_model.model.a.weight"].item() == 6.0
    assert change(added).item() == 2.0
    assert "averaged" in next(entry.detail for entry in added.ledger if entry.name.endswith("a.weight"))


WHOLE = Checkpoint({}, source="whole")


@pytest.mark.parametrize(
    ("models", "request_", "message"),
    [
        ([small([[1.0]], [[1.0]]), WHOLE], {}, "whole is a whole model"),
        ([small([[1.0]], [[1.0]])], {"base": small([[1.0]], [[1.0]])}, "the base memory is a PEFT adapter"),
        ([small([[1.0]], [[1.0]])], {"tokenizer": "union"}, "a tokenizer and a chat template are for whole models"),
        ([small([[1.0]], [[1.0]])], {"merge_space": "weight"}, "no base is given"),
        ([small([[1.0]], [[1.0]])], {"merge_space": "product", "base": WHOLE}, "needs no base"),
        ([small([[1.0]], [[1.0]])], {"merge_space": "products"}, "did you mean 'product'"),
        ([small([[1.0]], [[1.0]])], {"merge_space": "factors", "rank": 2}, "rank 2 is for merge_space product"),
        ([small([[1.0]], [[1.0]])], {"rank": 0}, "it must be 1 at least"),
        ([WHOLE], {"rank": 2}, "are for PEFT adapters"),
        ([WHOLE], {"pad_to_multiple_of": 2}, "where a tokenizer is asked for"),
    ],
)
def test_requests_that_do_not_go_together(models, request_, message):
    with pytest.raises(MethodError, match=message):
        merge(models, **request_)


def test_adapters_that_do_not_fit_each_other(tmp_path):
    dora = replace(
        open_checkpoint(
            {**small([[1.0]], [[1.0]]).state_dict(), "base_model.model.up.lora_magnitude_vector": torch.ones(1)}
        ),
        config={**CONFIG, "use_dora": True},
    )
    with pytest.raises(MethodError, match="is a DoRA adapter"):
        merge([dora, small([[1.0]], [[1.0]])])
    with pytest.raises(MatchError, match=r"up: \[1, 1\] in memory, \[1, 2\] in memory"):
        merge([small([[1.0]], [[1.0]]), small([[1.0]], [[1.0, 2.0]])])
    saved = {**small([[1.0]], [[1.0]]).state_dict(), "base_model.model.head.weight": torch.ones(1)}
    with pytest.raises(MatchError, match="head.weight, saved whole, is not in memory"):
        merge([small([[1.0]], [[1.0]]), replace(open_checkpoint(saved), config=CONFIG)])


def test_the_command_merges_adapters(tmp_path, capsys):
    adapters, base, _ = several(tmp_path, MIXED[:2])
    asked = f"merge ties {tmp_path}/adapter0 {tmp_path}/adapter1 --rank 5 --set density=0.5 --out {tmp_path}/out"
    assert run(asked.split()) == 0, capsys.readouterr().err
    expected = merge(adapters, method="ties", options={"density": 0.5}, rank=5)
    made = open_checkpoint(tmp_path / "out")
    assert made.config == expected.config
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    told = lineage(tmp_path / "out")
    assert told is not None
    assert told.recipe["rank"] == 5
    assert told.recipe["merge_space"] == "product"
    assert [parent.role for parent in told.parents] == ["adapter", "adapter"]
    write(base, tmp_path / "base")
    asked = f"merge linear {tmp_path}/adapter0 {tmp_path}/adapter1 --base {tmp_path}/base --out {tmp_path}/whole"
    assert run(asked.split()) == 0, capsys.readouterr().err
    assert set(open_checkpoint(tmp_path / "whole")) == set(base)
    assert [parent.role for parent in lineage(tmp_path / "whole").parents] == ["base", "adapter", "adapter"]
