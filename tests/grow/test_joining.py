"""MixtureGrowth by the verb: two models side by side, by the graph alone, and mixtures of their layers between them."""

import json

import pytest
import torch
import transformers
from tests.architectures.zoo import LISTED
from tests.grow.preservation import grown, random_source, stored
from tests.vocabulary.made import saved, tokenizer
from torch import nn

import scionwood
from scionwood.cli import run
from scionwood.errors import MatchError, MethodError
from scionwood.train.growth.mixture import MixtureBatchNorm, MixtureLinear, plain_state, select_member

TWICE = {
    "Llama": {
        "hidden_size": 96,
        "num_attention_heads": 12,
        "num_key_value_heads": 6,
        "intermediate_size": 160,
        "head_dim": 8,
    },
    "Llama (tied, biased)": {
        "hidden_size": 96,
        "num_attention_heads": 12,
        "num_key_value_heads": 6,
        "intermediate_size": 160,
        "head_dim": 8,
    },
    "Qwen3": {"hidden_size": 96, "num_attention_heads": 12, "num_key_value_heads": 6, "intermediate_size": 160},
    "GPT-2": {"n_embd": 96, "n_head": 12, "n_inner": 160},
    "GPT-2 (untied)": {"n_embd": 96, "n_head": 12, "n_inner": 160},
    "GPT-NeoX": {"hidden_size": 96, "num_attention_heads": 6, "intermediate_size": 160},
    "BERT": {"hidden_size": 96, "num_attention_heads": 12, "intermediate_size": 160},
    "ViT": {"hidden_size": 96, "num_attention_heads": 12, "intermediate_size": 160},
}
QUICK = {"Llama", "GPT-2 (untied)", "BERT", "ViT"}
TIED = {"Llama (tied, biased)", "GPT-2"}
SMALL = {
    "vocab_size": 32,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "tie_word_embeddings": False,
}
LARGE = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8}
LARGE_FLAGS = [flag for name, size in LARGE.items() for flag in ("--set", f"{name}={size}")]


def llama(folder, seed, **settings):
    torch.manual_seed(seed)
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SMALL, **settings})).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    where = tmp_path_factory.mktemp("members")
    return llama(where / "first", 1), llama(where / "second", 2)


def marked(checkpoint):
    """The same with numbers that no other model has."""
    tensors = {name: checkpoint[name] + 1000 for name in checkpoint.tensors}
    return scionwood.checkpoint.Checkpoint(scionwood.open(tensors).tensors, config=checkpoint.config)


def perceptron(width, inputs=4, outputs=3):
    parts = [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(width, outputs))


def perceptrons():
    torch.manual_seed(0)
    nets = [perceptron(8), perceptron(8), perceptron(16)]
    for net in nets:
        net(torch.randn(50, 4))
        for weight in net.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
        net.eval()
    return nets


def load(net, checkpoint):
    net.load_state_dict({name: tensor.read() for name, tensor in checkpoint.tensors.items()})
    return net


@pytest.mark.parametrize("average", [False, True])
def test_two_nets_side_by_side_add_up(average):
    first, second, large = perceptrons()
    options = {"coefficients": "zero", "average": average}
    made = scionwood.grow(
        first, second=second, like=large, inputs=torch.zeros(2, 4), method="mixture_growth", options=options
    )
    x = torch.randn(6, 4)
    both = first(x) + second(x)
    torch.testing.assert_close(load(large, made)(x), both / 2 if average else both)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize(
    "family", [pytest.param(family, marks=[] if family in QUICK else [pytest.mark.slow]) for family in TWICE]
)
def test_a_model_beside_itself_computes_what_it_computes(family, average):
    """Norms of a stream that is there twice see what they saw: so the whole is exact, whatever the architecture."""
    itself = stored(random_source(LISTED[family])[0], LISTED[family])
    how = {"method": "mixture_growth", "second": itself, "options": {"coefficients": "zero", "average": average}}
    if average and (family in TIED or family == "BERT"):
        with pytest.raises(MethodError, match="no head can be halved"):
            grown(LISTED[family], TWICE[family], **how)
        return
    made = grown(LISTED[family], TWICE[family], **how)
    # The logits of two are twice those of one; what BERT gives is a stream, of which the first half is looked at.
    assert made.difference == pytest.approx(0 if average or family == "BERT" else 1, abs=2e-6)
    assert not made.claims


