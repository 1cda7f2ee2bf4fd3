"""Masked growth: exact at nought, a plain model at one, continuous between; on transformers' BERT and Llama."""

import itertools

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from scionwood.demos.docstrings import sentences
from scionwood.errors import MatchError, MethodError
from scionwood.train.growth.masks import (
    MaskedGrowth,
    carry_state,
    deepen,
    layer_sources,
    linear_decay,
    masked_layer_norm,
    masked_rms_norm,
    place,
)

VOCABULARY = 128
SMALL = {"width": 32, "inner": 48, "heads": 4, "layers": 2}
LARGE = {"width": 48, "inner": 80, "heads": 8, "layers": 5}
HEAD = 8


def bert(*, width, inner, heads, layers):
    """A BERT whose heads have a size of their own; its class takes width / heads."""
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=width, intermediate_size=inner, num_attention_heads=1,
        num_hidden_layers=layers, max_position_embeddings=64, attn_implementation="eager",
    )  # fmt: skip
    model = BertForMaskedLM(config).eval()
    for layer in model.bert.encoder.layer:
        attention = layer.attention.self
        attention.num_attention_heads, attention.attention_head_size = heads, HEAD
        attention.all_head_size, attention.scaling = heads * HEAD, HEAD**-0.5
        attention.query, attention.key, attention.value = (nn.Linear(width, heads * HEAD) for _ in range(3))
        layer.attention.output.dense = nn.Linear(heads * HEAD, width)
    return model


def llama(*, width, inner, heads, layers):
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=inner,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            head_dim=HEAD,
            num_hidden_layers=layers,
            max_position_embeddings=64,
            attn_implementation="eager",
        )
    ).eval()


FAMILIES = {
    "bert": (
        bert,
        {
            "width": {
                "bert.embeddings.LayerNorm": 32,
                "bert.encoder.layer.*.attention.output.LayerNorm": 32,
                "bert.encoder.layer.*.output.LayerNorm": 32,
                "cls.predictions.transform.LayerNorm": 32,
            },
            "inner": {"bert.encoder.layer.*.intermediate.dense": 48},
            "heads": {f"bert.encoder.layer.*.attention.self.{name}": 32 for name in ("query", "key", "value")},
            "layers": "bert.encoder.layer.{}",
        },
    ),
    "llama": (
        llama,
        {
            "width": {"model.layers.*.input_layernorm": 32, "model.layers.*.post_attention_layernorm": 32, "model.norm": 32},
            "inner": {"model.layers.*.mlp.gate_proj": 48},
            "heads": {"model.layers.*.self_attn.q_proj": 32, "model.layers.*.self_attn.k_proj": 16, "model.layers.*.self_attn.v_proj": 16},
            "layers": "model.layers.{}",
        },
    ),
}  # fmt: skip
DIMENSIONS = ["width", "inner", "heads", "layers"]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def grown(family, dimension, *, steps=4, spread=1.0):
    """A small model, the large one whose new weights are drawn from N(0, spread), and its masks."""
    make, names = FAMILIES[family]
    small = make(**SMALL)
    for weight in small.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    large = make(**SMALL | {dimension: LARGE[dimension]})
    for weight in large.parameters():
        nn.init.normal_(weight, 0, spread)
    place(small.state_dict(), large)
    if dimension == "layers":
        new = [names["layers"].format(number) for number in range(SMALL["layers"], LARGE["layers"])]
        return small, large, MaskedGrowth(large, blocks=new, steps=steps)
    return small, large, MaskedGrowth(large, channels=names[dimension], steps=steps)


def logits(model, tokens):
    with torch.no_grad():
        return model(tokens).logits


