"""The published rules over whole models, written out slowly from the papers' code, against the methods' options."""

import pytest
import torch

from scionwood.methods import registry
from scionwood.methods.merge.whole import merge_models, merge_tensors

SHAPES = {"weight": (12, 8), "norm": (8,), "head": (5, 12), "scalar": ()}


def family(count=3, seed=0, spread=0.3):
    generator = torch.Generator().manual_seed(seed)
    base = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    models = [
        {name: tensor + spread * torch.randn(tensor.shape, generator=generator) for name, tensor in base.items()}
        for _ in range(count)
    ]
    return models, base


def flat(models, base):
    """The task vectors of the flattened models, one row for each."""
    return torch.stack([torch.cat([(model[name] - base[name]).reshape(-1) for name in SHAPES]) for model in models])


def same(name, options, merged, models, base):
    """Check a method against what the flattened model should have moved by."""
    made = merge_models(registry.load(f"merge.{name}"), models, base, options)
    torch.testing.assert_close(flat([made], base)[0], merged.float(), rtol=1e-4, atol=1e-5)


def trimmed(deltas, density):
    count = deltas.shape[1]
    least = deltas.abs().kthvalue(max(1, count - int(count * density)), dim=1, keepdim=True).values
    return deltas * (deltas.abs() >= least)


@pytest.mark.parametrize("function", ["mean", "sum", "max"])
@pytest.mark.parametrize("density", [0.05, 0.2, 0.7])
def test_ties_as_published(function, density):
    models, base = family()
    kept = trimmed(flat(models, base), density)
    signs = kept.sum(0).sign()
    signs = torch.where(signs == 0, signs.sum().sign(), signs)
    agreeing = torch.where(torch.where(signs > 0, kept > 0, kept < 0), kept, 0.0)
    if function == "max":
        merged = agreeing.abs().max(0).values * signs
    else:
        merged = agreeing.sum(0) / ((agreeing != 0).sum(0).clamp(min=1) if function == "mean" else 1)
    options = {"density": density, "function": function, "official_trim": True, "zero": "majority", "scope": "model"}
    same("ties", options, merged, models, base)


def test_the_official_trim_keeps_one_more():
    ties = registry.load("merge.ties")
    tasks = [torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([2.0, 1.0, -4.0, 0.5])]
    options = {"density": 0.5, "official_trim": True}
    assert merge_tensors(ties, tasks, torch.zeros(4), options).tolist() == [1.5, -2.0, -4.0, 0.0]
    plain = merge_tensors(ties, tasks[:1], torch.zeros(4), {"density": 0.5})
    assert plain.tolist() == [0.0, -2.0, 3.0, 0.0]
    official = merge_tensors(ties, tasks[:1], torch.zeros(4), options)
    assert official.tolist() == [1.0, -2.0, 3.0, 0.0]
    assert torch.equal(merge_tensors(ties, tasks[:1], torch.zeros(4), options | {"density": 1.0}), tasks[0])


@pytest.mark.parametrize(("zero", "expected"), [("positive", [1, 1]), ("majority", [-1, -1]), ("drop", [0, 0])])
def test_three_rules_for_signs_that_balance(zero, expected):
    opposite = [torch.tensor([1.0, -1.0]), torch.tensor([-1.0, 1.0])]
    options = {"density": 1.0, "zero": zero}
    assert merge_tensors(registry.load("merge.ties"), opposite, torch.zeros(2), options).tolist() == expected


def test_the_majority_is_that_of_the_scope():
    # In the small tensor signs balance; elsewhere most are positive, in the tensor itself most are negative.
    base = {"small": torch.zeros(3), "large": torch.zeros(5)}
    models = [
        {"small": torch.tensor([1.0, -1.0, -1.0]), "large": torch.ones(5)},
        {"small": torch.tensor([-1.0, -1.0, -1.0]), "large": torch.ones(5)},
    ]
    ties = registry.load("merge.ties")
    options = {"density": 1.0, "zero": "majority"}
    first = {
        scope: merge_models(ties, models, base, options | {"scope": scope})["small"][0].item()
        for scope in ("tensor", "model")
    }
    assert first == {"tensor": -1.0, "model": 1.0}


def normalized(rows):
    least, most = rows.min(1, keepdim=True).values, rows.max(1, keepdim=True).values
    return (rows - least) / (most - least)


def clamped(rows, lower, upper):
    count, ordered = rows.shape[1], rows.sort(1).values
    return rows.clamp(ordered[:, [int(count * lower)]], ordered[:, [int(count * (1 - upper) - 1)]])


@pytest.mark.parametrize("density", [0.05, 0.3, 0.9, 1.0])
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_pcb_as_published(density, spread):
    models, base = family(spread=spread)
    deltas = flat(models, base).double()
    sizes = clamped(deltas.abs(), 0.0001, 0.0001)
    within = (len(models) * normalized(sizes) ** 2).exp()
    scores = within * (deltas * deltas.sum(0)).tanh()
    shares = normalized(clamped(scores, 1 - density, 0))
    merged = (deltas.sign() * sizes * shares).sum(0) / shares.sum(0).clamp(min=1e-12)
    same("pcb_merging", {"density": density, "scale": 1.2}, 1.2 * merged, models, base)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8])
