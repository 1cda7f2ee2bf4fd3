"""Growths of one axis: their worked numbers, and what they refuse."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scionwood
from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.grow.growth import Growth, grow
from scionwood.methods.record import method, resolve


def net(*widths: int, bias: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for old, new in pairwise(widths):
        layers += [nn.Linear(old, new, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def filled(module: nn.Module, **values: Any) -> nn.Module:
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name.replace("_", ".", 1)).copy_(torch.tensor(value))
    return module


def widened(source: nn.Module, target: nn.Module, how: str, **options: Any) -> Mapping[str, Tensor]:
    return scionwood.grow(source, like=target, inputs=torch.zeros(1, 2), method=how, options=options)


def test_hypercloning_repeats_and_divides_as_the_paper_writes_it() -> None:
    """W = [[1, 2], [3, 4]] between two copied axes; x = [1, -1] gives [-1, -1] and then [-1, -1, -1, -1]."""
    source = filled(net(2, 2, 2, 2), **{"2_weight": [[1.0, 2], [3, 4]]})
    made = widened(source, net(2, 4, 4, 2), "hypercloning", snr_db=None)
    assert made["2.weight"].tolist() == [[0.5, 1, 0.5, 1], [1.5, 2, 1.5, 2], [0.5, 1, 0.5, 1], [1.5, 2, 1.5, 2]]
    x = torch.tensor([1.0, -1, 1, -1])
    assert (made["2.weight"] @ x).tolist() == [-1.0, -1, -1, -1]


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_the_noise_has_the_power_that_is_asked_and_cancels(snr_db: float) -> None:
    source = net(2, 60, 60, 3)
    made = widened(source, net(2, 120, 120, 3), "hypercloning", snr_db=snr_db)
    clean = widened(source, net(2, 120, 120, 3), "hypercloning", snr_db=None)
    noise = made["2.weight"] - clean["2.weight"]
    power = clean["2.weight"].square().mean() / noise.square().mean()
    assert 10 * torch.log10(power) == pytest.approx(snr_db, abs=1e-3)
    assert torch.allclose(noise[:, :60], -noise[:, 60:], atol=1e-6)
    assert not torch.equal(noise[:60], noise[60:])  # every block of rows has its own


def test_the_third_of_three_copies_stays_clean() -> None:
    source = net(2, 4, 4, 2)
    made, clean = (widened(source, net(2, 12, 12, 2), "hypercloning", snr_db=each)["2.weight"] for each in (5.0, None))
    assert torch.equal(made[:, 8:], clean[:, 8:])
    assert not torch.equal(made[:, :4], clean[:, :4])


def test_net2net_divides_by_how_often_each_was_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """W1 = [[1, -1], [2, .5]], b1 = [.5, -1], W2 = [[3, 4], [1, -2]], g = [0, 1, 1]: x = [2, 1] gives [18.5, -5.5]."""
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: torch.tensor([1]))
    source = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2, bias=False))
    filled(source, **{"0_weight": [[1.0, -1], [2, 0.5]], "0_bias": [0.5, -1], "2_weight": [[3.0, 4], [1, -2]]})
    target = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    made = widened(source, target, "net2net")
    assert made["2.weight"].tolist() == [[3, 2, 2], [1, -1, -1]]
    target.load_state_dict(dict(made))
    assert target(torch.tensor([[2.0, 1]])).tolist() == source(torch.tensor([[2.0, 1]])).tolist() == [[18.5, -5.5]]


def test_balanced_net2net_copies_all_once_before_any_twice() -> None:
    function = registry.load("grow.net2net")
    index = grow(function, 5, 13, options=resolve(function, {"balanced": True}), generator=torch.Generator()).index
    assert sorted(torch.bincount(index).tolist()) == [2, 2, 3, 3, 3]


def chain(*weights: list[list[float]]) -> nn.Module:
    """Blocks of one linear map each, as a transformer has them."""

    class Block(nn.Module):
        def __init__(self, weight: list[list[float]]) -> None:
            super().__init__()
            self.lin = nn.Linear(len(weight[0]), len(weight), bias=False)
            self.act = nn.Identity()
            with torch.no_grad():
                self.lin.weight.copy_(torch.tensor(weight))

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.lin(x))

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            size = len(weights[0][0])
            self.first = nn.Linear(2, size, bias=False)
            self.blocks = nn.ModuleList(Block(weight) for weight in weights)
            self.last = nn.Linear(size, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            for block in self.blocks:
                x = block(x)
            return self.last(x)

    return Chain()


def test_bert2bert_takes_new_rows_from_its_own_block_or_the_next() -> None:
    """W1 = [[1, 2], [3, 4]], W2 = [[5, 6], [7, 8]], g = [0, 1, 0], as computed from the paper's equations."""
    source = chain([[1.0, 2], [3, 4]], [[5.0, 6], [7, 8]])
    target = chain([[0.0] * 3] * 3, [[0.0] * 3] * 3)
    own = widened(source, target, "bert2bert", expansion="fpi")
    assert own["blocks.0.lin.weight"].tolist() == [[0.5, 2, 0.5], [1.5, 4, 1.5], [0.5, 2, 0.5]]
    x = torch.tensor([1.0, -1, 1])
    assert (own["blocks.1.lin.weight"] @ own["blocks.0.lin.weight"] @ x).tolist() == [-11, -15, -11]
    following = widened(source, target, "bert2bert", expansion="aki")
    assert following["blocks.0.lin.weight"].tolist() == [[0.5, 2, 0.5], [1.5, 4, 1.5], [2.5, 6, 2.5]]
    assert torch.equal(following["blocks.1.lin.weight"], own["blocks.1.lin.weight"])  # the last has no next


