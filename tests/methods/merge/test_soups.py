"""Soups: which models go in, what a mask keeps, what embeddings have in common."""

import pytest
import torch

from scionwood.errors import MethodError
from scionwood.methods import registry
from scionwood.methods.merge.greedy_soup import choose_soup
from scionwood.methods.merge.rectify_embed import common_shape, rectify_embed
from scionwood.methods.merge.whole import merge_models, merge_tensors


def mean(numbers, chosen):
    return sum(numbers[number] for number in chosen) / len(chosen)


def loss_of(models):
    return lambda chosen: -((mean(models, chosen) - 1) ** 2)


def test_the_greedy_choice_takes_in_what_helps_and_nothing_else():
    models = [0.5, 1.6, 5.0]
    score = loss_of(models)
    chosen = choose_soup([score([number]) for number in range(3)], score)
    assert chosen == [0, 1]
    soup = merge_tensors(
        registry.load("merge.greedy_soup"), [torch.tensor([m]) for m in models], options={"chosen": tuple(chosen)}
    )
    assert soup.item() == pytest.approx(1.05)
    assert -score(chosen) == pytest.approx(0.0025)


def test_a_soup_is_never_worse_than_its_best_model():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        models = torch.randn(6, generator=generator).tolist()
        score = loss_of(models)
        alone = [score([number]) for number in range(6)]
        assert score(choose_soup(alone, score)) >= max(alone)


def test_equal_models_all_enter_or_only_the_first():
    score = loss_of([2.0, 2.0, 2.0])
    alone = [score([number]) for number in range(3)]
    assert choose_soup(alone, score) == [0, 1, 2]
    assert choose_soup(alone, score, tie="reject") == [0]
    with pytest.raises(MethodError, match="no models to choose"):
        choose_soup([], score)


AVERAGES = [
    ("linear", {}),
    ("linear", {"weights": (0.2, 0.7, 1.3)}),
    ("checkpoint_average", {"runs": (2, 1)}),
    ("ewa", {}),
    ("ewa", {"expert": 1, "beta": 0.3}),
    ("final_checkpoints", {}),
    ("final_checkpoints", {"scheme": "wma"}),
    ("greedy_soup", {}),
    ("lawa", {}),
    ("metrics_weighted", {}),
    ("sparse_soup", {}),
    ("zscl", {}),
    ("zscl", {"alpha": 0.9}),
]


@pytest.mark.parametrize(("name", "options"), AVERAGES)
def test_what_all_models_have_in_common_stays_to_the_bit(name, options):
    generator = torch.Generator().manual_seed(0)
    frozen = torch.randn(5000, generator=generator)
    made = merge_tensors(registry.load(f"merge.{name}"), [frozen] * 3, options=options)
    assert torch.equal(made, frozen)


def test_averages_by_weights_of_either_sign_are_their_sum():
    models = [torch.tensor([1.0]), torch.tensor([5.0]), torch.tensor([2.0])]
    made = merge_tensors(registry.load("merge.linear"), models, options={"weights": (1, -1, 2)})
    torch.testing.assert_close(made, torch.tensor([0.0]))
    ends = [merge_tensors(registry.load("merge.interpolate"), models[:2], options={"alpha": a}).item() for a in (0, 1)]
    assert ends == [1.0, 5.0]


def test_a_soup_of_one_mask_is_as_sparse_as_its_members():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(40, 30, generator=generator) < 0.1
    models = [torch.randn(40, 30, generator=generator) * mask for _ in range(3)]
    soup = registry.load("merge.sparse_soup")
    assert torch.equal(merge_tensors(soup, models) != 0, mask)
    models[2] = torch.where(mask, models[2], 0.0)
    models[2][~mask] = 1.0
    with pytest.raises(MethodError, match=f"model 2 differs from the first in {int((~mask).sum())} of one tensor"):
        merge_tensors(soup, models)


def test_a_contributor_is_screened_by_its_distance_over_the_whole_model():
    # In the bias the one that diverged is like the others; it must stay out of that as well.
    base = {"weight": torch.zeros(4), "bias": torch.zeros(1)}
    models = [{"weight": torch.full((4,), step), "bias": torch.tensor([step])} for step in (0.9, 1.0, 1.1)]
    far = {"weight": torch.full((4,), 50.0), "bias": torch.tensor([7.0])}
    fused = merge_models(registry.load("merge.fusing"), [*models, far], base, {"screen": 2.0})
    torch.testing.assert_close(fused, {"weight": torch.ones(4), "bias": torch.ones(1)})


def test_embeddings_are_cut_to_what_they_have_in_common():
    small, large = torch.ones(5, 2), torch.full((6, 2), 3.0)
    assert torch.equal(
        merge_tensors(registry.load("merge.linear"), rectify_embed([small, large])), torch.full((5, 2), 2.0)
    )
    assert [list(view.shape) for view in rectify_embed([large, torch.ones(7, 2)], base=small)] == [[5, 2], [5, 2]]
    assert common_shape([(6, 3), (5, 4)]) == (5, 3)


@pytest.mark.parametrize(
    ("shapes", "base", "words"),
    [
        ([(5, 2)], (6, 2), r"\[5, 2\] has less than the base's \[6, 2\]"),
        ([(5, 2), (5,)], None, "one has 1 dimensions"),
        ([], None, "cannot be cut"),
    ],
)
def test_embeddings_that_cannot_be_cut(shapes, base, words):
    with pytest.raises(MethodError, match=words):
        common_shape(shapes, base)
