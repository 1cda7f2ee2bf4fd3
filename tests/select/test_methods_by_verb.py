"""Every method through the verb: what it chooses along an axis, everywhere the axis occurs."""

import math
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import scionwood
from scionwood import anatomy
from scionwood.errors import MethodError


def llama_places(made, numbered, places, layer=0):
    """Indices into the numbered Llama for everything in a block: residual stream, query rows, value columns, inner units."""
    source = scionwood.open(numbered("llama"))
    found = {
        name.removeprefix(f"model.layers.{layer}.").removesuffix(".weight"): places(made[name], source[name].shape)
        for name in made.tensors
    }
    return {name: [index.tolist() for index in indices] for name, indices in found.items()}


def assert_consistent(found):
    """What one tensor writes the next one reads."""
    hidden = found["model.norm"][0]
    assert found["model.embed_tokens"][1] == hidden
    assert found["lm_head"][1] == hidden
    for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"):
        assert found[name][1] == hidden, name
    for name in ("self_attn.o_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"):
        assert found[name][0] == hidden, name
    assert found["mlp.gate_proj"][0] == found["mlp.up_proj"][0] == found["mlp.down_proj"][1]
    # Query heads 2h and 2h + 1 of the source are served by its key head h.
    heads = [row // 8 for row in found["self_attn.q_proj"][0][::8]]
    key_heads = [row // 8 for row in found["self_attn.k_proj"][0][::8]]
    assert [head // 2 for head in heads] == [head for head in key_heads for _ in range(2)]
    assert found["self_attn.v_proj"][0] == found["self_attn.k_proj"][0]
    assert found["self_attn.o_proj"][1] == found["self_attn.q_proj"][0]


@pytest.mark.parametrize("method", ["uniform", "consecutive", "random", "magnitude", "bignas", "llminit"])
def test_readers_take_what_writers_write(method, numbered, smaller, places):
    made = scionwood.select(numbered("llama"), like=smaller("llama"), method=method, seed=3)
    found = llama_places(made, numbered, places)
    assert_consistent(found)
    expected = {"uniform": list(range(0, 32, 2)), "consecutive": list(range(16)), "bignas": list(range(16))}
    assert found["model.norm"][0] == expected.get(method, found["model.norm"][0])


def test_inconsistent_selection_agrees_nowhere(numbered, smaller, places):
    made = scionwood.select(numbered("llama"), like=smaller("llama"), method="random_inconsistent")
    found = llama_places(made, numbered, places)
    hidden = [found[name][1] for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj")]
    assert len({tuple(index) for index in hidden}) == len(hidden)
    assert found["mlp.gate_proj"][0] != found["mlp.up_proj"][0]
    again = scionwood.select(numbered("llama"), like=smaller("llama"), method="random_inconsistent")
    assert all(torch.equal(made[name], again[name]) for name in made)


def test_random_is_of_its_seed_alone(drawn, smaller, same, tmp_path):
    first, again, other = (
        scionwood.select(drawn("bert"), like=smaller("bert"), method="random", seed=seed) for seed in (1, 1, 2)
    )
    assert same(first, again)
    assert not torch.equal(first["bert.pooler.dense.weight"], other["bert.pooler.dense.weight"])
    # Fresh tensors too, whatever is asked for first and by how many threads.
    for workers in (1, 4):
        scionwood.write(first, tmp_path / str(workers), workers=workers)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("1", "4")]
    assert weights[0] == weights[1]
    assert torch.equal(first["classifier.weight"], scionwood.open(tmp_path / "4")["classifier.weight"])


def test_random_does_not_depend_on_string_hashes(drawn, smaller, tmp_path):
    smaller("bert").save_pretrained(tmp_path / "like")
    script = (
        "import scionwood, sys; made = scionwood.select(sys.argv[1], like=sys.argv[2], method='random');"
        "print(scionwood.digest(made))"
    )
    there = subprocess.run(
        [sys.executable, "-c", script, drawn("bert"), tmp_path / "like"],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert there == scionwood.digest(scionwood.select(drawn("bert"), like=tmp_path / "like", method="random"))


def test_whole_heads(numbered, smaller, places):
    made = scionwood.select(numbered("bert"), like=smaller("bert"), method="whole_heads")
    source = scionwood.open(numbered("bert"))
    for part in ("query", "key", "value"):
        name = f"bert.encoder.layer.1.attention.self.{part}.weight"
        rows, columns = places(made[name], source[name].shape)
        assert rows.tolist() == [*range(8), *range(16, 24)]  # heads 0 and 2 of four
        assert columns.tolist() == list(range(0, 32, 2))
    with pytest.raises(MethodError, match=r"query\.weight, dimension 0 .*heads x .*: Whole heads keep their width"):
        scionwood.select(numbered("bert"), like=smaller("bert", num_attention_heads=4), method="whole_heads")


def test_within_heads(numbered, smaller, places):
    made = scionwood.select(numbered("bert"), like=smaller("bert", num_attention_heads=4), method="within_heads")
    source = scionwood.open(numbered("bert"))
    name = "bert.encoder.layer.0.attention.output.dense.weight"
    rows, columns = places(made[name], source[name].shape)
    assert columns.tolist() == [8 * head + each for head in range(4) for each in (0, 2, 4, 6)]
    assert rows.tolist() == list(range(0, 32, 2))


def slow_magnitudes(model, found):
    """The sum of |w| over the whole state dict, index by index of every axis."""
    scores = {name: torch.zeros(axis.size, dtype=torch.float64) for name, axis in found.axes.items()}
    for name, tensor in found.tensors.items():
        weight = model.state_dict()[name].double().abs()
        for place, dim in enumerate(tensor.dims):
            for flat in range(weight.shape[place]):
                for axis, index in spell(found, dim, flat):
                    scores[axis][index] += weight.select(place, flat).sum()
    return {name: own for name, own in scores.items() if found.axes[name].parts is None}


def spell(found, dim, flat):
    """The index of every axis at one place of a dimension, through concatenations."""
    for axis in reversed(dim):
        size, parts = found.axes[axis].size, found.axes[axis].parts
        flat, index = divmod(flat, size)
        if parts is None:
            yield axis, index
            continue
        for part in parts:
            length = math.prod(found.axes[leaf].size for leaf in part)
            if index < length:
                yield from spell(found, part, index)
                break
            index -= length


@pytest.mark.parametrize("family", ["phi3", "mixtral", "deepseek", "convnext"])
def test_magnitudes_are_those_of_a_slow_count(family, larger, smaller, model_of, same):
    model = model_of(larger(family))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # norms too: their class draws them all alike
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    made = scionwood.select(model, like=smaller(family), method="magnitude")
    before = anatomy.of(larger(family))
    scores = slow_magnitudes(model, before)
    # Given as activations, the slow scores choose the same everywhere.
    expected = scionwood.select(model, like=smaller(family), method="activation", scores=scores)
    assert same(made, expected)
    name = {"convnext": "convnext.layernorm.weight"}.get(family, "model.norm.weight")
    ((hidden,),) = before.tensors[name].dims
    (size,) = made[name].shape
    best = scores[hidden].argsort(descending=True, stable=True)[:size].sort().values
    assert best.tolist() != list(range(0, len(scores[hidden]), 2))
    assert torch.equal(made[name], model.state_dict()[name][best])


def test_llminit_takes_the_columns_of_the_table_that_vary_most(drawn, smaller):
    source = scionwood.open(drawn("llama"))
    table = source["model.embed_tokens.weight"]
    rules = {
        rule: scionwood.select(drawn("llama"), like=smaller("llama"), method="llminit", options={"rule": rule})
        for rule in ("uniform", "variance", "random")
    }
    assert torch.equal(rules["uniform"]["model.embed_tokens.weight"], table[:, ::2])
    most = table.var(0).argsort(descending=True, stable=True)[:16].sort().values
    assert torch.equal(rules["variance"]["model.embed_tokens.weight"], table[:, most])
    assert torch.equal(rules["variance"]["lm_head.weight"], source["lm_head.weight"][:, most])
    drawn_columns = rules["random"]["model.embed_tokens.weight"]
    assert not torch.equal(drawn_columns, table[:, ::2])
    assert all(bool((table == column[:, None]).all(0).any()) for column in drawn_columns.T)
    notes = {entry.name: entry.detail for entry in rules["variance"].ledger}
    assert "inner is not the width of an embedding table" in notes["model.layers.0.mlp.up_proj.weight"]


class Kernels(nn.Module):
    def __init__(self, width, kernel):
        super().__init__()
        self.stem = nn.Conv2d(3, width, kernel, padding="same")
        self.depthwise = nn.Conv2d(width, width, kernel, padding="same", groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.norm(self.depthwise(self.stem(x).relu())).mean((2, 3)))


@pytest.mark.parametrize(("old", "new", "cut"), [(7, 3, slice(2, 5)), (5, 3, slice(1, 4)), (7, 5, slice(1, 6))])
def test_bignas_takes_the_centre_of_every_kernel(old, new, cut):
    torch.manual_seed(0)
    teacher, student, x = Kernels(8, old), Kernels(6, new), torch.zeros(2, 3, 16, 16)
    made = scionwood.select(teacher, like=student, method="bignas", inputs=x)
    assert torch.equal(made["stem.weight"], teacher.stem.weight[:6, :, cut, cut])
    assert torch.equal(made["depthwise.weight"], teacher.depthwise.weight[:6, :, cut, cut])
    assert torch.equal(made["norm.running_var"], teacher.norm.running_var[:6])
    with pytest.raises(scionwood.MatchError, match=r"kernel.* cannot go from . to . indices") as refused:
        scionwood.select(teacher, like=student, inputs=x)
    assert "bignas" in refused.value.hint


def residual(width, inner):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, 3))


@pytest.mark.parametrize("method", ["activation", "subcloning"])
def test_scores_are_given_by_axis(method):
    torch.manual_seed(0)
    teacher, student, x = residual(8, 6), residual(4, 2), torch.zeros(2, 4)
    axes = [dims[0] for dims in (anatomy.of(teacher, x).tensors[f"{place}.weight"].dims[0] for place in (0, 2))]
    scores = {axes[0]: torch.tensor([0.0, 9, 8, 0, 7, 0, 0, 6]), axes[1]: torch.tensor([1.0, 0, 0, 0, 0, 2])}
    made = scionwood.select(teacher, like=student, method=method, scores=scores, inputs=x)
    gains = (math.sqrt(2), math.sqrt(3)) if method == "subcloning" else (1, 1)
    assert torch.equal(made["0.weight"], teacher[0].weight[[1, 2, 4, 7]])
    torch.testing.assert_close(made["2.weight"], teacher[2].weight[[0, 5]][:, [1, 2, 4, 7]] * gains[0])
    torch.testing.assert_close(made["4.weight"], teacher[4].weight[:, [0, 5]] * gains[1])
    assert torch.equal(made["2.bias"], teacher[2].bias[[0, 5]])
    assert set(made.lineage.recipe["scores"]) == set(scores)
    with pytest.raises(MethodError, match=f"{method} ranks by activation, and some axes have no scores") as refused:
        scionwood.select(teacher, like=student, method=method, inputs=x)
    assert all(axis in str(refused.value) for axis in axes)
    with pytest.raises(MethodError, match=r"no axis is called 'iner' \(did you mean"):
        scionwood.select(teacher, like=student, method=method, scores={"iner": torch.ones(8)}, inputs=x)
    with pytest.raises(MethodError, match="There must be 8 scores"):
        scionwood.select(teacher, like=student, method=method, scores={**scores, axes[0]: torch.ones(3)}, inputs=x)


@pytest.mark.parametrize(("rescale", "expected"), [(None, 1 / 4), ("variance", 1.0)])
def test_rescaling_keeps_the_variance(rescale, expected):
    """W ~ N(0, 1/D), x ~ N(0, 1): a quarter of the terms has a quarter of the variance, unless rescaled."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(4, 1024, bias=False), nn.Linear(1024, 512, bias=False))
    nn.init.normal_(teacher[1].weight, std=1024**-0.5)
    student = nn.Sequential(nn.Linear(4, 256, bias=False), nn.Linear(256, 512, bias=False))
    made = scionwood.select(teacher, like=student, method="random", rescale=rescale, inputs=torch.zeros(1, 4))
    x = torch.randn(256, 2000)
    assert (made["1.weight"] @ x).var().item() == pytest.approx(expected, rel=0.05)
    assert torch.equal(made["0.weight"].norm(dim=1), made["0.weight"].norm(dim=1))
    assert all(bool((teacher[0].weight == row).all(1).any()) for row in made["0.weight"])  # what writes keeps its scale
    assert ("times 2" in next(e.detail for e in made.ledger if e.name == "1.weight")) == (rescale == "variance")


def test_tied_embeddings_are_not_rescaled(drawn, smaller):
    """They write the residual stream and read it."""
    plain, scaled = (
        scionwood.select(drawn("gpt2"), like=smaller("gpt2"), rescale=rescale) for rescale in (None, "variance")
    )
    assert scaled.ties == {"lm_head.weight": "transformer.wte.weight"}
    assert torch.equal(scaled["transformer.wte.weight"], plain["transformer.wte.weight"])
    reads = "transformer.h.0.mlp.c_fc.weight"
    torch.testing.assert_close(scaled[reads], plain[reads] * math.sqrt(2))
    for writes in ("transformer.h.0.mlp.c_fc.bias", "transformer.ln_f.weight", "transformer.wpe.weight"):
        assert torch.equal(scaled[writes], plain[writes])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "unifrom"}, "did you mean 'uniform'"),
        ({"options": {"arithmetik": "exact"}}, "did you mean 'arithmetic'"),
        ({"depth": "frist"}, "did you mean 'first'"),
        ({"depth": {"bert.encoder.layers": "first"}}, "did you mean 'bert.encoder.layer'"),
        ({"head": "new"}, "head is 'new', not one of 'selected', 'fresh'"),
        ({"rescale": "mean"}, "rescale is 'mean', not one of 'variance', None"),
    ],
)
def test_a_wrong_word_gives_the_nearest_right_one(wrong, message, drawn, smaller):
    with pytest.raises(MethodError) as refused:
        scionwood.select(drawn("bert"), like=smaller("bert"), **wrong)
    assert message in str(refused.value)