def test_masked_statistics_by_hand():
    x, plain = torch.tensor([1.0, 2, 3, 6, 50, -7]), torch.tensor([-1.0690, -0.5345, 0, 1.6036])
    found = masked_layer_norm(x, torch.tensor([1.0, 1, 1, 1, 0, 0]))
    assert torch.equal(found[:4], masked_layer_norm(x[:4], torch.ones(4)))
    torch.testing.assert_close(found[:4], plain, atol=1e-4, rtol=0)
    half = masked_layer_norm(x, torch.tensor([1.0, 1, 1, 1, 0.5, 0.5]))
    # Mean 6.7, variance 220.01.
    torch.testing.assert_close(half, (x - 6.7) / 220.01**0.5, atol=1e-5, rtol=1e-5)
    square = (1 + 4 + 9 + 36 + 0.5 * 2500 + 0.5 * 49) / 5
    found = masked_rms_norm(x, torch.tensor([1.0, 1, 1, 1, 0.5, 0.5]), eps=0.0)
    torch.testing.assert_close(found, x / square**0.5)


def test_with_a_mask_of_ones_norms_are_pytorchs():
    x, ones = torch.randn(5, 7), torch.ones(7)
    weight, bias = torch.randn(7), torch.randn(7)
    expected = nn.functional.layer_norm(x, (7,), weight, bias, 1e-5)
    torch.testing.assert_close(masked_layer_norm(x, ones, weight, bias, 1e-5), expected)
    torch.testing.assert_close(masked_rms_norm(x, ones, weight, 1e-6), nn.functional.rms_norm(x, (7,), weight, 1e-6))


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_growth_keeps_the_function_whatever_the_new_weights_are(family, dimension):
    tokens = torch.randint(0, VOCABULARY, (3, 17))
    small, large, growth = grown(family, dimension)
    assert growth.value == 0
    assert (logits(large, tokens) - logits(small, tokens)).abs().max() < 1e-5
    growth.step()
    assert (logits(large, tokens) - logits(small, tokens)).abs().max() > 1e-2


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_at_one_the_model_is_one_without_masks(family, dimension):
    tokens = torch.randint(0, VOCABULARY, (3, 17))
    _, large, growth = grown(family, dimension, steps=3)
    # With the hooks still on and c = 1, the masks must change nothing either.
    growth._done = 3
    masked = logits(large, tokens)
    growth._done = 0
    assert [growth.step() for _ in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert growth.finished
    assert not any(module._forward_hooks for module in large.modules())
    plain = logits(large, tokens)
    torch.testing.assert_close(masked, plain, atol=2e-4, rtol=1e-4)
    MaskedGrowth(large, blocks=["lm_head" if family == "llama" else "cls"]).remove()


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_continuous_through_the_ramp(family, dimension):
    tokens = torch.randint(0, VOCABULARY, (4, 17))
    small, large, growth = grown(family, dimension, steps=100_000, spread=0.1)

    def loss(model):
        return nn.functional.cross_entropy(logits(model, tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).item()

    places, losses = (0, 1, 10, 50_000, 50_010, 99_990, 99_999, 100_000), []
    for done in places:
        growth.load_state_dict({"done": done})
        losses.append(loss(large))
    assert growth.finished
    assert losses[0] == pytest.approx(loss(small), abs=1e-5)
    for (left, before), (right, after) in itertools.pairwise(zip(places, losses)):
        if right - left < 100:
            assert after == pytest.approx(before, abs=0.005)
    assert abs(losses[-1] - losses[0]) > 1e-3


def test_new_weights_have_no_gradient_at_nought_and_one_as_soon_as_the_mask_rises():
    tokens = torch.randint(0, VOCABULARY, (3, 17))
    _, large, growth = grown("llama", "inner")
    gate = large.model.layers[0].mlp.gate_proj.weight
    large(tokens).logits.square().sum().backward()
    assert not gate.grad[48:].any()
    growth.step()
    large(tokens).logits.square().sum().backward()
    assert gate.grad[48:].abs().sum() > 0


@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm", "GemmaRMSNorm"])
def test_norms_are_recognised_by_what_they_compute(norm):
    class GemmaRMSNorm(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.randn(size)), 1e-6

        def forward(self, x):
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)

    kind = {"LayerNorm": nn.LayerNorm, "RMSNorm": nn.RMSNorm, "GemmaRMSNorm": GemmaRMSNorm}[norm]
    small, large = kind(4), kind(6)
    nn.init.normal_(small.weight)
    place(small.state_dict(), large)
    x = torch.randn(5, 6)
    MaskedGrowth(model := nn.Sequential(large), channels={"0": 4})
    torch.testing.assert_close(model(x)[:, :4], small(x[:, :4]))
    assert not model(x)[:, 4:].any()


def test_the_optimiser_goes_on_as_if_the_moments_had_always_been_there():
    small, large = nn.Linear(3, 2), nn.Linear(5, 4)
    first = torch.optim.AdamW(small.parameters(), 0.1, amsgrad=True)
    for _ in range(3):
        small(torch.randn(6, 3)).square().sum().backward()
        first.step()
    second = torch.optim.AdamW(large.parameters(), 0.1, amsgrad=True)
    carry_state(first, second, zip(small.parameters(), large.parameters()))
    for old, new in zip(small.parameters(), large.parameters()):
        assert second.state[new].keys() == first.state[old].keys()
        assert second.state[new]["step"] == 3
        for key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
            held, corner = second.state[new][key], tuple(slice(size) for size in old.shape)
            assert torch.equal(held[corner], first.state[old][key])
            assert held.abs().sum() == first.state[old][key].abs().sum()
    # The steps are copies: a further step of one does not count for the other.
    large(torch.randn(6, 5)).square().sum().backward()
    second.step()
    assert first.state[small.weight]["step"] == 3
    # A weight without a state has none afterwards.
    third = torch.optim.AdamW(large.parameters(), 0.1)
    carry_state(torch.optim.AdamW(small.parameters()), third, zip(small.parameters(), large.parameters()))
    assert not third.state


def test_layers_stacked_and_interpolated():
    assert [tuple(layer) for layer in layer_sources(2, 5)] == [(0, False), (1, False), (0, True), (1, True), (1, True)]
    assert [layer.source for layer in layer_sources(3, 3)] == [0, 1, 2]
    found = layer_sources(3, 6, "interpolate")
    assert [tuple(layer) for layer in found] == [(0, False), (0, True), (1, False), (1, True), (2, False), (2, True)]


@pytest.mark.parametrize("order", ["stack", "interpolate"])
def test_deeper_by_copies_faded_in(order):
    model, tokens = llama(**SMALL), torch.randint(0, VOCABULARY, (3, 17))
    before, old = logits(model, tokens), list(model.model.layers)
    model.model.layers, new = deepen(model.model.layers, 4, order)
    model.config.num_hidden_layers = 4
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1, 2, 3]
    assert [number for number, layer in enumerate(model.model.layers) if not any(layer is held for held in old)] == new
    growth = MaskedGrowth(model, blocks=[f"model.layers.{number}" for number in new], steps=2)
    torch.testing.assert_close(logits(model, tokens), before)
    growth.step()
    growth.step()
    assert (logits(model, tokens) - before).abs().max() > 1e-3


