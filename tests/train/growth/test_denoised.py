"""Denoised weights: blocks and back, and whether what is generated is better than what lay in the bank."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

import scionwood
from scionwood.errors import MatchError, MethodError
from scionwood.train.growth.denoised import BlockDiffusion, Packing


@pytest.mark.parametrize("block", [1, 3, 7, 64, 1000])
def test_packing_is_undone_exactly(block):
    generator = torch.Generator().manual_seed(0)
    weights = {
        "a.weight": torch.randn(5, 3, 2, generator=generator),
        "b": torch.randn((), generator=generator),
        "c.bias": torch.randn(4, generator=generator).bfloat16(),
        "empty": torch.zeros(0, 3),
        "d": torch.randn(2, 2, generator=generator).half(),
    }
    packing = Packing(weights, block)
    blocks = packing.pack(weights)
    assert blocks.shape == (packing.count, block) == packing.mask.shape
    assert packing.mask.sum() == packing.size == 39
    assert not blocks[~packing.mask].any()
    for name, weight in packing.unpack(blocks).items():
        assert weight.dtype == weights[name].dtype
        assert torch.equal(weight, weights[name])


def test_doubles_are_packed_as_doubles():
    weights = {"w": torch.randn(7, dtype=torch.float64), "v": torch.randn(3)}
    packing = Packing(weights, 4)
    assert torch.equal(packing.unpack(packing.pack(weights))["w"], weights["w"])


def line(members=64, size=1000):
    """theta = c u + 0.1 noise."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(size, generator=generator)
    conditions = torch.rand(members, 1, generator=generator) * 2 - 1
    return direction, conditions, conditions * direction + 0.1 * torch.randn(members, size, generator=generator)


def test_on_a_line_of_models_what_is_generated_is_nearer_than_the_mean_and_the_nearest():
    direction, conditions, bank = line()
    diffusion = BlockDiffusion([{"w": member} for member in bank], conditions, width=128)
    losses = diffusion.fit(400)
    assert sum(losses[-50:]) < 0.1 * sum(losses[:50])
    for c in (-0.9, -0.5, 0.3, 0.7):
        truth, condition = c * direction, torch.tensor([c])

        def error(weights, truth=truth):
            return float((weights - truth).square().mean())

        nearest = bank[(conditions - condition).abs().sum(1).argmin()]
        generated = error(diffusion.generate(condition)["w"])
        assert generated < 0.5 * error(nearest)
        assert generated < 0.2 * error(bank.mean(0))
        assert error(diffusion.regressed(condition)["w"]) < 0.5 * error(nearest)


def test_ridge_regression_by_hand():
    _, conditions, bank = line(members=9, size=20)
    diffusion = BlockDiffusion([{"w": member} for member in bank], conditions, block=7, width=8)
    x = torch.cat([torch.ones(9, 1), conditions], 1)
    plain = torch.linalg.lstsq(x, bank).solution
    found = diffusion.regressed(torch.tensor([0.4]), penalty=0.0)["w"]
    torch.testing.assert_close(found, plain[0] + 0.4 * plain[1], atol=1e-4, rtol=1e-4)
    # All penalty and no slope is the mean of the bank.
    torch.testing.assert_close(diffusion.regressed(torch.tensor([0.4]), penalty=1e9)["w"], bank.mean(0))


def test_blocks_of_other_scales_are_learned_alike():
    direction, conditions, bank = line(size=512)
    scale = torch.cat([torch.full((256,), 1e-3), torch.full((256,), 10.0)])
    diffusion = BlockDiffusion([{"w": member * scale} for member in bank], conditions, width=128)
    diffusion.fit(300)
    found = diffusion.generate(torch.tensor([0.8]))["w"] / scale
    errors = (found - 0.8 * direction).square().reshape(2, 256).mean(1)
    assert errors.max() < 0.05