@pytest.mark.parametrize("family", ["Llama", "GPT-2", "BERT"])
def test_every_number_of_both_is_there_once(family):
    itself = stored(random_source(LISTED[family])[0], LISTED[family])
    other = marked(itself)
    made = scionwood.grow(
        itself, second=other, set=TWICE[family], method="mixture_growth", options={"coefficients": "zero"}
    )
    for name in made.tensors:
        value = made[name]
        if value.numel() == itself[name].numel():
            continue  # no axis of it grows
        first = value[(value < 500) & (value != 0)]
        assert torch.equal(first.sort().values, itself[name].flatten().sort().values)
        assert torch.equal(value[value > 500].sort().values, other[name].flatten().sort().values)


def test_fused_projections_are_parted_member_by_member():
    """GPT-2 stores queries, keys and values side by side, GPT-NeoX head by head."""
    for family, name, parts in (
        ("GPT-2", "transformer.h.0.attn.c_attn.bias", (3, 2)),
        ("GPT-NeoX", "gpt_neox.layers.0.attention.query_key_value.bias", (2,)),
    ):
        itself = stored(random_source(LISTED[family])[0], LISTED[family])
        made = scionwood.grow(itself, second=marked(itself), set=TWICE[family], method="mixture_growth")
        is_second = (made[name] > 500).view(*parts, -1)
        assert torch.equal(
            is_second, torch.tensor([False, True]).view(*[1] * (len(parts) - 1), 2, 1).expand_as(is_second)
        )


@pytest.mark.parametrize("crossed", [False, True])
def test_what_is_beside_the_diagonal_is_mixed_from_layers(members, crossed):
    first, second = (scionwood.open(each) for each in members)
    made = scionwood.grow(first, second=second, set=LARGE, method="mixture_growth", options={"crossed": crossed})
    name = "model.layers.{}.self_attn.q_proj.weight"
    weight = made[name.format(1)]
    assert torch.equal(weight[:16, :16], first[name.format(1)])
    assert torch.equal(weight[16:, 16:], second[name.format(1)])
    above, below = ((weight[:16, 16:], (first, second)[crossed]), (weight[16:, :16], (second, first)[crossed]))
    found = []
    for block, member in (above, below):
        layers = torch.stack([member[name.format(layer)].flatten() for layer in range(3)], 1)
        solved = torch.linalg.lstsq(layers, block.reshape(-1, 1)).solution
        torch.testing.assert_close(layers @ solved, block.reshape(-1, 1), atol=1e-6, rtol=0)
        found.append(solved.flatten())
    rows = torch.stack([torch.tensor([0.0, 1, 0]), *found])
    torch.testing.assert_close(rows @ rows.T, torch.eye(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "factor"), [({"templates": "own"}, None), ({"coefficients": "copy", "scale": 0.0}, 1.0)]
)
def test_from_its_own_weight_alone(members, options, factor):
    first, second = (scionwood.open(each) for each in members)
    made = scionwood.grow(first, second=second, set=LARGE, method="mixture_growth", options=options)
    name = "model.layers.2.mlp.down_proj.weight"
    for block, member in ((made[name][:16, 24:], first), (made[name][16:, :24], second)):
        ratio = block / member[name]
        torch.testing.assert_close(ratio, torch.full_like(ratio, factor or float(ratio[0, 0].sign())))