def test_the_rate_is_rewound_as_the_official_schedule_does():
    found = [linear_decay(step, total=100, warmup=10, rewinds=(40, 70)) for step in (0, 5, 10, 39, 40, 69, 70, 99)]
    assert found == pytest.approx([0, 0.5, 1, 61 / 90, 1, 61 / 90, 1, 61 / 90])
    assert linear_decay(200, total=100) == 0


def test_a_ramp_goes_on_from_a_checkpoint():
    growth = MaskedGrowth(model := nn.Sequential(nn.Linear(2, 4)), channels={"0": 3}, steps=4)
    growth.step()
    state = growth.state_dict()
    growth.remove()
    again = MaskedGrowth(model, channels={"0": 3}, steps=4)
    again.load_state_dict(state)
    assert again.value == 0.25
    again.load_state_dict({"done": 4})
    assert again.finished


def test_what_cannot_be_masked_is_said():
    model = nn.Sequential(nn.Linear(2, 4), nn.GroupNorm(2, 4), nn.LocalResponseNorm(2))
    with pytest.raises(MethodError) as caught:
        MaskedGrowth(model, channels={"0": 5, "1": 2, "2": 2, "3": 1, "*.up": 3})
    assert caught.value.problems == (
        "0: 5 old channels of 4",
        "1: GroupNorm is no layer or root-mean-square norm over the last axis",
        "2: LocalResponseNorm is no layer or root-mean-square norm over the last axis",
        "3: the model has no such module",
        "*.up: the model has no such module",
    )
    with pytest.raises(MethodError, match="give either channels or blocks"):
        MaskedGrowth(model, channels={"0": 3}, blocks=["1"])
    with pytest.raises(MethodError, match="give either channels or blocks"):
        MaskedGrowth(model)
    with pytest.raises(MethodError, match="a ramp has a step at least"):
        MaskedGrowth(model, blocks=["0"], steps=0)
    first = MaskedGrowth(model, channels={"0": 3})
    with pytest.raises(MethodError, match="growing in another dimension"):
        MaskedGrowth(model, blocks=["0"])
    first.remove()
    MaskedGrowth(model, blocks=["0"]).remove()
    with pytest.raises(MatchError, match=r"weight: \(5, 2\) does not fit into \(4, 2\)"):
        place({"weight": torch.zeros(5, 2)}, nn.Linear(2, 4))
    assert place({"weight": torch.zeros(3, 2)}, nn.Linear(2, 4)) == ["bias"]
    with pytest.raises(MethodError, match="4 layers do not grow to 3"):
        layer_sources(4, 3)
    with pytest.raises(MethodError, match="at most, not 9"):
        layer_sources(4, 9, "interpolate")
    with pytest.raises(MethodError, match="no such order of layers: 'both'"):
        layer_sources(4, 9, "both")


