"""Modules that are changed in place, and batches that methods measure: from memory, from files, from recipes."""

import functools
import itertools
from importlib import import_module

import numpy
import pytest
import torch
from safetensors.torch import save_file
from tests.architectures.zoo import LISTED
from torch import nn

import scionwood
from scionwood.errors import MethodError, SourceError
from scionwood.methods import registry
from scionwood.methods.record import Record
from scionwood.verbs.initialize import initialize
from scionwood.verbs.initialize.calibrate import Outcome
from scionwood.verbs.initialize.inputs import read_inputs

verb = import_module("scionwood.verbs.initialize.initialize")

METHODS = [
    entry.name.partition(".")[2]
    for entry in registry.listing("initialize")
    if Record.of(registry.load(entry.name)).statistics <= {"outputs"}
    and not any(option.required for option in Record.of(registry.load(entry.name)).options)
]
BATCH = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))


def mlp(*sizes: int) -> nn.Sequential:
    layers = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


@functools.cache
def traced():
    return scionwood.anatomy.from_module(mlp(16, 32, 8), BATCH)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_on_a_plain_net_and_touches_what_it_lists(method, monkeypatch):
    monkeypatch.setattr(verb, "_model", lambda *_: traced())  # one trace serves nets of one shape
    nets = [mlp(16, 32, 8) for _ in range(2)]
    before = [{name: tensor.clone() for name, tensor in net.state_dict().items()} for net in nets]
    ledgers = [initialize(net, method=method, inputs=BATCH, seed=5) for net in nets]
    for net, old, ledger in zip(nets, before, ledgers, strict=True):
        assert {entry.name for entry in ledger} == set(old)
        for entry in ledger.of("left"):
            assert torch.equal(net.state_dict()[entry.name], old[entry.name])
        assert all(bool(tensor.isfinite().all()) for tensor in net.state_dict().values())
    # What two nets begin with differs; what the method sets of them does not.
    for entry in ledgers[0].of("initialized"):
        assert torch.equal(nets[0].state_dict()[entry.name], nets[1].state_dict()[entry.name])


def test_a_model_of_transformers_needs_no_inputs_and_no_architectures():
    from transformers import GPT2Config, GPT2LMHeadModel

    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=31, n_positions=8, n_embd=32, n_layer=2, n_head=2, **ends))
    assert model.config.architectures is None
    ledger = initialize(model, method="layer_index", options={"std": 0.5})
    left = {entry.name for entry in ledger.of("left")}
    gains = {f"transformer.h.{layer}.ln_{norm}.weight" for layer in (0, 1) for norm in (1, 2)}
    assert left == {*gains, "transformer.ln_f.weight", "transformer.wpe.weight"}
    # Layer 2 is drawn sqrt 2 narrower than layer 1, in GPT-2's own layout too.
    first, second = (float(block.mlp.c_fc.weight.detach().std()) for block in model.transformer.h)
    assert first == pytest.approx(0.5, rel=0.05)
    assert second == pytest.approx(0.5 / 2**0.5, rel=0.05)
    assert model.lm_head.weight is model.transformer.wte.weight


def test_a_module_that_is_not_what_its_config_says_is_refused():
    from transformers import GPT2Config, GPT2LMHeadModel

    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=31, n_positions=8, n_embd=32, n_layer=2, n_head=2, **ends))
    model.transformer.h[1].mlp.extra = nn.Linear(2, 2)
    model.transformer.wpe = nn.Embedding(9, 32)
    with pytest.raises(MethodError, match="GPT2LMHeadModel is not what its config describes") as caught:
        initialize(model, method="zero")
    said = "\n".join(caught.value.problems)
    assert "transformer.h.1.mlp.extra.weight is not in the config's model" in said
    assert "transformer.wpe.weight is (9, 32), and (8, 32) by its config" in said