# The steps take the clean block for certain, so that narrow spreads come out a little narrower.
@pytest.mark.parametrize(("spread", "close"), [(1.0, 0.02), (0.5, 0.1), (0.1, 0.15)])
def test_samples_have_the_spread_that_the_best_denoiser_knows(spread, close):
    _, conditions, bank = line(members=4, size=20_000)
    diffusion = BlockDiffusion([{"w": member} for member in bank], conditions, width=8)
    kept = diffusion._kept

    class Best(nn.Module):
        """What is expected of a clean block of N(0, spread) once noise is on it."""

        def forward(self, x, step, number, told):
            k = kept[step][:, None]
            return k.sqrt() * spread**2 / (k * spread**2 + 1 - k) * x

    diffusion.network = Best()
    found = diffusion.packing.pack(diffusion.generate(torch.tensor([0.2])))
    standard = ((found - diffusion._mean) / diffusion._deviation)[diffusion.packing.mask]
    assert float(standard.std()) == pytest.approx(spread, rel=close)
    assert float(kept[-1]) < 1e-4


def test_blocks_are_standardised_each_by_itself():
    _, conditions, bank = line(members=9, size=700)
    scale = torch.logspace(-3, 3, 700)
    diffusion = BlockDiffusion([{"w": member * scale} for member in bank], conditions, width=8)
    held = diffusion.packing.mask
    for number in range(3):
        assert float(diffusion._blocks[:, number][:, held[number]].square().mean()) == pytest.approx(1, rel=1e-3)
    assert not diffusion._blocks[:, ~held].any()


def test_a_seed_makes_the_same_weights():
    _, conditions, bank = line(members=8, size=30)
    made = []
    for seed in (1, 1, 2):
        diffusion = BlockDiffusion([{"w": member} for member in bank], conditions, block=16, width=8, seed=seed)
        diffusion.fit(5)
        made.append(diffusion.generate(torch.tensor([0.1]))["w"])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_what_is_no_bank_is_said():
    bank, conditions = [{"w": torch.zeros(3)}, {"w": torch.ones(3)}], torch.zeros(2, 1)
    with pytest.raises(MethodError, match="a bank of 1 models with conditions of shape"):
        BlockDiffusion(bank[:1], conditions[:1])
    with pytest.raises(MethodError, match=r"a bank of 2 models with conditions of shape \(2,\)"):
        BlockDiffusion(bank, conditions[:, 0])
    with pytest.raises(MatchError) as caught:
        BlockDiffusion([bank[0], {"w": torch.zeros(2), "v": torch.zeros(2)}], conditions)
    assert caught.value.problems == ("v: not of this model", "w: (2,), not (3,)")
    with pytest.raises(MatchError, match="w: missing"):
        Packing(bank[0]).pack({})
    with pytest.raises(MethodError, match="do not lie in blocks of 0"):
        Packing(bank[0], 0)
    diffusion = BlockDiffusion(bank, conditions, width=8)
    for make in (diffusion.generate, diffusion.regressed):
        with pytest.raises(MethodError, match=r"a condition of shape \(2,\), but the bank's have \(1,\)"):
            make(torch.zeros(2))


# ------------------------------------------------------------------------------------------------- real banks