# ------------------------------------------------------------------------------------------------- real text


def batches(letters, seed, size=16, context=48):
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(0, len(letters) - context - 1, (size,), generator=generator)
        yield letters[starts[:, None] + torch.arange(context + 1)]


def loss_of(model, batch):
    return nn.functional.cross_entropy(model(batch[:, :-1]).logits.flatten(0, 1), batch[:, 1:].flatten())


def learn(model, optimizer, letters, steps, seed, growth=None):
    for batch in itertools.islice(batches(letters, seed), steps):
        if growth is not None:
            growth.step()
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def held_out(model, letters):
    with torch.no_grad():
        return sum(loss_of(model, batch).item() for batch in itertools.islice(batches(letters, 9, 64), 2)) / 2


def adam(model):
    return torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01)


@pytest.mark.parametrize("steps", [pytest.param(100, id="short"), pytest.param(500, id="long", marks=pytest.mark.slow)])
def test_training_goes_on_through_growth_in_width_without_a_jump(steps):
    letters = torch.tensor(list("\n".join(sentence.text for sentence in sentences()).encode("ascii", "replace")))
    split = len(letters) * 9 // 10
    train, test = letters[:split], letters[split:]
    small = llama(**SMALL)
    first = adam(small)
    learn(small, first, train, steps, 0)
    before, after = held_out(small, test), {}
    for masked in (False, True):
        torch.manual_seed(1)
        large = llama(**SMALL | {"width": 64})
        place(small.state_dict(), large)
        second, new = adam(large), dict(large.named_parameters())
        carry_state(first, second, ((weight, new[name]) for name, weight in small.named_parameters()))
        growth = MaskedGrowth(large, channels=FAMILIES["llama"][1]["width"], steps=20) if masked else None
        at_once = held_out(large, test)
        learn(large, second, train, steps // 5, 1, growth)
        after[masked] = held_out(large, test)
        if masked:
            assert growth.finished
            assert at_once == pytest.approx(before, abs=1e-4)
        else:
            assert at_once > before + 0.05
    # As it came out: the jump is made good soon without masks too.
    assert after[True] == pytest.approx(after[False], abs=0.1)
