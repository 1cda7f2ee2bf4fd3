"""Each of mergekit's twenty methods through ours: which method, which options, and the numbers that mergekit gives.

The numbers are those of mergekit 0.1.5 run in float32. Where earlier versions gave others, a comment says so.
"""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.merge.rectify_embed import rectify_embed
from scionwood.methods.merge.whole import merge_tensors

# mergekit's method → ours, the options that make it mergekit's, and where mergekit's defaults are not ours.
RULES = {
    "linear": ("linear", {}, {}),
    "slerp": ("slerp", {}, {}),  # the base is the first model
    "nuslerp": ("nuslerp", {}, {}),
    "multislerp": ("multislerp", {}, {}),
    "karcher": ("karcher", {}, {}),  # a base is one more model
    "task_arithmetic": ("task_arithmetic", {}, {}),
    "ties": ("ties", {}, {"density": 1.0}),
    "dare_linear": ("dare", {}, {"density": 1.0, "rescale": True}),
    "dare_ties": ("dare", {"consensus": True}, {"density": 1.0, "rescale": True}),
    "della": ("della", {}, {"density": 1.0, "rescale": True}),
    "della_linear": ("della", {"consensus": False}, {"density": 1.0, "rescale": True, "normalize": False}),
    "breadcrumbs": ("breadcrumbs", {}, {"density": 1.0}),
    "breadcrumbs_ties": ("breadcrumbs", {"consensus": True}, {"density": 1.0}),
    "sce": ("sce", {"least_energy": 1e-6}, {}),
    "ram": ("ram", {}, {}),
    "ramplus_tl": ("ram", {"scope": "tensor"}, {"r": 0.1}),
    "model_stock": ("model_stock", {"clamp": False}, {}),
    "nearswap": ("nearswap", {}, {}),
    "arcee_fusion": ("arcee_fusion", {"precision": "float32"}, {}),
    "passthrough": ("passthrough", {}, {}),
}
NAMES = {"weight": "weights", "lambda": "scale", "normalize_weights": "normalize"}


def translated(name, given):
    """Our method and its options for mergekit's parameters."""
    ours, fixed, defaults = RULES[name]
    given = defaults | given
    options = dict(fixed)
    if "rescale" in given:
        options["rescale"] = "l1" if given.pop("rescale") else None
    if name == "ties" and "normalize" in given:
        options["function"] = "mean" if given.pop("normalize") else "sum"
    flat, row_wise = given.pop("nuslerp_flatten", True), given.pop("nuslerp_row_wise", False)
    if not flat:
        options["arc"] = "column" if row_wise else "row"
    return registry.load(f"merge.{ours}"), options | {NAMES.get(key, key): value for key, value in given.items()}


