"""LiGO: its numbers, its special cases, and what a hundred steps are worth on real text."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from scionwood.demos.docstrings import sentences
from scionwood.errors import MatchError, MethodError
from scionwood.train.growth.learned import LearnedGrowth, fit, teach

CONTEXT = 48
AXES = {
    "embed.weight": (None, "hidden"),
    "place.weight": (None, "hidden"),
    "norm.weight": ("hidden",),
    "norm.bias": ("hidden",),
    "head.weight": (None, "hidden"),
    "layers.*.o.weight": ("hidden", "*.v"),
    "layers.*.o.bias": ("hidden",),
    "layers.*.up.weight": ("*.inner", "hidden"),
    "layers.*.up.bias": ("*.inner",),
    "layers.*.down.weight": ("hidden", "*.inner"),
    "layers.*.down.bias": ("hidden",),
    **{f"layers.*.{norm}.{part}": ("hidden",) for norm in ("norm1", "norm2") for part in ("weight", "bias")},
    **{f"layers.*.{name}.weight": (f"*.{name}", "hidden") for name in "qkv"},
    **{f"layers.*.{name}.bias": (f"*.{name}",) for name in "qkv"},
}


class Block(nn.Module):
    def __init__(self, width, inner, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        y = self.norm1(x)
        q, k, v = (part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        x = x + self.o(functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class LanguageModel(nn.Module):
    def __init__(self, width, inner, heads, depth):
        super().__init__()
        self.embed, self.place = nn.Embedding(128, width), nn.Embedding(CONTEXT, width)
        self.layers = nn.ModuleList(Block(width, inner, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 128, bias=False)
        for part in self.modules():
            if isinstance(part, nn.Linear | nn.Embedding):
                nn.init.normal_(part.weight, 0, 0.05)

    def forward(self, tokens):
        x = self.embed(tokens) + self.place.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def loss_of(model, batch):
    return functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def shapes_of(model):
    return {name: weight.shape for name, weight in model.named_parameters()}


def two_layers():
    first, second = torch.tensor([[1.0, 2], [3, 4]]), torch.tensor([[5.0, 6], [7, 8]])
    return {"layers.0.weight": first, "layers.1.weight": second}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_the_map_by_hand():
    axes = {"layers.*.weight": ("hidden", "hidden"), "layers.*.bias": ("hidden",)}
    small = two_layers() | {"layers.0.bias": torch.tensor([1.0, 2.0]), "layers.1.bias": torch.tensor([3.0, 6.0])}
    growth = LearnedGrowth(small, {"layers.0.weight": (3, 3), "layers.0.bias": (3,)}, axes)
    growth.mixtures["layers.*.weight"].data.copy_(torch.tensor([[0.25, 0.75]]))
    growth.mixtures["layers.*.bias"].data.copy_(torch.tensor([[0.5, 0.5]]))
    growth.new["hidden"].data.fill_(0.5)
    grown = growth.materialise()
    assert grown["layers.0.weight"].tolist() == [[4, 5, 4.5], [6, 7, 6.5], [5, 6, 5.5]]
    assert grown["layers.0.bias"].tolist() == [2, 4, 3]


@pytest.mark.parametrize(("depth", "order"), [("stack", [0, 1, 0, 1, 0]), ("interlace", [0, 0, 0, 1, 1])])
def test_one_hot_mixtures_of_equal_width_are_stacking(depth, order):
    small, shapes = two_layers(), {f"layers.{layer}.weight": (2, 2) for layer in range(5)}
    growth = LearnedGrowth(small, shapes, {"layers.*.weight": ("a", "b")}, depth=depth, noise=0.0)
    grown = growth.materialise()
    for layer, source in enumerate(order):
        assert torch.equal(grown[f"layers.{layer}.weight"], small[f"layers.{source}.weight"])


def test_select_is_copying_without_division():
    small = {"w": torch.randn(4, 3), "v": torch.randn(2, 4)}
    growth = LearnedGrowth(
        small, {"w": (7, 3), "v": (2, 7)}, {"w": ("h", None), "v": (None, "h")}, width="select", noise=0.0
    )
    index = torch.cat([torch.arange(4), growth.new["h"].argmax(1)])
    grown = growth.materialise()
    assert torch.equal(grown["w"], small["w"][index])
    assert torch.equal(grown["v"], small["v"][:, index])


def test_one_map_serves_the_residual_stream_and_each_layer_has_its_own_inside():
    small, large = LanguageModel(8, 16, 2, 2), LanguageModel(12, 20, 3, 4)
    growth = LearnedGrowth(small.state_dict(), shapes_of(large), AXES)
    names = {"hidden"} | {f"{layer}.{axis}" for layer in range(4) for axis in ("q", "k", "v", "inner")}
    assert all(name in growth.new for name in names)
    assert len(list(growth.new.parameters())) == len(names)
    assert growth.new["hidden"].shape == (4, 8)
    grown = growth.materialise()
    # The new columns of the embedding and the new gains of a norm are the same mixtures of the old ones.
    new = growth.new["hidden"].detach()
    torch.testing.assert_close(grown["embed.weight"][:, 8:], small.embed.weight.detach() @ new.T)
    torch.testing.assert_close(grown["norm.weight"][8:], new @ small.norm.weight.detach())
    large.load_state_dict(grown)


@pytest.mark.parametrize("kind", ["random", "softmax"])
def test_mixtures_at_random_sum_to_one(kind):
    growth = LearnedGrowth(
        two_layers(), {"layers.0.weight": (4, 5)}, {"layers.*.weight": ("a", "b")}, depth=kind, width=kind
    )
    for weight in growth.parameters():
        torch.testing.assert_close(weight.detach().sum(1), torch.ones(len(weight)))
        assert weight.min() > 0


def test_noise_on_stacking_is_small_and_normalised():
    growth = LearnedGrowth(two_layers(), {"layers.1.weight": (2, 2)}, {"layers.*.weight": (None, None)})
    mixtures = growth.mixtures["layers.*.weight"].detach()
    torch.testing.assert_close(mixtures.sum(1), torch.ones(2))
    assert 0 < mixtures[1, 0] <= 0.03
    assert mixtures[1, 1] > 0.97


def test_a_seed_makes_the_same_map():
    made = [
        LearnedGrowth(two_layers(), {"layers.0.weight": (4, 5)}, {"layers.*.weight": ("a", "b")}, seed=seed)()
        for seed in (3, 3, 4)
    ]
    first, second, third = (found["layers.0.weight"] for found in made)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_small_weights_are_frozen_and_the_map_learns():
    small, large = LanguageModel(8, 16, 2, 2), LanguageModel(12, 20, 3, 3)
    before = {name: weight.clone() for name, weight in small.state_dict().items()}
    batch = torch.randint(0, 128, (4, 20))
    growth = fit(small.state_dict(), large, itertools.repeat(batch), axes=AXES, loss=loss_of, steps=0)
    start = loss_of(large, batch).item()
    growth = fit(small.state_dict(), large, itertools.repeat(batch), axes=AXES, loss=loss_of, steps=20)
    assert loss_of(large, batch).item() < start
    assert all(torch.equal(before[name], weight) for name, weight in small.state_dict().items())
    grown = growth.materialise()
    assert all(torch.equal(grown[name], weight) for name, weight in large.named_parameters())


def test_what_does_not_fit_is_said_all_at_once():
    axes = {"w": ("h", None), "v": (None, "h"), "u": ("h",), "x": ("h",)}
    small = {"w": torch.zeros(4, 3), "v": torch.zeros(2, 4), "u": torch.zeros(4, 4)}
    shapes = {"w": (7, 5), "v": (2, 6), "u": (7, 7), "x": (7,), "y": (7,)}
    with pytest.raises(MatchError) as caught:
        LearnedGrowth(small, shapes, axes)
    assert caught.value.problems == (
        "w: (4, 3) → (7, 5), but the dimension of 3 has no axis",
        "v: axis h is 4 → 6, elsewhere 4 → 7",
        "u: axes ('h',) for (4, 4) → (7, 7)",
        "x: the small model has no x",
        "y: no entry of axes is for it",
    )
    with pytest.raises(MatchError, match="w: axis h is 4 → 3, which is smaller"):
        LearnedGrowth(small, {"w": (3, 3)}, axes)
    with pytest.raises(MethodError, match="no such start: depth='up'"):
        LearnedGrowth(small, {"w": (7, 3)}, axes, depth="up")
    with pytest.raises(MethodError, match="the batches ended after 1 of 2 steps"):
        fit(
            {"weight": torch.zeros(1, 1)},
            nn.Linear(1, 2, bias=False),
            [torch.zeros(1, 1)],
            axes={"weight": ("h", None)},
            loss=lambda model, x: model(x).sum(),
            steps=2,
        )


# ------------------------------------------------------------------------------------------------- real text


@pytest.fixture(scope="module")
def text():
    letters = "\n".join(sentence.text for sentence in sentences()).encode("ascii", "replace")
    return torch.tensor(list(letters))


def batches(letters, seed, size=16):
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(0, len(letters) - CONTEXT - 1, (size,), generator=generator)
        yield letters[starts[:, None] + torch.arange(CONTEXT + 1)]


def learn(model, letters, steps, seed):
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 20))
    for batch in itertools.islice(batches(letters, seed), steps):
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        warmup.step()


def held_out(model, letters):
    with torch.no_grad():
        return sum(float(loss_of(model, batch)) for batch in itertools.islice(batches(letters, 9, 64), 4)) / 4


def grown_by(small, letters, steps, **options):
    """A model of twice the width, by a map that learned for some steps."""
    large = LanguageModel(64, 256, 4, len(small.layers))
    growth = LearnedGrowth(small.state_dict(), shapes_of(large), AXES, **options)
    teach(growth, large, batches(letters, 50), loss=loss_of, steps=steps)
    return large


def test_learning_the_map_is_far_better_than_plain_copying_at_the_start(text):
    split = len(text) * 9 // 10
    small = LanguageModel(32, 128, 2, 2)
    learn(small, text[:split], 250, 0)
    copied = held_out(grown_by(small, text[:split], 0, width="select", noise=0.0), text[split:])
    learned = held_out(grown_by(small, text[:split], 60), text[split:])
    assert learned < copied - 1
    assert learned < held_out(small, text[split:]) + 0.05


@pytest.mark.slow
def test_a_hundred_steps_of_the_map_are_worth_a_hundred_of_training(text):
    split = len(text) * 9 // 10
    small = LanguageModel(32, 128, 2, 2)
    learn(small, text[:split], 1000, 0)
    learned = grown_by(small, text[:split], 100)
    trained = grown_by(small, text[:split], 0)
    learn(trained, text[:split], 100, 50)
    found = held_out(learned, text[split:]), held_out(trained, text[split:])
    # As it came out: ordinary training from the same start is as good, not worse.
    assert abs(found[0] - found[1]) < 0.1
    assert max(found) < held_out(small, text[split:]) + 0.05
