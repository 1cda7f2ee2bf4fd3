"""The flow through a model: order, activations, residual branches, attentions, layouts, read off the graph alone."""

import functools
from collections.abc import Callable

import pytest
import torch
from tests.architectures.derived import model
from torch import nn
from torch.nn import functional

from scionwood.anatomy import from_module
from scionwood.anatomy.flow import Flow, Use, flow
from scionwood.anatomy.nodes import module_path


@functools.cache
def followed(name: str) -> Flow:
    return flow(model(name))


def use(name: str, tensor: str) -> Use:
    return next(own for own in followed(name).uses if own.tensor == tensor)


def roles(own: Use) -> list[tuple[str, int, int, int, int]]:
    return [(p.role, p.heads, p.kv_heads, p.width, len(p.rows)) for p in own.projections]


NAMES = ("Llama", "Qwen3", "Gemma2", "GPT-2", "GPT-NeoX", "BERT", "T5", "ViT", "ConvNeXt", "ResNet", "Mamba", "Mixtral")


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_used_once_in_order(name):
    found = followed(name).uses
    assert [own.order for own in found] == list(range(len(found)))
    parameters = {id(p): n for n, p in reversed(list(model(name).module.named_parameters(remove_duplicate=False)))}
    assert {own.tensor for own in found} == set(parameters.values())


@pytest.mark.parametrize(
    ("name", "branches", "layers"),
    [
        ("Llama", 4, 2), ("Gemma2", 4, 2), ("GPT-2", 4, 2), ("Cohere", 4, 2), ("BERT", 4, 2), ("T5", 10, 2), ("ViT", 4, 2),
        ("ConvNeXt", 8, 8), ("ResNet", 8, 8), ("Mamba", 2, 2), ("Mixtral", 4, 2),
    ],
)  # fmt: skip
def test_residual_branches_and_layers(name, branches, layers):
    found = followed(name)
    assert len(found.residuals) == branches
    assert {own.layers for own in found.uses if own.layer} == {layers}
    assert {own.branch.number for own in found.uses if own.branch} == set(range(branches))
    for number in range(branches):
        last = [own for own in found.uses if own.branch and own.branch.number == number and own.branch.last]
        assert last, "a branch ends in a weight"
        assert all(own.branch and own.branch.place > 0 for own in last)


@pytest.mark.parametrize("name", ["LSTM", "Swin", "SigLIP", "DeBERTa-v2", "XLNet", "weight_normed", "RecurrentGemma"])
def test_what_no_rule_has_in_mind_is_not_forgotten(name):
    net = model(name)
    used = {node.name for node in net.program.graph.nodes if node.op == "placeholder" and node.users}
    signature = net.program.graph_signature
    wanted = {signature.inputs_to_parameters[n] for n in used if n in signature.inputs_to_parameters}
    tensors = {own.tensor for own in followed(name).uses}
    tied = {id(p) for n, p in net.module.named_parameters(remove_duplicate=False) if n in tensors}
    assert all(id(net.module.get_parameter(n)) in tied for n in wanted)


def test_grouped_queries():
    block = "model.layers.1.self_attn"
    assert roles(use("Llama", f"{block}.q_proj.weight")) == [("query", 6, 3, 8, 48)]
    assert roles(use("Llama", f"{block}.k_proj.weight")) == [("key", 6, 3, 8, 24)]
    assert roles(use("Llama", f"{block}.v_proj.weight")) == [("value", 6, 3, 8, 24)]
    assert roles(use("Llama", f"{block}.o_proj.weight")) == [("output", 6, 3, 8, 48)]
    four = [use("Llama", f"{block}.{each}_proj.weight").projections[0].attention for each in "qkvo"]
    other = use("Llama", "model.layers.0.self_attn.q_proj.weight").projections[0].attention
    assert len(set(four)) == 1
    assert other not in four


def test_a_fused_projection_side_by_side_and_one_interleaved_by_head():
    side = use("GPT-2", "transformer.h.0.attn.c_attn.weight")
    assert side.transposed
    assert [p.role for p in side.projections] == ["query", "key", "value"]
    assert [p.rows.tolist() for p in side.projections] == [list(range(n, n + 48)) for n in (0, 48, 96)]
    woven = use("GPT-NeoX", "gpt_neox.layers.0.attention.query_key_value.weight")
    key = next(p for p in woven.projections if p.role == "key")
    assert key.rows.tolist() == [head * 48 + 16 + n for head in range(3) for n in range(16)]