def net():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def learn(model, x, labels, steps, seed):
    """Train with Adam; return the losses of the batches."""
    optimizer, generator, losses = torch.optim.Adam(model.parameters(), 3e-3), torch.Generator().manual_seed(seed), []
    for _ in range(steps):
        rows = torch.randint(0, len(x), (64,), generator=generator)
        loss = functional.cross_entropy(model(x[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def loss_of(weights, x, labels):
    model = net()
    model.load_state_dict(weights)
    with torch.no_grad():
        return functional.cross_entropy(model(x), labels).item()


def test_a_small_bank_of_fine_tunes_grows_weights_for_digits_that_none_was_tuned_on(digits, tmp_path):
    """By the verb, from what was saved: better than the base and the nearest of the bank, before any step."""
    images, labels = digits
    torch.manual_seed(0)
    base = net()
    learn(base, images[:1200], labels[:1200], 200, 0)
    pairs = list(itertools.combinations(range(10), 2))
    pairs = [pairs[place] for place in torch.randperm(45, generator=torch.Generator().manual_seed(1)).tolist()]
    conditions = functional.one_hot(torch.tensor(pairs), 10).sum(1).float()

    def task(condition, rows):
        kept = condition[labels[rows]] > 0
        return images[rows][kept], labels[rows][kept]

    bank = []
    for condition in conditions[:30]:
        model = copy.deepcopy(base)
        learn(model, *task(condition, slice(0, 1200)), 40, 2)
        bank.append({name: weight.clone() for name, weight in model.state_dict().items()})
    diffusion = BlockDiffusion(bank, conditions[:30], width=128)
    diffusion.fit(500)
    diffusion.save(tmp_path / "bank.safetensors")
    found = {"diffusion": 0.0, "regression": 0.0, "nearest": 0.0, "base": 0.0}
    for condition in conditions[30:36]:
        test = task(condition, slice(1200, None))
        for by in ("diffusion", "regression"):
            options = {"condition": condition.tolist(), "by": by}
            made = scionwood.grow(tmp_path / "bank.safetensors", like=net(), method="denoised_weights", options=options)
            found[by] += loss_of(dict(made), *test)
        nearest = int((conditions[:30] - condition).abs().sum(1).argmin())
        found["nearest"] += loss_of(bank[nearest], *test)
        found["base"] += loss_of(base.state_dict(), *test)
    assert max(found["diffusion"], found["regression"]) < 0.7 * min(found["nearest"], found["base"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["four digits", "two exchanged"])
def test_generated_fine_tunes_of_digits_start_below_all_that_the_bank_has(digits, kind):
    images, labels = digits
    torch.manual_seed(0)
    base = net()
    learn(base, images[:1200], labels[:1200], 300, 0)
    few = kind == "four digits"
    choices = list(itertools.combinations(range(10), 4 if few else 2))
    size, held_out = (100, 6) if few else (37, 6)
    order = torch.randperm(len(choices), generator=torch.Generator().manual_seed(1))[: size + held_out]
    conditions = torch.zeros(len(order), 10)
    for row, place in enumerate(order.tolist()):
        conditions[row, list(choices[place])] = 1

    def task(condition, rows):
        x, wanted = images[rows], labels[rows].clone()
        if few:
            kept = condition[wanted] > 0
            return x[kept], wanted[kept]
        one, other = condition.nonzero().flatten().tolist()
        wanted[labels[rows] == one], wanted[labels[rows] == other] = other, one
        return x, wanted

    bank = []
    for condition in conditions[:size]:
        model = copy.deepcopy(base)
        learn(model, *task(condition, slice(0, 1200)), 100, 2)
        bank.append({name: weight.clone() for name, weight in model.state_dict().items()})
    diffusion = BlockDiffusion(bank, conditions[:size])
    diffusion.fit(1500)
    mean = {name: torch.stack([member[name] for member in bank]).mean(0) for name in bank[0]}
    found = {"generated": [], "nearest": [], "mean": [], "base": [], "nothing": [], "ridge": []}
    steps = {"generated": [], "nearest": []}
    for condition in conditions[size:]:
        test = task(condition, slice(1200, None))
        nearest = bank[int((conditions[:size] - condition).abs().sum(1).argmin())]
        starts = {
            "generated": diffusion.generate(condition),
            "nearest": nearest,
            "mean": mean,
            "base": base.state_dict(),
        }
        starts |= {"nothing": net().state_dict(), "ridge": diffusion.regressed(condition)}
        for name, weights in starts.items():
            found[name].append(loss_of(weights, *test))
        for name, taken in steps.items():
            model = net()
            model.load_state_dict(starts[name])
            losses = learn(model, *task(condition, slice(0, 1200)), 60, 3)
            limit = 0.1 if few else 0.4
            taken.append(next((step for step, loss in enumerate(losses) if loss < limit), 60))
    loss = {name: sum(values) / len(values) for name, values in found.items()}
    assert loss["generated"] < 0.7 * min(loss[name] for name in ("nearest", "mean", "base", "nothing"))
    assert all(one <= 1.2 * other for one, other in zip(found["generated"], found["nearest"]))
    assert sum(steps["generated"]) < sum(steps["nearest"])
    # As it came out: a regression on the conditions is as good.
    assert 0.8 < loss["ridge"] / loss["generated"] < 1.25