class Own(nn.Module):
    """A module with something of its own that is called config."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"width": 16}
        self.layer = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_a_config_of_another_kind_is_no_config():
    own = Own()
    initialize(own, method="zero", inputs=BATCH)
    assert torch.equal(own.layer.weight.detach(), torch.eye(16))
    with pytest.raises(MethodError, match="Own is a plain module"):
        initialize(own, method="zero")


# Batches.


def test_divisions_are_repeated_where_a_bias_stays():
    found = {}
    for attempts in (1, 10):
        net = nn.Sequential(nn.Linear(16, 16))
        with torch.no_grad():
            net[0].bias.copy_(torch.linspace(-1, 1, 16))
        options = {"tolerance": 1e-3, "attempts": attempts}
        initialize(net, method="lsuv", inputs=5 * BATCH, options=options, only=["0.weight"])
        found[attempts] = float(net(5 * BATCH).detach().std(correction=0))
    assert abs(found[1] - 1) > 0.01
    assert found[10] == pytest.approx(1, abs=1e-3)


def test_what_is_said_of_a_weight_that_is_left():
    assert str(Outcome(2.0, 2.0)) == "divided by 2"
    assert str(Outcome(1.05, 1.0)) == "its output's std was near enough: 1.05"
    assert str(Outcome(0.0, 1.0)) == "not rescaled: its output is zero"
    assert str(Outcome(float("nan"), 1.0)) == "not rescaled: its output is not finite"


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.layer.weight)


def test_a_weight_whose_module_is_not_called_is_said_to_be_left():
    ledger = initialize(Functional(), method="lsuv", inputs=BATCH)
    (entry,) = [entry for entry in ledger if entry.name == "layer.weight"]
    assert (
        entry.detail == "a linear map of the head: orthogonal, not rescaled: it has no module of its own that is called"
    )


def test_batches_in_files(tmp_path):
    numpy.save(tmp_path / "batch.npy", BATCH.double().numpy())
    save_file({"input": BATCH}, tmp_path / "batch.safetensors")
    torch.save({"input": BATCH}, tmp_path / "batch.pt")
    assert torch.equal(read_inputs(tmp_path / "batch.npy"), BATCH)
    for name in ("batch.safetensors", "batch.pt"):
        assert torch.equal(read_inputs(tmp_path / name)["input"], BATCH)
    nets = [mlp(16, 32, 8) for _ in range(2)]
    for net, inputs in zip(nets, (BATCH, tmp_path / "batch.npy"), strict=True):
        initialize(net, method="lsuv", inputs=inputs)
    assert torch.equal(nets[0][2].weight, nets[1][2].weight)


def test_damaged_batches_are_refused(tmp_path):
    with pytest.raises(SourceError, match="There is no file or folder"):
        read_inputs(tmp_path / "none.npy")
    (tmp_path / "text.npy").write_text("not an array")
    with pytest.raises(SourceError, match="is no array of numbers"):
        read_inputs(tmp_path / "text.npy")
    numpy.save(tmp_path / "words.npy", numpy.array(["a", "b"]))
    with pytest.raises(SourceError, match="is no array of numbers"):
        read_inputs(tmp_path / "words.npy")


def test_an_output_is_made_again_from_its_lineage_with_the_same_batch(tmp_path):
    from scionwood.recipe.reproduce import reproduce

    batch = tmp_path / "batch.safetensors"
    save_file({"pixel_values": torch.randn(4, 3, 32, 32)}, batch)
    made = initialize(LISTED["ViT"], method="lsuv", inputs=batch, options={"tolerance": 0.0})
    scionwood.write(made, tmp_path / "out")
    assert reproduce(tmp_path / "out").identical
    other = initialize(LISTED["ViT"], method="lsuv", inputs={"pixel_values": torch.randn(4, 3, 32, 32)})
    scionwood.write(other, tmp_path / "other")
    with pytest.raises(SourceError, match="There is no file or folder a batch in memory"):
        reproduce(tmp_path / "other")


def test_measuring_is_done_in_evaluation_mode_and_the_mode_comes_back():
    net = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Dropout(0.9), nn.Linear(16, 16)).train()
    net[1].eval()
    initialize(net, method="lsuv", inputs=BATCH, options={"tolerance": 0.0})
    assert [part.training for part in net] == [True, False, True, True]
    assert not net[1].running_mean.any()
    with torch.no_grad():
        assert float(net.eval()(BATCH).std(correction=0)) == pytest.approx(1, abs=1e-5)