class Attending(nn.Module):
    """An attention written by hand: its keys are transposed when they meet the queries."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        scores = (q @ k.transpose(-2, -1)).softmax(-1)
        return x + self.o((scores @ v).transpose(1, 2).flatten(2))


def test_keys_are_as_wide_as_queries_however_long_the_text_is():
    for length in (8, 10):
        found = flow(from_module(Attending(), torch.zeros(2, length, 32))).uses
        assert [roles(own) for own in found] == [[(role, 4, 4, 8, 32)] for role in ("query", "key", "value", "output")]
    assert roles(use("Gemma2", "model.layers.0.self_attn.k_proj.weight")) == [("key", 6, 3, 10, 30)]


@pytest.mark.parametrize(
    ("name", "fused", "output", "heads", "rows"),
    [
        ("transformer", "encoder.layers.0.self_attn.in_proj_weight", "encoder.layers.0.self_attn.out_proj.weight", (3, 3, 4), (0, 12, 24)),
        # The queries of a cross attention are taken from one part of the weight, keys and values from the other.
        ("transformer", "decoder.layers.0.multihead_attn.in_proj_weight", "decoder.layers.0.multihead_attn.out_proj.weight", (2, 2, 6), (0, 12, 24)),
        ("BLOOM", "transformer.h.0.self_attention.query_key_value.weight", "transformer.h.0.self_attention.dense.weight", (6, 6, 8), (0, 8, 16)),
        ("Falcon (multi-query)", "transformer.h.0.self_attention.query_key_value.weight", "transformer.h.0.self_attention.dense.weight", (6, 1, 8), (0, 48, 56)),
        ("Falcon (new decoder)", "transformer.h.0.self_attention.query_key_value.weight", "transformer.h.0.self_attention.dense.weight", (6, 3, 8), (0, 16, 24)),
        ("GPT-NeoX-Japanese", "gpt_neox_japanese.layers.0.attention.query_key_value.weight", "gpt_neox_japanese.layers.0.attention.dense.weight", (3, 3, 16), (0, 16, 32)),
    ],
)  # fmt: skip
def test_fused_attentions_of_every_weave(name, fused, output, heads, rows):
    queries, keys, values = heads[0] * heads[2], heads[1] * heads[2], heads[1] * heads[2]
    sizes = {"query": queries, "key": keys, "value": values, "output": queries}
    assert roles(use(name, fused)) == [(role, *heads, sizes[role]) for role in ("query", "key", "value")]
    assert roles(use(name, output)) == [("output", *heads, queries)]
    assert tuple(int(own.rows[0]) for own in use(name, fused).projections) == rows
    taken = torch.cat([own.rows for own in use(name, fused).projections])
    assert torch.equal(taken.sort().values, torch.arange(queries + keys + values))


def test_weights_that_layers_share_have_one_role():
    attention = "albert.encoder.albert_layer_groups.0.albert_layers.0.attention"
    for part, role in (("query", "query"), ("key", "key"), ("value", "value"), ("dense", "output")):
        assert roles(use("ALBERT", f"{attention}.{part}.weight")) == [(role, 6, 6, 8, 48)]


def test_cross_attention_is_in_one_branch_though_its_keys_read_what_is_outside():
    attention = "decoder.block.0.layer.1.EncDecAttention"
    four = [use("T5", f"{attention}.{part}.weight") for part in "qkvo"]
    assert roles(four[1]) == [("key", 6, 6, 10, 60)]
    assert {(own.branch.number, own.branch.weights) for own in four} == {(5, 4)}
    assert [(own.branch.place, own.branch.last) for own in four] == [(0, False)] * 3 + [(1, True)]


def test_a_fused_cross_attention_counts_its_weight_once():
    """PyTorch's own takes the queries from one part of the fused weight, and keys and values from the other."""
    projection, output = (
        use("transformer", f"decoder.layers.0.multihead_attn.{n}") for n in ("in_proj_weight", "out_proj.weight")
    )
    assert projection.branch.number == output.branch.number
    assert (projection.branch.weights, output.branch.weights) == (2, 2)  # the parts are counted by the sites


