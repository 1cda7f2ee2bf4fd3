"""What the merges of singular values promise beyond single numbers."""

import math

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.merge.spectral import polar, triplets
from scionwood.methods.merge.whole import merge_tensors


def tasks(count, shape=(9, 6), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for _ in range(count)], torch.zeros(shape)


def merged(name, models, base, **options):
    return merge_tensors(registry.load(name, family="merge"), models, base, options)


def test_directions_without_a_singular_value_are_left_out():
    left, values, right = triplets(torch.ones(4, 3))
    assert values.tolist() == pytest.approx([math.sqrt(12)])
    assert left.shape == (4, 1)
    assert right.shape == (1, 3)
    assert [len(part) for part in triplets(torch.zeros(2, 2))] == [2, 0, 0]


def test_the_polar_factor_has_orthonormal_columns_and_shares_what_is_equal():
    columns = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    factor, _ = polar(columns)
    torch.testing.assert_close(factor.T @ factor, torch.eye(3, dtype=torch.float64))
    same, least = polar(torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64))
    assert least < 1e-12
    torch.testing.assert_close(same[0], torch.full((2,), 0.5**0.5, dtype=torch.float64))


@pytest.mark.parametrize("gamma", [0.0, 0.2, 0.7])
def test_timber_moves_by_what_it_takes_off_the_tail(gamma):
    (model,), base = tasks(1)
    values = torch.linalg.svdvals(model.double())
    share = values / values.sum()
    kept = math.ceil(float((-(share * share.log()).sum()).exp()))
    moved = (merged("timber", [model], base, gamma=gamma) - model).double().square().sum()
    torch.testing.assert_close(moved, (1 - gamma) ** 2 * values[kept:].square().sum(), rtol=1e-5, atol=1e-9)


def test_timber_takes_more_dimensions_as_a_matrix_of_the_first():
    (model,), base = tasks(1, (5, 2, 3))
    flat = merged("timber", [model.reshape(5, 6)], base.reshape(5, 6))
    assert torch.equal(merged("timber", [model], base), flat.reshape(5, 2, 3))


def test_the_effective_rank_of_the_paper_is_counted_up():
    model = torch.diag(torch.tensor([8.0, 1.0, 0.5, 0.5]))
    found = torch.linalg.svdvals(merged("timber", [model], torch.zeros(4, 4), gamma=0.2))
    torch.testing.assert_close(found, torch.tensor([8.0, 1.0, 0.5, 0.1]))


@pytest.mark.parametrize(("name", "options"), [("iso_c", {}), ("iso_cts", {}), ("iso_cts", {"common_fraction": 0.4})])
def test_isotropic_merges_have_one_singular_value(name, options):
    models, base = tasks(3)
    values = torch.linalg.svdvals(merged(name, models, base, **options).double())
    assert float(values.std() / values.mean()) < 1e-6


def test_iso_c_keeps_the_nuclear_norm_and_is_iso_cts_with_everything_in_common():
    models, base = tasks(3)
    result = merged("iso_c", models, base)
    torch.testing.assert_close(
        torch.linalg.matrix_norm(result, "nuc"), torch.linalg.matrix_norm(torch.stack(models).sum(0), "nuc")
    )
    torch.testing.assert_close(merged("iso_cts", models, base, common_fraction=1.0), result)
    low = [model[:, :1] @ model[:1] for model in models[:2]]
    torch.testing.assert_close(
        torch.linalg.matrix_norm(merged("iso_c", low, base), "nuc"),
        torch.linalg.matrix_norm(torch.stack(low).sum(0), "nuc"),
    )


def test_orthogonal_tasks_are_truncated_and_added():
    models, base = tasks(2, (8, 8))
    u, v = (torch.linalg.qr(model).Q for model in models)
    first = u[:, :4] @ torch.diag(torch.tensor([4.0, 3, 2, 1])) @ v[:, :4].T
    second = u[:, 4:] @ torch.diag(torch.tensor([8.0, 6, 4, 2])) @ v[:, 4:].T
    torch.testing.assert_close(merged("tsv_m", [first, second], base), first + second, rtol=1e-4, atol=1e-5)


def test_more_tasks_than_directions_are_averaged():
    models, base = tasks(3, (2, 5))
    torch.testing.assert_close(merged("tsv_m", models, base), torch.stack(models).mean(0))


@pytest.mark.parametrize("name", ["iso_c", "iso_cts", "tsv_m"])
def test_nothing_merges_to_nothing(name):
    assert not merged(name, [torch.zeros(4, 3)] * 2, torch.zeros(4, 3)).any()


def test_a_matrix_that_is_not_finite_is_refused():
    with pytest.raises(MethodError, match="not finite"):
        merged("iso_c", [torch.full((2, 2), float("nan"))], torch.zeros(2, 2))


def test_four_models_without_a_common_start_keep_their_spread():
    models = [0.1 * model for model in tasks(4, (100, 10))[0]]
    widths = torch.stack([model.std() for model in models]).square().mean().sqrt()
    assert torch.stack(models).mean(0).std() / widths < 0.55
    torch.testing.assert_close(merged("variance_corrected", models, None).std(), widths, rtol=1e-3, atol=0)


def test_copies_in_widen_count_in_full_where_they_moved_most():
    (model,), base = tasks(1, (5, 4))
    base = base + 1
    weights = (merged("widen", [model] * 2, base) - base) / (model - base)
    # Half and half, or both in full, in length and in direction: 1, 1.5 or 2 times the delta.
    distance = (weights[:, :, None] - torch.tensor([1.0, 1.5, 2.0])).abs().amin(-1)
    assert float(distance.max()) < 1e-4
