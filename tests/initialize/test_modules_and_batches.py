"""Modules that are changed in place, and batches that methods measure: from memory, from files, from recipes."""

import functools
import itertools
from importlib import import_module

import numpy
import pytest
import torch
from safetensors.torch import save_file
from tests.architectures.derived import model
from tests.architectures.zoo import LISTED
from torch import nn

import scionwood
from scionwood.errors import MethodError, SourceError
from scionwood.methods import registry
from scionwood.methods.record import Record
from scionwood.verbs.initialize import explain, initialize
from scionwood.verbs.initialize.calibrate import Outcome, said
from scionwood.verbs.initialize.initialize import drawing_of
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
    assert left == {*gains, "transformer.ln_f.weight"}
    assert float(model.transformer.wpe.weight.detach().std()) == pytest.approx(0.5, rel=0.2)
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
    assert said([Outcome(2.0, 2.0)]) == "divided by 2"
    assert said([Outcome(1.05)]) == "its output's std was near enough: 1.05"
    assert said([Outcome(0.0)]) == "not rescaled: its output is zero"
    assert said([Outcome(float("nan"))]) == "not rescaled: its output is not finite"
    assert said([Outcome(0.5, 0.5), Outcome(None), Outcome(None)]) == (
        "1 of 3 maps divided by 0.5 to 0.5, 2 not rescaled: no token came to it"
    )


# Weights that no module of their own reads: what is measured is the operation.