@pytest.mark.parametrize(
    ("name", "attention", "inner"),
    [
        ("GPT-NeoX", "attention.query_key_value", "mlp.dense_h_to_4h"),  # x + (attention + MLP)
        ("Falcon (multi-query)", "self_attention.query_key_value", "mlp.dense_h_to_4h"),  # in place
        ("Cohere", "self_attn.q_proj", "mlp.up_proj"),  # (x + attention) + MLP
    ],
)
def test_each_path_of_a_parallel_block_is_a_branch(name, attention, inner):
    branches = {}
    for own in followed(name).uses:
        if own.branch is not None and own.kind == "linear":
            branches.setdefault(own.branch.number, []).append(own)
    assert list(branches) == [0, 1, 2, 3]
    assert {own.branch.count for inside in branches.values() for own in inside} == {4}
    for number, inside in branches.items():
        part = inner if number % 2 else attention
        assert any(own.tensor.endswith(f"{part}.weight") for own in inside)
        assert {own.branch.weights for own in inside} == {len(inside)}
        assert [own.branch.last for own in inside] == [False] * (len(inside) - 1) + [True]


class Towers(nn.Module):
    """Two towers of residual blocks from one stem, whose ends are added: none is the other's branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Linear(8, 8), Rectified(), Rectified()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return self.left(x) + self.right(x)


class Meeting(nn.Module):
    """Two ways from a part of what the stem gives: neither is a stream, as both have weights and one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.first, self.second = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)[:, 0]
        return self.left(x) + self.second(torch.relu(self.first(x)))


def test_ways_from_a_part_of_a_tensor_that_meet_are_not_residual():
    assert not flow(from_module(Meeting(), torch.zeros(2, 3, 8))).residuals


def test_towers_of_residual_blocks_are_no_parallel_block():
    assert [module_path(own.node) for own in flow(from_module(Towers(), torch.zeros(2, 8))).residuals] == [
        "left",
        "right",
    ]


def test_activations_whole_taken_apart_and_gated():
    assert use("GPT-2", "transformer.h.0.mlp.c_proj.weight").reads == "gelu_tanh"  # written as tanh of a polynomial
    assert use("T5", "encoder.block.0.layer.1.DenseReluDense.wo.weight").reads == "relu"
    assert use("Llama", "model.layers.0.mlp.down_proj.weight").reads == "gated silu"
    assert use("Llama", "model.layers.0.mlp.up_proj.weight").reads == "identity"
    assert use("ViT", "vit.embeddings.patch_embeddings.projection.weight").reads == "input"
    assert use("Mamba", "backbone.layers.0.mixer.x_proj.weight").reads == "silu"


