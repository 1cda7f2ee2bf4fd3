"""The numbers that papers and other tools give for small inputs."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.merge.whole import merge_tensors

ONE = [1.0, 1.0, 1.0, 1.0]
A = [1.4, 0.9, 1.0, 0.7]
B = [0.8, 1.3, 1.05, 0.6]
HALF = {"weights": (1, 0.5)}
X, Y = [[1, 0, 0], [0, 2, 0]], [[0, 1, 0], [0, 2, 2]]
STOCK = [[0.828427, 0.414214], [0, 0]]
ROWS = [[0.1, 0, 0, 0], [1, 2, 3, 6]]
SPREAD, OTHER = [[1.0, -1.0], [2.0, -2.0]], [[-1.0, -1.0], [2.0, 2.0]]
DIAGONAL = [[8, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.6, 0], [0, 0, 0, 0.5]]
HALF_DIAGONAL = [[8, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
TWIN = [[2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
FLAT = [[4, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
ZEROS, NOTHING = [[0] * 4] * 4, [[0, 0], [0, 0]]
EIGHT = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
EYE = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
SIX = [[float(row == column) for column in range(6)] for row in range(6)]
TASKS = [[1, -2, 3, 0.5], [2, 1, -4, 0.5]]
BALANCE = [[1, -2, 3, 0.5, 0.1], [2, 1, -4, 0.5, 0.2]]
ROWWISE = [[[1, 0], [5, 0]], [[0, 1], [0, 0]], [[1, 1], [0, 0]]]
COLUMNWISE = [[[1, 5], [0, 0]], [[0, 0], [1, 0]], [[1, 0], [1, 0]]]
CORNER = [[1, 0], [0, 1], [1, 1]]
CASES = [
    ("linear", [A, B], None, HALF, [1.2, 1.0333333, 1.0166667, 0.6666667]),
    ("linear", [A, B], None, HALF | {"normalize": False}, [1.8, 1.55, 1.525, 1.0]),
    ("task_arithmetic", [A, B], ONE, HALF, [1.3, 1.05, 1.025, 0.5]),
    ("task_arithmetic", [A, B], ONE, HALF | {"scale": 0.5}, [1.15, 1.025, 1.0125, 0.75]),
    ("task_arithmetic", [A, B], ONE, HALF | {"normalize": True}, [1.2, 1.0333333, 1.0166667, 0.6666667]),
    ("ties", [[1, -2, 3, 0.5], [2, 1, -4, 0.5]], [0, 0, 0, 0], {"density": 1.0}, [1.5, -2, -4, 0.5]),
    ("ties", [A, B], ONE, HALF | {"density": 1.0}, [1.4, 1.3, 1.05, 0.6666667]),
    ("ties", [A, B], ONE, HALF | {"density": 0.5}, [1.4, 1.3, 1.0, 0.6666667]),
    ("ties", [A, B], ONE, HALF | {"density": 0.5, "function": "sum"}, [1.4, 1.15, 1.0, 0.5]),
    ("ties", [[1, -1], [-1, 1]], [0, 0], {"density": 1.0}, [1, 1]),
    ("ties", [[1, 2], [3, 1]], [0, 0], {"density": 1.0, "weights": (1, -1)}, [3, 2]),
    ("model_stock", [A, B], ONE, {}, [1.006999, 1.006999, 1.00175, 0.975505]),
    ("model_stock", [[1, 0], [1, 1], [0, 1]], [0, 0], {}, [0.485281, 0.485281]),
    ("slerp", [[1, 0], [0, 2]], None, {}, [0.707107, 1.414214]),
    ("slerp", [[0, 2], [1, 0]], None, {"t": 0.25}, [0.382683, 1.847759]),
    ("slerp", [[1, 0], [-3, 0]], None, {}, [-1, 0]),
    ("multislerp", [[1, 0], [0, 2]], None, {}, [1.06066, 1.06066]),
    ("multislerp", [[1, 0, 0], [0, 2, 0], [0, 0, 3]], None, {}, [1.154701] * 3),
    ("karcher", [[1, 0], [0, 2]], None, {}, [1.06066, 1.06066]),
    ("karcher", [[1, 0], [1, 1], [-0.2, 1]], None, {}, [0.754435, 0.860873]),
    ("karcher", [[0, 0], [0, 2]], None, {}, [0, 1]),
    ("nearswap", [[1.2, 2, -1]], [1, 1, 1], {"t": 0.5}, [1.2, 1.5, 0.5]),
    ("nearswap", [[0.0005, 0.1, -2]], [0, 0, 0], {"t": 0.001}, [0.0005, 0.001, -0.001]),
    ("nuslerp", [X, Y], None, {}, [[0.559667, 0.559667, 0], [0, 2.238669, 1.119334]]),
    ("nuslerp", [X, Y], None, {"arc": "row"}, [[0.707107, 0.707107, 0], [0, 2.164785, 1.082392]]),
    ("nuslerp", [X, Y], None, {"arc": "column"}, [[0.707107, 0.513743, 0], [0, 2.054973, 1.414214]]),
    ("nuslerp", [[2, 1], [1, 3]], [1, 1], {}, [1.707107, 2.414214]),
    ("nuslerp", [[1, 0], [0, 2]], None, {"weights": (3, 1)}, [0.923880, 0.765367]),
    ("nuslerp", [[1, 0], [0, 2]], None, {"weights": (1, -1)}, [0.707107, 1.414214]),
    ("nuslerp", [[1, 1], [3, 3]], None, {"weights": (1, 3)}, [2.5, 2.5]),
    ("model_stock", [[[1, 0], [0, 1]], [[1, 1], [0, -1]]], [[0, 0], [0, 0]], {"filter_wise": True}, STOCK),
    ("arcee_fusion", [[0.1, 0.2, 0.3, 0.9]], [0, 0, 0, 0], {}, [0, 0, 0, 0.9]),
    ("arcee_fusion", [ROWS], [[0, 0, 0, 0], [1, 2, 3, 4]], {}, ROWS),
    ("arcee_fusion", [A], A, {}, A),
    # Median 0.5, quartiles 0.3 and 0.7: what counts begins at 1.1.
    ("arcee_fusion", [[*EIGHT, 1.0]], [0] * 9, {}, [0] * 9),
    ("arcee_fusion", [[*EIGHT, 1.2]], [0] * 9, {}, [0] * 8 + [1.2]),
    ("della", [A, B], ONE, HALF | {"density": 1.0}, [1.4, 1.3, 1.05, 0.6666667]),
    ("dare", [A, B], ONE, HALF | {"density": 1.0, "rescale": "l1"}, [1.3, 1.05, 1.025, 0.5]),
    ("variance_corrected", [SPREAD, OTHER], None, {}, [[-0.103553, -1.517767], [2.724874, -0.103553]]),
    ("variance_corrected", [[1, -1, 2, -2], [-1, -1, 2, 2]], None, {}, [0, -1, 2, 0]),
    ("variance_corrected", [[[1, -1]], [[-1, 1.5]]], None, {"max_ratio": 2}, [[-0.125, 0.375]]),
    ("timber", [DIAGONAL], ZEROS, {}, [[8, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.6, 0], [0, 0, 0, 0.1]]),
    ("timber", [DIAGONAL], ZEROS, {"gamma": 1}, DIAGONAL),
    ("timber", [FLAT], ZEROS, {"gamma": 0}, FLAT),
    ("timber", [A], ONE, {"gamma": 0}, A),
    ("tsv_m", [[[3, 0], [0, 1]], [[0, 0], [0, 2]]], NOTHING, {}, [[3, 0], [0, 2]]),
    ("tsv_m", [[[2, 0], [0, 0]], [[1, 1], [1, 1]]], NOTHING, {}, [[2, 0], [0, 2]]),
    ("tsv_m", [[[3, 0], [0, 1]], [[0, 0], [0, 2]]], NOTHING, HALF | {"scale": 0.5}, [[1.5, 0], [0, 0.5]]),
    ("tsv_m", [[[3, 1], [2, 5]]], NOTHING, {}, [[3, 1], [2, 5]]),
    ("tsv_m", [[[3, 1], [2, 5]]] * 2, NOTHING, {"scale": 0.5}, [[1.5, 0.5], [1, 2.5]]),
    ("tsv_m", [A, B], ONE, {}, [1.1, 1.1, 1.025, 0.65]),
    ("iso_c", [[[3, 0], [0, 1]], [[0, 0], [0, 2]]], NOTHING, {}, [[3, 0], [0, 3]]),
    ("iso_c", [[[2, 0], [0, 0]], [[1, 1], [1, 1]]], NOTHING, {}, [[2, 0], [0, 2]]),
    ("iso_c", [A, B], ONE, {}, [1.1, 1.1, 1.025, 0.65]),
    ("iso_cts", [[[2, 0], [0, 0]], [[1, 1], [1, 1]]], NOTHING, {"common_fraction": 1}, [[2, 0], [0, 2]]),
    ("iso_cts", [[[2, 0], [0, 0]], [[1, 1], [1, 1]]], NOTHING, {"common_fraction": 0}, [[2, 0], [0, 2]]),
    ("iso_cts", [A, B], ONE, {}, [1.1, 1.1, 1.025, 0.65]),
    (
        "widen",
        [[[1.1, 0.01, 1.2, 1], [0.001, 1.3, 1, -1]], [[1, 0.2, 1, 1.4], [0.1, 1, 1, -1]]],
        [[1, 0, 1, 1], [0, 1, 1, -1]],
        {},
        [[1.05, 0.21, 1.2, 1.4], [0.0505, 1.3, 1, -1]],
    ),
    ("widen", [[0.5, 0.5], [0.5, 0.5]], [0, 0], {}, [0.5, 0.5]),
    ("widen", [A, B], ONE, {"above_average_value_ratio": 0}, [1.2, 1.2, 1.05, 0.3]),
    ("widen", [[0.1, 0.3], [0.2, 0.1]], [0, 0], {}, [0.04750208 + 0.2, 0.3 + 0.04501660]),
    ("passthrough", [[1, 2]], None, {}, [1, 2]),
    ("passthrough", [[1, 2]], None, {"scale": 0.5}, [0.5, 1]),
    ("passthrough", [[1, 2]], None, {"scale": 0}, [0, 0]),
    ("metrics_weighted", EYE, None, {"losses": (2, 1, 0.5), "penalty": 0}, [1 / 3, 1 / 3, 1 / 3]),
    ("metrics_weighted", EYE, None, {"losses": (2, 1, 0.5)}, [0.142857, 0.285714, 0.571429]),
    ("metrics_weighted", EYE, None, {"losses": (200, 100, 50)}, [0.142857, 0.285714, 0.571429]),
    ("metrics_weighted", EYE, None, {"losses": (2, 1, 0.5), "penalty": 2}, [0.047619, 0.190476, 0.761905]),
    ("metrics_weighted", EYE, None, {"losses": (2, 1, 0.5), "penalty": 1e4}, [0, 0, 1]),
    ("metrics_weighted", EYE, None, {"steps": (100, 200, 300)}, [1 / 6, 1 / 3, 1 / 2]),
    ("metrics_weighted", EYE, None, {}, [1 / 6, 1 / 3, 1 / 2]),
    ("robust_weight_signatures", [[1, 0], [2, 3]], [0, 0], {}, [1, 3]),
    ("robust_weight_signatures", [[1, 0], [2, 3]], [0, 0], {"alpha": 0}, [1, 0]),
    ("robust_weight_signatures", [[1, 0], [2, 3], [5, 1]], [0, 0], {}, [1, 2]),
    ("robust_weight_signatures", [[1, 0], [2, 3], [5, 1]], [0, 0], {"official_scaling": True}, [1, 1]),
    ("robust_weight_signatures", [[0, 0], [2, 3]], [0, 0], {}, [2, 3]),
    ("robust_weight_signatures", [[1, 0], [2, 3], [5, 1]], [0, 0], {"signature": 1}, [0, 1]),
    ("robust_weight_signatures", [[1, 0, 0], [2, 3, -1]], [0, 0, 0], {"levels": 2}, [0, 3, -1]),
    ("robust_weight_signatures", [[1, 0, 0], [2, 3, -1]], [0, 0, 0], {"levels": 5, "signature": 0}, [0, 3, -1]),
    ("emr", TASKS, [0, 0, 0, 0], {}, [2, -2, -4, 0.5]),
    ("emr", TASKS, [0, 0, 0, 0], {"task": 0}, [2.888889, -2.888889, 0, 0.722222]),
    ("emr", TASKS, [0, 0, 0, 0], {"task": 1}, [2.307692, 0, -4.615385, 0.576923]),
    ("emr", [A], ONE, {"task": 0}, A),
    ("tall_mask", TASKS, [0, 0, 0, 0], {}, [3, -1, -1, 1]),
    ("tall_mask", TASKS, [0, 0, 0, 0], {"threshold": 1, "task": 0}, [0, -1, 0, 0]),
    ("tall_mask", TASKS, [0, 0, 0, 0], {"threshold": 1, "task": 1}, [3, 0, -1, 0]),
    # Of the thresholds each is for its task: the first reaches everything, the second two entries.
    ("tall_mask", TASKS, [0, 0, 0, 0], {"threshold": (0, 1)}, [3, 0, -1, 0]),
    ("tall_mask", TASKS, [0, 0, 0, 0], {"threshold": 1, "min_tasks": 1}, [3, -1, -1, 0]),
    ("tall_mask", TASKS, [0, 0, 0, 0], {"threshold": 1}, [0, 0, 0, 0]),
    ("tall_mask", TASKS, [0, 0, 0, 0], {"threshold": 1, "min_tasks": 0, "scale": 0.5}, [1.5, -0.5, -0.5, 0.5]),
    ("tall_mask", TASKS, [0, 0, 0, 0], {"min_tasks": 3}, [0, 0, 0, 0]),
    ("tall_mask", [[1, 0]], [0, 0], {"min_tasks": 1}, [1, 0]),
    ("lawa", [[1], [2], [3], [4]], None, {"k": 3}, [3]),
    ("lawa", [[1], [2], [3], [4]], None, {"k": 1}, [4]),
    ("lawa", [[2], [4], [9]], None, {}, [5]),
    ("final_checkpoints", SIX, None, {}, [0.32768, 0.08192, 0.1024, 0.128, 0.16, 0.2]),
    ("final_checkpoints", [[1.0]] * 3, None, {"alpha": 0.1, "bias_correction": True}, [1]),
    ("final_checkpoints", EYE, None, {"alpha": 0.1, "bias_correction": True}, [0.298893, 0.332103, 0.369004]),
    ("final_checkpoints", [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], None, {"scheme": "sma"}, [0.75, 0.5, 0.25]),
    ("final_checkpoints", EYE, None, {"scheme": "wma"}, [1 / 6, 1 / 3, 1 / 2]),
    ("final_checkpoints", EYE, None, {"scheme": "decay", "multipliers": (1, 1)}, [0, 0, 1]),
    ("final_checkpoints", EYE, None, {"scheme": "decay", "multipliers": (0.75, 0.25)}, [0.25, 0.5, 0.25]),
    ("reversible", CORNER, None, {"p": 1}, [0.5, 0.5]),
    ("reversible", CORNER, None, {"p": 1, "member": 2}, [1, 1]),
    ("reversible", CORNER, None, {"p": 1, "component": 0}, [1.224745, 1.224745]),
    ("reversible", CORNER, None, {"p": 3, "member": 1}, [0, 1]),
    ("reversible", CORNER, None, {"p": 1, "center": True}, [7 / 6, 1 / 6]),
    ("reversible", CORNER, None, {"p": 1, "center": True, "member": 2}, [2 / 3, 2 / 3]),
    ("reversible", ROWWISE, None, {"p": 1, "granularity": "row"}, [[0.5, 0.5], [5, 0]]),
    ("reversible", ROWWISE, None, {"p": 1, "granularity": "row", "component": 0}, [[1.224745, 1.224745], [5, 0]]),
    ("reversible", COLUMNWISE, None, {"p": 1, "granularity": "column"}, [[0.5, 5], [0.5, 0]]),
    ("reversible", CORNER, None, {"p": 1, "granularity": "column"}, [0.5, 0.5]),
    ("sce", [A, B], ONE, {}, [1.4, 1.3, 1.05, 0.647059]),
    ("sce", [A, B], ONE, {"select_topk": 0.5}, [1.4, 1.3, 1, 1]),
    ("sce", [[1, -1, 2], [-3, 0.5, 2]], [0, 0, 0], {}, [-3, -1, 2]),
    ("ram", [[1, 2, 0, 0], [0, 4, 3, 0]], [0, 0, 0, 0], {}, [1, 3, 3, 0]),
    ("ram", [[1, 2, 0, 0], [0, 4, 3, 0]], [0, 0, 0, 0], {"r": 0.1}, [1.02, 3, 3.06, 0]),
    ("pcb_merging", BALANCE, [0] * 5, {"density": 0.4}, [2, -2, 0, 0, 0]),
    ("pcb_merging", BALANCE, [0] * 5, {"density": 0.4, "scale": 0.5}, [1, -1, 0, 0, 0]),
    # One model alone: its own entries above the least score kept; the largest is held at the upper quantile.
    ("pcb_merging", [[1, -2, 3, 0.5, 0.1]], [0] * 5, {"density": 0.7}, [1, -2, 2, 0, 0]),
    ("pcb_merging", [[1, 1]], [0, 0], {}, [0, 0]),
    ("opcm", [[[3, 0], [0, 1]], [[1, 2], [3, 4]]], NOTHING, {}, [[2.702193, 1.801462], [2.702193, 0.900731]]),
    # At 0.8 the strongest direction is closed, and its square with it: of one, that is the diagonal again.
    (
        "opcm",
        [[[3, 0], [0, 1]], [[1, 2], [3, 4]]],
        NOTHING,
        {"alpha": 0.8},
        [[2.702193, 1.801462], [2.702193, 0.900731]],
    ),
    ("opcm", [[[3, 1], [2, 5]]], NOTHING, {}, [[3, 1], [2, 5]]),
    ("opcm", [[3, 0], [0, 4]], [0, 0], {}, [2.1, 2.8]),
    ("twin_merging", [TWIN, DIAGONAL], ZEROS, {"density": 1, "weights": (0, 1)}, DIAGONAL),
    ("twin_merging", [A, B], ONE, {}, [1.1, 1.1, 1.025, 0.65]),
    ("twin_merging", [DIAGONAL], ZEROS, {"density": 0.5}, HALF_DIAGONAL),
    ("twin_merging", [DIAGONAL], ZEROS, {"density": 0.13, "compress": "magnitude"}, HALF_DIAGONAL),
    ("twin_merging", [TWIN, DIAGONAL], ZEROS, {"density": (1, 0.5), "weights": (0, 2)}, HALF_DIAGONAL),
    ("twin_merging", [TWIN], ZEROS, {"density": 0.01}, TWIN),
    ("interpolate", [A, B], None, {}, [1.1, 1.1, 1.025, 0.65]),
    ("interpolate", [A, B], None, {"alpha": 0}, A),
    ("interpolate", [A, B], None, {"alpha": 1}, B),
    ("momentum", [[1], [2]], [0], {"tau": 0.9}, [0.29]),
    ("momentum", [A, B], ONE, {"tau": 1}, ONE),
    ("momentum", [A, B], ONE, {"tau": 0}, B),
    ("zscl", [[0], [3], [6]], None, {}, [3]),
    ("zscl", [[0], [3], [6]], [1], {"alpha": 0.98}, [2.953467]),
    # The start is what it is pulled to where there is no base: 0.98 (0.98 * 1.5 * 2 + 6) / 3.
    ("zscl", [[0], [3], [6]], None, {"alpha": 0.98}, [2.9204]),
    ("zscl", [A], None, {"alpha": 0.5}, A),
    ("checkpoint_average", [[0], [2], [4]], None, {}, [2]),
    ("checkpoint_average", [[0], [2], [4], [8]], None, {"runs": 2, "discard": 0.5}, [5]),
    ("checkpoint_average", [[1], [2], [3], [10]], None, {"runs": (3, 1)}, [6]),
    ("ewa", [[0], [1], [2], [3]], None, {}, [1.5]),
    ("ewa", [[0], [1], [2], [3]], None, {"expert": 0, "beta": 0.3}, [0.6]),
    ("ewa", [[0], [1], [2], [3]], None, {"expert": 3, "beta": 0.3}, [2.4]),
    ("ewa", [[0], [1], [2], [3]], None, {"expert": 1, "beta": 0.75}, [1.5]),
    ("ewa", [A], None, {"expert": 0, "beta": 0.75}, A),
    ("sparse_soup", [[1, 0, 3], [3, 0, 5]], None, {}, [2, 0, 4]),
    ("sparse_soup", [[1, 0, 3], [3, 0, 5]], None, {"weights": (3, 1)}, [1.5, 0, 3.5]),
    ("sparse_soup", [[1, 0, 3], [3, 2, 0]], None, {"masks": "union"}, [2, 1, 1.5]),
    ("sparse_soup", [[1, 0, 3], [3, 2, 0]], None, {"masks": "intersection"}, [2, 0, 0]),
    ("sparse_soup", [[1, 0, 3], [3, 2, 0]], None, {"masks": "last"}, [2, 1, 0]),
    ("greedy_soup", EYE, None, {}, [1 / 3, 1 / 3, 1 / 3]),
    ("greedy_soup", EYE, None, {"size": 2}, [0.5, 0.5, 0]),
    ("greedy_soup", EYE, None, {"scores": (0.5, 0.9, 0.9), "size": 1}, [0, 1, 0]),
    ("greedy_soup", EYE, None, {"chosen": (2, 0)}, [0.5, 0, 0.5]),
    ("fusing", [A, B], ONE, {}, [1.1, 1.1, 1.025, 0.65]),
    ("fusing", [A, B], ONE, {"beta": 0.5}, [1.05, 1.05, 1.0125, 0.825]),
    ("fusing", [[1], [2], [9]], [0], {"center": "median"}, [2]),
    ("fusing", [[1], [2], [3], [9]], [0], {"center": "median"}, [2.5]),
    ("fusing", [[1], [2], [3], [50]], [0], {"screen": 2}, [2]),
    (
        "breadcrumbs",
        [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]],
        [0] * 10,
        {"density": 0.6, "gamma": 0.1},
        [0, 0, 0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0],
    ),
]


@pytest.mark.parametrize(("name", "models", "base", "options", "expected"), CASES)
def test_worked_number(name, models, base, options, expected):
    tensors = [torch.tensor(model, dtype=torch.float32) for model in models]
    origin = None if base is None else torch.tensor(base, dtype=torch.float32)
    merged = merge_tensors(registry.load(name, family="merge"), tensors, origin, options)
    torch.testing.assert_close(merged, torch.tensor(expected, dtype=torch.float32), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("entry", registry.listing("merge"), ids=lambda entry: entry.name)
def test_every_merge_has_a_worked_number(entry):
    assert any(entry.name == f"merge.{case[0]}" for case in CASES)


def test_dare_keeps_the_expectation_and_doubles_what_it_keeps():
    dare = registry.load("merge.dare")
    delta = torch.linspace(-1, 1, 64)
    generator = torch.Generator().manual_seed(0)
    runs = torch.stack(
        [merge_tensors(dare, [delta], torch.zeros(64), {"density": 0.5}, generator=generator) for _ in range(2000)]
    )
    assert set(torch.unique(runs[:, 0]).tolist()) == {0.0, -2.0}
    error = runs.std(0) / 2000**0.5
    assert bool(((runs.mean(0) - delta).abs() <= 4 * error + 1e-7).all())


def test_dare_at_full_density_is_task_arithmetic():
    delta = torch.randn(50)
    merged = merge_tensors(registry.load("merge.dare"), [delta], torch.zeros(50), {"density": 1.0})
    assert torch.equal(merged, delta)


@pytest.mark.parametrize(
    ("name", "count", "options", "message"),
    [
        ("slerp", 3, {}, "two models"),
        ("nearswap", 2, {}, "towards one model"),
        ("model_stock", 1, {}, "only one is given"),
        ("nuslerp", 3, {}, "two models"),
        ("arcee_fusion", 2, {}, "one model into the base"),
        ("passthrough", 2, {}, "takes one model"),
        ("metrics_weighted", 2, {"losses": (1, 2), "steps": (1, 2)}, "both are given"),
        ("metrics_weighted", 2, {"losses": (1, 2, 3)}, "3 weights for 2 models"),
        ("metrics_weighted", 2, {"losses": ()}, "0 weights for 2 models"),
        ("metrics_weighted", 2, {"losses": (1, 0)}, "losses"),
        ("robust_weight_signatures", 1, {}, "only one model"),
        ("robust_weight_signatures", 2, {"signature": 1}, "no model 1 among 1"),
        ("emr", 2, {"task": 2}, "no model 2 among 2"),
        ("tall_mask", 2, {"task": 5}, "no model 5 among 2"),
        ("tall_mask", 2, {"threshold": (1, 1, 1)}, "3 thresholds for 2 models"),
        ("reversible", 2, {"member": 2}, "no model 2 among 2"),
        ("reversible", 2, {"component": 2}, "no model 2 among 2"),
        ("final_checkpoints", 2, {"scheme": "decay"}, "belong together"),
        ("final_checkpoints", 2, {"multipliers": (1,)}, "belong together"),
        ("final_checkpoints", 2, {"scheme": "decay", "multipliers": (1, 1)}, "2 multipliers for 1 updates"),
        ("final_checkpoints", 3, {"scheme": "decay", "multipliers": (0.5, 0.75)}, "rise"),
        ("timber", 2, {}, "one model against its base"),
        ("twin_merging", 2, {"density": (0.5, 0.5, 0.5)}, "3 densities for 2 models"),
        ("interpolate", 3, {}, "between two models"),
        ("checkpoint_average", 3, {"runs": 2}, "do not make 2 runs"),
        ("checkpoint_average", 3, {"runs": (2, 2)}, r"do not make runs of \[2, 2\]"),
        ("checkpoint_average", 2, {"runs": 3}, "do not make 3 runs"),
        ("ewa", 2, {"expert": 2}, "no model 2 among 2"),
        ("greedy_soup", 2, {"size": 3}, "A soup of 3 models"),
        ("greedy_soup", 2, {"scores": (1, 2, 3)}, "3 scores for 2 models"),
        ("greedy_soup", 2, {"chosen": (0,), "size": 1}, "both are given"),
        ("greedy_soup", 2, {"chosen": (0, 0)}, "names a model twice"),
        ("greedy_soup", 2, {"chosen": ()}, "is empty"),
        ("greedy_soup", 2, {"chosen": (2,)}, "no model 2 among 2"),
        ("ties", 2, {"density": (0.5, 0.5, 0.5)}, "3 densities for 2 models"),
        ("dare", 2, {"density": (0.5, 0.5, 0.5)}, "3 densities for 2 models"),
        ("della", 2, {"density": (0.5, 0.5, 0.5)}, "3 densities for 2 models"),
        ("della", 2, {"epsilon": (0.1, 0.1, 0.1)}, "3 epsilons for 2 models"),
        ("breadcrumbs", 2, {"density": (0.5, 0.5, 0.5)}, "3 densities for 2 models"),
        ("breadcrumbs", 2, {"gamma": (0.5, 0.5, 0.5)}, "3 gammas for 2 models"),
        ("della", 2, {"density": 0.1}, "from -0.05 to 0.25"),
        ("della", 2, {"density": 0.9}, "from 0.75 to 1.05"),
        ("linear", 2, {"weights": (1, -1)}, "sum to zero"),
        ("linear", 2, {"weights": (1, 2, 3)}, "3 weights for 2 models"),
        ("ties", 2, {"density": 0}, "density"),
        ("ties", 2, {"density": 1.5}, "density"),
        ("ties", 2, {"densty": 0.5}, "did you mean 'density'"),
    ],
)
def test_what_a_merge_refuses(name, count, options, message):
    tensors = [torch.ones(2) * number for number in range(1, count + 1)]
    with pytest.raises(MethodError, match=message):
        merge_tensors(registry.load(name, family="merge"), tensors, torch.zeros(2), options)


def test_opposite_directions_have_no_spherical_mean():
    tensors = [torch.tensor(v) for v in ([1.0, 0.0], [-0.5, 0.75**0.5], [-0.5, -(0.75**0.5)])]
    with pytest.raises(MethodError, match="cancel"):
        merge_tensors(registry.load("merge.multislerp"), tensors, options={"eps": 1e-6})


def test_the_stock_ratio_is_held_where_models_oppose_each_other():
    base, a, b = torch.zeros(2), torch.tensor([1.0, 0.2]), torch.tensor([-1.0, 0.2])
    held = merge_tensors(registry.load("merge.model_stock"), [a, b], base)
    assert held.tolist() == [0.0, 0.0]
    published = merge_tensors(registry.load("merge.model_stock"), [a, b], base, {"clamp": False})
    assert published.abs().max() > 1


def test_a_patch_is_taken_away_again():
    generator = torch.Generator().manual_seed(0)
    base, usual, robust = (torch.randn(20, dtype=torch.float32, generator=generator) for _ in range(3))
    signatures = registry.load("merge.robust_weight_signatures")
    signature = merge_tensors(signatures, [usual, robust], base) - usual
    assert abs(float(signature @ (usual - base))) < 1e-4
    patched, unpatched = (merge_tensors(signatures, [usual, robust], base, {"alpha": alpha}) for alpha in (0.5, -0.5))
    torch.testing.assert_close((patched + unpatched) / 2, usual)


def test_what_a_basis_loses_is_what_its_eigenvalues_say():
    generator = torch.Generator().manual_seed(0)
    models = [torch.randn(6, 5, generator=generator) for _ in range(4)]
    matrix = torch.stack([model.reshape(-1) for model in models]).double()
    lost = torch.linalg.eigvalsh(matrix @ matrix.T)[:2].sum()
    reversible = registry.load("merge.reversible")
    back = [merge_tensors(reversible, models, options={"member": number}) for number in range(4)]
    error = sum(float((one - other).double().square().sum()) for one, other in zip(back, models, strict=True))
    assert error == pytest.approx(float(lost), rel=1e-5)
    # The pseudo-models are orthogonal, and each member is its projection on them.
    basis = [merge_tensors(reversible, models, options={"component": number}).reshape(-1) for number in (0, 1)]
    assert abs(float(basis[0] @ basis[1])) < 1e-4
    shares = [float(back[0].reshape(-1) @ pseudo / (pseudo @ pseudo)) for pseudo in basis]
    torch.testing.assert_close(back[0].reshape(-1), shares[0] * basis[0] + shares[1] * basis[1], rtol=1e-4, atol=1e-5)
