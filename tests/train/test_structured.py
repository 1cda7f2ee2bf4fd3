"""Structured layers: what they multiply by, what they start with, and their learning rates."""

import pytest
import torch
from torch import nn

from scionwood.errors import MethodError
from scionwood.train.layers.structured import BTT, TT, LowRank, Monarch, factorize, parameter_groups, restructure

LAYERS = [
    (LowRank, {"rank": 5}), (TT, {}), (TT, {"rank": 3}), (TT, {"rank": 2, "cores": 3}), (Monarch, {}), (BTT, {}), (BTT, {"rank": 2}),
]  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("kind", "options"), LAYERS)
@pytest.mark.parametrize(("inputs", "outputs"), [(24, 24), (48, 12), (12, 60)])
def test_a_layer_is_its_dense_weight(kind, options, inputs, outputs):
    layer = kind(inputs, outputs, generator=generator(), **options).double()
    layer.bias.data.normal_(generator=generator(1))
    signal = torch.randn(2, 3, inputs, generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(layer(signal), nn.functional.linear(signal, layer.dense(), layer.bias))


def test_the_slow_forms():
    low = LowRank(6, 8, rank=2, generator=generator())
    torch.testing.assert_close(low.dense().T, low.factors[0] @ low.factors[1])
    train = TT(24, 15, generator=generator())
    (first, second), slow = train.factors, None
    slow = torch.kron(first[0, :, :, 0].contiguous(), second[0, :, :, 0].contiguous())
    torch.testing.assert_close(train.dense().T, slow)
    btt = BTT(24, 15, rank=2, generator=generator())
    m0, m1, n0, n1 = btt.sizes
    slow = torch.zeros(24, 15)
    for j in range(m1):
        for i in range(m0):
            for k in range(n0):
                for l in range(n1):
                    slow[j * m0 + i, k * n1 + l] = sum(
                        btt.factors[0][j, i, k * 2 + a] * btt.factors[1][k, j * 2 + a, l] for a in range(2)
                    ).detach()
    torch.testing.assert_close(btt.dense().T, slow)
    monarch = Monarch(8, 12, blocks=2, generator=generator())
    first, second = (torch.block_diag(*factor) for factor in monarch.factors)
    shuffle = torch.eye(8)[torch.arange(8).reshape(4, 2).T.reshape(-1)]
    unshuffle = torch.eye(12)[torch.arange(12).reshape(2, 6).T.reshape(-1)]
    torch.testing.assert_close(monarch.dense(), unshuffle @ second @ shuffle @ first)


def test_first_values_and_counts():
    sizes = {
        "low_rank": LowRank(1024, 1024, rank=32),
        "monarch": Monarch(1024, 1024),
        "btt": BTT(1024, 1024),
        "btt4": BTT(1024, 1024, rank=4),
    }
    counts = {name: sum(factor.numel() for factor in layer.factors) for name, layer in sizes.items()}
    assert (counts["monarch"], counts["btt"]) == (524288, 65536)
    stds = {name: [float(factor.detach().std()) for factor in layer.factors] for name, layer in sizes.items()}
    assert stds["low_rank"] == pytest.approx([0.00552427, 0.1767767], rel=0.02)
    assert stds["monarch"] == pytest.approx([0.0625, 0.0625], rel=0.02)
    assert stds["btt"] == pytest.approx([0.1767767, 0.1767767], rel=0.02)
    assert stds["btt4"] == pytest.approx([0.1767767, 0.0441942], rel=0.02)
    rates = {name: [start.rate for start in layer.starts] for name, layer in sizes.items()}
    assert rates == {"low_rank": [0.5, 16], "monarch": [2, 2], "btt": [16, 16], "btt4": [16, 4]}
    assert LowRank(1024, 1024).factors[0].shape == (1024, 32)
    assert Monarch(64, 32).factors[0].shape == (4, 8, 16)
    assert Monarch(32, 64).factors[0].shape == (4, 8, 8)


def test_rms_of_the_output():
    signal = torch.randn(2000, 256, generator=generator(9))

    def rms(layer):
        return float(layer(signal).square().mean().sqrt().detach())

    assert rms(BTT(256, 256, generator=generator())) == pytest.approx(1.01, abs=0.06)
    assert rms(LowRank(256, 256, rank=16, generator=generator())) == pytest.approx(0.25, abs=0.03)
    assert rms(Monarch(256, 256, generator=generator())) == pytest.approx(1.0, abs=0.06)


def test_btt_is_any_matrix():
    weight = torch.randn(15, 24, generator=generator(), dtype=torch.float64)
    layer = BTT.from_dense(weight, bias=torch.ones(15, dtype=torch.float64))
    assert layer.sizes == (4, 6, 3, 5)
    assert layer.rank == 4  # min(m0, n1)
    assert float((layer.dense() - weight).detach().abs().max()) < 1e-13
    assert bool((layer.bias == 1).all())
    errors = [float((BTT.from_dense(weight, rank).dense() - weight).detach().norm()) for rank in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < float(weight.norm())


def test_a_last_factor_of_zero():
    layer = BTT(16, 16, zero=True, generator=generator())
    assert not layer(torch.ones(1, 16)).any()
    layer(torch.ones(1, 16)).sum().backward()
    assert layer.factors[1].grad.any()


def test_normalised_factors():
    layer = BTT(64, 64, normalize=True, generator=generator())
    start = layer.starts[0].std
    layer.factors[0].data *= 10
    assert float(layer.weights()[0].square().mean().sqrt().detach()) == pytest.approx(start, rel=0.01)
    layer.factors[0].data /= 100
    torch.testing.assert_close(layer.weights()[0], layer.factors[0])
    layer.scales.data[0] = 3
    torch.testing.assert_close(layer.weights()[0], 3 * layer.factors[0])


def test_replacing_layers_of_a_model():
    model = nn.Sequential(
        nn.Linear(16, 32), nn.ReLU(), nn.Sequential(nn.Linear(32, 16, bias=False)), nn.Linear(16, 4)
    ).double()
    names = restructure(
        model,
        "monarch",
        choose=lambda name, layer: name != "3",
        zero=lambda name, layer: name == "2.0",
        generator=generator(),
    )
    assert names == ["0", "2.0"]
    assert isinstance(model[2][0], Monarch)
    assert model[2][0].bias is None
    assert type(model[3]) is nn.Linear
    assert not model[2][0].factors[1].any()
    assert model(torch.ones(2, 16, dtype=torch.float64)).shape == (2, 4)
    same = nn.Sequential(nn.Linear(16, 32))
    restructure(same, "monarch", generator=generator())
    torch.testing.assert_close(same[0].factors[0], model[0].factors[0].float())


def test_learning_rates():
    model = nn.Sequential(nn.Linear(64, 64), BTT(64, 64), LowRank(64, 64, rank=8))
    rates = {group["lr"]: len(group["params"]) for group in parameter_groups(model, 0.01)}
    assert rates == {0.005: 1, 0.01: 4, 0.04: 3}
    assert sum(rates.values()) == len(list(model.parameters()))
    halved = {group["lr"]: len(group["params"]) for group in parameter_groups(model, 0.01, base_inputs=32)}
    assert halved == {0.0025: 1, 0.01: 4, 0.02: 3}
    torch.optim.AdamW(parameter_groups(model, 0.01))


def test_the_rate_of_a_dense_layer_carries_over():
    """A teacher of 256 features, Adam at 0.001, 60 steps: the loss falls further with the multipliers."""
    teacher = torch.randn(256, 256, generator=generator()) / 16
    signal = torch.randn(512, 256, generator=generator(1))
    losses = {}
    for scaled in (True, False):
        layer = BTT(256, 256, rank=4, generator=generator(2))
        groups = parameter_groups(layer, 1e-3) if scaled else [{"params": layer.parameters(), "lr": 1e-3}]
        optimizer = torch.optim.Adam(groups)
        for _ in range(60):
            loss = (layer(signal) - signal @ teacher.T).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses[scaled] = float(loss.detach())
    assert losses[True] < 0.8 * losses[False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: restructure(model, "bttt"), r"no structure 'bttt' \(did you mean 'btt'\?\)"),
        (lambda model: restructure(model, "kronecker", rank=2), r"(?s)Kronecker product has rank 1.*Use tt"),
        (lambda model: restructure(model, "monarch", blocks=5), r"from 16 to 8 features cannot have 5 blocks"),
        (lambda model: restructure(model, "btt", cores=5), "btt layer does not take these options"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(MethodError, match=message):
        call(nn.Sequential(nn.Linear(16, 8)))


def test_factors_of_sizes():
    assert [factorize(size, 2) for size in (768, 1, 7, 3072)] == [(24, 32), (1, 1), (1, 7), (48, 64)]
    assert factorize(64, 3) == (4, 4, 4)
