"""The verb: every initialiser on every architecture, by the graph alone; layouts, ledgers, bytes, refusals."""

import copy
import functools
import itertools
import json
import re

import pytest
import torch
from tests.architectures.derived import model
from tests.architectures.zoo import LISTED
from torch import nn

import scionwood
from scionwood.anatomy import derive
from scionwood.anatomy.flow import flow
from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.initialize import layer_index
from scionwood.methods.initialize.fixup import standard_deviation
from scionwood.methods.initialize.site import Site
from scionwood.methods.record import Record
from scionwood.verbs.initialize import Line, explain, initialize
from scionwood.verbs.initialize.drawing import describe, told
from scionwood.verbs.initialize.explain import _folded
from scionwood.verbs.initialize.initialize import drawing_of
from scionwood.verbs.initialize.sites import places_of

FAMILIES = ("Llama", "GPT-2", "GPT-NeoX", "BERT", "T5", "ViT", "ConvNeXt", "ResNet", "Mamba", "Mixtral")
METHODS = [
    entry.name.partition(".")[2]
    for entry in registry.listing("initialize")
    if Record.of(registry.load(entry.name)).statistics <= {"outputs"}
    and not any(option.required for option in Record.of(registry.load(entry.name)).options)
]


@functools.cache
def places(name: str):
    return places_of(model(name), derive(model(name)), flow(model(name)))


def mlp(*sizes: int, bias: bool = True) -> nn.Sequential:
    layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b, bias=bias), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_sets_what_it_claims_on_every_architecture(method, family):
    drawing = drawing_of(model(family), method)
    entries = {entry.name: entry for entry in drawing.entries([p.tensor for p in drawing.places], _sizes(family))}
    answered = set()
    for place in drawing.places:
        made = drawing.draw(place.site)
        assert (made is not None) == (drawing.kind(place.site) is not None)
        if made is None:
            continue
        answered.add(place.tensor)
        assert made.dtype == torch.float32
        assert tuple(made.shape) == place.site.shape
        assert bool(made.isfinite().all())
        assert entries[place.tensor].action == "initialized"
    for name in {place.tensor for place in drawing.places} - answered:
        assert entries[name].action == "left"
        assert entries[name].detail == drawing.record.name.partition(".")[2] + " does not set " + told(
            next(place.site for place in drawing.places if place.tensor == name)
        )