def test_the_result_loads_and_is_made_again(members, tmp_path):
    out = tmp_path / "out"
    first, second = map(str, members)
    line = ["grow", first, "--second", second, *LARGE_FLAGS, "--method", "mixture_growth", "--out", str(out)]
    assert run([*line, "--seed", "3"]) == 0
    model, told = transformers.LlamaForCausalLM.from_pretrained(out, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    assert model.config.hidden_size == 32
    lineage = scionwood.lineage(out)
    assert [parent.role for parent in lineage.parents] == ["source", "second"]
    assert all(parent.digest for parent in lineage.parents)
    assert run(["reproduce", str(out)]) == 0


def test_by_a_recipe(members, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(
        json.dumps(
            {
                "steps": {
                    "wide": {
                        "verb": "grow",
                        "source": str(members[0]),
                        "second": str(members[1]),
                        "set": LARGE,
                        "method": "mixture_growth",
                        "options": {"coefficients": "copy"},
                    }
                },
            }
        )
    )
    assert run(["run", "recipe.yaml", "--out", "out"]) == 0
    direct = scionwood.grow(
        members[0], second=members[1], set=LARGE, method="mixture_growth", options={"coefficients": "copy"}
    )
    made = scionwood.open("out")
    assert all(torch.equal(made[name], direct[name]) for name in direct.tensors)


def test_members_trained_as_mixtures_are_joined_as_plain_nets():
    torch.manual_seed(0)
    mixed = nn.Sequential(
        MixtureLinear(4, 16, split="outputs"),
        MixtureBatchNorm(16, dimensions=0),
        nn.ReLU(),
        MixtureLinear(16, 16),
        nn.ReLU(),
        MixtureLinear(16, 3, split="inputs"),
    )
    x, nets, logits = torch.randn(9, 4), [perceptron(8), perceptron(8)], []
    for member, net in enumerate(nets):
        select_member(mixed.train(), member)
        mixed(torch.randn(50, 4))
        net.load_state_dict(plain_state(mixed.eval()))
        logits.append(mixed(x))
        assert torch.equal(net.eval()(x), logits[-1])
    made = scionwood.grow(
        nets[0],
        second=nets[1],
        like=perceptron(16),
        inputs=x,
        method="mixture_growth",
        options={"coefficients": "zero"},
    )
    torch.testing.assert_close(load(perceptron(16), made).eval()(x), sum(logits))


def test_new_positions_begin_as_the_class_begins_them(tmp_path):
    torch.manual_seed(0)
    config = {"n_embd": 16, "n_head": 2, "n_layer": 1, "n_positions": 8, "vocab_size": 32}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config))
    model.save_pretrained(tmp_path / "small")
    larger = {"n_embd": 32, "n_head": 4, "n_positions": 12}
    made = scionwood.grow(tmp_path / "small", second=tmp_path / "small", set=larger, method="mixture_growth")
    table, old = made["transformer.wpe.weight"], model.transformer.wpe.weight.detach()
    assert torch.equal(table[:8], torch.cat([old, old], 1))
    assert 0 < float(table[8:].std()) < 0.1


# ------------------------------------------------------------------------------------------------- bad input


def test_two_of_different_sizes_are_refused_with_every_tensor(members, tmp_path):
    other = llama(tmp_path / "other", 3, intermediate_size=32)
    with pytest.raises(MatchError, match="no two members of one shape") as caught:
        scionwood.grow(members[0], second=other, set=LARGE, method="mixture_growth")
    assert len(caught.value.problems) == 9
    assert "model.layers.0.mlp.down_proj.weight: (16, 24) in the first, (16, 32) in the second" in caught.value.problems


def test_two_families_are_refused_in_one_line(members, tmp_path):
    config = transformers.GPT2Config(n_embd=16, n_head=2, n_layer=1, vocab_size=32)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt")
    with pytest.raises(MatchError, match="no two members") as caught:
        scionwood.grow(members[0], second=tmp_path / "gpt", set=LARGE, method="mixture_growth")
    assert caught.value.problems == (f"{members[0]} is a llama, {tmp_path / 'gpt'} a gpt2",)


def test_two_tokenizers_are_refused(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    own = tokenizer("byte-level", "docstrings")
    for folder in folders:
        saved(folder, "llama", own)
    held = json.loads((folders[1] / "tokenizer.json").read_text())
    vocabulary = held["model"]["vocab"]
    a, b = list(vocabulary)[-2:]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    (folders[1] / "tokenizer.json").write_text(json.dumps(held))
    with pytest.raises(MatchError, match="no two members") as caught:
        scionwood.grow(folders[0], second=folders[1], set=LARGE, method="mixture_growth")
    assert caught.value.problems == ("their tokenizers number tokens differently",)


@pytest.mark.parametrize(
    ("more", "sizes", "sentence"),
    [
        (
            ["--method", "mixture_growth"],
            {},
            "mixture_growth joins two models of half the target's width, and has one.",
        ),
        (["--second", "SECOND"], {}, "hypercloning grows one model."),
        (["--second", "nowhere", "--method", "mixture_growth"], {}, "nowhere"),
        (
            ["--second", "SECOND", "--method", "mixture_growth"],
            {"intermediate_size": 40},
            "24 to 40: two members side by side make 48",
        ),
        (
            ["--second", "SECOND", "--method", "mixture_growth"],
            {"num_hidden_layers": 6},
            "3 to 6 blocks: mixture_growth joins two models of the target's depth",
        ),
    ],
)
def test_bad_requests_have_an_answer(members, tmp_path, capsys, more, sizes, sentence):
    first, second = map(str, members)
    flags = [flag for name, size in {**LARGE, **sizes}.items() for flag in ("--set", f"{name}={size}")]
    words = [second if word == "SECOND" else word for word in more]
    assert run(["grow", first, *flags, *words, "--out", str(tmp_path / "out")]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert sentence in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()