def test_copy_pad_draws_what_writes_and_zeroes_what_reads() -> None:
    source = net(2, 3, 2)
    made = widened(source, net(2, 5, 2), "copy_pad", std=0.5)
    assert torch.equal(made["0.weight"][:3], source.get_parameter("0.weight"))
    assert made["0.weight"][3:].abs().min() > 0
    assert torch.equal(made["2.weight"][:, :3], source.get_parameter("2.weight"))
    assert not made["2.weight"][:, 3:].any()


def test_a_padded_norm_is_exact_with_means_and_a_smaller_gain() -> None:
    """h = [1, 2, 3, 6]: LN gives [-1.0690, -.5345, 0, 1.6036]; eight channels of which four are zero, something else."""
    h = torch.tensor([1.0, 2, 3, 6])
    plain = nn.functional.layer_norm(h, (4,), eps=0)
    assert plain.tolist() == pytest.approx([-1.0690, -0.5345, 0, 1.6036], abs=1e-4)
    zeros = nn.functional.layer_norm(torch.cat([h, torch.zeros(4)]), (8,), eps=0)[:4]
    assert zeros.tolist() == pytest.approx([-0.25, 0.25, 0.75, 2.25], abs=1e-4)
    means = nn.functional.layer_norm(torch.cat([h, h.mean().expand(4)]), (8,), eps=0)[:4] * 0.5**0.5
    assert torch.allclose(means, plain, atol=1e-6)


def test_masked_begins_the_rest_as_the_target_does() -> None:
    torch.manual_seed(0)
    source, target = net(2, 3, 2), net(2, 5, 2)
    made = widened(source, target, "masked")
    assert torch.equal(
        made["0.weight"], torch.cat([source.get_parameter("0.weight"), target.get_parameter("0.weight")[3:]])
    )
    assert torch.equal(made["2.weight"][:, 3:], target.get_parameter("2.weight")[:, 3:])


def test_a_ratio_that_cannot_be_served_names_the_axis_and_the_sizes() -> None:
    with pytest.raises(MethodError) as caught:
        widened(net(2, 3, 3, 2), net(2, 5, 6, 2), "hypercloning")
    assert list(caught.value.problems) == ["0.inner: hypercloning makes whole copies: 5 is no multiple of 3"]
    assert caught.value.hint == "give 6, or the method copy_pad, which serves any size"


def test_a_method_that_loses_indices_is_at_fault() -> None:
    @method(family="grow", unit="axis")
    def forgetful(source: int, target: int) -> Growth:
        return Growth(torch.zeros(target, dtype=torch.long))

    with pytest.raises(MethodError, match="forgetful leaves out 2 of 3 indices, such as 1: growing keeps them all"):
        grow(forgetful, 3, 4)

    @method(family="grow", unit="axis")
    def short(source: int, target: int) -> Growth:
        return Growth(torch.arange(source))

    with pytest.raises(MethodError, match="short gave no index of 4 into 3: torch.int64 of shape \\(3,\\)"):
        grow(short, 3, 4)