class Functional(nn.Module):
    """Weights of one module, used by another: as they are, transposed and copied, in parts, twice, and as a function of them."""

    def __init__(self) -> None:
        super().__init__()
        self.held = nn.Linear(16, 16)
        self.copied = nn.Parameter(torch.randn(16, 16))
        self.fused = nn.Parameter(torch.randn(2, 16, 16))
        self.powers = nn.Parameter(torch.randn(16, 16))
        self.last = nn.Parameter(torch.randn(8, 16))

    def outputs(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        found = {"held": nn.functional.linear(x, self.held.weight, self.held.bias)}
        copied = self.copied.t().contiguous()
        found["copied"] = torch.relu(found["held"]) @ copied
        found["again"] = torch.relu(found["copied"]) @ copied
        found["first"] = nn.functional.linear(torch.relu(found["again"]), self.fused[0])
        found["second"] = nn.functional.linear(torch.relu(5 * found["first"]), self.fused[1])
        found["powers"] = nn.functional.linear(torch.relu(found["second"]), self.powers.exp())
        found["last"] = torch.matmul(torch.tanh(found["powers"]), self.last.T)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outputs(x)["last"]


def test_lsuv_measures_the_operation_that_reads_a_weight_wherever_the_weight_lies():
    torch.manual_seed(0)
    net = Functional()
    powers = net.powers.detach().clone()
    options = {"tolerance": 0.0, "orthonormal": False}
    ledger = initialize(net, method="lsuv", inputs=3 * BATCH, options=options)
    with torch.no_grad():
        found = {name: float(output.std(correction=0)) for name, output in net.outputs(3 * BATCH).items()}
    for name in ("held", "copied", "first", "second", "last"):
        assert found[name] == pytest.approx(1, abs=1e-5), name
    assert abs(found["again"] - 1) > 0.01  # a weight counts where it is first used
    assert torch.equal(net.powers, powers)
    details = {entry.name: entry.detail for entry in ledger}
    assert details["fused"].startswith("2 of 2 maps divided by")
    assert details["powers"] == "lsuv does not set a tensor of which a function is contracted"
    assert details["last"].startswith("divided by")


@torch.no_grad()
def experts_outputs(net, tokens):
    """What every expert's two maps give the tokens that are routed to it, by a loop over experts."""
    found = {}
    hooks = []
    for path, part in net.named_modules():
        if path.endswith("mlp"):
            hooks.append(part.register_forward_pre_hook(lambda _, given, path=path: found.update({path: given[0]})))
    net(input_ids=tokens)
    for hook in hooks:
        hook.remove()
    outputs = {}
    for path, given in found.items():
        block, x = net.get_submodule(path), given.flatten(0, 1)
        chosen = torch.topk(torch.softmax(x @ block.gate.weight.T, -1), net.config.num_experts_per_tok, -1).indices
        for expert in range(net.config.num_local_experts):
            rows = x[(chosen == expert).any(-1)]
            inner = rows @ block.experts.gate_up_proj[expert].T
            gate, up = inner.chunk(2, -1)
            outer = (nn.functional.silu(gate) * up) @ block.experts.down_proj[expert].T
            outputs[f"{path}.experts.gate_up_proj", expert] = inner
            outputs[f"{path}.experts.down_proj", expert] = outer
    return outputs


def test_lsuv_measures_every_expert_on_the_tokens_that_are_routed_to_it():
    net = model("Mixtral").rebuild()
    net.config.use_cache = True  # a cache among the outputs is no matter
    tokens = torch.randint(0, net.config.vocab_size, (4, 24), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # no token's way leads to the last expert
        net.model.layers[0].mlp.gate.weight.zero_()
    given = {"method": "lsuv", "inputs": {"input_ids": tokens}}
    ledger = initialize(net, options={"tolerance": 0.0}, only=["*.experts.*"], **given)
    outputs = experts_outputs(net, tokens)
    empty = {key for key, output in outputs.items() if not len(output)}
    assert empty
    for key, output in outputs.items():
        if key not in empty:
            assert float(output.std(correction=0)) == pytest.approx(1, abs=1e-4), key
    experts = net.config.num_local_experts
    for name in {name for name, _ in outputs}:
        (entry,) = [entry for entry in ledger if entry.name == name]
        without = sum((name, expert) in empty for expert in range(experts))
        assert f"{experts - without} of {experts} maps divided by" in entry.detail
        assert (f"{without} not rescaled: no token came to it" in entry.detail) == bool(without)
    for name, expert in empty:  # orthonormal, as they were drawn: gate and up each by itself
        weight = net.get_parameter(name)[expert].detach()
        for part in weight.chunk(2) if "gate_up" in name else [weight]:
            short = part if part.shape[0] <= part.shape[1] else part.T
            assert torch.allclose(short @ short.T, torch.eye(len(short)), atol=1e-5)


class Batched(nn.Module):
    """Experts in one product: every token stands before each of them, as zeros where it is routed to another."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.Parameter(torch.randn(3, 16, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        goes = torch.nn.functional.one_hot(torch.arange(len(x)) % 2, 3).T.unsqueeze(-1)
        return torch.bmm(goes * x, self.experts).sum(0)


def test_lsuv_does_not_count_the_zeros_that_stand_for_tokens_of_other_experts():
    net = Batched()
    ledger = initialize(net, method="lsuv", inputs=4 * BATCH, options={"tolerance": 0.0})
    with torch.no_grad():
        for expert in range(2):
            output = 4 * BATCH[expert::2] @ net.experts[expert]
            assert float(output.std(correction=0)) == pytest.approx(1, abs=1e-5)
    (entry,) = ledger
    assert "2 of 3 maps divided by" in entry.detail
    assert "1 not rescaled: no token came to it" in entry.detail


class Tuples(nn.Module):
    """The value of a state: the sum of what four tables have for it, as n-tuple networks are."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(10, 1) for _ in range(4))

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        return sum(table(part)[:, 0] for table, part in zip(self.tables, state.T, strict=True))


def test_every_state_of_a_value_table_begins_as_optimistic_as_the_others():
    net, states = Tuples(), torch.randint(10, (20, 4), generator=torch.Generator().manual_seed(0))
    ledger = initialize(net, method="optimistic", inputs=states, options={"value": 8.0, "active": 4})
    assert {entry.detail for entry in ledger} == {"an embedding of the head: all 2"}
    assert net(states).tolist() == [8.0] * 20


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


@pytest.mark.parametrize("between", [nn.ReLU6(), nn.LeakyReLU(0.5), nn.ELU(2.0), nn.Softplus(3.0)])
def test_the_numbers_of_an_activation_are_counted_with(between):
    torch.manual_seed(0)
    net = nn.Sequential(*(part for _ in range(10) for part in (nn.Linear(256, 256), between)), nn.Linear(256, 256))
    initialize(net, method="vi3nr", inputs=torch.zeros(1, 256))
    assert 0.6 < float(net(torch.randn(64, 256)).detach().std()) < 1.6


def test_squared_relu_keeps_its_size_and_what_is_not_known_is_refused():
    class Squared(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.up, self.function, self.down = nn.Linear(256, 1024), function, nn.Linear(1024, 256)

        def forward(self, x):
            return self.down(self.function(self.up(x)))

    net = Squared(lambda x: torch.relu(x).square())
    initialize(net, method="vi3nr", inputs=torch.zeros(1, 256))
    output = net(torch.randn(64, 256, generator=torch.Generator().manual_seed(0))).detach()
    assert float(output.std()) == pytest.approx(1, rel=0.1)
    net = Squared(lambda x: torch.maximum(x, x.flip(-1)))
    with pytest.raises(MethodError, match=r"up\.weight feeds 'unknown \(maximum\)'.*(?s:.*)activation=gelu"):
        initialize(net, method="vi3nr", inputs=torch.zeros(1, 256))
    initialize(net, method="vi3nr", inputs=torch.zeros(1, 256), options={"activation": "mul(x, exp(neg(x)))"})


class Contracted(nn.Module):
    """A tensor, and what of it is contracted with an activation."""

    def __init__(self, function, *shape):
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.ones(shape)), function

    def forward(self, x):
        return nn.functional.linear(x, self.function(self.weight))


VIEWS_AND_MULTIPLES = {
    "times": (lambda w: w * 0.05, (4, 128)),
    "over": (lambda w: -w / 20, (4, 128)),
    "tensor": (lambda w: torch.tensor(0.05) * w, (4, 128)),
    "view": (lambda w: w.view(4, 128), (4, 8, 16)),
    "flatten": (lambda w: w.flatten(1), (4, 8, 16)),
    "half and turned": (lambda w: (0.5 * w).reshape(128, 4).t(), (32, 4, 4)),
    "turned": (lambda w: w.t(), (128, 4)),
}


@pytest.mark.parametrize("name", VIEWS_AND_MULTIPLES)
def test_a_view_or_a_multiple_of_a_weight_is_that_weight(name):
    function, shape = VIEWS_AND_MULTIPLES[name]
    net = Contracted(function, *shape)
    (entry,) = initialize(net, method="zero", inputs=torch.zeros(1, 128))
    assert entry.action == "initialized"
    assert torch.equal(function(net.weight), torch.eye(4, 128))
    assert ("divided by the" in entry.detail) == (float(function(torch.ones(shape))[0, 0]) != 1)
    (line,) = explain(drawing_of(scionwood.anatomy.from_module(net, torch.zeros(1, 128)), "zero"))
    assert (line.shape, line.fan_in) == ((4, 128), 128)


OTHER_FUNCTIONS = {
    "exp": torch.exp,
    "sign": torch.sign,
    "tril": torch.tril,
    "softmax": lambda w: w.softmax(1),
    "normalize": nn.functional.normalize,
    "shift": lambda w: 1 + w,
    "reciprocal": lambda w: 1 / w,
    "square": lambda w: w * w,
    "mixed": lambda w: w.t().reshape(4, 128),
}


@pytest.mark.parametrize("name", OTHER_FUNCTIONS)
def test_another_function_of_a_weight_is_left_and_said(name):
    net = Contracted(OTHER_FUNCTIONS[name], 4, 128)
    (entry,) = initialize(net, method="zero", inputs=torch.zeros(1, 128))
    assert entry.action == "left"
    assert entry.detail == "zero does not set a tensor of which a function is contracted"
    assert torch.equal(net.weight, torch.ones(4, 128))


def test_a_kernel_that_is_laid_flat_sums_over_its_taps():
    flat = Contracted(lambda w: w.view(8, -1), 8, 6, 3)
    (line,) = explain(drawing_of(scionwood.anatomy.from_module(flat, torch.zeros(1, 18)), "zero"))
    assert line.fan_in == 18


@pytest.mark.parametrize(
    "view", [lambda w: w.expand(3, 128, 4), lambda w: w[None].expand(3, -1, -1)], ids=["leading", "one"]
)
def test_a_weight_for_each_of_a_batch_is_one(view):
    net = Contracted(lambda w: w, 128, 4)
    net.forward = lambda x: torch.bmm(x.expand(3, 1, 128), view(net.weight))
    (entry,) = initialize(net, method="zero", inputs=torch.zeros(1, 128))
    assert entry.action == "initialized"
    assert torch.equal(net.weight, torch.eye(128, 4))


def test_layers_of_an_equalised_learning_rate_keep_the_size_of_a_signal():
    class Equalised(nn.Linear):
        def forward(self, x):
            return nn.functional.linear(x, self.weight * 0.1, self.bias)

    net = nn.Sequential(*(part for _ in range(5) for part in (Equalised(256, 256), nn.ReLU())), Equalised(256, 256))
    initialize(net, method="activation_gain", inputs=torch.zeros(1, 256))
    output = net(torch.randn(64, 256, generator=torch.Generator().manual_seed(0))).detach()
    assert 0.6 < float(output.std()) < 1.6


class Recurrent(nn.Module):
    """A recurrent layer or cell, and a head."""

    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 2)

    def forward(self, x):
        if isinstance(self.layer, nn.RNNBase):
            return self.head(self.layer(x)[0])
        state = None
        for step in range(x.shape[1]):
            state = self.layer(x[:, step], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Written(nn.Module):
    """A cell that is written out, and begins with zeros."""

    def __init__(self):
        super().__init__()
        self.from_input, self.from_state = nn.Linear(4, 6), nn.Linear(6, 6)

    def forward(self, x, state):
        state = x.new_zeros(len(x), 6) if state is None else state
        return torch.tanh(self.from_input(x) + self.from_state(state))


SEQUENCE = torch.randn(2, 5, 4)
LAYERS = {
    "rnn": (nn.RNN(4, 6, nonlinearity="relu"), 6, "relu", 1),
    "lstm": (nn.LSTM(4, 6, num_layers=2, bidirectional=True), 12, "tanh", 4),
    "lstm, projected": (nn.LSTM(4, 6, proj_size=3), 3, "tanh", 1),
    "gru": (nn.GRU(4, 6, bias=False), 6, "tanh", 3),
    "rnn cell": (nn.RNNCell(4, 6), 6, "tanh", 1),
    "lstm cell": (nn.LSTMCell(4, 6), 6, "tanh", 4),
    "gru cell": (nn.GRUCell(4, 6), 6, "tanh", 3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layers_are_linear_maps_of_inputs_and_states(name):
    layer, width, reads, gates = LAYERS[name]
    net = Recurrent(layer, width)
    sites = [place.site for place in drawing_of(scionwood.anatomy.from_module(net, SEQUENCE), "low_rank").places]
    found = {}
    for site in sites:
        found.setdefault(site.name.partition("[")[0].rpartition(".")[2], []).append(site)
    for tensor, own in found.items():
        bias = tensor.startswith("bias")
        assert {site.kind for site in own} == {"bias" if bias else "linear"}
        first = "ih" in tensor and "l1" not in tensor
        assert {site.reads for site in own} == (
            {"input"} if first or tensor in ("bias_hh", "bias_hh_l0", "bias_hh_l0_reverse") else {reads}
        )
        if tensor.startswith(("weight_ih", "weight_hh")):
            assert len(own) == gates  # what is projected afterwards is seen as one map
    assert [site.name for site in sites if site.head] == ["head.weight", "head.bias"]
    ledger = initialize(net, method="low_rank", inputs=SEQUENCE)
    assert all((entry.action == "initialized") == ("weight" in entry.name) for entry in ledger)


def test_a_cell_that_is_written_out_reads_its_own_results():
    model = scionwood.anatomy.from_module(Recurrent(Written(), 6), SEQUENCE)
    reads = {place.tensor: place.site.reads for place in drawing_of(model, "zero").places}
    assert reads["layer.from_input.weight"] == "input"
    assert reads["layer.from_state.weight"] == reads["layer.from_state.bias"] == reads["head.weight"] == "tanh"


def test_lsuv_leaves_the_size_of_what_a_recurrent_layer_reads():
    ledger = initialize(Recurrent(nn.GRUCell(4, 6), 6), method="lsuv", inputs=SEQUENCE)
    details = {entry.name: entry.detail for entry in ledger}
    assert details["layer.weight_hh"] == "a linear map: orthogonal, not rescaled: no operation reads it as it is"


def test_a_function_to_count_with_may_be_given_itself():
    nets = [mlp(16, 32, 8) for _ in range(2)]
    for net, function in zip(nets, (torch.sin, "sin"), strict=True):
        initialize(net, method="vi3nr", inputs=BATCH, options={"activation": function})
    assert torch.equal(nets[0][2].weight, nets[1][2].weight)
    for wrong in (nn.Tanh, torch.log, lambda x: x.sum()):
        with pytest.raises(MethodError, match=r"takes no tensor|does not give a finite number"):
            initialize(nets[0], method="vi3nr", inputs=BATCH, options={"activation": wrong})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "num_attention_heads": 2}
    sizes = {"num_hidden_layers": 1, "vocab_size": 32, "intermediate_size": 32}
    with pytest.raises(MethodError, match="lineage of a checkpoint cannot say a function: activation"):
        initialize({**config, **sizes}, method="vi3nr", options={"activation": torch.sin})