def _sizes(family: str) -> dict[str, int]:
    return {name: tensor.numel() for name, tensor in model(family).module.state_dict().items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_sites_cover_every_parameter_and_read_back_what_is_written(family):
    state = model(family).module.state_dict(keep_vars=True)
    covered = dict.fromkeys((place.tensor for place in places(family)), 0)
    for place in places(family):
        stored = torch.zeros(state[place.tensor].shape)
        values = 1 + torch.rand(place.site.shape)  # never what is there already
        place.write(stored, values)
        assert torch.equal(place.read(stored), values)
        covered[place.tensor] += int(stored.count_nonzero())
    assert all(covered[name] == state[name].numel() for name in covered)


class Upsampling(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(4, 8, 3, groups=2), nn.ConvTranspose2d(8, 6, 3, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(torch.relu(self.down(x)))


def test_a_transposed_convolution_in_groups_is_seen_as_outputs_by_inputs():
    net = Upsampling()
    built = scionwood.anatomy.from_module(net, torch.zeros(1, 4, 8, 8))
    up = next(place for place in places_of(built, derive(built), flow(built)) if place.tensor == "up.weight")
    assert up.site.shape == (6, 4, 3, 3)
    values = torch.randn(6, 4, 3, 3)
    with torch.no_grad():
        up.write(net.up.weight, values)
        net.up.bias.zero_()
    x = torch.randn(1, 8, 5, 5)
    # Output channel 0 of the first group reads the first four inputs through values[0].
    alone = nn.functional.conv_transpose2d(x[:, :4], values[0][:, None], padding=0)
    assert torch.allclose(net.up(x)[:, :1], alone, atol=1e-5)


def test_a_checkpoint_of_a_config_loads_and_is_the_same_twice(tmp_path):
    from transformers import AutoModelForCausalLM

    for family in ("Llama", "GPT-2", "Mixtral"):
        made = initialize(LISTED[family], method="fixup", seed=3)
        again = initialize(LISTED[family], method="fixup", seed=3)
        assert scionwood.digest(made, full=True) == scionwood.digest(again, full=True)
        assert scionwood.digest(made, full=True) != scionwood.digest(
            initialize(LISTED[family], method="fixup"), full=True
        )
        out = tmp_path / family
        scionwood.write(made, out)
        loaded = AutoModelForCausalLM.from_pretrained(out)
        inner = next(block for block in loaded.modules() if isinstance(block, nn.ModuleList))[0]
        x = torch.randn(1, 5, 48)
        # Every branch begins as zero: a block is the identity.
        if family == "GPT-2":
            assert torch.equal(inner(x)[0] if isinstance(inner(x), tuple) else inner(x), x)


def test_in_place_changes_the_module_and_returns_the_ledger():
    net = mlp(16, 32, 32, 4)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    ledger = initialize(net, method="fixup", inputs=torch.zeros(1, 16), only=["0.*", "2.weight"])
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"0.weight", "0.bias", "2.weight"}
    assert {entry.name for entry in ledger.of("initialized")} == changed
    assert {entry.detail for entry in ledger.of("left")} == {"not among those asked for"}


def test_norms_are_left_and_said_to_be():
    ledger = initialize(LISTED["BERT"], method="zero").ledger
    assert ledger is not None
    gain = next(entry for entry in ledger if entry.name.endswith("LayerNorm.weight"))
    assert (gain.action, gain.detail) == ("left", "zero does not set a gain: begins as its class begins it")


@pytest.mark.parametrize("family", ["BERT", "Gemma2", "BLOOM", "Falcon (new decoder)", "ALBERT"])
def test_mimetic_products_of_attentions_that_are_written_out(family):
    """Without noise a head's queries and keys make b times a projector of the head's rank, and values and output -b I."""
    net = model(family).rebuild()
    net.set_attn_implementation("eager")
    initialize(net, method="mimetic", options={"alpha_qk": 0.0, "alpha_vo": 0.0})
    config = copy.deepcopy(net.config)
    config.architectures = [type(net).__name__]
    built = scionwood.anatomy.from_config(config)
    state, parts = net.state_dict(), {}
    for place in places_of(built, derive(built), flow(built)):
        if place.site.is_weight and place.site.attention is not None:
            own = place.site.attention
            parts.setdefault(own.block, {})[own.role] = (own, place.read(state[place.tensor]))
    assert parts
    for four in parts.values():
        own, query = four["query"]
        queries, keys = query.unflatten(0, (own.heads, -1)), four["key"][1].unflatten(0, (own.kv_heads, -1))
        for head, rows in enumerate(queries):
            product = rows.T @ keys[head // (own.heads // own.kv_heads)]
            assert float(product.trace()) == pytest.approx(0.7 * own.width, rel=1e-4)
        values = four["value"][1].unflatten(0, (own.kv_heads, -1)).repeat_interleave(own.heads // own.kv_heads, 0)
        product = values.flatten(0, 1).T @ four["output"][1].T
        rank = min(own.kv_heads * four["value"][0].width, len(product))
        assert float(product.trace()) == pytest.approx(-0.4 * rank, rel=1e-4)


@pytest.mark.parametrize(
    ("family", "count"),
    [
        ("Llama", 4), ("GPT-2", 4), ("BLOOM", 4),
        ("GPT-NeoX", 4), ("Falcon (new decoder)", 4), ("GPT-J", 4), ("Cohere", 4),  # parallel: two branches a layer
        ("T5", 10), ("Whisper", 10), ("transformer", 7),  # 2 for a layer of the encoder, 3 for one of the decoder
    ],
)  # fmt: skip
def test_every_attention_counts_four_weights_fused_or_not(family, count):
    sites = [place.site for place in places(family) if place.site.is_weight and place.site.attention is not None]
    attentions = {}
    for site in sites:
        attentions.setdefault(site.attention.block, {})[site.attention.role] = site
    assert attentions
    for four in attentions.values():
        assert set(four) == {"query", "key", "value", "output"}
        assert {(site.branch.weights, site.branch.count) for site in four.values()} == {(4, count)}
        assert len({site.branch.number for site in four.values()}) == 1
        for site in (four["query"], four["key"], four["value"]):
            own = (2 / (site.fan_in + site.fan_out)) ** 0.5
            assert standard_deviation(site) == pytest.approx(own * count ** (-1 / 6))
        assert standard_deviation(four["output"]) == 0


@pytest.mark.parametrize(
    ("family", "name", "weights", "woven"),
    [
        ("Phi-3", "model.layers.0.mlp.gate_up_proj", 3, False),
        ("Mixtral", "model.layers.0.mlp.experts.gate_up_proj", 4, False),  # the router is one of them
        ("GPT-OSS", "model.layers.0.mlp.experts.gate_up_proj", 4, True),  # as (in, out)
    ],
)
def test_gate_and_up_side_by_side_are_two_weights(family, name, weights, woven):
    halves = [place for place in places(family) if place.tensor.startswith(name) and place.site.is_weight]
    told = [place.site.name.rpartition("[")[2] for place in halves]
    assert told[:2] == ["1 of 2]", "2 of 2]"]
    first, second = halves[0].rows.tolist(), halves[1].rows.tolist()
    width = len(first)
    assert first == (list(range(0, 2 * width, 2)) if woven else list(range(width)))
    assert sorted(first + second) == list(range(2 * width))
    for place in halves:
        site = place.site
        assert (site.fan_out, site.branch.weights, site.branch.last) == (width, weights, False)
        factor = site.branch.count ** (-1 / (2 * weights - 2))
        assert standard_deviation(site) == pytest.approx((2 / (site.fan_in + width)) ** 0.5 * factor)
    net = model(family).rebuild()
    initialize(net, method="pseudo_iid", options={"ensemble": "orthogonal", "sigma_w": 1.0})
    stored = net.state_dict()[halves[0].tensor]
    for place in halves:
        part = place.read(stored)
        part = part if part.shape[0] >= part.shape[1] else part.T
        gram = part.T @ part
        assert torch.allclose(gram, gram[0, 0] * torch.eye(len(gram)), atol=1e-5)


def test_a_bias_that_a_router_has_chosen_is_no_stream():
    """GPT-OSS adds to what its experts give a row of a table: both are computed from the router's choice, and not by a sum."""
    found = flow(model("GPT-OSS"))
    assert len(found.residuals) == 4
    assert [use.branch.last for use in found.uses if use.tensor.endswith("experts.gate_up_proj")] == [False, False]


def test_the_row_of_padding_is_zero():
    made = initialize(LISTED["Llama"], method="layer_index")["model.embed_tokens.weight"]
    assert not made[0].any()
    assert bool(made[1:].any(-1).all())


@pytest.mark.parametrize(
    ("family", "drawn", "left"),
    [
        ("GPT-2", ["transformer.wpe.weight"], []),
        ("OPT", ["model.decoder.embed_positions.weight"], []),
        ("BERT", ["embeddings.position_embeddings.weight", "embeddings.token_type_embeddings.weight"], []),
        ("ViT", ["vit.embeddings.cls_token", "vit.embeddings.position_embeddings"], []),
        ("T5", [], ["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]),
        ("Swin", [], ["swin.encoder.layers.0.blocks.0.attention.relative_position_bias.relative_position_bias_table"]),
        # Sines, which the class fixes.
        ("Whisper", ["model.decoder.embed_positions.weight"], ["model.encoder.embed_positions.weight"]),
        ("SigLIP", ["vision_model.head.probe"], ["logit_bias"]),
        ("Mamba2", [], ["backbone.layers.0.mixer.dt_bias"]),
    ],
)
def test_learned_positions_and_tokens_count_as_embeddings(family, drawn, left):
    kinds = {place.tensor: layer_index.standard_deviation(place.site) for place in places(family)}
    seeds = torch.Generator().manual_seed(0)
    made = {place.tensor: layer_index.layer_index(place.site, seeds) for place in places(family)}
    assert [kinds[name] for name in drawn] == [0.02] * len(drawn)
    assert all(made[name] is not None for name in drawn)
    assert all(made[name] is None for name in left)


# LSUV.


@torch.no_grad()
def deviations(net: nn.Sequential, batch: torch.Tensor) -> list[float]:
    found = []
    for layer in net:
        batch = layer(batch)
        if isinstance(layer, nn.Linear):
            found.append(float(batch.std(correction=0)))
    return found


def test_lsuv_brings_every_layer_to_one_in_one_pass():
    batch = 3 * torch.randn(512, 64, generator=torch.Generator().manual_seed(0)) + 1
    net = mlp(*[64] * 7)
    ledger = initialize(net, method="lsuv", inputs=batch, options={"tolerance": 0.0})
    assert deviations(net, batch) == pytest.approx([1.0] * 6, abs=1e-5)
    divisors = [
        float(entry.detail.rpartition(" ")[2]) for entry in ledger.of("initialized") if "divided" in entry.detail
    ]
    # The first takes up the input's scale, sqrt(9 + 1); the others what a ReLU leaves, about 1 / sqrt 2.
    assert divisors[0] == pytest.approx(10**0.5, rel=0.05)
    assert all(0.55 < divisor < 0.9 for divisor in divisors[1:])


def test_lsuv_scales_the_first_layer_alone_where_the_input_is_scaled():
    batch = torch.randn(256, 16, generator=torch.Generator().manual_seed(0))
    nets = [mlp(16, 16, 16, 4, bias=False) for _ in range(2)]
    for net, times in zip(nets, (1.0, 5.0), strict=True):
        initialize(net, method="lsuv", inputs=times * batch, options={"tolerance": 0.0})
    first, second = (dict(net.named_parameters()) for net in nets)
    assert torch.allclose(first["0.weight"], 5 * second["0.weight"], atol=1e-5)
    for name in ("2.weight", "4.weight"):
        assert torch.allclose(first[name], second[name], atol=1e-5)


class OutOfOrder(nn.Module):
    """Registered last, executed first; a layer that is used twice; one whose output is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.second, self.dead, self.first = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        return self.second(torch.relu(self.second(x))) + self.dead(0 * x)


def test_lsuv_follows_execution_takes_shared_layers_once_and_leaves_dead_ones():
    net = OutOfOrder()
    batch = 4 * torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
    net.train()
    initialize(net, method="lsuv", inputs=batch, options={"tolerance": 0.0})
    assert net.training
    with torch.no_grad():
        first = net.first(batch)
        assert float(first.std(correction=0)) == pytest.approx(1, abs=1e-5)
        assert float(net.second(torch.relu(first)).std(correction=0)) == pytest.approx(1, abs=1e-5)
        assert float(net.dead.weight.norm()) == pytest.approx(8**0.5, abs=1e-4)


def test_lsuv_can_rescale_what_is_there_and_centre():
    torch.manual_seed(0)
    net = mlp(8, 8, 3)
    direction = nn.functional.normalize(net[0].weight.detach().flatten(), dim=0)
    batch = torch.randn(256, 8) + 2
    initialize(net, method="lsuv", inputs=batch, options={"orthonormal": False, "tolerance": 0.0, "center": True})
    assert torch.allclose(nn.functional.normalize(net[0].weight.detach().flatten(), dim=0), direction, atol=1e-6)
    assert float(net[0](batch).detach().mean()) == pytest.approx(0, abs=1e-5)


# The explanation.


def test_the_explanation_folds_layers_that_differ_in_nothing():
    lines = explain(drawing_of(model("Llama"), "fixup"))
    down = [line for line in lines if "down_proj" in line.tensor]
    assert len(down) == 1
    assert (down[0].tensor, down[0].layers, down[0].gets) == (
        "model.layers.*.mlp.down_proj.weight",
        "1-2 of 2",
        "zeros",
    )
    assert (down[0].fan_in, down[0].fan_out, down[0].branch, down[0].reads) == (80, 48, "last", "gated silu")


def explained(method: str, only: str, **settings: object) -> list[tuple[str, str]]:
    config = scionwood.anatomy.from_config({**LISTED["Llama"], "num_hidden_layers": 5, **settings})
    return [(line.layers, line.gets) for line in explain(drawing_of(config, method, only=[only]))]


def test_the_explanation_is_true_of_every_layer_it_is_for():
    lines = [each for each in explained("layer_index", "*.up_proj.weight") if each[1] != "left"]
    assert lines == [("1-5 of 5", "std 0.02 … 0.0089")]  # 0.02 / sqrt(5)
    wide = {"hidden_size": 48 * 44, "intermediate_size": 2112}  # of large tensors, too
    (line,) = [each for each in explained("layer_index", "*.up_proj.weight", **wide) if each[1] != "left"]
    assert line[0] == "1-5 of 5"
    numbers = [float(number) for number in line[1].removeprefix("std ").split(" … ")]
    assert numbers == pytest.approx([0.02, 0.02 / 5**0.5], rel=2e-3)


def test_layers_that_are_told_apart_are_listed_with_what_is_theirs():
    def site(layer: int) -> Site:
        return Site(f"h.{layer - 1}.w", "linear", (2, 2), layer=layer, layers=6)

    line = Line("h.*.w", "a linear map", (2, 2), 2, 2, "", "", "", "")
    by_gets = {"std 0.3": [site(1), site(2), site(4)], "std 0.5": [site(3), site(5)], "std 0.4": [site(6)]}
    told_of = [(each.tensor, each.layers, each.gets) for each in _folded(line, by_gets)]
    assert told_of == [
        ("h.*.w", "1-2, 4 of 6", "std 0.3"),
        ("h.*.w", "3, 5 of 6", "std 0.5"),
        ("h.5.w", "6 of 6", "std 0.4"),
    ]


def test_the_ledger_tells_the_numbers_of_each_layer_and_no_digits_that_are_noise():
    net = mlp(*[48] * 4)
    ledger = initialize(net, method="vi3nr", inputs=torch.zeros(1, 48))
    details = {entry.name: entry.detail for entry in ledger}
    assert (
        details["0.weight"] == "a linear map: std 0.14; std 1 stays (chi_par 1.0000), squared gradients times 1 a layer"
    )
    layered = initialize(LISTED["Llama"], method="layer_index").ledger
    assert [entry.detail for entry in layered if entry.name.endswith(".up_proj.weight")] == [
        "a linear map: std 0.02",
        "a linear map: std 0.014",
    ]
    few = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert re.fullmatch(r"std \d\.\d", describe(few))


def test_the_command_line_explains(tmp_path, capsys):
    from scionwood.cli import run

    (tmp_path / "config.json").write_text(json.dumps(LISTED["GPT-2"]))
    assert run(["init", str(tmp_path), "--method", "mimetic", "--explain", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    fused = [line for line in lines if ".c_attn.weight[" in line["tensor"]]
    assert [line["is_a"] for line in fused] == [f"{role} of an attention" for role in ("queries", "keys", "values")]
    assert run(["init", str(tmp_path), "--method", "mimetic", "--explain"]) == 0
    out = capsys.readouterr().out
    assert "the output of an attention that ends a branch" in out
    assert ".c_attn.weight[query] " in out


def test_the_command_line_writes_with_a_batch(tmp_path, capsys):
    from safetensors.torch import save_file

    from scionwood.cli import run

    (tmp_path / "config.json").write_text(json.dumps(LISTED["ViT"]))
    save_file({"pixel_values": torch.randn(4, 3, 32, 32)}, tmp_path / "batch.safetensors")
    command = ["init", str(tmp_path / "config.json"), "--method", "lsuv", "--out", str(tmp_path / "out")]
    assert run([*command, "--data", str(tmp_path / "batch.safetensors")]) == 0
    assert "divided by" in capsys.readouterr().out
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_large_tensors_are_described_by_their_first_rows():
    wide = torch.zeros(4_200, 4_200)
    wide.fill_diagonal_(1.0)
    assert describe(wide) == "identity"
    wide[: 2**24 // 4_200] = 2.0  # the rows beyond do not count
    assert describe(wide) == "all 2"
    assert describe(torch.linalg.qr(torch.randn(700, 600)).Q) == "orthogonal"


# Refusals.


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("Llama", {"method": "fixupp"}, "did you mean 'fixup'"),
        ("Llama", {"method": "virgo"}, "virgo needs what no config says"),
        ("Llama", {"method": "fixup", "only": ["*.mpl.*"]}, r"Some patterns fit no tensor"),
        ("Llama", {"method": "fixup", "options": {"standart": "he"}}, "standart"),
    ],
)
def test_refusals_of_configs(target, options, message):
    with pytest.raises(MethodError, match=message):
        initialize(LISTED[target], **options)


def test_a_layer_that_the_model_does_not_have_is_refused():
    graph = {"operator": torch.eye(3), "features": torch.ones(3, 4), "classes": 3}
    for layers in (["0.weihgt", "2.weight"], [["0.weihgt"], ["2.weight"]]):
        with pytest.raises(
            MethodError, match=r"Some layers are no weights.*\n.*'0.weihgt' \(did you mean '0.weight'\?\)"
        ):
            initialize(mlp(4, 8, 3), method="virgo", inputs=torch.zeros(1, 4), statistics={**graph, "layers": layers})


def test_a_refusal_names_the_tensor_once():
    with pytest.raises(MethodError) as refused:
        explain(drawing_of(model("Mamba"), "state_space", {"variant": "lin"}))
    assert str(refused.value).count("backbone.layers.0.mixer.A_log") == 1


def test_refusals_of_modules():
    with pytest.raises(MethodError, match="a plain module, whose graph needs example inputs"):
        initialize(mlp(4, 4), method="zero")
    for inputs in (torch.zeros(1, 4, device="meta"), torch.zeros(1, 4), None):
        with pytest.raises(
            MethodError, match=r"tensors without values: 0.weight, 0.bias, 2.weight, 2.bias and 2 more\n"
        ):
            initialize(mlp(4, 4, 4, 4).to("meta"), method="zero", inputs=inputs)
    net = model("ViT").rebuild()
    with pytest.raises(MethodError, match="lsuv measures the outputs of layers, and has no batch"):
        initialize(net, method="lsuv")
    with pytest.raises(MethodError, match="The batch does not go through the model"):
        initialize(net, method="lsuv", inputs=torch.zeros(2, 3))
    with pytest.raises(MethodError, match="does not go through the model: IndexError: index out of range"):
        initialize(model("GPT-2").rebuild(), method="lsuv", inputs={"input_ids": torch.full((2, 5), 10_000)})


def test_lsuv_of_a_config_without_data_warns():
    with pytest.warns(UserWarning, match="lsuv measures on made-up inputs"):
        initialize(LISTED["ViT"], method="lsuv")


# What a method has to say of what it takes.


@pytest.mark.parametrize(
    ("method", "options", "said"),
    [
        ("edge_of_chaos", {}, "sigma_w 1.4082, sigma_b 0.4158: doubly critical, as sigma_b = 0.2 is unstable"),
        ("edge_of_chaos", {"unstable": "keep"}, "unstable, the variance runs away (chi_par 1.0950)"),
        ("edge_of_chaos", {"variance": 1.0}, "doubly critical, as variance = 1 is unstable"),
        ("pseudo_iid", {}, "doubly critical, as sigma_b = 0.2 is unstable"),
        ("vi3nr", {}, "std 1 drifts (chi_par 1.1441)"),
        ("vi3nr", {"sigma": "backward"}, "none keeps them, this is the nearest"),
    ],
)
def test_the_ledger_and_the_explanation_say_what_a_point_is_worth(method, options, said):
    net = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3))
    ledger = initialize(net, method=method, options=options, inputs=torch.zeros(1, 8))
    details = {entry.name: entry.detail for entry in ledger}
    assert said in details["2.weight"]
    built = scionwood.anatomy.from_module(net, torch.zeros(1, 8))
    assert details["2.weight"].endswith(explain(drawing_of(built, method, options))[2].gets)


def test_the_explanation_says_that_lsuv_rescales():
    for options, said in (({}, "orthogonal; then divided"), ({"orthonormal": False}, "as it is, then divided")):
        lines = explain(drawing_of(model("Llama"), "lsuv", options))
        told_of = {line.gets for line in lines if line.fan_in is not None}
        assert told_of == {f"{said} so that its output has std 1 over the batch"}