def test_opcm_as_published(alpha):
    models, base = family(count=4)
    deltas = [{name: (model[name] - base[name]).double() for name in SHAPES} for model in models]

    def norm(model):
        return torch.cat([tensor.reshape(-1) for tensor in model.values()]).norm()

    merged, factor, norms = deltas[0], 1.0, [norm(deltas[0])]
    for new in deltas[1:]:
        norms.append(norm(new))
        before = {}
        for name, old in merged.items():
            addition = new[name]
            if old.ndim == 2:
                left, values, right = torch.linalg.svd(old, full_matrices=True)
                split = int((values.cumsum(0) / values.sum() > alpha).float().argmax())
                inner = left.T @ addition @ right.T
                inner.diagonal().zero_()
                inner[:split, :split] = 0
                addition = left @ inner @ right
            before[name] = factor * old + addition
        mean = torch.stack(norms).mean()
        factor = norm(before) / mean
        merged = {name: tensor / factor for name, tensor in before.items()}
    made = merge_models(registry.load("merge.opcm"), models, base, {"alpha": alpha})
    for name, tensor in merged.items():
        torch.testing.assert_close(made[name] - base[name], tensor.float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(flat([made], base).norm().double(), torch.stack(norms).mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("scope", ["model", "means", "tensor"])
def test_emr_serves_a_task_by_one_number(scope):
    models, base = family()
    deltas = flat(models, base)
    sign = torch.where(deltas.sum(0) > 0, 1.0, -1.0)
    masks = deltas * sign > 0
    unified = sign * (deltas.abs() * masks).max(0).values
    sizes = [base[name].numel() for name in SHAPES]
    for task in range(3):
        served = unified * masks[task]
        own, kept = ([part.abs() for part in vector.split(sizes)] for vector in (deltas[task], served))
        if scope == "model":
            numbers = [deltas[task].abs().mean() / served.abs().mean()] * len(sizes)
        elif scope == "means":
            numbers = [sum(part.mean() for part in own) / sum(part.mean() for part in kept)] * len(sizes)
        else:
            numbers = [a.sum() / b.sum() if b.sum() else 1.0 for a, b in zip(own, kept, strict=True)]
        merged = torch.cat([part * number for part, number in zip(served.split(sizes), numbers, strict=True)])
        same("emr", {"task": task, "scope": scope}, merged, models, base)


@pytest.mark.parametrize("scope", ["model", "tensor"])
def test_ram_counts_over_the_model_or_each_tensor(scope):
    models, base = family()
    deltas, sizes = flat(models, base), [base[name].numel() for name in SHAPES]
    parts = [deltas] if scope == "model" else deltas.split(sizes, dim=1)
    merged = []
    for part in parts:
        active = part.abs() > 0.4
        several = active.sum(0) > 1
        ratio = (active & several).sum(1) / (active & ~several).sum(1).clamp(min=1e-9)
        boost = 1 + 0.3 * ratio.clamp(0, 0.9)
        alone = (part * active * boost[:, None]).sum(0)
        merged.append(torch.where(several, (part * active).sum(0) / active.sum(0).clamp(min=1), alone))
    options = {"epsilon": 0.4, "r": 0.3, "alpha": 0.9, "scope": scope}
    same("ram", options, torch.cat(merged), models, base)


@pytest.mark.parametrize(
    ("first", "expected"), [(True, [0, 0, 0, 0, 5, 6, 7, 8, 9, 0]), (False, [0] * 5 + [6, 7, 8, 9, 0])]
)
def test_breadcrumbs_of_rows_as_published(first, expected):
    rows = torch.stack([torch.arange(1.0, 11), 100 * torch.arange(1.0, 11)])[:, torch.arange(10)]
    options = {"density": 0.5, "gamma": 0.1, "per": "row", "remove_first": first}
    kept = merge_tensors(registry.load("merge.breadcrumbs"), [rows], torch.zeros(2, 10), options)
    assert kept.tolist() == [expected, [100.0 * number for number in expected]]
    shuffled = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    again = merge_tensors(registry.load("merge.breadcrumbs"), [rows[:, shuffled]], torch.zeros(2, 10), options)
    assert torch.equal(again, kept[:, shuffled])


def test_breadcrumbs_of_everything_is_task_arithmetic():
    models, base = family()
    options = {"density": 1.0, "gamma": 0.0, "scale": 0.2}
    same("breadcrumbs", options, 0.2 * flat(models, base).sum(0), models, base)
    same("breadcrumbs", options | {"per": "row"}, 0.2 * flat(models, base).sum(0), models, base)


def test_model_stock_by_mean_angles():
    angles = torch.tensor([0.0, 20.0, 75.0]).deg2rad()
    models = [torch.stack([angle.cos(), angle.sin()]) for angle in angles]
    stock = registry.load("merge.model_stock")

    def ratio(cosine):
        return 3 * cosine / (1 + 2 * cosine)

    mean = torch.stack(models).mean(0)
    by_angle = merge_tensors(stock, models, torch.zeros(2), {"average": "angle"})
    torch.testing.assert_close(by_angle, ratio(torch.tensor((20.0 + 75.0 + 55.0) / 3).deg2rad().cos()) * mean)
    by_cosine = merge_tensors(stock, models, torch.zeros(2))
    torch.testing.assert_close(by_cosine, ratio(torch.tensor([20.0, 75.0, 55.0]).deg2rad().cos().mean()) * mean)
    one, other = (
        merge_tensors(stock, models[:2], torch.zeros(2), {"average": average}) for average in ("angle", "cosine")
    )
    torch.testing.assert_close(one, other)
