"""Saved predictors: what is loaded gives the same bits, and what is no predictor is refused in a sentence."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import scionwood
from scionwood.errors import MethodError, OutputError, SourceError
from scionwood.train.growth.denoised import BlockDiffusion
from scionwood.train.growth.hypernetwork import LowRankHyperNet

SHAPES = [(12, 20), (7, 12, 3, 3), (10, 7)]


def bank(members=5):
    generator = torch.Generator().manual_seed(0)
    conditions = torch.randn(members, 2, generator=generator)
    models = [
        {"w": torch.randn(5, 3, generator=generator), "b": torch.randn(3, generator=generator).half()}
        | {"steps": torch.tensor(4), "empty": torch.zeros(0, 2), "wide": torch.randn(2, generator=generator).double()}
        for _ in range(members)
    ]
    return models, conditions


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    made = LowRankHyperNet(width=16, heads=2, layers=1, rank=3, largest=40, deepest=5)
    made.save(tmp_path / "network.safetensors")
    return made


@pytest.fixture
def diffusion(tmp_path):
    made = BlockDiffusion(*bank(), block=4, steps=20, width=8, seed=3)
    made.fit(5)
    made.save(tmp_path / "diffusion.safetensors")
    return made


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert torch.equal(one[name], other[name]), name


def test_a_hypernetwork_predicts_the_same_bits(network, tmp_path):
    before = torch.random.get_rng_state()
    again = LowRankHyperNet.load(tmp_path / "network.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before)  # loading draws nothing
    assert again.settings == network.settings
    for one, other in zip(network(SHAPES), again(SHAPES), strict=True):
        assert torch.equal(one.weight, other.weight)
        assert torch.equal(one.bias, other.bias)
    again(SHAPES)[0].weight.sum().backward()  # it can be trained on
    assert again.factors.weight.grad is not None
    with pytest.raises(MethodError, match="6 layers, from 1 to 5 are known"):
        again([(3, 3)] * 6)


def test_a_diffusion_gives_the_same_bits_and_draws_on_where_it_was(diffusion, tmp_path):
    diffusion.save(tmp_path / "again.safetensors")
    again = BlockDiffusion.load(tmp_path / "again.safetensors")
    condition = torch.tensor([0.3, -1.0])
    for _ in range(2):  # the second one goes on drawing
        assert_equal(diffusion.generate(condition), again.generate(condition))
    for penalty in (1e-2, 3.0):
        assert_equal(diffusion.regressed(condition, penalty=penalty), again.regressed(condition, penalty=penalty))
    first, second = (diffusion.generate(condition, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    assert_equal(first, again.generate(condition, generator=torch.Generator().manual_seed(1)))
    assert not torch.equal(first["w"], second["w"])
    with pytest.raises(MethodError, match="has no bank to fit to"):
        again.fit(1)


def test_a_file_of_a_diffusion_does_not_grow_with_its_bank(tmp_path):
    sizes = []
    for members in (5, 50):
        path = tmp_path / f"{members}.safetensors"
        BlockDiffusion(*bank(members), block=4, width=8).save(path)
        sizes.append(path.stat().st_size)
    assert abs(sizes[1] - sizes[0]) < 16


def test_what_is_saved_is_the_same_bytes_and_says_what_it_is(network, tmp_path):
    network.save(tmp_path / "again.safetensors")
    one, other = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("network", "again"))
    assert one == other
    with safe_open(tmp_path / "network.safetensors", "pt") as file:
        told = json.loads(file.metadata()["scionwood.predictor"])
    assert told == {"kind": "hypernetwork", "version": 1, "settings": network.settings}


def test_an_old_file_is_replaced_only_where_that_is_asked_for(network, tmp_path):
    path = tmp_path / "network.safetensors"
    with pytest.raises(OutputError, match="exists"):
        network.save(path)
    LowRankHyperNet().save(path, overwrite=True)
    assert LowRankHyperNet.load(path).largest == 64
    with pytest.raises(OutputError, match="network.pt is to be a safetensors file"):
        network.save(tmp_path / "network.pt")


def test_what_is_no_saved_predictor_is_said(network, diffusion, tmp_path):
    save_file({"weight": torch.ones(2, 2)}, tmp_path / "plain.safetensors")
    with pytest.raises(SourceError, match="is no saved hypernetwork: it holds weights, 1 tensors") as caught:
        LowRankHyperNet.load(tmp_path / "plain.safetensors")
    assert "LowRankHyperNet.save wrote" in (caught.value.hint or "")
    with pytest.raises(SourceError, match="was saved for the method hypernetwork, not for denoised_weights"):
        BlockDiffusion.load(tmp_path / "network.safetensors")
    with pytest.raises(SourceError, match="was saved for the method denoised_weights, not for hypernetwork"):
        LowRankHyperNet.load(tmp_path / "diffusion.safetensors")
    with pytest.raises(SourceError, match="LowRankHyperNet is no saved hypernetwork"):
        LowRankHyperNet.load(network)
    with pytest.raises(SourceError, match="netwerk.safetensors"):
        LowRankHyperNet.load(tmp_path / "netwerk.safetensors")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    save_file({"weight": torch.ones(2, 2)}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(SourceError, match=r"it holds a model's weights \(llama\)"):
        LowRankHyperNet.load(tmp_path / "model")


@pytest.mark.parametrize("kind", ["network", "diffusion"])
def test_damage_is_said(network, diffusion, tmp_path, kind):
    load = LowRankHyperNet.load if kind == "network" else BlockDiffusion.load
    path, tensors = tmp_path / "damaged.safetensors", load_file(tmp_path / f"{kind}.safetensors")
    with safe_open(tmp_path / f"{kind}.safetensors", "pt") as file:
        told = json.loads(file.metadata()["scionwood.predictor"])

    def refused(told, tensors):
        save_file(tensors, path, {"scionwood.predictor": told if isinstance(told, str) else json.dumps(told)})
        with pytest.raises(SourceError) as caught:
            load(path)
        return str(caught.value)

    assert "is not JSON" in refused("{", tensors)
    assert "saved as version 2, and version 1 is read" in refused(told | {"version": 2}, tensors)
    assert "is damaged: its tensors and its description" in refused(told | {"settings": {"width": 16}}, tensors)
    assert "is damaged" in refused({name: told[name] for name in ("kind", "version")}, tensors)
    assert "is damaged" in refused(told, dict(list(tensors.items())[:-1]))
    first = next(iter(tensors))
    assert "is damaged" in refused(told, tensors | {first: torch.ones(3, 5)})


def test_a_saved_predictor_opens_like_any_file(network, tmp_path):
    checkpoint = scionwood.open(tmp_path / "network.safetensors")
    assert torch.equal(checkpoint["factors.weight"], network.factors.weight)