ONE, A, B, HALF = [1.0] * 4, [1.4, 0.9, 1.0, 0.7], [0.8, 1.3, 1.05, 0.6], {"weight": (1, 0.5)}
TENTHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
UP, DOWN = [1, -2, 3, -4, 5], [-5, 4, 3, 2, 1]
X, Y = [[1, 0, 0], [0, 2, 0]], [[0, 1, 0], [0, 2, 2]]
ROWS = [[0.1, 0, 0, 0], [1, 2, 3, 6]]
Z2, Z3, Z4, Z5, Z10 = ([0.0] * size for size in (2, 3, 4, 5, 10))
CASES = [
    ("linear", [A, B], None, HALF, [1.2, 1.033333, 1.016667, 0.666667]),
    ("linear", [A, B], None, HALF | {"normalize": False}, [1.8, 1.55, 1.525, 1.0]),
    ("slerp", [[1, 0], [0, 2]], None, {"t": 0.5}, [0.707107, 1.414214]),
    ("slerp", [[0, 2], [1, 0]], None, {"t": 0.25}, [0.382683, 1.847759]),
    ("slerp", [[1, 0], [-3, 0]], None, {"t": 0.5}, [-1, 0]),
    ("slerp", [[1, 0], [0, 2]], None, {"t": 0}, [1, 0]),
    ("slerp", [[1, 0], [0, 2]], None, {"t": 1}, [0, 2]),
    ("slerp", [[1, 0], [0, 2]], None, {"t": 1.5}, [-0.707107, 1.414214]),
    ("nuslerp", [X, Y], None, {"weight": (1, 1)}, [[0.559667, 0.559667, 0], [0, 2.238669, 1.119334]]),
    ("nuslerp", [X, Y], None, {"nuslerp_flatten": False}, [[0.707107, 0.707107, 0], [0, 2.164785, 1.082392]]),
    (
        "nuslerp",
        [X, Y],
        None,
        {"nuslerp_flatten": False, "nuslerp_row_wise": True},
        [[0.707107, 0.513743, 0], [0, 2.054973, 1.414214]],
    ),
    # A vector turns as one, by rows or by columns.
    ("nuslerp", [[1, 0], [0, 2]], None, {"nuslerp_flatten": False, "nuslerp_row_wise": True}, [0.707107, 1.414214]),
    ("nuslerp", [[2, 1], [1, 3]], [1, 1], {"weight": (1, 1)}, [1.707107, 2.414214]),
    ("nuslerp", [[1, 0], [-3, 0]], None, {}, [-1, 0]),
    ("multislerp", [[1, 0], [0, 2]], None, {}, [1.06066, 1.06066]),
    ("multislerp", [[1, 0, 0], [0, 2, 0], [0, 0, 3]], None, {}, [1.154701] * 3),
    ("multislerp", [[2, 1], [1, 3]], [1, 1], {"weight": (1, 3)}, [1.553399, 2.660196]),
    ("multislerp", [[1, 0], [0, 2]], None, HALF | {"normalize_weights": False}, [1.788854, 0.894427]),
    ("multislerp", [[1, 0], [-3, 0]], None, {}, [-1, 0]),
    ("karcher", [[1, 0], [0, 2]], None, {}, [1.06066, 1.06066]),
    ("karcher", [[1, 0], [1, 1], [-0.2, 1]], None, {}, [0.754435, 0.860873]),
    ("karcher", [[0, 0], [0, 2]], None, {}, [0, 1]),
    ("karcher", [[1, 0], [-3, 0]], None, {}, [2, 0]),
    ("karcher", [[0, 1e-7]], None, {}, [0, 1e-7]),
    ("task_arithmetic", [A, B], ONE, HALF, [1.3, 1.05, 1.025, 0.5]),
    ("task_arithmetic", [A, B], ONE, HALF | {"lambda": 0.5}, [1.15, 1.025, 1.0125, 0.75]),
    ("task_arithmetic", [A, B], ONE, HALF | {"normalize": True}, [1.2, 1.033333, 1.016667, 0.666667]),
    ("ties", [A, B], ONE, HALF, [1.4, 1.3, 1.05, 0.666667]),
    ("ties", [A, B], ONE, HALF | {"density": 0.5}, [1.4, 1.3, 1.0, 0.666667]),
    ("ties", [A, B], ONE, HALF | {"density": 0.5, "normalize": False}, [1.4, 1.15, 1.0, 0.5]),
    ("ties", [[1, -1], [-1, 1]], Z2, {}, [1, 1]),
    ("ties", [[1, 2], [3, 1]], Z2, {"weight": (1, -1)}, [3, 2]),
    ("ties", [TENTHS], Z10, {"density": 0.35}, [0] * 7 + [0.8, 0.9, 1.0]),
    ("ties", [UP, DOWN], Z5, HALF | {"density": (0.4, 1.0)}, [-5, 4, 3, -4, 3.666667]),
    ("ties", [UP, DOWN], Z5, HALF | {"density": 0.4, "rescale": True}, [-8.333333, 6.666667, 0, -6.666667, 8.333333]),
    ("ties", [UP, DOWN], Z5, HALF | {"density": 0.4, "lambda": 0.5}, [-2.5, 2, 0, -2, 2.5]),
    # At least one entry stays, which versions before 0.1.5 refused.
    ("ties", [UP, DOWN], Z5, HALF | {"density": 0.1}, [-5, 0, 0, 0, 5]),
    ("dare_linear", [A, B], ONE, HALF, [1.3, 1.05, 1.025, 0.5]),
    ("dare_ties", [A, B], ONE, HALF | {"normalize": True}, [1.4, 1.3, 1.05, 0.666667]),
    ("della", [A, B], ONE, HALF, [1.4, 1.3, 1.05, 0.666667]),
    ("della_linear", [A, B], ONE, HALF, [1.3, 1.05, 1.025, 0.5]),
    ("breadcrumbs", [TENTHS], Z10, {"density": 0.6, "gamma": 0.1}, [0] * 3 + TENTHS[3:9] + [0]),
    ("breadcrumbs", [TENTHS], Z10, {"density": 0.6, "gamma": 0.5}, TENTHS[:6] + [0] * 4),
    ("breadcrumbs", [TENTHS], Z10, {"density": 0.6, "gamma": 1.0}, TENTHS[:6] + [0] * 4),
    # Fewer than one outlier is none; before 0.1.5 that wiped out the whole delta.
    ("breadcrumbs", [TENTHS], Z10, {"density": 0.6, "gamma": 0.01}, [0] * 4 + TENTHS[4:]),
    ("breadcrumbs", [TENTHS], Z10, {"density": 0.6, "gamma": 0}, [0] * 4 + TENTHS[4:]),
    ("breadcrumbs", [TENTHS], Z10, {"gamma": 0.5}, TENTHS),
    ("breadcrumbs", [UP, DOWN], Z5, HALF | {"density": (0.4, 0.6), "gamma": (0.2, 0.0)}, [-2.5, 2, 4.5, -4, 0]),
    (
        "breadcrumbs",
        [UP, DOWN],
        Z5,
        HALF | {"density": 0.4, "gamma": 0.2, "rescale": True},
        [0, 4.285714, 9.642857, -8.571428, 0],
    ),
    ("breadcrumbs_ties", [UP, DOWN], Z5, HALF | {"density": 0.6, "gamma": 0.2, "normalize": True}, [0, 4, 3, -4, 0]),
    ("sce", [A, B], ONE, {}, [1.4, 1.3, 1.05, 0.647059]),
    ("sce", [A, B], ONE, {"select_topk": 0.5}, [1.4, 1.3, 1, 1]),
    ("sce", [[1, -1, 2], [-3, 0.5, 2]], Z3, {}, [-3, -1, 2]),
    ("sce", [UP, DOWN], Z5, {"select_topk": 0}, Z5),
    # Deltas of a fine-tuning's size weigh alike.
    ("sce", [[1e-4, 2e-4], [3e-4, -1e-4]], Z2, {}, [2e-4, 2e-4]),
    ("ram", [[1, 2, 0, 0], [0, 4, 3, 0]], Z4, {}, [1, 3, 3, 0]),
    ("ramplus_tl", [[1, 2, 0, 0], [0, 4, 3, 0]], Z4, {}, [1.02, 3, 3.06, 0]),
    (
        "ramplus_tl",
        [[0, -2, 3, 0, 5], [-5, 4, 0, 0, 0]],
        Z5,
        {"r": 0.3, "alpha": 0.6},
        [-5.9, 1, 3.45, 0, 5.75],
    ),
    ("model_stock", [A, B], ONE, {}, [1.006999, 1.006999, 1.00175, 0.975505]),
    ("model_stock", [[1, 0], [1, 1], [0, 1]], Z2, {}, [0.485281, 0.485281]),
    ("model_stock", [[1, 1, 0], [-0.5, 1, 0], [0, -1, 1]], Z3, {}, [-0.298428, -0.596856, -0.596856]),
    ("model_stock", [[[1, 0]], [[-1, 2]]], [Z2], {"filter_wise": True}, [[0, -1.618034]]),
    # Opposite rows stay at the base, where versions before 0.1.5 gave NaN.
    (
        "model_stock",
        [[[1, 0], [0, 1]], [[1, 1], [0, -1]]],
        [Z2, Z2],
        {"filter_wise": True},
        [[0.828427, 0.414214], [0, 0]],
    ),
    ("nearswap", [[1.2, 2, -1]], [1, 1, 1], {"t": 0.5}, [1.2, 1.5, 0.5]),
    ("nearswap", [[0.0005, 0.1, -2]], Z3, {"t": 0.001}, [0.0005, 0.001, -0.001]),
    ("nearswap", [A], ONE, {"t": 0}, ONE),
    ("arcee_fusion", [[0.1, 0.2, 0.3, 0.9]], Z4, {}, [0, 0, 0, 0.9]),
    ("arcee_fusion", [ROWS], [Z4, [1, 2, 3, 4]], {}, ROWS),
    ("arcee_fusion", [A], A, {}, A),
    ("passthrough", [[1, 2]], None, {"scale": 0.5}, [0.5, 1]),
    ("passthrough", [[1, 2]], None, {}, [1, 2]),
]