class Between(nn.Module):
    """A function between two linear maps."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.first, self.function, self.second = nn.Linear(4, 8), function, nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.function(self.first(x)))


class Snake(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.sin(self.scale * x).square()


def between(function: Callable[[torch.Tensor], torch.Tensor]) -> str:
    found = flow(from_module(Between(function), torch.zeros(2, 4))).uses
    return next(own.reads for own in found if own.tensor == "second.weight")


READINGS: dict[str, list[Callable[[torch.Tensor], torch.Tensor]]] = {
    "identity": [lambda x: 2 * x + 1, lambda x: -x / 3],
    "relu": [
        nn.ReLU(inplace=True), lambda x: x.clamp(min=0), lambda x: x.clamp_min(0), lambda x: x * (x > 0), lambda x: torch.where(x > 0, x, 0.0),
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)), lambda x: torch.maximum(x, torch.tensor(0.0)),
        lambda x: torch.maximum(x, torch.zeros_like(x)), lambda x: (x + x.abs()) / 2,
    ],
    "relu6": [nn.ReLU6(), lambda x: functional.hardtanh(x, 0, 6), lambda x: functional.relu(x).clamp(max=6)],
    "hardtanh": [nn.Hardtanh()],
    "hardtanh(-2, 2)": [nn.Hardtanh(-2, 2)],
    "relu_squared": [lambda x: torch.relu(x).square(), lambda x: torch.relu(x) ** 2, lambda x: torch.relu(x) * torch.relu(x)],
    "leaky_relu": [nn.LeakyReLU(), lambda x: torch.maximum(0.01 * x, x)],
    "leaky_relu(0.5)": [nn.LeakyReLU(0.5)],
    "elu": [nn.ELU()],
    "elu(2.0)": [nn.ELU(2.0)],
    "celu(2.0)": [nn.CELU(2.0)],
    "softplus": [nn.Softplus()],
    "softplus(2.0, 10.0)": [nn.Softplus(2.0, 10.0)],
    "gelu": [nn.GELU(), lambda x: 0.5 * x * (1 + torch.erf(x / 1.41421356))],
    "gelu_tanh": [nn.GELU("tanh"), lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * (x + 0.044715 * x.pow(3))))],
    "quick_gelu": [lambda x: x * torch.sigmoid(1.702 * x)],
    "silu": [nn.SiLU(), lambda x: x * torch.sigmoid(x), lambda x: x / (1 + torch.exp(-x))],
    "mish": [nn.Mish(), lambda x: x * torch.tanh(functional.softplus(x))],
    "tanhshrink": [nn.Tanhshrink(), lambda x: x - torch.tanh(x)],
    "softsign": [nn.Softsign()],
    "hardswish": [nn.Hardswish(), lambda x: x * functional.relu6(x + 3) / 6],
    "gaussian": [lambda x: torch.exp(-(x**2) / 2)],
    "sin": [lambda x: torch.sin(30 * x)],  # of which the frequency is no part
    "abs": [torch.abs],
    "square": [torch.square, lambda x: x * x],
    "exp": [torch.exp],
    "erf": [torch.erf],
    "threshold(0.1, 20.0)": [nn.Threshold(0.1, 20.0)],
    "softshrink(0.3)": [nn.Softshrink(0.3)],
    "mul(x, exp(neg(x)))": [lambda x: x * torch.exp(-x)],
    "mul(relu(x), 1.7)": [lambda x: torch.relu(x) * 1.7],
    "tanh * sigmoid": [lambda x: torch.tanh(x[:, :4]).repeat(1, 2) * torch.sigmoid(x[:, 4:]).repeat(1, 2)],
    "unknown (maximum)": [lambda x: torch.maximum(x, x.flip(-1))],
}  # fmt: skip


@pytest.mark.parametrize("name", READINGS)
def test_what_is_read_is_what_the_graph_computes(name):
    assert [between(function) for function in READINGS[name]] == [name] * len(READINGS[name])


def test_a_weight_may_be_in_what_is_read():
    assert between(nn.PReLU()) == "prelu"
    assert between(Snake()) == "unknown (add)"


def test_a_name_that_would_be_too_long_is_not_known():
    assert between(lambda x: functools.reduce(lambda y, _: torch.sin(y) + x * y, range(20), x)) == "unknown (add)"


def test_norms_and_sums_of_weights_are_no_functions_of_one_value():
    assert between(lambda x: functional.normalize(torch.relu(x), dim=-1)) == "identity"
    assert between(lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)) == "identity"
    assert between(lambda x: torch.exp(x) / torch.exp(x).sum(-1, keepdim=True)) == "exp"


def test_what_reads_a_residual_sum():
    assert use("ResNet", "resnet.encoder.stages.0.layers.1.layer.0.convolution.weight").reads_sum
    assert not use("ResNet", "resnet.encoder.stages.0.layers.1.layer.1.convolution.weight").reads_sum
    assert not any(own.reads_sum for own in followed("Gemma2").uses if own.kind == "linear")  # a norm stands between


def test_kinds():
    kinds = {own.tensor.rpartition("layers.0.")[2]: own.kind for own in followed("Mamba").uses}
    assert kinds["mixer.conv1d.weight"] == "convolution"
    assert kinds["mixer.A_log"] == "other"
    assert kinds["mixer.dt_proj.weight"] == "linear"
    assert use("BERT", "embeddings.position_embeddings.weight").kind == "table"
    assert use("BERT", "embeddings.word_embeddings.weight").kind == "embedding"
    assert use("ViT", "vit.embeddings.cls_token").kind == "table"
    assert use("ConvNeXt", "convnext.encoder.stages.0.layers.0.layer_scale_parameter").kind == "gain"
    experts = use("Mixtral", "model.layers.0.mlp.experts.down_proj")
    assert (experts.kind, experts.stacked) == ("linear", True)


def test_heads():
    assert [own.tensor for own in followed("Llama").uses if own.head] == ["lm_head.weight"]
    assert [own.tensor for own in followed("ResNet").uses if own.head] == ["classifier.1.weight", "classifier.1.bias"]


class Projected(nn.Module):
    """A branch of two weights beside a stream with one, and two towers that only meet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.first, self.second, self.short = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(6, 8)
        self.left, self.right = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = self.second(torch.relu(self.first(x))) + self.short(x)
        return self.left(x) + self.right(x)