@pytest.mark.parametrize(("name", "models", "base", "given", "expected"), CASES)
def test_the_numbers_of_mergekit(name, models, base, given, expected):
    method, options = translated(name, given)
    tensors = [torch.tensor(model, dtype=torch.float32) for model in models]
    origin = None if base is None else torch.tensor(base, dtype=torch.float32)
    merged = merge_tensors(method, tensors, origin, options)
    torch.testing.assert_close(merged, torch.tensor(expected, dtype=torch.float32), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", RULES)
def test_every_method_of_mergekit_has_its_numbers(name):
    assert any(case[0] == name for case in CASES)


def kept_by_seed_zero(*probabilities):
    """What mergekit keeps in a run that begins with the seed 0, as the random numbers that keep it."""
    torch.manual_seed(0)
    return [1 - torch.bernoulli(probability) for probability in probabilities]


@pytest.mark.parametrize(
    ("name", "given", "models", "probabilities", "expected"),
    [
        (
            "dare_linear",
            {"density": 0.5},
            [TENTHS],
            [torch.full((10,), 0.5)],
            [0.189655, 0, 0.568966, 0.758621, 0.948276, 0, 1.327586, 0, 1.706897, 0],
        ),
        (
            "dare_linear",
            {"density": 0.5, "rescale": False},
            [TENTHS],
            [torch.full((10,), 0.5)],
            [0.1, 0, 0.3, 0.4, 0.5, 0, 0.7, 0, 0.9, 0],
        ),
        (
            "dare_ties",
            {"density": 0.5},
            [[1, 2, 3, 4], [-1, 2, -3, 4]],
            [torch.full((4,), 0.5), torch.full((4,), 0.5)],
            [-2.5, 0, -7.5, 5],
        ),
        (
            "dare_ties",
            {"density": (0.5, 1.0)},
            [[1, 2, 3, 4], [-1, 2, -3, 4]],
            [torch.full((4,), 0.5), torch.ones(4)],
            [1.25, 2, 3.75, 9],
        ),
        (
            "della",
            {"density": 0.5, "epsilon": 0.15},
            [[TENTHS[:5], TENTHS[5:]]],
            [torch.tensor([0.35, 0.425, 0.5, 0.575, 0.65]).expand(2, 5)],
            [[0, 0, 0.532258, 0.709677, 0.887097], [0, 0, 0, 1.596774, 1.774194]],
        ),
    ],
)
def test_the_numbers_of_mergekit_with_its_seed_zero(monkeypatch, name, given, models, probabilities, expected):
    method, options = translated(name, given)
    drawn = iter(kept_by_seed_zero(*probabilities))
    tensors = [torch.tensor(model, dtype=torch.float32) for model in models]
    monkeypatch.setattr(torch, "rand", lambda shape, **_: next(drawn).reshape(shape) * 0.99)
    merged = merge_tensors(method, tensors, torch.zeros_like(tensors[0]), options)
    torch.testing.assert_close(merged, torch.tensor(expected), rtol=2e-6, atol=2e-6)


def test_embeddings_are_cut_as_mergekit_cuts_them():
    ones, threes = torch.ones(5, 2), torch.full((6, 2), 3.0)
    assert torch.equal(
        merge_tensors(registry.load("merge.linear"), rectify_embed([ones, threes])), torch.full((5, 2), 2.0)
    )
    cut = rectify_embed([threes], base=ones)
    assert merge_tensors(registry.load("merge.task_arithmetic"), cut, ones).shape == (5, 2)
    with pytest.raises(MethodError, match="less than the base's"):
        rectify_embed([ones], base=threes)


@pytest.mark.parametrize("name", ["ties", "dare_linear", "della", "breadcrumbs"])
def test_nothing_is_kept_of_no_density(name):
    # mergekit gives the base back; here it is taken for a mistake.
    method, options = translated(name, {"density": 0})
    with pytest.raises(MethodError, match="density"):
        merge_tensors(method, [torch.ones(3)], torch.zeros(3), options)