def test_a_projected_stream_is_residual_and_two_towers_are_not():
    found = flow(from_module(Projected(), torch.zeros(2, 4)))
    (only,) = found.residuals
    assert only.projected
    branch = {own.tensor: own.branch for own in found.uses}
    assert branch["first.weight"] is not None
    assert branch["second.weight"] is not None
    assert branch["second.weight"].last
    assert branch["short.weight"] is None
    assert branch["left.weight"] is None
    assert branch["right.weight"] is None


class Packed(nn.Module):
    """Maps that lie in one tensor, used one by one, as (out, in) and as (in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.zeros(2, 5, 4)), nn.Parameter(torch.zeros(2, 5, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = [torch.relu(nn.functional.linear(x, weight)) for weight in self.first]
        return inner[0] @ self.second[0] + inner[1] @ self.second[1]


def test_maps_packed_in_one_tensor_are_stacked_when_they_are_used_one_by_one():
    found = flow(from_module(Packed(), torch.zeros(2, 4))).uses
    assert [(own.tensor, own.stacked, own.transposed) for own in found] == [
        ("first", True, False),
        ("second", True, True),
    ]


class Steps(nn.Module):
    """What is computed step by step and written into places of one tensor, whole or part."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.a, self.b, self.h = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(x)
        if self.how == "step by step":
            for step in range(4):
                out[:, step] = self.b(torch.relu(self.a(x[:, step])))
        elif self.how == "rows":
            out[:, torch.tensor([0, 2])] = self.b(torch.relu(self.a(x[:, :2])))
        elif self.how == "through a view":
            out.view(-1, 8).index_add_(0, torch.arange(8), self.b(torch.relu(self.a(x))).view(-1, 8))
        else:
            view = out.view(-1, 8)
            out.masked_scatter_(x > 0, self.b(torch.relu(self.a(x))))
            return self.h(torch.relu(view))
        return x + self.h(torch.relu(out)).repeat(1, 1, 3)[..., :8]


@pytest.mark.parametrize("how", ["step by step", "rows", "through a view", "the whole of a view"])
def test_what_is_written_into_a_tensor_is_in_it(how):
    found = flow(from_module(Steps(how), torch.randn(2, 4, 8)))
    uses = {own.tensor: own for own in found.uses}
    assert not any(own.head for own in uses.values() if own.tensor[0] in "ab")
    assert uses["h.weight"].reads == "relu"
    if how != "the whole of a view":
        assert len(found.residuals) == 1
        branches = [uses[f"{name}.weight"].branch for name in "abh"]
        assert [(own.place, own.last) for own in branches] == [(0, False), (1, False), (2, True)]
    else:
        assert uses["h.weight"].head


def test_what_recurs_is_no_head():
    assert [own.tensor for own in followed("RWKV").uses if own.head] == ["head.weight"]


class Tables(nn.Module):
    """A value as a sum of rows of tables, looked up in every way; two factors, and what a weight reads, are no summands."""

    def __init__(self) -> None:
        super().__init__()
        self.module, self.bag = nn.Embedding(9, 1), nn.EmbeddingBag(9, 1, mode="sum", padding_idx=2)
        self.indexed, self.gathered = nn.Parameter(torch.zeros(9)), nn.Parameter(torch.zeros(4, 9))
        self.left, self.right, self.read = nn.Embedding(9, 3), nn.Embedding(9, 3), nn.Embedding(9, 3)
        self.weight = nn.Linear(3, 1)

    def forward(self, i: torch.Tensor) -> torch.Tensor:
        looked_up = self.module(i).sum((1, 2)) + self.indexed[i].sum(1) + self.bag(i)[:, 0]
        looked_up = looked_up + torch.gather(self.gathered, 1, i.T).sum(0)
        return looked_up + (self.left(i) * self.right(i)).sum((1, 2)) + self.weight(self.read(i)).sum((1, 2))


def test_tables_whose_rows_add_up_to_the_output_are_heads():
    found = flow(from_module(Tables(), torch.zeros(2, 4, dtype=torch.long))).uses
    tables = {own.tensor: own for own in found if own.kind == "embedding"}
    assert set(tables) == {
        "module.weight",
        "bag.weight",
        "indexed",
        "gathered",
        "left.weight",
        "right.weight",
        "read.weight",
    }
    assert {name for name, own in tables.items() if own.head} == {"module.weight", "bag.weight", "indexed", "gathered"}
    assert (tables["bag.weight"].padding, tables["module.weight"].padding) == (2, None)


@pytest.mark.parametrize("name", ["Llama", "GPT-2", "BERT"])
def test_an_embedding_that_weights_read_is_no_head_tied_or_not(name):
    assert not any(own.head for own in followed(name).uses if own.kind in ("embedding", "table"))


def test_what_the_next_weight_reads_a_result_through():
    net = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 2), nn.Tanh()
    )
    found = {own.tensor: own for own in flow(from_module(net, torch.zeros(2, 4))).uses}
    assert [found[f"{layer}.weight"].feeds for layer in (0, 3, 5)] == ["tanh", "", ""]
    assert found["0.bias"].feeds == "tanh"
    assert {name for name, own in found.items() if own.norm} == {f"{n}.{p}" for n in (1, 4) for p in ("weight", "bias")}
    assert use("Llama", "model.layers.0.mlp.up_proj.weight").feeds == "gated silu"
    assert use("GPT-2", "transformer.h.0.mlp.c_fc.weight").feeds == "gelu_tanh"


class Rectified(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(torch.relu(self.first(x)))


class Gated(Rectified):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(torch.sigmoid(self.first(x)) * x)


class OfSeveralKinds(nn.Module):
    """Blocks of two kinds that the stream runs through, and heads of as many that read what comes out of them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Rectified(), Gated(), Rectified(), Gated()])
        self.heads = nn.ModuleList([Gated(), Rectified()])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        for block in self.blocks:
            x = block(x)
        return [head(x) for head in self.heads]


def test_layers_of_several_kinds_are_those_that_the_stream_runs_through():
    found = flow(from_module(OfSeveralKinds(), torch.zeros(2, 8)))
    assert [own.block for own in found.residuals] == [*(f"blocks.{index}" for index in range(4)), None, None]
    layers = {(own.tensor.rpartition(".")[0].rpartition(".")[0], own.layer, own.layers) for own in found.uses}
    assert layers == {
        *((f"blocks.{index}", index + 1, 4) for index in range(4)),
        ("heads.0", None, 0),
        ("heads.1", None, 0),
    }


@pytest.mark.parametrize(("name", "layers"), [("Jamba", 2), ("Zamba2", 4)])
def test_layers_of_hybrids(name, layers):
    assert {(own.layer, own.layers) for own in followed(name).uses if own.layer} == {
        (number, layers) for number in range(1, layers + 1)
    }


class Routed(nn.Module):
    """How many rows reach the expert depends on what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(4, 1), nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.nonzero(self.gate(x)[:, 0] > 0)[:, 0]
        return x + torch.zeros_like(x).index_add(0, rows, self.down(torch.relu(self.up(x[rows]))))


def test_sizes_that_depend_on_values_are_followed():
    found = flow(from_module(Routed(), torch.randn(5, 4)))
    own = {each.tensor: each for each in found.uses}
    assert own["down.weight"].reads == "relu"
    assert own["down.weight"].branch is not None
    assert own["down.weight"].branch.last
    assert len(found.residuals) == 1
